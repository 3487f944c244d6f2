"""Boxes of another program: a COCO results file becomes proposals."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from helpers.person_folder import person, read_persons

from van_dense.data.readers.coco import CocoDataset
from van_dense.data.readers.detections import read_detections


@pytest.fixture
def images(tmp_path: Path) -> CocoDataset:
    return read_persons(tmp_path, [person(1)])


def box(image_id: Any = 1, **changes: Any) -> dict[str, Any]:
    entry = {"image_id": image_id, "category_id": 1, "bbox": [1, 2, 10, 20], "score": 0.5}
    return {**entry, **changes}


def write(tmp_path: Path, entries: Any) -> Path:
    path = tmp_path / "detections.json"
    path.write_text(entries if isinstance(entries, str) else json.dumps(entries))
    return path


def test_boxes_become_xyxy_image_by_image_in_the_order_of_the_file(images, tmp_path) -> None:
    entries = [box(2), box(score=0.001), box(2, bbox=[-3.5, 0, 5, 6], score=0.9)]
    found = read_detections(write(tmp_path, entries), images)
    assert found.keys() == {1, 2}
    assert found[2].boxes.tolist() == [[1, 2, 11, 22], [-3.5, 0, 1.5, 6]]
    assert found[2].scores.tolist() == pytest.approx([0.5, 0.9])
    assert found[1].labels.tolist() == [0] and len(found[1]) == 1  # no score is too low


def test_records_of_a_coco_object_are_read(images, tmp_path) -> None:
    data = {"images": [{"id": 1}], "categories": [{"id": 1}], "annotations": [box(), box(2)]}
    assert read_detections(write(tmp_path, data), images).keys() == {1, 2}


def test_what_is_left_out_is_counted(images, tmp_path, caplog) -> None:
    entries = [
        box(),
        box(77),
        box(category_id=2),
        box(score=0.1),
        box(bbox=[1, 1, 0, 5]),
    ]
    with caplog.at_level(logging.INFO):
        found = read_detections(write(tmp_path, entries), images, min_score=0.2)
    assert [len(instances) for instances in found.values()] == [1]
    for words in ("detections: 5", "1 of other images", "1 of other categories", "1 of no size"):
        assert words in caplog.text
    assert "1 below score 0.2" in caplog.text


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ("[{", "not valid JSON"),
        ({"images": []}, "expected a list, got dict"),
        ({"annotations": [person(1)]}, "it is an annotation file, whose records have no score"),
        ([box(), 3], r"entry 1 \(counted from 0\): expected an object, got 3"),
        ([box(bbox=[1, 2, 3])], r"entry 0 .*'bbox' must be four finite numbers"),
        ([box(score="high")], r"entry 0 .*'score' must lie in 0\.\.1, got 'high'"),
        ([box(score=float("nan"))], r"'score' must lie in 0\.\.1, got nan"),
        ([box(score=-3)], r"'score' must lie in 0\.\.1, got -3"),
        ([box(77)], r"no detection of 1 is usable \(1 of other images\)"),
        ([], "it is empty"),
    ],
    ids=[
        "cut",
        "images",
        "annotations",
        "no object",
        "bbox",
        "score",
        "nan",
        "logit",
        "foreign",
        "empty",
    ],
)
def test_a_wrong_file_is_named_with_entry_and_reason(images, tmp_path, entries, words) -> None:
    path = write(tmp_path, entries)
    with pytest.raises(ValueError, match=words) as error:
        read_detections(path, images)
    assert str(path) in str(error.value)


def test_a_missing_file_is_named(images, tmp_path) -> None:
    with pytest.raises(ValueError, match="no such file of detections"):
        read_detections(tmp_path / "nowhere.json", images)
