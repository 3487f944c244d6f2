"""Formats that are not read are named by the shape of their content, with the way in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from van_dense.data.readers.coco_json import read_coco_json
from van_dense.data.readers.foreign import recognise, way_in
from van_dense.data.readers.yolo import YoloDataset

DOTA = "1 2 3 4 5 6 7 8 plane 0"
KITTI = "Car 0.00 0 -1.58 587.01 173.33 614.12 200.12 1.65 1.67 3.64 -0.65 1.71 46.70 -1.59"
VIA = {"filename": "a.png", "size": 7, "regions": [], "file_attributes": {}}
LINES: list[tuple[str, str, str]] = [
    ("a.xml", "<annotations><image id='0'/></annotations>", "CVAT"),
    ("a.xml", "<annotation><object><bndbox/></object></annotation>", "Pascal VOC"),
    (
        "a.xml",
        "<annotation><object><polygon><pt><x>1</x></pt></polygon></object>",
        "LabelMe of MIT",
    ),
    ("a.csv", "filename,file_size,file_attributes,region_count,region_shape_attributes", "VIA"),
    ("a.csv", "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax", "Open Images"),
    ("a.csv", "filename,width,height,class,xmin,ymin,xmax,ymax", "a CSV of boxes"),
    ("a.csv", "a.png,1,2,3,4,cat", "a CSV of boxes"),
    ("a.tfrecord", "", "TFRecord"),
    ("a.txt", f"imagesource:GoogleEarth\ngsd:0.1\n{DOTA}", "DOTA"),
    ("a.txt", DOTA, "DOTA"),
    ("a.txt", KITTI, "KITTI"),
    ("gt.txt", "1,1,912,484,97,109,0,7,1", "MOT"),
    ("a.ndjson", '{"data_row": {}, "projects": {}}', "Labelbox"),
    ("a.manifest", '{"source-ref": "s3://x/a.png"}', "SageMaker"),
    ("metadata.jsonl", '{"file_name": "a.png", "objects": {}}', "Hugging Face"),
]
CONTENTS: list[tuple[Any, str]] = [
    ({"_via_img_metadata": {}, "_via_settings": {}}, "VIA"),
    ({"a.png7": VIA}, "VIA"),
    ([{"id": 1, "data": {"image": "a.png"}, "annotations": []}], "Label Studio"),
    ([{"image": "/a.png", "annotation_id": 1, "annotator": 1, "label": []}], "Label Studio"),
    ([{"image": "a.png", "annotations": [{"label": "cat", "coordinates": {}}]}], "CreateML"),
    ([{"Label": {}, "Labeled Data": "a.png"}], "Labelbox"),
    ([{"name": "a.png", "labels": [{"category": "car", "box2d": {}}]}], "BDD100K"),
    ([{"image_id": 1, "category_id": 1, "bbox": [], "score": 1.0}], "COCO results"),
    ({"description": "", "tags": [], "size": {}, "objects": []}, "Supervisely"),
    ({"info": {}, "categories": {}, "items": []}, "Datumaro"),
    ({"info": {"description": "ISAT"}, "objects": []}, "ISAT"),
    ({"imgHeight": 12, "imgWidth": 20, "objects": []}, "Cityscapes"),
    ({"version": "2.0", "item": {}, "annotations": []}, "Darwin"),
    ({"metadata": {}, "instances": []}, "SuperAnnotate"),
    ({"project_name": "x", "images": [], "label_classes": []}, "Hasty"),
    ({"samples": []}, "FiftyOne"),
    ({"shapes": [], "imagePath": "a.png"}, "labelme"),
    ({"images": [], "annotations": [], "categories": []}, "COCO JSON"),
    ({"images": [], "annotations": [{"segments_info": []}], "categories": []}, "panoptic"),
]


@pytest.mark.parametrize(("name", "text", "expected"), LINES)
def test_a_file_is_recognised(tmp_path: Path, name: str, text: str, expected: str) -> None:
    (tmp_path / name).write_text(text)
    assert expected in way_in(tmp_path / name)


@pytest.mark.parametrize(("content", "expected"), CONTENTS)
def test_json_is_recognised(tmp_path: Path, content: Any, expected: str) -> None:
    (tmp_path / "a.json").write_text(json.dumps(content))
    found = recognise(tmp_path / "a.json")
    assert found is not None and expected in found.name and found.way_in
    assert recognise(tmp_path) == found, "as the only file of a folder"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (["meta.json", "ds0/ann/a.json"], "Supervisely"),
        (["labelTxt/a.txt", "images/a.png"], "DOTA"),
        (["JPEGImages/a.jpg", "Annotations/a.xml"], "Pascal VOC"),
        (["JPEGImages/a.jpg", "SegmentationClass/a.png"], "label maps"),
        (["images/a.jpg", "masks/a.png"], "label maps"),
        (["images/a.jpg", "labels/a.txt", "classes.txt"], "YOLO"),
        (["train.record"], "TFRecord"),
    ],
)
def test_a_folder_is_recognised(tmp_path: Path, files: list[str], expected: str) -> None:
    for file in files:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text("")
    assert expected in way_in(tmp_path)


@pytest.mark.parametrize(
    ("name", "text"), [("a.json", "{"), ("a.json", "[]"), ("a.json", "7"), ("a.csv", ""),
                       ("a.txt", "hello"), ("a.xml", "<x/>"), ("a.bin", "x"), ("a.jsonl", "")],
)  # fmt: skip
def test_of_anything_else_nothing_is_said(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert way_in(tmp_path / name) == "" and way_in(tmp_path) == ""
    assert way_in(tmp_path / "none") == ""


def test_readers_name_what_they_are_given_instead(tmp_path: Path) -> None:
    for name, text in (("a.csv", "ImageID,LabelName"), ("a.json", '{"_via_img_metadata": {}}')):
        (tmp_path / name).write_text(text)
        with pytest.raises(ValueError, match=r"; it looks like (Open Images|VGG Image)"):
            read_coco_json(tmp_path / name)
    voc = tmp_path / "voc"
    (voc / "Annotations").mkdir(parents=True)
    (voc / "JPEGImages").mkdir()
    with pytest.raises(ValueError, match=r"data\.yaml: .*; it looks like Pascal VOC: set data\.fo"):
        YoloDataset(voc, "train", name="x", drop_empty=False)
