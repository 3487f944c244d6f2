"""CUB-200-2011 in its own layout."""

from pathlib import Path

import pytest
from coco_folder import write_image

from van_dense.data.cub import Cub200
from van_dense.data.quarantine import Quarantine, QuarantinedPart, part_key

LISTS = {
    "classes.txt": "1 001.Black_footed_Albatross\n2 002.Laysan_Albatross\n",
    "images.txt": "1 001.A/a.jpg\n2 001.A/b.jpg\n3 002.B/c d.jpg\n",
    "image_class_labels.txt": "1 1\n2 1\n3 2\n",
    "train_test_split.txt": "1 1\n2 0\n3 1\n",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, text in LISTS.items():
        (tmp_path / name).write_text(text)
    for number, line in enumerate(LISTS["images.txt"].splitlines()):
        write_image(tmp_path / "images" / line.split(" ", 1)[1], 16 + number, 8)
    return tmp_path


def test_parts_ids_and_names_are_the_official_ones(root: Path) -> None:
    train, val = Cub200(root, "train"), Cub200(root, "val")
    assert [train.image_id(index) for index in range(2)] == [1, 3] and len(train) == 2
    assert [val.image_id(index) for index in range(len(val))] == [2]
    assert train.info.class_names == ("Black footed Albatross", "Laysan Albatross")
    assert train.info.category_ids == (1, 2)
    sample = train.raw(1)
    assert (sample.label, sample.image_id, sample.orig_size) == (1, 3, (8, 18))
    assert [train.label(0), train.label(1), val.label(0)] == [0, 1, 0]


def test_quarantined_images_are_left_out(root: Path) -> None:
    part = QuarantinedPart(images=frozenset({1}))
    quarantine = Quarantine({part_key(root / "images"): part})
    assert Cub200(root, "train", quarantine=quarantine).image_id(0) == 3


@pytest.mark.parametrize(
    ("file", "text", "words"),
    [
        ("classes.txt", None, "classes.txt: no such file; data.root"),
        ("images.txt", "", "images.txt: the file is empty"),
        ("images.txt", "1 a.jpg\nx b.jpg\n", r"images.txt: line 2: no number with a text: 'x b"),
        ("images.txt", "1 a.jpg\n1 b.jpg\n", "line 2: the number 1 appears twice"),
        ("image_class_labels.txt", "1 1\n2 1\n", "labels.txt: image 3 of images.txt is missing"),
        ("image_class_labels.txt", "1 1\n2 1\n3 9\n", "image 3 has the class 9, which classes.txt"),
        ("image_class_labels.txt", "1 1\n2 x\n3 1\n", "image 2: expected a number, got 'x'"),
        ("train_test_split.txt", "1 1\n2 2\n3 1\n", "image 2 has 2; 1 is training, 0 is test"),
        ("train_test_split.txt", "1 0\n2 0\n3 0\n", "no image of the train part"),
    ],
)
def test_broken_lists_are_named_with_their_place(root: Path, file, text, words) -> None:
    if text is None:
        (root / file).unlink()
    else:
        (root / file).write_text(text)
    with pytest.raises(ValueError, match=words):
        Cub200(root, "train")
