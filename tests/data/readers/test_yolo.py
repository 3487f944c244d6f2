"""The YOLO reader: boxes and polygons, the usual spellings of data.yaml, broken lines counted."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from helpers.coco_folder import write_image

from van_dense.data.dataset import FirstImages, ReadError
from van_dense.data.readers.quarantine import Quarantine, QuarantinedPart, part_key
from van_dense.data.readers.yolo import YoloDataset
from van_dense.data.readers.yolo_labels import label_folder
from van_dense.evaluation.ground_truth import coco_ground_truth, from_samples

BOX = "0 0.5 0.5 0.5 0.5"
POLYGON = "1 0.1 0.25 0.5 0.25 0.5 0.75"


def write_yolo(root: Path, labels: dict[str, str | None], **entries: Any) -> Path:
    """Images of 20x12 (width x height) under images/train; None writes no label file."""
    for seed, (name, text) in enumerate(labels.items()):
        write_image(root / "images" / "train" / f"{name}.png", 20, 12, seed)
        if text is not None:
            file = root / "labels" / "train" / f"{name}.txt"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
    content = {"train": "images/train", "val": "images/train", "names": ["cat", "dog"], **entries}
    (root / "data.yaml").write_text(yaml.safe_dump(content))
    return root


def test_boxes_become_pixels(tmp_path: Path) -> None:
    dataset = YoloDataset(
        write_yolo(tmp_path, {"a": f"{BOX}\n1 0.25 0.5 0.1 1.0\n"}),
        "train",
        name="yolo",
        drop_empty=False,
    )
    sample = dataset.raw(0)
    np.testing.assert_allclose(sample.boxes, [[5, 3, 15, 9], [4, 0, 6, 12]], atol=1e-5)
    assert sample.boxes.dtype == np.float32
    assert sample.labels.tolist() == [0, 1] and not sample.crowd.any()
    assert sample.masks is None
    assert dataset.info.class_names == ("cat", "dog") and dataset.info.category_ids == (0, 1)
    assert dataset.image_id(0) == sample.image_id == "images/train/a.png"
    assert dataset.size(0) == (12, 20)


def test_polygons_become_boxes_and_masks(tmp_path: Path) -> None:
    rectangle = "0 0.1 0.25 0.5 0.25 0.5 0.75 0.1 0.75"
    root = write_yolo(tmp_path, {"a": f"{rectangle}\n{POLYGON}"})
    sample = YoloDataset(root, "train", name="yolo", drop_empty=False).raw(0)
    np.testing.assert_allclose(sample.boxes, [[2, 3, 10, 9]] * 2, atol=1e-5)
    assert sample.masks.shape == (2, 12, 20)
    assert sample.masks[0, 3:9, 2:10].all() and sample.masks[0].sum() == 48
    assert 0 < sample.masks[1].sum() < 48
    assert (
        YoloDataset(root, "train", masks=False, name="yolo", drop_empty=False).raw(0).masks is None
    )


def test_empty_and_missing_label_files_mean_no_object(tmp_path: Path) -> None:
    root = write_yolo(tmp_path, {"a": BOX, "b": "", "c": None, "d": "\n  \n"})
    dataset = YoloDataset(root, "train", name="yolo", drop_empty=False)
    assert [len(dataset.raw(i).boxes) for i in range(4)] == [1, 0, 0, 0]
    assert len(YoloDataset(root, "train", drop_empty=True, name="yolo")) == 1


@pytest.mark.parametrize(
    "entries",
    [
        {"names": {0: "cat", 1: "dog"}},
        {"names": ["cat", "dog"], "nc": 2},
        {"path": "."},
        {"path": "/gone/elsewhere"},
        {"train": "../images/train"},  # Roboflow
        {"train": ["images/train", "images/train"]},
        {"train": "list.txt"},
    ],
)
def test_usual_spellings_of_data_yaml_are_understood(
    tmp_path: Path, entries: dict[str, Any]
) -> None:
    root = write_yolo(tmp_path / "set", {"a": BOX, "b": BOX}, **entries)
    (root / "list.txt").write_text("./images/train/a.png\nimages/train/b.png\n\n")
    dataset = YoloDataset(root, "train", name="yolo", drop_empty=False)
    assert len(dataset) == 2 and dataset.info.class_names == ("cat", "dog")
    assert [dataset.image_id(i) for i in range(2)] == ["images/train/a.png", "images/train/b.png"]


def test_labels_lie_beside_the_last_folder_named_images() -> None:
    assert label_folder(Path("images/x/images")) == Path("images/x/labels")
    assert label_folder(Path("train/images/a")) == Path("train/labels/a")
    assert label_folder(Path("photos")) == Path("photos")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("0 0.5 0.5 0.5", "neither 4 numbers"),
        ("0", "neither 4 numbers"),
        ("0 0.1 0.1 0.2 0.2 0.3", "a box and a confidence"),
        ("cow 0.5 0.5 0.5 0.5", "not a number (no class is called 'cow')"),
        ("0 0.5 0.5 0.5 nan", "outside 0..1"),
        ("0 100 60 30 20", "outside 0..1"),
        ("0 -0.5 0.5 0.5 0.5", "outside 0..1"),
        ("0.5 0.5 0.5 0.5 0.5", "not a whole number"),
        ("nan 0.5 0.5 0.5 0.5", "not a whole number"),
        ("2 0.5 0.5 0.5 0.5", "does not exist"),
        ("-1 0.5 0.5 0.5 0.5", "does not exist"),
        ("0 0.5 0.5 0 0.5", "no box of positive size"),
        ("\0\0", "not a number"),
    ],
)
def test_broken_lines_are_dropped_with_one_warning_that_counts_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, line: str, reason: str
) -> None:
    dataset = YoloDataset(
        write_yolo(tmp_path, {"a": f"{BOX}\n{line}\n{line}\n"}),
        "train",
        name="yolo",
        drop_empty=False,
    )
    assert len(dataset.raw(0).boxes) == 1
    (record,) = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert "left out: 2 lines with" in record.message
    assert reason in record.message and "van-dense check" in record.message


def test_boxes_among_polygons_are_dropped_unless_boxes_alone_are_wanted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = write_yolo(tmp_path, {"a": f"{BOX}\n{POLYGON}"})
    assert YoloDataset(root, "train", name="yolo", drop_empty=False).raw(0).labels.tolist() == [1]
    assert "1 line with a box where other lines have polygons" in caplog.text
    assert YoloDataset(root, "train", masks=False, name="yolo", drop_empty=False).raw(
        0
    ).labels.tolist() == [0, 1]


def test_binary_label_files_are_counted_as_broken(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = write_yolo(tmp_path, {"a": BOX, "b": ""})
    (root / "labels" / "train" / "b.txt").write_bytes(b"\x80\x00\xfe")
    assert len(YoloDataset(root, "train", name="yolo", drop_empty=False).raw(1).boxes) == 0
    assert "1 line with an unreadable file" in caplog.text


def test_a_broken_image_waits_until_it_is_read(tmp_path: Path) -> None:
    root = write_yolo(tmp_path, {"a": BOX, "b": BOX})
    (root / "images" / "train" / "a.png").write_bytes(b"")
    dataset = YoloDataset(root, "train", drop_empty=True, name="yolo")
    assert len(dataset) == 2 and dataset.size(0) == (0, 0)
    with pytest.raises(ReadError, match=r"a\.png: the file is empty"):
        dataset.raw(0)
    assert len(dataset.raw(1).boxes) == 1


def test_the_quarantine_is_honoured(tmp_path: Path) -> None:
    root = write_yolo(tmp_path, {"a": f"{BOX}\n{BOX}", "b": BOX})
    part = QuarantinedPart(frozenset({"images/train/b.png"}), frozenset({"images/train/a.png:2"}))
    quarantine = Quarantine({part_key(root / "train"): part})
    dataset = YoloDataset(root, "train", quarantine=quarantine, name="yolo", drop_empty=False)
    assert len(dataset) == 1 and len(dataset.raw(0).boxes) == 1


@pytest.mark.parametrize(
    ("entries", "reason"),
    [
        ({"names": None}, "'names' must be a list"),
        ({"names": []}, "'names' must be a list"),
        ({"names": {"a": "cat", "b": "dog"}}, "numbered by whole numbers"),
        ({"names": {-1: "cat"}}, "numbered by whole numbers"),
        ({"names": ["cat", ""]}, "the class 1 has no name"),
        ({"nc": 3}, "'nc' is 3, but there are 2 names"),
        ({"train": None}, "'train' must be a path"),
        ({"train": 7}, "'7' does not exist"),
        ({"train": "elsewhere"}, "'elsewhere' does not exist; tried"),
        ({"train": "labels"}, "no image under"),
        ({"kpt_shape": 17}, "'kpt_shape' must be"),
    ],
)
def test_a_wrong_data_yaml_is_refused_with_key_and_fix(
    tmp_path: Path, entries: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ValueError, match=rf"data\.yaml: .*{reason}"):
        YoloDataset(
            write_yolo(tmp_path, {"a": BOX}, **entries), "train", name="yolo", drop_empty=False
        )


@pytest.mark.parametrize("content", [b"", b"- 1", b"a: [", b"\xff\xfe\x80"])
def test_what_is_no_data_yaml_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "data.yaml").write_bytes(content)
    with pytest.raises(
        ValueError, match=r"data\.yaml: (not valid YAML|'names' is missing|not text in)"
    ):
        YoloDataset(tmp_path, "train", name="yolo", drop_empty=False)
    with pytest.raises(ValueError, match=r"data\.yaml: cannot be read.*folder that holds"):
        YoloDataset(tmp_path / "none", "train", name="yolo", drop_empty=False)


def test_images_without_any_label_file_are_refused_with_the_place_looked_at(
    tmp_path: Path,
) -> None:
    with pytest.raises(ValueError, match=r"none of 1 images.*labels.train.a\.txt"):
        YoloDataset(write_yolo(tmp_path, {"a": None}), "train", name="yolo", drop_empty=False)


@pytest.mark.parametrize("masks", [True, False])
def test_the_ground_truth_of_records_is_that_of_samples(tmp_path: Path, masks: bool) -> None:
    root = write_yolo(tmp_path, {"a": f"{POLYGON}\n{POLYGON}", "b": "", "c": POLYGON})
    (root / "images" / "train" / "c.png").write_bytes(b"")
    dataset = YoloDataset(root, "train", name="yolo", drop_empty=False, masks=masks)
    part = FirstImages(dataset, 3)
    truth = coco_ground_truth(part)
    files = [image["file_name"] for image in truth["images"]]  # for saved predictions
    assert [Path(file).name for file in files] == ["a.png", "b.png"]
    assert truth == from_samples(part)
    assert len(truth["images"]) == 2 and len(truth["annotations"]) == 2


def test_names_with_gaps_are_category_ids(tmp_path: Path) -> None:
    root = write_yolo(tmp_path, {"a": "7 0.5 0.5 0.5 0.5"}, names={2: "cat", 7: "dog"})
    dataset = YoloDataset(root, "train", name="yolo", drop_empty=False)
    assert dataset.info.category_ids == (2, 7) and dataset.raw(0).labels.tolist() == [1]
    assert coco_ground_truth(dataset)["annotations"][0]["category_id"] == 7
