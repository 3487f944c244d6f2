"""The reader of Pascal VOC: right boxes, parts, names; what is left out is counted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.voc_folder import voc_object, voc_xml, write_voc

from van_dense.data.readers.annotated_images import Rules
from van_dense.data.readers.voc import VocDataset, find_parts
from van_dense.data.readers.voc_xml import parse_voc

RULES = Rules(None, {}, "ignore")
DIFFICULT = "<difficult>1</difficult>"


def read(root: Path, split: str = "train", **changes: Any) -> VocDataset:
    options: dict[str, Any] = {
        "splits": ("train", "val"),
        "name": "voc",
        "rules": RULES,
        "first_pixel": "auto",
        "drop_empty": False,
        **changes,
    }
    return VocDataset(root, split, **options)


def folder(root: Path, *objects: str) -> Path:
    """An image with some objects, and one with a cat and a dog, so that both classes are known."""
    both = voc_xml(voc_object(), voc_object("dog", (10, 2, 14, 9)))
    return write_voc(root, {"a": voc_xml(*objects), "b": both})


def test_corners_count_pixels_from_1_and_both_are_included(tmp_path: Path) -> None:
    dataset = read(folder(tmp_path, voc_object(box=(1, 4, 20, 8))))
    sample = dataset.raw(0)
    np.testing.assert_array_equal(sample.boxes, [[0, 3, 20, 8]])
    assert sample.boxes.dtype == np.float32
    assert dataset.image_id(0) == "a" and dataset.size(0) == (12, 20)
    assert dataset.info.class_names == ("cat", "dog") and dataset.info.category_ids == (1, 2)
    assert sample.masks is None and not sample.crowd.any()


def test_a_corner_below_1_in_any_part_shows_that_all_count_from_0(tmp_path: Path) -> None:
    sound = voc_xml(voc_object(), voc_object("dog", (10, 2, 14, 9)))
    files = {"a": sound, "b": voc_xml(voc_object(box=(0, 4, 6, 8)))}
    write_voc(tmp_path, files, {"train": "a", "val": "b"})
    np.testing.assert_array_equal(read(tmp_path).raw(0).boxes, [[3, 4, 6, 8], [10, 2, 14, 9]])
    assert any("data.voc.first_pixel=1" in note for note in read(tmp_path).notes)
    counted = read(tmp_path, first_pixel=1)
    np.testing.assert_array_equal(counted.raw(0).boxes, [[2, 3, 6, 8], [9, 1, 14, 9]])


def test_fractions_in_most_boxes_show_that_corners_count_from_0(tmp_path: Path) -> None:
    boxes = [voc_object(box=(3.5, 2 + y, 6, 8)) for y in range(5)]
    dataset = read(folder(tmp_path, *boxes))
    np.testing.assert_array_equal(dataset.raw(0).boxes[0], [3.5, 2, 6, 8])
    few = read(folder(tmp_path / "few", boxes[0]))
    np.testing.assert_array_equal(few.raw(0).boxes[0], [2.5, 1, 6, 8])


def test_difficult_objects_are_regions_unless_the_config_uses_them(tmp_path: Path) -> None:
    root = folder(tmp_path, voc_object(more=DIFFICULT), voc_object(box=(8, 2, 9, 9)))
    assert read(root).raw(0).crowd.tolist() == [True, False]
    used = read(root, rules=Rules(None, {}, "use"))
    assert not used.raw(0).crowd.any()


def test_names_are_renamed_and_others_than_the_given_classes_are_left_out(tmp_path: Path) -> None:
    root = folder(tmp_path, voc_object("Cat "), voc_object("bird", (8, 2, 9, 9)))
    rules = Rules(("dog", "cat"), {"Cat": "cat"}, "ignore")
    dataset = read(root, rules=rules)
    assert dataset.info.class_names == ("dog", "cat")
    assert dataset.raw(0).labels.tolist() == [1]
    assert any("1 object of other classes (bird)" in note for note in dataset.notes)


def test_a_class_that_the_training_part_lacks_is_refused_with_the_line_to_add(
    tmp_path: Path,
) -> None:
    write_voc(tmp_path, {"a": voc_xml(voc_object())})
    for split in ("train", "val"):
        with pytest.raises(ValueError, match=r"val\.txt: .*lacks: dog; .* data\.voc\.classes"):
            read(tmp_path, split)


def test_parts_are_found_by_their_usual_names(tmp_path: Path) -> None:
    assert find_parts(tmp_path) == ["."]
    for name in ("valid", "train", "images"):
        (tmp_path / name).mkdir()
    assert find_parts(tmp_path) == ["train", "valid"]
    main = tmp_path / "ImageSets" / "Main"
    main.mkdir(parents=True)
    (main / "default.txt").touch()
    (main / "cat_train.txt").touch()
    assert find_parts(tmp_path) == ["default"]
    for name in ("test", "trainval", "train", "val"):
        (main / f"{name}.txt").touch()
    assert find_parts(tmp_path) == ["train", "val", "test"]


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such folder; give the folder that holds Annotations"):
        read(tmp_path / "none")
    with pytest.raises(ValueError, match=r"names no XML file below .*Annotations"):
        read(write_voc(tmp_path, {}, {"train": "z", "val": "v"}))


@pytest.mark.parametrize(
    "text",
    [
        '<!DOCTYPE a [<!ENTITY x "cat"><!ENTITY y "&x;&x;">]><annotation>&y;</annotation>',
        '<?xml version="1.0"?><!DOCTYPE annotation SYSTEM "voc.dtd"><annotation/>',
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_nothing_is_expanded(tmp_path: Path, text: str, encoding: str) -> None:
    file = tmp_path / "a.xml"
    file.write_bytes(text.encode(encoding))
    (finding,) = parse_voc(file).findings
    assert finding.severity == "error" and "DOCTYPE" in finding.what


def test_a_namespace_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "a.xml"
    file.write_text(voc_xml(voc_object()).replace("<annotation>", '<annotation xmlns="urn:x">'))
    assert [one.corners for one in parse_voc(file).objects] == [(3, 4, 6, 8)]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_lists_are_read_as_their_byte_order_mark_says(tmp_path: Path, encoding: str) -> None:
    root = folder(tmp_path, voc_object())
    (root / "ImageSets/Main/train.txt").write_text("b\n", encoding=encoding)
    assert len(read(root)) == 1


def test_a_list_that_is_no_text_and_a_wrong_list_do_not_name_voc(tmp_path: Path) -> None:
    root = write_voc(tmp_path, {"a": voc_xml(voc_object())})
    file = root / "ImageSets/Main/train.txt"
    file.write_bytes(b"\xff\xe4")
    with pytest.raises(ValueError, match=r"train.txt: not text in UTF-8 .*; save it as UTF-8"):
        read(root)
    file.write_text("z")
    with pytest.raises(ValueError, match="names no XML file below") as caught:
        read(root)
    assert "looks like" not in str(caught.value)
