"""``van-dense convert-panoptic``: instances and label maps in, COCO's panoptic layout out."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.coco_folder import annotation, coco_data, write_coco, write_image
from PIL import Image

from van_dense.cli.convert_panoptic import main
from van_dense.core.segments import label_map
from van_dense.data.doctor.doctor import PanopticPart, check_dataset
from van_dense.data.readers.coco import CocoDataset
from van_dense.data.readers.image_mask import ImageMaskDataset, LabelMap
from van_dense.data.readers.panoptic import PanopticDataset

NO_PARTS = ("", ".", "..", "a/b", "../a", "a\\b", "/a", ".hidden", "a b")
MEANING = ["--label-map", "0 -> ignore", "1..3 -> 0..2", "--classes", "grass", "sky", "Dog"]


def labels(*, dog: bool = False) -> np.ndarray:
    """Label map of 12 x 20 pixels: sky (2) above grass (1), nothing (0) at the left."""
    values = np.ones((12, 20), np.uint8)
    values[:5] = 2
    values[:, 0] = 0
    if dog:
        values[8:, 10:] = 3
    return values


def write_map(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)


def polygon(x1: int, y1: int, x2: int, y2: int) -> list[list[float]]:
    return [[x1, y1, x2, y1, x2, y2, x1, y2]]


@pytest.fixture
def coco(tmp_path: Path) -> dict[str, Path]:
    """Images 1 to 3 with label maps; a cat and a dog on 1 overlap, 3 shows no object."""
    box = [2, 3, 6, 5]
    data = coco_data(
        [
            annotation(1, 1, segmentation=polygon(2, 3, 8, 8), bbox=box),
            annotation(2, 1, category_id=2, segmentation=polygon(5, 4, 15, 10), bbox=[5, 4, 10, 6]),
            annotation(3, 2, iscrowd=1, segmentation=polygon(0, 0, 9, 9), bbox=[0, 0, 9, 9]),
        ]
    )
    images, file = write_coco(tmp_path, data)
    for number in (1, 2, 3):
        write_map(tmp_path / "maps" / f"{number}.png", labels(dog=number == 3))
    return {"images": images, "json": file, "maps": tmp_path / "maps", "out": tmp_path / "out"}


def convert(coco: dict[str, Path], *options: str, part: str = "val") -> int:
    """Convert both sources; ``options`` come last."""
    paths = ["--images", coco["images"], "--annotations", coco["json"], "--masks", coco["maps"]]
    return main([str(coco["out"]), "--part", part, *map(str, paths), *MEANING, "--quiet", *options])


def load(coco: dict[str, Path], part: str = "val") -> tuple[PanopticDataset, dict[str, Any]]:
    file = coco["out"] / "annotations" / f"panoptic_{part}.json"
    dataset = PanopticDataset(coco["images"], file, file.with_suffix(""), name="new")
    return dataset, json.loads(file.read_text())


def error_of(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().err


def test_things_lie_over_stuff_and_every_pixel_is_accounted_for(
    coco: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert convert(coco) == 0, error_of(capsys)
    dataset, data = load(coco)
    names = [(c["id"], c["name"], c["isthing"]) for c in data["categories"]]
    assert names == [(2, "dog", 1), (5, "cat", 1), (6, "grass", 0), (7, "sky", 0)]
    assert all(len(c["color"]) == 3 and c["supercategory"] for c in data["categories"])
    sample = dataset.raw(0)
    expected = np.where(labels() == 0, 255, 4 - labels())  # sky 3, grass 2
    expected[labels() == 1], expected[labels() == 2] = 2, 3
    things = CocoDataset(coco["images"], coco["json"], name="x", drop_empty=False).raw(0)
    expected[things.masks[0] > 0], expected[things.masks[1] > 0] = 1, 0  # the dog is later
    np.testing.assert_array_equal(label_map(sample.panoptic, sample.segments), expected)
    assert [image["file_name"] for image in data["images"]] == ["1.png", "2.png", "3.png"]
    assert sorted(path.name for path in (coco["out"] / "annotations").iterdir()) == [
        "panoptic_val",
        "panoptic_val.json",
    ]


def test_the_data_doctor_finds_nothing_wrong(
    coco: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert convert(coco, "--overlap", "smaller") == 0
    text = capsys.readouterr().out
    file = coco["out"] / "annotations" / "panoptic_val.json"
    part = PanopticPart("val", str(coco["images"]), str(file), str(file.with_suffix("")))
    report = check_dataset([part])
    assert not report.problems, report.text()
    assert "3 images, 8 segments and 1 crowd region" in text
    assert f"van-dense check --images {coco['images']} --panoptic {file}" in text


def test_things_that_only_the_label_map_knows_are_void(
    coco: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert convert(coco) == 0
    dataset, _ = load(coco)
    ids, segments = dataset.truth(2)
    np.testing.assert_array_equal(ids == 0, np.isin(labels(dog=True), (0, 3)))
    assert {segment["label"] for segment in segments} == {2, 3}
    share = 40 / (3 * 240)
    assert f"of it {share:.3%} where label maps know Dog" in capsys.readouterr().out


def test_crowds_stay_crowds(coco: dict[str, Path]) -> None:
    assert convert(coco) == 0
    dataset, _ = load(coco)
    assert [s.get("crowd", False) for s in dataset.segments(1)] == [False, False, True]


def test_objects_that_vanish_are_named(
    coco: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    data = json.loads(coco["json"].read_text())
    whole = {"segmentation": polygon(0, 0, 20, 12), "bbox": [0, 0, 20, 12]}
    data["annotations"].append(annotation(4, 1, category_id=2, **whole))
    coco["json"].write_text(json.dumps(data))
    assert convert(coco) == 0
    text = capsys.readouterr().out
    expected = "2 objects covered whole by others: cat (object 1) of 1.png, dog (object 2) of 1.png"
    assert expected in text
    assert convert(coco, "--overlap", "smaller", part="smaller") == 0
    assert "covered whole" not in capsys.readouterr().out


def test_small_segments_become_void(
    coco: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert convert(coco, "--min-area", "30") == 0
    assert "smaller than --min-area, so void: 1 of cat" in capsys.readouterr().out
    _, data = load(coco)
    areas = [s["area"] for record in data["annotations"] for s in record["segments_info"]]
    assert min(areas) >= 30


def test_nothing_is_overwritten_and_nothing_half_written_stays(
    coco: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert convert(coco) == 0
    file = coco["out"] / "annotations" / "panoptic_val.json"
    before = file.read_bytes()
    assert convert(coco) == 1 and f"{file} exists" in error_of(capsys)
    assert file.read_bytes() == before
    write_map(coco["maps"] / "3.png", np.full((12, 20), 9, np.uint8))
    assert convert(coco, part="other") == 1
    assert "3.png: data.label_map has no line for the values 9" in error_of(capsys)
    left = {path.name for path in file.parent.iterdir()}
    assert left == {"panoptic_val", "panoptic_val.json"}
    assert convert(coco, part="other") == 1 and "no line for" in error_of(capsys)


def test_files_without_counterpart_are_an_error_or_left_out(
    coco: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    (coco["maps"] / "2.png").rename(coco["maps"] / "7.png")
    assert convert(coco) == 1
    message = error_of(capsys)
    assert "2 files lack their counterpart: 2.png has no label map" in message
    assert "the label map 7.png has no image among the instances" in message
    assert "--skip-incomplete" in message
    assert convert(coco, "--skip-incomplete") == 0
    assert "2 files left out, as their counterpart is missing" in capsys.readouterr().out
    dataset, _ = load(coco)
    assert [dataset.image_id(i) for i in range(len(dataset))] == [1, 3]


@pytest.mark.parametrize(
    ("values", "what"),
    [(labels()[:, :9], "the mask is 9x12"), (labels().T, "swapped, most likely an EXIF")],
)
def test_label_maps_of_another_size_are_an_error(
    coco: dict[str, Path], capsys: pytest.CaptureFixture[str], values: np.ndarray, what: str
) -> None:
    write_map(coco["maps"] / "2.png", values)
    assert convert(coco) == 1
    assert what in error_of(capsys)


def test_images_of_another_size_or_missing_are_an_error(
    coco: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    write_image(coco["images"] / "2.png", 18, 12)
    assert convert(coco) == 1 and "2.png: the image is 18x12" in error_of(capsys)
    (coco["images"] / "2.png").unlink()
    assert convert(coco) == 1 and "2.png: no such file" in error_of(capsys)


def test_instances_alone_leave_the_rest_void(coco: dict[str, Path]) -> None:
    arguments = ["--images", str(coco["images"]), "--annotations", str(coco["json"]), "--quiet"]
    assert main([str(coco["out"]), "--part", "val", *arguments]) == 0
    dataset, data = load(coco)
    assert [c["name"] for c in data["categories"]] == ["dog", "cat"]
    things = CocoDataset(coco["images"], coco["json"], name="x", drop_empty=False).raw(0)
    np.testing.assert_array_equal(dataset.truth(0)[0] > 0, things.masks.any(axis=0))
    assert dataset.truth(2)[1] == []


def test_label_maps_alone_are_stuff_and_colours_can_be_read(coco: dict[str, Path]) -> None:
    colored = np.zeros((12, 20, 3), np.uint8)
    colored[6:] = 128, 64, 32
    for number in (1, 2, 3):
        write_map(coco["maps"] / f"{number}.png", colored)
    arguments = ["--images", str(coco["images"]), "--masks", str(coco["maps"]), "--quiet"]
    meaning = ["--label-map", "#804020 -> 0", "#000000 -> ignore", "--classes", "earth"]
    assert main([str(coco["out"]), "--part", "val", *arguments, *meaning]) == 0
    dataset, data = load(coco)
    assert [(c["id"], c["name"], c["isthing"]) for c in data["categories"]] == [(1, "earth", 0)]
    assert [dataset.image_id(i) for i in range(3)] == [1, 2, 3]
    reader = ImageMaskDataset(
        coco["images"], coco["maps"], info=dataset.info, image_pattern="{key}.*",
        mask_pattern="{key}.*", labels=LabelMap.parse(meaning[1:3], 1),
    )  # fmt: skip
    np.testing.assert_array_equal(label_map(*dataset.truth(0)), reader.truth(0))


def test_a_yolo_folder_with_polygons(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "pets"
    for name in ("a", "b"):
        write_image(root / "images" / "train" / "farm" / f"{name}.jpg", 20, 12)
        write_map(root / "maps" / "train" / "farm" / f"{name}_labels.png", labels())
    lines = root / "labels" / "train" / "farm" / "a.txt"
    lines.parent.mkdir(parents=True)
    lines.write_text("1 0.1 0.25 0.4 0.25 0.4 0.75 0.1 0.75\n")
    (root / "data.yaml").write_text("train: images/train\nnames: [cat, dog]\n")
    images, out = root / "images" / "train", tmp_path / "out"
    arguments = ["--images", str(images), "--yolo", str(root), "--masks", str(root / "maps/train")]
    arguments += ["--mask-pattern", "{key}_labels.png", *MEANING, "--quiet"]
    assert main([str(out), "--part", "train", *arguments]) == 0, error_of(capsys)
    file = out / "annotations" / "panoptic_train.json"
    dataset = PanopticDataset(images, file, file.with_suffix(""), name="pets")
    assert dataset.info.category_ids == (1, 2, 3, 4)
    assert dataset.info.class_names == ("cat", "dog", "grass", "sky")
    sample = dataset.raw(0)
    assert sample.path.endswith("farm/a.jpg") and dataset.mask_path(0).endswith("farm/a.png")
    painted = label_map(sample.panoptic, sample.segments)
    assert (painted[4:8, 3:7] == 1).all() and (painted[0, 1:] == 3).all()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    arguments[1] = str(elsewhere)
    assert main([str(out), "--part", "train", *arguments]) == 1
    assert "exists" in error_of(capsys)
    assert main([str(tmp_path / "new"), "--part", "train", *arguments]) == 1
    assert "lies outside of the image folder" in error_of(capsys)


def test_names_with_dots_stay_apart(tmp_path: Path) -> None:
    for seed, name in enumerate(("a.1", "a.2")):
        write_image(tmp_path / "images" / f"{name}.jpg", 20, 12, seed)
        write_map(tmp_path / "maps" / f"{name}.png", labels())
    arguments = ["--images", str(tmp_path / "images"), "--masks", str(tmp_path / "maps"), *MEANING]
    assert main([str(tmp_path / "out"), "--part", "val", *arguments, "--quiet"]) == 0
    written = (tmp_path / "out" / "annotations" / "panoptic_val").iterdir()
    assert sorted(path.name for path in written) == ["a.1.png", "a.2.png"]


def test_stuff_whose_names_differ_in_case_alone_is_refused(
    coco: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert convert(coco, "--classes", "Sky", "sky", "dog") == 1
    assert "--classes Sky sky dog: a name appears twice" in error_of(capsys)
    assert not list((coco["out"] / "annotations").glob("*.json"))


def test_more_classes_than_labels_can_name_are_refused(
    coco: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    names = [f"stuff {number}" for number in range(254)]  # beside a cat and a dog
    meaning = ["--label-map", "0 -> ignore"]
    assert convert(coco, "--classes", *names, *meaning, "1..254 -> 0..253") == 1
    assert "would have 256 categories, and a pixel has one of at most 255" in error_of(capsys)
    assert convert(coco, "--classes", *names[1:], *meaning, "1..253 -> 0..252") == 0
    assert load(coco)[0].info.num_classes == 255


def test_boxes_are_no_masks(coco: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    data = coco_data([annotation(1, segmentation=None)])
    coco["json"].write_text(json.dumps(data))
    assert convert(coco) == 1
    assert "no instance has a mask" in error_of(capsys)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "give instances"),
        (["--masks", "maps"], "go together"),
        (["--annotations", "a", "--yolo", "b"], "not allowed with"),
        (["--annotations", "a", "--overlap", "first"], "invalid choice"),
        (["--annotations", "a", "--min-area", "0"], "--min-area is 1 or more"),
        *((["--annotations", "a", "--part", name], "is part of a file name") for name in NO_PARTS),
    ],
)
def test_misuse_ends_with_two(
    options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["out", "--part", "train", "--images", "images", *options])
    assert message in error_of(capsys)
