"""Predictions that any program saved are scored in one call; tools/eval_net.py is its command."""

import json

import numpy as np
import pytest
from PIL import Image

from van_dense.evaluation.saved import MapSettings, score_maps, score_results


def test_settings_are_taken_from_a_data_section_and_the_rest_of_it_is_left():
    section = {"name": "x", "classes": ["a"], "mask_pattern": "{key}_labels.png", "workers": 3}
    assert MapSettings.of(section) == MapSettings(classes=["a"], mask_pattern="{key}_labels.png")
    assert MapSettings.of({}) == MapSettings()


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
    scores = score_results(*files, "bbox", "faster")
    assert scores.metrics["bbox/AP"] == scores.per_class["bbox"]["cat"]["AP"] == 1
    assert scores.summary.startswith("1 results in 1 of 2 images")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "maps").mkdir()
    Image.fromarray(np.array([[0, 255, 255, 0]], np.uint8)).save(tmp_path / "maps" / "a.png")
    return str(tmp_path / "maps")


def test_maps_are_scored_and_what_the_evaluator_keeps_is_written(folder, tmp_path):
    settings = MapSettings(label_map=["0 -> 0", "255 -> 1"], classes=["off", "on"])
    scores = score_maps(folder, folder, "semantic", settings, folder=tmp_path / "out")
    assert scores.metrics["semantic/mIoU"] == 1 and scores.summary == "1 maps"
    assert list(scores.per_class["semantic"]) == ["off", "on"]
    assert (tmp_path / "out" / "confusion.csv").is_file()
    scores = score_maps(folder, folder, "saliency", MapSettings(), folder=tmp_path / "out")
    assert scores.metrics["pysod/MAE"] == 0 and scores.per_class == {}
    assert (tmp_path / "out" / "curves.csv").is_file()


def test_label_maps_without_a_label_map_are_refused(folder, tmp_path):
    with pytest.raises(ValueError, match="what do the values of the label maps mean"):
        score_maps(folder, folder, "semantic", MapSettings(), folder=tmp_path)
