"""Scores of single images, by which models are compared image by image."""

import numpy as np
import pytest

from van_dense.core.dataset_info import DatasetInfo
from van_dense.report import classes
from van_dense.report.evidence import WeightedEvidence
from van_dense.report.side_by_side import Measured, image_scores
from van_dense.report.sources import Images, Maps


def no_map(image_id: int | str) -> None:
    raise AssertionError("scores come from the evidence")


def test_each_image_is_measured_by_itself_some_at_a_time():
    values, sizes = np.random.default_rng(0).random(150), []

    def measure(weights: np.ndarray) -> dict[str, np.ndarray]:
        assert weights.sum(axis=1).tolist() == [1] * len(weights)
        sizes.append(len(weights))
        return {"semantic/mIoU": weights @ values, "pysod/MAE": weights @ values}

    evidence = WeightedEvidence(tuple(range(150)), {}, measure)
    info = DatasetInfo("street", ("road",), (1,))
    for kind, expected in (("semantic", values), ("saliency", 1 - values)):
        source = Maps(evidence.image_ids, no_map, no_map, kind, info)
        assert image_scores(Measured(source, evidence))[1] == pytest.approx(expected)
    assert sizes == [64, 64, 22] * 2


def test_images_are_scored_by_their_best_class_at_any_number():
    num, info = 50_000, DatasetInfo("animals", ("cat", "dog"), (1, 2))
    best = np.random.default_rng(0).integers(0, 2, (num, 1))
    labels = np.zeros(num, np.int64)
    source = Images(range(num), labels, best, np.full((num, 1), 0.9), info)
    name, scores = image_scores(Measured(source, classes.evidence_of(source)))
    assert name == "classification/top1"
    assert scores.tolist() == (best[:, 0] == 0).astype(float).tolist()
