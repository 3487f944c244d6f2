"""Class folders: labels follow folder names, nothing is taken for a class or image by mistake."""

import logging
from pathlib import Path

import numpy as np
import pytest
from coco_folder import write_image

from van_dense.data.class_folder import ClassFolder, class_names, spoken_names
from van_dense.data.dataset import FirstImages, ReadError
from van_dense.data.quarantine import Quarantine, QuarantinedPart, part_key


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two cats, one of them deeper, a dog, and an empty folder of owls."""
    for index, name in enumerate(("cat/b.JPEG", "cat/inner/a.png", "dog/ä b.jpg")):
        write_image(tmp_path / name, 20 + index, 10, seed=index)
    (tmp_path / "owl").mkdir()
    return tmp_path


def test_classes_are_the_sorted_folders_and_ids_the_paths_below(root: Path) -> None:
    dataset = ClassFolder(root, name="pets")
    assert class_names(root) == dataset.info.class_names == ("cat", "dog", "owl")
    assert dataset.info.name == "pets" and dataset.info.category_ids == (0, 1, 2)
    ids = [dataset.image_id(index) for index in range(len(dataset))]
    assert ids == ["cat/b.JPEG", "cat/inner/a.png", "dog/ä b.jpg"]
    assert [dataset.label(index) for index in range(3)] == [0, 0, 1]


def test_a_sample_holds_the_image_and_its_class(root: Path) -> None:
    sample = ClassFolder(root).raw(2)
    assert sample.image.shape == (10, 22, 3) and sample.image.dtype == np.uint8
    assert sample.orig_size == ClassFolder(root).size(2) == (10, 22)
    assert (sample.label, sample.image_id) == (1, "dog/ä b.jpg") and sample.boxes is None
    assert Path(sample.path) == root / "dog/ä b.jpg"


def test_given_classes_fix_labels_and_may_have_no_folder(root: Path) -> None:
    dataset = ClassFolder(root, classes=["dog", "owl", "cat", "bee"])
    assert dataset.info.num_classes == 4
    assert [dataset.label(index) for index in range(3)] == [0, 2, 2]


def test_a_folder_that_is_no_class_is_an_error(root: Path) -> None:
    with pytest.raises(ValueError, match=r"\['owl'\] \(1 of 3\) are none of the 2 classes"):
        ClassFolder(root, classes=["cat", "dog"])


def test_other_files_are_counted_and_left_out(root: Path, caplog) -> None:
    (root / "stray.jpg").write_bytes(b"x")
    (root / "cat/notes.txt").write_text("x")
    (root / ".hidden").mkdir()
    with caplog.at_level(logging.INFO):
        assert len(ClassFolder(root)) == 3
    assert "1 files beside the class folders, 1 files that are no images" in caplog.text


def test_quarantined_images_are_left_out(root: Path) -> None:
    part = QuarantinedPart(images=frozenset({"cat/b.JPEG"}))
    dataset = ClassFolder(root, quarantine=Quarantine({part_key(root): part}))
    assert dataset.image_id(0) == "cat/inner/a.png" and len(dataset) == 2


def test_a_broken_file_is_a_read_error_with_its_path(root: Path) -> None:
    (root / "dog/ä b.jpg").write_bytes(b"nothing")
    with pytest.raises(ReadError, match="ä b.jpg"):
        ClassFolder(root).raw(2)


@pytest.mark.parametrize(
    ("folders", "words"),
    [(None, "no such folder"), ([], "holds no folders"), (["cat"], "no image in its 1 class")],
)
def test_a_folder_without_classes_or_images_is_refused(tmp_path, folders, words) -> None:
    root = tmp_path / "data"
    for folder in [] if folders is None else ["", *folders]:
        (root / folder).mkdir(parents=True, exist_ok=True)
    with pytest.raises(ValueError, match=words):
        ClassFolder(root)


def test_wordnet_ids_are_spoken_and_stay_where_words_repeat() -> None:
    folders = ["n01440764", "n02012849", "n03126707"]  # two of ImageNet's classes are cranes
    assert spoken_names(folders) == ("tench", "crane (n02012849)", "crane (n03126707)")
    assert spoken_names(["n01440764", "mine"]) == ("n01440764", "mine")
    assert spoken_names(["n99999999"]) == ("n99999999",)


def test_some_images_are_spread_over_the_classes(root: Path) -> None:
    some = FirstImages(ClassFolder(root), 2, spread=True)
    assert [some.raw(index).label for index in range(2)] == [0, 0]
    for number in range(6):
        write_image(root / f"owl/{number}.png", 8, 8)
    some = FirstImages(ClassFolder(root), 3, spread=True)
    assert [some.raw(index).label for index in range(3)] == [0, 2, 2]
    assert len(FirstImages(ClassFolder(root), 99, spread=True)) == 9
