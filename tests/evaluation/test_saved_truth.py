"""The truth of saved predictions is that of a run on the same file, with a word for each change."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from helpers.coco_folder import annotation, coco_data, write_coco
from helpers.person_folder import JOINTS, SEEN, person, write_persons

from van_dense.data.readers.coco import CocoDataset
from van_dense.data.readers.coco_json import Skeleton
from van_dense.data.readers.segmentation import rle_to_json
from van_dense.evaluation.coco import CocoEvaluator
from van_dense.evaluation.ground_truth import annotation_rle
from van_dense.evaluation.pose import PoseEvaluator
from van_dense.evaluation.result_table import ResultTable
from van_dense.evaluation.saved import score
from van_dense.evaluation.saved_truth import read_truth

BAD = [
    {"area": 0},
    {"area": None},
    {"area": "20"},
    {"iscrowd": "true"},
    {"iscrowd": None},
    {"bbox": []},
    {"bbox": [50, 50, 4, 4]},
    {"bbox": [2, 3, math.nan, 5]},
    {"bbox": ["2", "3", "4", "5"]},
    {"category_id": 9},
    {"category_id": "5"},
    {"image_id": None},
    {"image_id": "1"},
    {"id": 0},
    {"id": "x"},
    {"segmentation": [[1, 2]]},
    {"segmentation": []},
]


@pytest.mark.parametrize("changes", BAD, ids=str)
@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_it_is_what_a_run_evaluates_with(tmp_path: Path, changes: dict[str, Any], kind: Any):
    records = [annotation(1), annotation(2, 2) | changes, annotation(3, 3, iscrowd=1)]
    images, file = write_coco(tmp_path, coco_data(records))
    run = CocoDataset(images, file, name="x", drop_empty=False, masks=kind == "segm")
    truth = read_truth(str(file), kind, {})
    assert truth.coco["annotations"] == run.coco_dict()["annotations"]
    assert [*truth.warnings, *truth.remarks][: len(run.notes)] == run.notes
    evaluator = CocoEvaluator(run.coco_dict(), run.info, (kind,), backend="hotcoco")
    results = [{**annotation(i), "image_id": i, "score": 0.5} for i in (1, 2, 3)]
    for record in results:
        record["segmentation"] = rle_to_json(annotation_rle(annotation(1), (12, 20)))
    evaluator.results.extend(results)
    (tmp_path / "found.json").write_text(json.dumps(results))
    files = str(tmp_path / "found.json"), str(file)
    scores = score(*files, kind=kind, data={}, backend="hotcoco", folder=tmp_path)
    assert scores.metrics == pytest.approx(evaluator.compute(), abs=0, nan_ok=True)


@pytest.mark.parametrize(
    "changes",
    [
        {"area": None},
        {"bbox": None},
        {"keypoints": None},
        {"keypoints": []},
        {"keypoints": [None] * 9},
        {"keypoints": [1, 2, 3]},
        {"num_keypoints": 0},
        {"num_keypoints": None},
    ],
    ids=str,
)
def test_poses_are_what_a_run_evaluates_with(tmp_path: Path, changes: dict[str, Any]):
    images, file = write_persons(tmp_path, [person(1), person(2, 2) | changes])
    skeleton = Skeleton(tuple(JOINTS), sigmas=(0.05, 0.05, 0.05))
    run = CocoDataset(images, file, name="x", drop_empty=False, masks=False, skeleton=skeleton)
    data = {"skeleton": {"keypoints": JOINTS, "sigmas": [0.05, 0.05, 0.05]}}
    truth = read_truth(str(file), "keypoints", data)
    assert truth.coco["annotations"] == run.coco_dict()["annotations"]
    results = [
        {"image_id": i, "category_id": 1, "score": 0.5, "keypoints": [v + 1 for v in SEEN]}
        for i in (1, 2)
    ]
    evaluator = PoseEvaluator(run.coco_dict(), run.info, backend="hotcoco")
    evaluator.take(ResultTable.of(results, evaluator.ground_truth), evaluator.types)
    (tmp_path / "found.json").write_text(json.dumps(results))
    files = str(tmp_path / "found.json"), str(file)
    scores = score(*files, kind="keypoints", data=data, backend="hotcoco", folder=tmp_path)
    assert scores.metrics == pytest.approx(evaluator.compute(), abs=0, nan_ok=True)


def test_crowds_may_be_read_as_objects(tmp_path: Path):
    _, file = write_coco(tmp_path, coco_data([annotation(1, iscrowd=1)]))
    crowds = [
        read_truth(str(file), "bbox", data).coco["annotations"][0]["iscrowd"]
        for data in ({}, {"crowds": "objects"})
    ]
    assert crowds == [1, 0]
    with pytest.raises(ValueError, match=r"data\.crowds must be regions or objects, got 'no'"):
        read_truth(str(file), "bbox", {"crowds": "no"})


def test_masks_that_nobody_drew_are_no_truth_of_masks(tmp_path: Path):
    _, file = write_coco(tmp_path, coco_data([annotation(1, segmentation=None)]))
    with pytest.raises(ValueError, match=r"no annotation has a 'segmentation'; .*--type bbox"):
        read_truth(str(file), "segm", {})


def test_boxes_of_a_mask_model_have_a_word_on_annotations_without_mask(tmp_path: Path):
    records = [annotation(1), annotation(2, 2, segmentation=None)]
    _, file = write_coco(tmp_path, coco_data(records))
    found = [{**annotation(1), "score": 0.5}]
    (tmp_path / "found.json").write_text(json.dumps(found))
    files = str(tmp_path / "found.json"), str(file)
    scores = score(*files, kind="bbox", data={}, backend="hotcoco", folder=tmp_path)
    assert "1 of 2 annotations have no segmentation; a run of a model with" in scores.warnings[0]


def test_the_limit_of_detections_is_told_and_set(tmp_path: Path):
    records = [annotation(i, bbox=[i % 18, 5 * (i // 18), 2, 2]) for i in range(1, 31)]
    _, file = write_coco(tmp_path, coco_data(records))
    found = [{**record, "score": 0.5} for record in records]
    (tmp_path / "found.json").write_text(json.dumps(found))
    files = str(tmp_path / "found.json"), str(file)
    given: Any = {"kind": "bbox", "data": {}, "backend": "hotcoco", "folder": tmp_path}
    limited = score(*files, **given, max_detections=15)
    assert limited.metrics["bbox/AP"] == pytest.approx(51 / 101)
    truth, results = limited.warnings
    assert "most: 30 of 'cat' in image 1): 15 of 30 objects count as missed" in truth
    assert truth.endswith("--max-detections 30 counts all")
    assert results.startswith("15 of 30 results are beyond the best 15")
    assert score(*files, **given).warnings == []
