"""Predictions as bytes, and back."""

from dataclasses import fields

import numpy as np
import torch

from van_dense.core.structures import Instances, Prediction
from van_dense.engine.stored_predictions import pack, unpack

MASKS = [{"size": [3, 4], "counts": b"04l0"}, {"size": [3, 4], "counts": b"\\3"}]
INSTANCES = Instances(
    torch.tensor([[0.1, 0.2, 3.0, 2.0], [1.0, 1.0, 2.0, 2.0]]),
    torch.tensor([1, 0]),
    scores=torch.tensor([0.7, 0.1]),
    masks=MASKS,
    keypoints=torch.rand(2, 5, 3),
)
ROWS = torch.rand(1000, 3)
PREDICTIONS = [
    Prediction(7, (3, 4), instances=INSTANCES),
    Prediction("a.jpg", (3, 4), semantic=np.arange(12, dtype=np.uint8).reshape(3, 4)[:, ::-1]),
    Prediction(
        "b", (3, 4), panoptic=np.ones((3, 4), np.int32), segments=[dict(id=1, label=0, score=0.5)]
    ),
    Prediction("c", (3, 4), saliency=np.random.default_rng(0).random((3, 4), np.float32)),
    Prediction("d", (3, 4), class_scores=ROWS[5]),
    Prediction("e", (3, 4), instances=Instances.empty()),
]


def same(one: object, two: object) -> bool:
    if isinstance(one, Prediction | Instances):
        return type(one) is type(two) and all(
            same(getattr(one, field.name), getattr(two, field.name)) for field in fields(one)
        )
    if isinstance(one, torch.Tensor):
        return one.dtype == two.dtype and torch.equal(one, two)
    if isinstance(one, np.ndarray):
        return one.dtype == two.dtype and np.array_equal(one, two)
    return one == two and type(one) is type(two)


def test_every_kind_of_prediction_comes_back_to_the_last_bit():
    found = unpack(pack(PREDICTIONS))
    assert len(found) == len(PREDICTIONS) and unpack(pack([])) == []
    assert all(same(one, two) for one, two in zip(found, PREDICTIONS, strict=True))


def test_a_row_of_a_batch_is_stored_without_the_batch():
    assert len(pack(PREDICTIONS[4:5])) < 4 * ROWS.numel() / 4
