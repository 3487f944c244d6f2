"""CUB-200-2011: four lists make two parts; each way in which they can disagree is named."""

from pathlib import Path

import numpy as np
import pytest
from helpers.coco_folder import write_image
from PIL import Image

from van_dense.data.readers.cub import Cub200
from van_dense.data.readers.quarantine import Quarantine, QuarantinedPart, part_key

LISTS = {
    "classes.txt": "1 001.Black_footed_Albatross\n2 002.Laysan_Albatross\n4 004.Ani\n",
    "images.txt": "1 002.Laysan_Albatross/b 1.jpg\n2 001.Black_footed_Albatross/a.jpg\n"
    "7 004.Ani/c.jpg\n8 004.Ani/d.jpg\n",
    "image_class_labels.txt": "1 2\n2 1\n7 4\n8 4\n",
    "train_test_split.txt": "1 1\n2 0\n7 1\n8 0\n",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, text in LISTS.items():
        (tmp_path / name).write_text(text)
    for seed, line in enumerate(LISTS["images.txt"].splitlines()):
        write_image(tmp_path / "images" / line.partition(" ")[2], 20, 12, seed)
    return tmp_path


def ids(dataset: Cub200) -> list[int | str]:
    return [dataset.image_id(i) for i in range(len(dataset))]


def labels(dataset: Cub200) -> list[int]:
    return [dataset.label(i) for i in range(len(dataset))]


def test_one_is_training_and_zero_is_test(root: Path) -> None:
    train, val = Cub200(root, "train", name="cub200"), Cub200(root, "val", name="cub200")
    assert ids(train) == [1, 7] and labels(train) == [1, 2]
    assert ids(val) == [2, 8] and labels(val) == [0, 2]


def test_class_ids_are_those_of_the_list_and_labels_their_positions(root: Path) -> None:
    info = Cub200(root, "val", name="birds").info
    assert info.name == "birds" and info.category_ids == (1, 2, 4)
    assert info.class_names == ("Black footed Albatross", "Laysan Albatross", "Ani")


def test_a_sample_is_the_image_with_its_label(root: Path) -> None:
    sample = Cub200(root, "train", name="cub200").raw(0)
    path = root / "images" / "002.Laysan_Albatross" / "b 1.jpg"
    assert (sample.image_id, sample.label, sample.path) == (1, 1, str(path))
    np.testing.assert_array_equal(sample.image, np.asarray(Image.open(path)))


def test_quarantine_names_images_by_their_number(root: Path) -> None:
    part = {part_key(root / "images"): QuarantinedPart(images=frozenset({7}))}
    assert ids(Cub200(root, "train", quarantine=Quarantine(part), name="cub200")) == [1]


def test_a_part_without_image_is_an_error(root: Path) -> None:
    part = {part_key(root / "images"): QuarantinedPart(images=frozenset({1, 7}))}
    with pytest.raises(ValueError, match=r"no image remains of 2 of the train part"):
        Cub200(root, "train", quarantine=Quarantine(part), name="cub200")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("classes.txt", None, r"no such file; data\.root is the unpacked folder CUB_200_2011"),
        ("images.txt", "", "the file is empty"),
        ("images.txt", "1 a.jpg\n\nx b.jpg", "line 3: expected a number, a space and a text"),
        ("images.txt", "1 a.jpg\n2", "line 2: expected a number"),
        ("images.txt", "1 a.jpg\n1 b.jpg", "line 2: 1 is already on line 1"),
        (
            "image_class_labels.txt",
            "1 2\n2 1\n8 4",
            r"image 7 \(line 3 of images\.txt\) is missing",
        ),
        (
            "image_class_labels.txt",
            "1 2\n2 1\n7 3\n8 4",
            r"line 3: '3' of image 7 is not in classes",
        ),
        ("image_class_labels.txt", "1 2\n2 1\n7 x\n8 4", "line 3: 'x' of image 7 is not in"),
        (
            "train_test_split.txt",
            "1 1\n2 0\n7 2\n8 0",
            r"line 3: '2' of image 7 is not 1 \(training\)",
        ),
        ("train_test_split.txt", "1 1\n2 0\n7 1\n8 0\n9 0", "line 5: image 9 is not in images.txt"),
    ],
)
def test_file_and_line_of_what_is_wrong_are_named(
    root: Path, name: str, text: str | None, message: str
) -> None:
    if text is None:
        (root / name).unlink()
    else:
        (root / name).write_text(text)
    with pytest.raises(ValueError, match=f"{root / name}: {message}"):
        Cub200(root, "train", name="cub200")


def test_lists_are_utf_8(root: Path) -> None:
    (root / "images.txt").write_bytes(b"1 \xff.jpg")
    with pytest.raises(ValueError, match=r"images\.txt: not text in UTF-8"):
        Cub200(root, "train", name="cub200")


def test_lists_of_windows_are_read(root: Path) -> None:
    plain = Cub200(root, "train", name="birds")
    file = root / "images.txt"
    rows = [row.replace("/", "\\").replace(" ", "\t", 1) for row in file.read_text().splitlines()]
    file.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(rows).encode())
    dataset = Cub200(root, "train", name="birds")
    assert [dataset.path(i) for i in range(len(dataset))] == [
        plain.path(i) for i in range(len(plain))
    ]
    assert "file names are spelled otherwise than the files" in dataset.notes[-1]


def test_one_file_with_two_numbers_is_an_error(root: Path) -> None:
    file = root / "images.txt"
    lines = file.read_text().splitlines()
    lines[1] = f"{lines[1].split()[0]} {lines[0].split(maxsplit=1)[1]}"
    file.write_text("\n".join(lines))
    with pytest.raises(ValueError, match=r"line 2: .* is already on line 1"):
        Cub200(root, "train", name="birds")
