"""Published layouts of small real sets become COCO and YOLO files, and packages become weights."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.real import nuclei, prepare
from benchmarks.real.labels import yolo_lines
from benchmarks.real.weights import rename


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["prepare.py", *map(str, arguments)])
    assert prepare.main() == 0


def write_nuclei(root: Path, count: int) -> None:
    for number in range(count):
        folder = root / "stage1_train" / f"id{number}"
        (folder / "images").mkdir(parents=True)
        (folder / "masks").mkdir()
        Image.new("RGBA", (8, 6), (9, 9, 9, 255)).save(folder / "images" / f"id{number}.png")
        for left in (0, 5):
            mask = np.zeros((6, 8), np.uint8)
            mask[1:3, left : left + 3] = 255
            Image.fromarray(mask).save(folder / "masks" / f"{left}.png")
        Image.fromarray(np.zeros((6, 8), np.uint8)).save(folder / "masks" / "empty.png")


def test_nuclei_become_instances_polygons_and_label_maps(tmp_path, monkeypatch):
    write_nuclei(tmp_path / "source", 10)
    run(monkeypatch, "nuclei", tmp_path / "source", tmp_path / "made")
    parts = {
        part: json.loads((tmp_path / f"made/{part}.json").read_text()) for part in ("train", "val")
    }
    assert [len(parts[part]["images"]) for part in parts] == [8, 2]
    first = parts["train"]["annotations"][0]
    assert (first["bbox"], first["area"]) == ([0.0, 1.0, 3.0, 2.0], 6)
    assert len(parts["train"]["annotations"]) == 16  # the empty masks are no objects
    name = Path(parts["train"]["images"][0]["file_name"]).stem
    drawn = np.asarray(Image.open(tmp_path / f"made/masks/train/{name}.png"))
    assert drawn.sum() == 12 and set(np.unique(drawn)) == {0, 1}
    assert Image.open(tmp_path / f"made/images/train/{name}.png").mode == "RGB"
    lines = (tmp_path / f"made/labels/train/{name}.txt").read_text().split("\n")
    assert lines[0].startswith("0 0.000000 0.166667") and lines[2:] == [""]


def test_the_parts_of_the_nuclei_are_always_the_same_and_share_no_image(tmp_path):
    write_nuclei(tmp_path, 10)
    train, val = (nuclei.read(tmp_path, part)[0]["images"] for part in ("train", "val"))
    names = [image["file_name"] for image in val]
    assert names == [image["file_name"] for image in nuclei.read(tmp_path, "val")[0]["images"]]
    assert not {image["file_name"] for image in train} & set(names)


def test_a_mouse_gets_a_box_around_its_labelled_parts(tmp_path, monkeypatch):
    folder = tmp_path / "source/examples/openfield-Pranav-2018-10-30/labeled-data/m4s1"
    folder.mkdir(parents=True)
    rows = ["scorer,P,P,P,P", "bodyparts,snout,snout,tail,tail", "coords,x,y,x,y"]
    for number in range(5):
        Image.new("RGB", (64, 48)).save(folder / f"img{number}.png")
        rows.append(f"labeled-data/m4s1/img{number}.png,20,10,{'40,30' if number else ','}")
    (folder / "CollectedData_Pranav.csv").write_text("\n".join(rows))
    run(monkeypatch, "mouse", tmp_path / "source", tmp_path / "made")
    first, second, *_ = json.loads((tmp_path / "made/train.json").read_text())["annotations"]
    assert first["keypoints"] == [20, 10, 2, 0, 0, 0] and first["num_keypoints"] == 1
    assert second["bbox"] == [15.0, 5.0, 30.0, 30.0]
    assert len(json.loads((tmp_path / "made/val.json").read_text())["images"]) == 1


def test_cells_keep_the_lists_of_their_authors(tmp_path, monkeypatch):
    root = tmp_path / "source"
    for name in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (root / name).mkdir(parents=True)
    box = "<bndbox><xmin>3</xmin><ymin>3</ymin><xmax>8</xmax><ymax>6</ymax></bndbox>"
    for name in "ab":
        Image.new("RGB", (20, 10)).save(root / f"JPEGImages/{name}.jpg")
        text = f"<annotation><object><name>RBC</name>{box}</object></annotation>"
        (root / f"Annotations/{name}.xml").write_text(text)
    for part, name in {"trainval": "a", "test": "b"}.items():
        (root / f"ImageSets/Main/{part}.txt").write_text(name + "\n")
    run(monkeypatch, "bccd", root, tmp_path / "made")
    coco = json.loads((tmp_path / "made/val.json").read_text())
    assert [(image["id"], image["file_name"]) for image in coco["images"]] == [(1, "b.jpg")]
    assert coco["annotations"][0]["bbox"] == [2.0, 2.0, 6.0, 4.0]
    assert (
        tmp_path / "made/labels/val/b.txt"
    ).read_text() == "0 0.250000 0.400000 0.300000 0.400000\n"


def test_lines_of_yolo_number_the_classes_from_zero():
    image = {"id": 1, "width": 10, "height": 10}
    entry = {"image_id": 1, "category_id": 7, "bbox": [0, 0, 10, 10]}
    coco = {"images": [image], "annotations": [entry], "categories": [{"id": 5}, {"id": 7}]}
    assert list(yolo_lines(coco)) == [(image, ["1 0.500000 0.500000 1.000000 1.000000"])]


def test_weights_are_renamed_by_place_and_shapes_must_agree():
    import timm

    own = timm.create_model("tf_efficientnet_lite0").state_dict()
    theirs = {f"_{number}": tensor for number, tensor in enumerate(own.values())}
    renamed = rename(theirs, "tf_efficientnet_lite0")
    assert all(torch.equal(renamed[name], own[name]) for name in own)
    with pytest.raises(ValueError, match="_3 has shape"):
        rename(theirs | {"_3": torch.zeros(1, 2)}, "tf_efficientnet_lite0")
    with pytest.raises(ValueError, match="1 tensors"):
        rename({"_0": torch.zeros(1)}, "tf_efficientnet_lite0")
