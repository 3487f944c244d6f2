"""Images of annotation files: by stem and folder, then by the stated name, in any case."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest
from helpers.coco_folder import write_image

from van_dense.data.readers.image_index import ImageIndex, files_below, stated_name


def find(root: Path, images: list[str], annotation: str, named: str = "") -> list[str]:
    for image in images:
        write_image(root / image, 4, 4)
    path = PurePosixPath(annotation)
    return ImageIndex(root).find(path, path.stem, named)


@pytest.mark.parametrize(
    ("images", "annotation", "expected"),
    [
        (["JPEGImages/a.png", "JPEGImages/b.png"], "Annotations/a.xml", ["JPEGImages/a.png"]),
        (["JPEGImages/A.PNG"], "Annotations/a.xml", ["JPEGImages/A.PNG"]),
        (["images/x/a.png", "images/y/a.png"], "Annotations/y/a.xml", ["images/y/a.png"]),
        (["train/a.png", "valid/a.png"], "valid/a.xml", ["valid/a.png"]),
        (["train/images/a.png", "val/images/a.png"], "val/xml/a.xml", ["val/images/a.png"]),
        (["images/a.png", "drawn/a.png"], "Annotations/a.xml", ["images/a.png"]),
        (["images/a.png", "images/a.bmp"], "Annotations/a.xml", ["images/a.bmp", "images/a.png"]),
        (["images/b.png"], "Annotations/a.xml", []),
    ],
)
def test_the_nearest_image_of_a_stem(
    tmp_path: Path, images: list[str], annotation: str, expected: list[str]
) -> None:
    assert find(tmp_path, images, annotation) == expected


def test_the_stated_name_decides_between_suffixes(tmp_path: Path) -> None:
    images = ["images/a.png", "images/a.bmp"]
    assert find(tmp_path, images, "Annotations/a.xml", "A.png") == ["images/a.png"]


@pytest.mark.parametrize(
    ("stated", "name"),
    [
        ("C:\\x\\a b.JPG", "a b.JPG"),
        ("../x/a.png", "a.png"),
        ("a%20b.png", "a b.png"),
        (" a ", "a"),
    ],
)
def test_a_stated_name_may_come_from_any_system(stated: str, name: str) -> None:
    assert stated_name(stated) == name


def test_hidden_files_are_no_annotations(tmp_path: Path) -> None:
    for file in ("a.xml", "x/B.XML", ".c.xml", ".ipynb_checkpoints/d.xml", "e.txt"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).touch()
    assert files_below(tmp_path, (".xml",)) == ["a.xml", "x/B.XML"]
