"""Predictions that any program saved are scored in one call; van-dense eval is its command."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from van_dense.data.readers.coco_json import COCO_SIGMAS, _mean_sigmas
from van_dense.evaluation.saved import score
from van_dense.evaluation.saved_truth import skeleton_of


def test_coco_results_are_scored_with_a_line_that_counts_them(tmp_path):
    box = {"image_id": 1, "category_id": 7, "bbox": [0, 0, 40, 50]}
    truth = {
        "images": [{"id": i, "height": 100, "width": 100, "file_name": f"{i}.png"} for i in (1, 2)],
        "annotations": [{"id": 1, "area": 2000, **box}],
        "categories": [{"id": 7, "name": "cat"}],
    }
    (tmp_path / "gt.json").write_text(json.dumps(truth))
    (tmp_path / "results.json").write_text(json.dumps([{**box, "score": 0.5}]))
    files = str(tmp_path / "results.json"), str(tmp_path / "gt.json")
    scores = score(*files, kind="bbox", data={}, backend="hotcoco", folder=tmp_path)
    assert scores.metrics["bbox/AP"] == scores.per_class["bbox"]["cat"]["AP"] == pytest.approx(1)
    assert scores.summary.startswith("1 result in 1 of 2 images")


# ------------------------------------------------------------------------------ keypoints


def write_poses(tmp_path, names: list[str], moved: float, *, named: bool = True) -> tuple[str, str]:
    """One person with all joints labelled on a diagonal, found but for the last joint."""
    pose = {"image_id": 1, "category_id": 3}
    points = np.array([[10 + 5 * k, 20 + 5 * k, 2] for k in range(len(names))], dtype=float)
    person = {
        "id": 1,
        **pose,
        "keypoints": points.flatten().tolist(),
        "bbox": [10, 20, 100, 100],
        "area": 6000,
    }
    category = {"id": 3, "name": "being"} | ({"keypoints": names} if named else {})
    truth = {
        "images": [{"id": 1, "height": 200, "width": 200, "file_name": "1.png"}],
        "annotations": [person],
        "categories": [category],
    }
    points[-1, 0] += moved
    found = [{**pose, "score": 0.5, "keypoints": points.flatten().tolist()}]
    (tmp_path / "gt.json").write_text(json.dumps(truth))
    (tmp_path / "results.json").write_text(json.dumps(found))
    return str(tmp_path / "results.json"), str(tmp_path / "gt.json")


def test_the_poses_of_coco_need_no_settings(tmp_path):
    files = write_poses(tmp_path, list(COCO_SIGMAS), moved=30)
    scores = score(*files, kind="keypoints", data={}, backend="hotcoco", folder=tmp_path)
    assert scores.metrics["keypoints/AP50"] == pytest.approx(1)
    assert scores.metrics["pck/PCKh@0.5"] * 17 / 16 == 1
    assert scores.metrics["pck/PCK@0.2"] == pytest.approx(16 / 17)
    assert scores.per_class["keypoints"]["being"]["AP50"] == pytest.approx(1)
    assert scores.per_class["pck"]["right_ankle"] == {
        "PCK@0.2": 0,
        "PCKh@0.5": 0,
        "error": pytest.approx(0.3),
        "count": 1,
    }
    assert scores.summary.startswith("1 result in 1 of 1 images")


@pytest.mark.parametrize("backend", ["hotcoco", "pycocotools"])
def test_other_poses_are_scored_with_the_sigmas_of_their_skeleton(tmp_path, backend):
    names = ["nose", "paw"]
    files = write_poses(tmp_path, names, moved=10, named=False)
    for sigma in (0.01, 0.1):
        # OKS of a joint 10 px off: exp(-10**2 / (2 * 6000 * (2 sigma)**2)); the other one has 1.
        oks = (1 + math.exp(-100 / (2 * 6000 * 4 * sigma**2))) / 2
        data = {"skeleton": {"keypoints": names, "sigmas": [sigma, sigma], "head": names}}
        scores = score(*files, kind="keypoints", data=data, backend=backend, folder=tmp_path)
        passed = sum(oks >= threshold for threshold in np.arange(0.5, 1, 0.05))
        assert scores.metrics["keypoints/AP"] == pytest.approx(passed / 10)
        assert scores.metrics["pck/PCKh@0.5"] == 0.5
    assert passed > 5


def test_a_skeleton_without_a_head_has_no_pckh(tmp_path):
    files = write_poses(tmp_path, ["nose", "paw"], moved=0)
    data = {"skeleton": {"keypoints": ["nose", "paw"], "sigmas": [0.1, 0.1]}}
    scores = score(*files, kind="keypoints", data=data, backend="hotcoco", folder=tmp_path)
    assert [name for name in scores.metrics if name.startswith("pck")] == ["pck/PCK@0.2"]


def test_a_file_with_other_joints_than_the_skeleton_is_refused(tmp_path):
    files = write_poses(tmp_path, ["nose", "neck", "paw"], moved=0, named=False)
    data = {"skeleton": {"keypoints": ["nose", "paw"], "sigmas": [0.1, 0.1]}}
    with pytest.raises(
        ValueError, match=r"gt.json: its annotations have 3 joints, .*\['nose', 'paw'\]"
    ):
        score(*files, kind="keypoints", data=data, backend="hotcoco", folder=tmp_path)


def test_a_record_with_other_joints_than_the_annotations_is_named(tmp_path):
    found, truth = write_poses(tmp_path, list(COCO_SIGMAS), moved=0)
    records = json.loads((tmp_path / "results.json").read_text())
    records.append({**records[0], "keypoints": [1, 2, 1]})
    (tmp_path / "results.json").write_text(json.dumps(records))
    with pytest.raises(ValueError, match=r"results.json, record 1 .* has 1 joint, .* 17"):
        score(found, truth, kind="keypoints", data={}, backend="hotcoco", folder=tmp_path)


@pytest.mark.parametrize("given", [{"sigmas": [0.1]}, {"keypoints": ["a"], "joints": 3}, ["a"]])
def test_something_else_than_a_skeleton_is_refused(given):
    with pytest.raises(ValueError, match=r"data\.skeleton must have keypoints, and nothing but"):
        skeleton_of({"skeleton": given})


# ------------------------------------------------------------------------------------ maps


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "maps").mkdir()
    Image.fromarray(np.array([[0, 255, 255, 0]], np.uint8)).save(tmp_path / "maps" / "a.png")
    return str(tmp_path / "maps")


def test_maps_are_scored_and_what_the_evaluator_keeps_is_written(folder, tmp_path):
    (Path(folder) / "other.jpg").touch()  # is no map: the pattern leaves it out
    data = {
        "name": "x",
        "label_map": ["0 -> 0", "255 -> 1"],
        "classes": ["off", "on"],
        "workers": 3,
    }
    data |= dict.fromkeys(("prediction_pattern", "mask_pattern"), "{key}.png")
    scores = score(
        folder, folder, kind="semantic", data=data, backend="hotcoco", folder=tmp_path / "out"
    )
    assert scores.metrics["semantic/mIoU"] == 1 and scores.summary == "1 map"
    assert list(scores.per_class["semantic"]) == ["off", "on"]
    assert (tmp_path / "out" / "confusion.csv").is_file()
    scores = score(
        folder, folder, kind="saliency", data=data, backend="hotcoco", folder=tmp_path / "out"
    )
    assert scores.metrics["pysod/MAE"] == 0 and scores.per_class == {}
    assert (tmp_path / "out" / "curves.csv").is_file()


def test_label_maps_without_a_label_map_are_refused(folder, tmp_path):
    with pytest.raises(ValueError, match="what do the values of the label maps mean"):
        score(folder, folder, kind="semantic", data={}, backend="hotcoco", folder=tmp_path)


@pytest.mark.parametrize("joints", [4, 17])
def test_missing_sigmas_are_the_mean_of_those_of_coco_with_a_warning(tmp_path, caplog, joints):
    """17 joints of a dog are not those of a person."""
    names = [f"k{number}" for number in range(joints)]
    pose = [value for number in range(joints) for value in (10 + number, 20 + number, 2)]
    image = {"id": 1, "file_name": "1.png", "width": 90, "height": 90}
    dog = {"id": 1, "image_id": 1, "category_id": 3, "bbox": [5, 5, 40, 40], "area": 1200.0}
    truth = {
        "images": [image],
        "annotations": [{**dog, "iscrowd": 0, "num_keypoints": joints, "keypoints": pose}],
        "categories": [{"id": 3, "name": "dog", "keypoints": names}],
    }
    moved = [value + 2 if position % 3 == 0 else value for position, value in enumerate(pose)]
    results = [{"image_id": 1, "category_id": 3, "score": 0.9, "keypoints": moved}]
    (tmp_path / "gt.json").write_text(json.dumps(truth))
    (tmp_path / "found.json").write_text(json.dumps(results))
    _mean_sigmas.cache_clear()
    files = str(tmp_path / "found.json"), str(tmp_path / "gt.json")
    scores = score(*files, kind="keypoints", data={}, backend="hotcoco", folder=tmp_path)
    similarity = np.exp(-(2**2) / (2 * 1200 * (2 * 0.067) ** 2))  # of every joint
    thresholds = np.arange(0.5, 1.0, 0.05)
    expected = (similarity >= thresholds).mean()
    assert 0.5 < expected < 1 and scores.metrics["keypoints/AP"] == pytest.approx(expected)
    assert f"no sigmas for its {joints} keypoints" in caplog.text
