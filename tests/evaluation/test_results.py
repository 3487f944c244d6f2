"""Predictions become COCO records at this border, and foreign files are checked."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from van_dense.core.dataset_info import DatasetInfo
from van_dense.core.structures import Instances, Prediction, encode_masks
from van_dense.evaluation.coco import CocoEvaluator, evaluate_results
from van_dense.evaluation.result_files import load_results
from van_dense.evaluation.results import save_results, to_results

INFO = DatasetInfo("shapes", ("cat", "dog"), (3, 8))
TRUTH = {
    "images": [{"id": 1, "height": 4, "width": 6, "file_name": "1.png"}],
    "annotations": [],
    "categories": [{"id": 3, "name": "cat"}, {"id": 8, "name": "dog"}],
}


def prediction(**changes: object) -> Prediction:
    fields: dict = {
        "boxes": torch.tensor([[1.0, 0.5, 4.25, 3.5]]),
        "labels": torch.tensor([1]),
        "scores": torch.tensor([0.75]),
    }
    return Prediction(1, (4, 6), Instances(**(fields | changes)))


def test_a_record_has_the_category_id_and_an_xywh_box():
    assert to_results(prediction(), INFO) == [
        {"image_id": 1, "category_id": 8, "score": 0.75, "bbox": [1.0, 0.5, 3.25, 3.0]}
    ]


def test_masks_are_compressed_and_fit_for_json():
    mask = torch.zeros(1, 4, 6, dtype=torch.uint8)
    mask[0, 1:3, 2:5] = 1
    (from_bitmap,) = to_results(prediction(masks=mask), INFO)
    (from_rle,) = to_results(prediction(masks=encode_masks(mask)), INFO)
    assert from_bitmap == from_rle
    assert json.loads(json.dumps(from_rle))["segmentation"]["size"] == [4, 6]


def test_keypoints_go_back_to_pixel_indices():
    # The centre of pixel (2, 3) lies at (2.5, 3.5) inside, and is (2, 3) in COCO files.
    keypoints = torch.tensor([[[2.5, 3.5, 0.9]]])
    (record,) = to_results(prediction(keypoints=keypoints), INFO)
    assert record["keypoints"] == [2.0, 3.0, 0.9]


def test_an_image_without_instances_gives_no_record():
    assert to_results(Prediction(1, (4, 6), Instances.empty()), INFO) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scores": None}, "has no scores"),
        ({"scores": torch.tensor([1.2])}, "scores outside 0..1"),
        ({"scores": torch.tensor([math.nan])}, "scores outside 0..1"),
        ({"labels": torch.tensor([2])}, r"has labels 2..2, but .* has classes 0..1"),
        ({"boxes": torch.tensor([[5.0, 0.0, 1.0, 3.0]])}, "not finite xyxy with x1 <= x2"),
        ({"boxes": torch.tensor([[0.0, 0.0, math.inf, 3.0]])}, "not finite xyxy"),
        (
            {"masks": torch.zeros(1, 8, 12, dtype=torch.uint8)},
            r"mask has size \(8, 12\), the image \(4, 6\)",
        ),
    ],
)
def test_impossible_predictions_are_refused_with_the_image_id(changes, message):
    with pytest.raises(ValueError, match=f"prediction of image 1.*{message}"):
        to_results(prediction(**changes), INFO)


def test_a_prediction_of_another_task_is_refused():
    with pytest.raises(ValueError, match=r"has no instances; give Instances\.empty\(\)"):
        to_results(Prediction(1, (4, 6)), INFO)


def test_a_saved_file_evaluates_to_the_same_numbers(tmp_path: Path):
    generator = np.random.default_rng(0)
    corners = generator.uniform(0, 90, size=(6, 4, 2)).astype(np.float32)
    sides = generator.uniform(9, 90, size=(6, 4, 2)).astype(np.float32)
    boxes = np.concatenate([corners, corners + sides], axis=2)
    truth = {
        "images": [
            {"id": i, "height": 200, "width": 200, "file_name": f"{i}.png"} for i in range(6)
        ],
        "annotations": [
            {
                "id": 4 * i + k + 1,
                "image_id": i,
                "category_id": 3 if k % 2 else 8,
                "bbox": [*corners[i, k].tolist(), *sides[i, k].tolist()],
                "area": float(sides[i, k].prod()),
            }
            for i in range(6)
            for k in range(4)
        ],
        "categories": TRUTH["categories"],
    }
    moved = (boxes + generator.normal(0, 3, size=boxes.shape)).astype(np.float32)
    predictions = [
        Prediction(
            i,
            (200, 200),
            Instances(
                torch.from_numpy(moved[i]),
                torch.tensor([1, 0, 1, 0]),
                torch.from_numpy(generator.random(4).astype(np.float32)),
            ),
        )
        for i in range(6)
    ]
    evaluator = CocoEvaluator(truth, INFO, ("bbox",), backend="hotcoco")
    evaluator.update(predictions)
    path = tmp_path / "eval" / "predictions.json"
    save_results(path, [r for p in predictions for r in to_results(p, INFO)])
    metrics = evaluate_results(
        truth, load_results(path, truth, ("bbox",)).table, "bbox", backend="hotcoco"
    ).metrics
    assert 0.1 < metrics["AP"] < 0.9
    computed = list(evaluator.compute().values())
    assert list(metrics.values()) == pytest.approx(computed, abs=1e-6, nan_ok=True)
