"""Class folders: which files are images of which class, and what does not fit."""

import logging
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from helpers.coco_folder import write_image
from PIL import Image

from van_dense.core.dataset_info import DatasetInfo
from van_dense.data.dataset import ReadError
from van_dense.data.readers.class_folder import ClassFolder, LabelledImages, class_names
from van_dense.data.readers.quarantine import Quarantine, QuarantinedPart, part_key


def write(root: Path, *files: str) -> Path:
    """Images of 20x12 (width x height)."""
    for seed, file in enumerate(files):
        write_image(root / file, 20, 12, seed)
    return root


def ids(dataset: LabelledImages) -> list[int | str]:
    return [dataset.image_id(i) for i in range(len(dataset))]


def labels(dataset: LabelledImages) -> list[int]:
    return [dataset.label(i) for i in range(len(dataset))]


def test_sorted_folders_are_the_classes_and_paths_the_ids(tmp_path: Path) -> None:
    write(tmp_path, "dog/b.png", "dog/a.jpg", "ant/c.png")
    dataset = ClassFolder(tmp_path, name="pets")
    assert dataset.info == DatasetInfo("pets", ("ant", "dog"), (0, 1))
    assert ids(dataset) == ["ant/c.png", "dog/a.jpg", "dog/b.png"]
    assert labels(dataset) == [0, 1, 1]


def test_a_sample_is_the_image_with_its_label(tmp_path: Path) -> None:
    dataset = ClassFolder(write(tmp_path, "ant/a.png", "dog/b.png"), name="images")
    sample = dataset.raw(1)
    np.testing.assert_array_equal(sample.image, np.asarray(Image.open(tmp_path / "dog/b.png")))
    assert sample.label == 1 and sample.image_id == "dog/b.png"
    assert sample.path == dataset.path(1) == str(tmp_path / "dog" / "b.png")
    assert sample.orig_size == dataset.size(1) == (12, 20)


def test_the_same_file_name_in_two_classes_makes_two_ids(tmp_path: Path) -> None:
    dataset = ClassFolder(write(tmp_path, "ant/1.png", "dog/1.png"), name="images")
    assert ids(dataset) == ["ant/1.png", "dog/1.png"]


def test_any_depth_suffix_case_and_letter_is_read(tmp_path: Path) -> None:
    files = ["ant/x/y/1.JPEG", "ant/2.webp", "größe/räder 1.PNG"]
    dataset = ClassFolder(write(tmp_path, *files), name="images")
    assert ids(dataset) == ["ant/2.webp", "ant/x/y/1.JPEG", "größe/räder 1.PNG"]
    assert dataset.raw(2).label == 1


def test_linked_folders_are_followed(tmp_path: Path) -> None:
    write(tmp_path, "store/a.png")
    (tmp_path / "set" / "bee").mkdir(parents=True)
    for place in ("ant", "bee/deeper"):
        (tmp_path / "set" / place).symlink_to(tmp_path / "store", target_is_directory=True)
    assert ids(ClassFolder(tmp_path / "set", name="images")) == ["ant/a.png", "bee/deeper/a.png"]


def test_hidden_files_are_passed_over_and_other_files_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path, "ant/a.png")
    for name in ("ant/._a.png", ".cache/b.png", "ant/.thumbs/c.png", ".DS_Store"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"none of ours")
    for name in ("README.md", "ant/list.txt"):
        (tmp_path / name).write_text("none of ours")
    caplog.set_level(logging.INFO)
    dataset = ClassFolder(tmp_path, name="images")
    assert ids(dataset) == ["ant/a.png"]
    (note,) = dataset.notes
    assert note in caplog.text
    assert "left out: 2 hidden files (.DS_Store), 2 images in hidden or system folders" in note
    assert "2 files of other kinds (.md, .txt)" in note


def test_validation_takes_the_labels_of_training(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    names = class_names(write(tmp_path / "train", "ant/1.png", "bee/1.png", "dog/1.png"))
    dataset = ClassFolder(write(tmp_path / "val", "dog/2.png"), classes=names, name="images")
    assert dataset.info.class_names == ("ant", "bee", "dog") and labels(dataset) == [2]
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "2 of 3 classes have no image: ant, bee" in record.message


def test_a_class_folder_without_image_keeps_its_label_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path, "ant/1.png", "dog/1.png")
    (tmp_path / "bee").mkdir()
    assert labels(ClassFolder(tmp_path, name="images")) == [0, 2]
    assert "1 of 3 classes have no image: bee" in caplog.text


def test_classes_may_be_ordered_by_hand(tmp_path: Path) -> None:
    write(tmp_path, "ant/1.png", "dog/1.png")
    dataset = ClassFolder(tmp_path, classes=["dog", "ant"], name="images")
    assert dataset.info.class_names == ("dog", "ant")
    assert ids(dataset) == ["dog/1.png", "ant/1.png"] and labels(dataset) == [0, 1]


def test_quarantine_leaves_images_out_beside_class_folders_too(tmp_path: Path) -> None:
    write(tmp_path, "ant/1.png", "ant/2.png", "stray.png")
    bad = frozenset({"ant/1.png", "stray.png"})
    quarantine = Quarantine({part_key(tmp_path): QuarantinedPart(images=bad)})
    assert ids(ClassFolder(tmp_path, quarantine=quarantine, name="images")) == ["ant/2.png"]


def test_a_broken_image_names_its_file(tmp_path: Path) -> None:
    write(tmp_path, "ant/1.png")
    (tmp_path / "ant" / "1.png").write_bytes(b"")
    with pytest.raises(ReadError, match=r"ant/1\.png: the file is empty"):
        ClassFolder(tmp_path, name="images").raw(0)


def test_a_reader_travels_to_loader_processes(tmp_path: Path) -> None:
    dataset = ClassFolder(write(tmp_path, "ant/1.png", "dog/1.png"), name="images")
    copy = pickle.loads(pickle.dumps(dataset))
    assert ids(copy) == ids(dataset) and copy.raw(1).label == 1


@pytest.mark.parametrize(
    ("files", "classes", "message"),
    [
        pytest.param(["a.png"], None, "holds no folders; it needs one for each class", id="flat"),
        pytest.param(
            ["ant/a.txt"],
            None,
            r"no image in its 1 class folder \(\.jpg.*1 file of other kinds",
            id="text",
        ),
        pytest.param(
            ["ant/a.png", "bee/a.png", "cow/a.png", "dog/a.png", "elk/a.png"],
            ["ant"],
            r"4 folders are none of the 1 classes: bee, cow, dog, \.\.\.; the classes are ant\. "
            r"Training and validation need the same folders",
            id="strangers",
        ),
        pytest.param(["dog/a.png"], ["ant"], "1 folder is none of", id="nothing in common"),
        pytest.param(
            ["ant/a.png", "x.png", "y.jpg"],
            None,
            r"2 images lie beside the class folders: x\.png, y\.jpg; move them",
            id="images in the root",
        ),
        pytest.param(["ant/a.png"], ["ant", "ant"], "classes repeat: ant", id="repeated class"),
    ],
)
def test_what_does_not_fit_is_said(
    tmp_path: Path, files: list[str], classes: list[str] | None, message: str
) -> None:
    for file in files:
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_bytes(b"never opened")
    with pytest.raises(ValueError, match=f"{tmp_path}: {message}"):
        ClassFolder(tmp_path, classes=classes, name="images")


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nowhere: no such folder"):
        class_names(tmp_path / "nowhere")


def test_nothing_left_by_the_quarantine_is_an_error(tmp_path: Path) -> None:
    write(tmp_path, "ant/1.png")
    quarantine = Quarantine({part_key(tmp_path): QuarantinedPart(images=frozenset({"ant/1.png"}))})
    with pytest.raises(ValueError, match="no image remains of 1"):
        ClassFolder(tmp_path, quarantine=quarantine, name="images")


@pytest.mark.skipif(os.name == "nt" or os.uname().sysname == "Darwin", reason="names are text")
def test_names_that_are_no_unicode_are_read(tmp_path: Path) -> None:
    write(tmp_path, "ant/1.png")
    os.rename(tmp_path / "ant" / "1.png", os.fsencode(tmp_path) + b"/ant/\xff.png")
    assert ClassFolder(tmp_path, name="images").raw(0).size == (12, 20)
