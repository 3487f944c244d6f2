"""Results that any program saved: read where certain, else named with record and reason."""

import json
import pickle
from pathlib import Path
from typing import NamedTuple

import pytest

from van_dense.evaluation.result_files import load_results

TRUTH = {
    "images": [
        {"id": 1, "height": 4, "width": 6, "file_name": "day/1.png"},
        {"id": 20, "height": 4, "width": 6, "file_name": "night/b.jpg"},
    ],
    "annotations": [],
    "categories": [{"id": 3, "name": "cat"}, {"id": 8, "name": "dog"}],
}

RECORD = {"image_id": 1, "category_id": 3, "score": 0.5}
BOX = RECORD | {"bbox": [0, 0, 2, 2]}
GIVEN = {"id": 1, "image_id": 1, "category_id": 3, "bbox": [0, 0, 2, 2], "area": 4, "iscrowd": 0}
MASK = RECORD | {"segmentation": {"size": [4, 6], "counts": "5220;"}}


def load(tmp_path: Path, content: object, kind: str = "bbox") -> list:
    path = tmp_path / "results.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return list(load_results(path, TRUTH, (kind,)).table)


def test_sound_records_of_each_type_are_read(tmp_path: Path):
    assert load(tmp_path, [BOX]) == [BOX]
    assert load(tmp_path, [MASK], "segm") == [MASK]
    assert load(tmp_path, [RECORD | {"keypoints": [1, 2, 0.5]}], "keypoints")
    assert load(tmp_path, []) == []


@pytest.mark.parametrize(
    ("record", "kind", "message"),
    [
        (RECORD, "bbox", r"lacks \['bbox'\]; --type bbox needs them"),
        (BOX, "segm", r"lacks \['segmentation'\]"),
        ({"bbox": [0, 0, 2, 2]}, "bbox", r"lacks \['image_id', 'category_id', 'score'\]"),
        (7, "bbox", "is of type int, expected an object"),
        ([1, 2], "bbox", "is of type list, expected an object"),
        (
            BOX | {"image_id": 2},
            "bbox",
            "image_id 2 is not in the annotation file, whose ids are 1, 20",
        ),
        (BOX | {"image_id": "x1"}, "bbox", "image_id 'x1' is not in the annotation file"),
        (BOX | {"image_id": True}, "bbox", "image_id True is not in the annotation file"),
        (BOX | {"image_id": [1]}, "bbox", r"image_id \[1\] is not in"),
        (BOX | {"category_id": 0}, "bbox", "category_id 0 is not .* ids are 3, 8.*0-based labels"),
        (BOX | {"score": None}, "bbox", "score is None, expected a finite number"),
        (BOX | {"bbox": [0, 0, 2]}, "bbox", r"bbox is \[0, 0, 2\], expected x, y, width"),
        (BOX | {"bbox": [5, 5, -2, 2]}, "bbox", "expected x, y, width >= 0, height >= 0"),
        (BOX | {"bbox": "0 0 2 2"}, "bbox", "expected x, y, width"),
        (BOX | {"bbox": [0, 0, 1e308, 2]}, "bbox", "expected x, y, width .* in pixels, below 1e30"),
        (BOX | {"bbox": [-1e308, 0, 2, 2]}, "bbox", "in pixels, below 1e30"),
        (BOX | {"bbox": [0, 0, 2, 10**400]}, "bbox", "in pixels, below 1e30"),
        (RECORD | {"keypoints": [1e308, 2, 1]}, "keypoints", "3 K numbers below 1e30"),
        (RECORD | {"keypoints": [1, 2]}, "keypoints", "3 K numbers"),
        (RECORD | {"segmentation": [[0, 0, 2, 0]]}, "segm", "must be RLE.* 2 points"),
        (
            RECORD | {"segmentation": {"size": [4, 6], "counts": [3, 2, 20]}},
            "segm",
            "covers 25 pixels, its image has 24",
        ),
        (
            RECORD | {"segmentation": {"size": [6, 4], "counts": "5220;"}},
            "segm",
            r"size \[6, 4\], its image \[4, 6\]",
        ),
        (
            RECORD | {"segmentation": {"size": [4, 6], "counts": "5220;o"}},
            "segm",
            "not in the COCO alphabet",
        ),
    ],
)
def test_a_wrong_record_is_named_with_file_index_and_reason(tmp_path, record, kind, message):
    sound = MASK if kind == "segm" else BOX | {"keypoints": [1, 2, 1]}
    with pytest.raises(
        ValueError, match=rf"results\.json, record 1 \(counted from 0\): .*{message}"
    ):
        load(tmp_path, [sound, record], kind)


def test_a_file_of_another_kind_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match=r"no score, as those of an annotation file"):
        load(tmp_path, TRUTH | {"annotations": [GIVEN]})
    with pytest.raises(ValueError, match=r"results\.json: not valid JSON"):
        load(tmp_path, '[{"image_id": 1')


# ------------------------------------------------------------------------------ other shapes


class Read(NamedTuple):
    records: list
    notes: list[str]


def read(tmp_path: Path, content: object, kind: str = "bbox", **options: object) -> Read:
    path = tmp_path / "results.json"
    path.write_text(json.dumps(content))
    table, notes, _ = load_results(path, TRUTH, (kind,), **options)
    return Read(list(table), notes)


@pytest.mark.parametrize("key", ["annotations", "results", "predictions", "detections"])
def test_an_object_around_the_records_is_read(tmp_path, key):
    tables = {"images": TRUTH["images"], "categories": TRUTH["categories"]}
    assert read(tmp_path, {**tables, key: [BOX]}).records == [BOX]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"images": [{"id": 1, "file_name": "b.jpg"}]}, "images with id 1: .*'b.jpg'.*'day/1.png'"),
        ({"categories": [{"id": 3, "name": "dog"}]}, "categories with id 3: .*'dog'.*'cat'"),
        ({"categories": [{"id": 3, "name": "cat", "keypoints": ["b", "a"]}]}, "another order"),
    ],
)
def test_tables_beside_the_records_that_contradict_the_annotations_are_refused(
    tmp_path, table, message
):
    with pytest.raises(ValueError, match=message):
        read(tmp_path, {**table, "annotations": [BOX]}, keypoints=("a", "b"))


def test_tables_that_agree_but_for_folders_and_case_are_none(tmp_path):
    tables = {"images": [{"id": 1, "file_name": "1.PNG"}, {"id": 99, "file_name": "c"}, 7]}
    tables["categories"] = [{"id": 3, "name": "Cat", "keypoints": ["A", "b"]}]
    assert read(tmp_path, {**tables, "annotations": [BOX]}, keypoints=("a", "b")).records == [BOX]


@pytest.mark.parametrize(
    ("changes", "note"),
    [
        ({"image_id": "1"}, "1 record names images by text instead of numbers"),
        ({"image_id": "day/1.png"}, "1 record names images by name instead of id"),
        ({"image_id": "1.png"}, "images by name"),
        ({"category_id": "3"}, "categories by text instead of numbers"),
        ({"category_id": "cat"}, "categories by name instead of id"),
        ({"score": "0.5"}, "1 score is written as text"),
    ],
)
def test_what_means_one_thing_is_read_and_counted(tmp_path, changes, note):
    records, notes = read(tmp_path, [BOX | changes])
    assert records == [BOX] and len(notes) == 1 and note in notes[0]


def test_a_name_of_two_images_is_refused(tmp_path):
    twice = [{**image, "file_name": f"{image['id']}/a.png"} for image in TRUTH["images"]]
    path = tmp_path / "results.json"
    path.write_text(json.dumps([BOX | {"image_id": "a.png"}]))
    with pytest.raises(ValueError, match=r"image_id 'a\.png' is not in the annotation file"):
        load_results(path, {**TRUTH, "images": twice}, ("bbox",))
    path.write_text(json.dumps([BOX | {"image_id": "20/a.png"}]))
    assert (
        next(iter(load_results(path, {**TRUTH, "images": twice}, ("bbox",)).table))["image_id"]
        == 20
    )


def test_polygons_and_plain_run_lengths_become_masks(tmp_path):
    polygon = {"segmentation": [[0, 0, 2, 0, 2, 2, 0, 2]]}
    runs = {"segmentation": {"size": [4, 6], "counts": [0, 2, 2, 2, 18]}}
    records, notes = read(tmp_path, [RECORD | polygon, RECORD | runs], "segm")
    assert records[0] == records[1] and isinstance(records[0]["segmentation"]["counts"], str)
    assert "2 masks are polygons or lists of run lengths" in notes[0]


def test_records_of_images_that_are_left_out_are_left_out_and_counted(tmp_path):
    records, notes = read(tmp_path, [BOX, BOX | {"image_id": 9}], left_out={9})
    assert records == [BOX] and "1 record is of an image that is left out" in notes[0]


@pytest.mark.parametrize(
    ("boxes", "word"),
    [
        ([[4, 2, 6, 4], [3, 0, 6, 3]], "leave their image, and would not as two corners"),
        ([[0.1, 0.2, 0.5, 0.6], [0, 0, 1, 1]], "lie within 0..1"),
        ([[0, 0, 3, 3], [2, 1, 4, 3]], None),
    ],
)
def test_boxes_of_another_convention_are_doubted(tmp_path, boxes, word):
    notes = read(tmp_path, [BOX | {"bbox": box} for box in boxes]).notes
    assert [word in note for note in notes] == [True] * (word is not None)


def test_nothing_found_is_said(tmp_path):
    assert "holds no record" in read(tmp_path, []).notes[0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (7, "holds a int instead of a list"),
        ({"a": 1}, r"holds a dict .*\['a'\]; a list of \{image_id"),
        ({"boxes": [[1, 2, 3, 4]], "scores": [1], "labels": [1]}, "as torchvision and mmdet"),
        ({"predictions": [{"x": 1, "y": 1, "confidence": 0.5}]}, "Roboflow"),
        ([{"name": "cat", "class": 0, "confidence": 0.5, "box": {"x1": 0}}], "Ultralytics"),
        ([[[1, 2, 3, 4, 0.5]]], "a list of lists, as mmdet"),
        ({"shapes": [], "imagePath": "a"}, "labelme"),
        ({"annotations": [{"image_id": 1, "segments_info": []}]}, "--type panoptic"),
        ([GIVEN], "no score"),
        ([{**GIVEN, "confidence": 0.5}], r"lacks \['score'\].*; call 'confidence' 'score'"),
        ([{"file_name": "1.png", "score": 1}], r"call 'file_name' 'image_id'"),
    ],
)
def test_other_shapes_are_named_with_a_way_in(tmp_path, content, message):
    with pytest.raises(ValueError, match=message):
        read(tmp_path, content)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PK\x03\x04", "a ZIP archive"),
        (b"\x1f\x8b", "a gzip archive"),
        (pickle.dumps([1]), "a pickle, which may run code"),
        (b"\x93NUMPY", "a NumPy array"),
        (b'{"image_id": 1}\n{"image_id": 2}\n', "a record on each line; .*jq -s"),
        (b"[" * 100_000, "100 levels of nesting"),
        (b"\xff", "not valid JSON"),
    ],
)
def test_what_is_no_json_is_named(tmp_path, content, message):
    path = tmp_path / "results.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        load_results(path, TRUTH, ("bbox",))
    with pytest.raises(ValueError, match="is a folder"):
        load_results(tmp_path, TRUTH, ("bbox",))


def test_a_byte_order_mark_is_passed_over(tmp_path):
    path = tmp_path / "results.json"
    path.write_text(json.dumps([BOX]), encoding="utf-8-sig")
    assert list(load_results(path, TRUTH, ("bbox",)).table) == [BOX]
