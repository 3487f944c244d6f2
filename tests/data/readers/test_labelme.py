"""The reader of labelme: the pixels of each shape, groups, and where images are found."""

from __future__ import annotations

import base64
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.voc_folder import HEIGHT, WIDTH, labelme_data, png_text, shape, write_labelme

from van_dense.data.io.image import image_size, read_image
from van_dense.data.readers.annotated_images import Rules
from van_dense.data.readers.labelme import LabelmeDataset


def read(root: Path, *shapes: Any, masks: bool = True, **changes: Any) -> LabelmeDataset:
    write_labelme(root, {"a": labelme_data(*shapes)})
    options: dict[str, Any] = {
        "name": "labelme",
        "rules": Rules(None, {}, "ignore"),
        "numbers": None,
        "join_groups": True,
        "drop_empty": False,
        **changes,
    }
    return LabelmeDataset(root, folders=[root], masks=masks, **options)


def test_a_polygon_has_its_pixels_and_its_bounds(tmp_path: Path) -> None:
    dataset = read(tmp_path, shape())
    sample = dataset.raw(0)
    np.testing.assert_array_equal(sample.boxes, [[2, 3, 6, 8]])
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    expected[3:8, 2:6] = 1
    np.testing.assert_array_equal(sample.masks, [expected])
    assert dataset.image_id(0) == "a" and dataset.info.class_names == ("cat",)


def test_a_rectangle_may_be_drawn_in_any_direction(tmp_path: Path) -> None:
    dataset = read(tmp_path, shape(points=[[6, 3], [2, 8]], shape_type="rectangle"), shape("dog"))
    sample = dataset.raw(0)
    np.testing.assert_array_equal(sample.boxes[0], [2, 3, 6, 8])
    np.testing.assert_array_equal(sample.masks[0], sample.masks[1])


def test_a_circle_is_its_centre_and_a_point_on_it(tmp_path: Path) -> None:
    dataset = read(tmp_path, shape(points=[[8, 6], [8, 1]], shape_type="circle"))
    sample = dataset.raw(0)
    np.testing.assert_array_equal(sample.boxes, [[3, 1, 13, 11]])
    assert abs(int(sample.masks.sum()) - math.pi * 25) < 4


def test_a_mask_lies_at_the_corner_of_its_box(tmp_path: Path) -> None:
    crop = np.zeros((4, 5))
    crop[1:, 2:] = 1
    record = shape(points=[[6, 3], [10, 6]], shape_type="mask", mask=png_text(crop))
    sample = read(tmp_path, record).raw(0)
    np.testing.assert_array_equal(sample.boxes, [[8, 4, 11, 7]])
    assert sample.masks[0, 4:7, 8:11].all() and sample.masks.sum() == 9


@pytest.mark.parametrize(("left", "top"), [(-2, 3), (17, 3), (6, -2), (6, 10)])
def test_a_mask_that_leaves_its_image_is_cut(tmp_path: Path, left: int, top: int) -> None:
    points = [[left, top], [left + 4, top + 3]]
    record = shape(points=points, shape_type="mask", mask=png_text(np.ones((4, 5))))
    sample = read(tmp_path, record).raw(0)
    (x1, y1, x2, y2) = sample.boxes[0].astype(int)
    assert (x1, y1) == (max(left, 0), max(top, 0))
    assert sample.masks[0, y1:y2, x1:x2].all() and sample.masks.sum() == (x2 - x1) * (y2 - y1)


def test_shapes_of_one_label_and_group_are_one_object(tmp_path: Path) -> None:
    far = [[15, 2], [18, 2], [18, 5], [15, 5]]
    mask = shape(points=[[15, 8], [16, 9]], shape_type="mask", mask=png_text(np.ones((2, 2))))
    group = [shape(group_id=0), shape(points=far, group_id=0), {**mask, "group_id": 0}]
    sample = read(tmp_path, *group, shape("dog", far, group_id=0)).raw(0)
    np.testing.assert_array_equal(sample.boxes, [[2, 2, 18, 10], [15, 2, 18, 5]])
    assert sample.masks.sum(axis=(1, 2)).tolist() == [20 + 9 + 4, 9]
    apart = read(tmp_path / "apart", *group, join_groups=False)
    assert len(apart.raw(0).boxes) == 3


def test_numbers_behind_labels_count_objects_or_classes(tmp_path: Path) -> None:
    far = [[15, 2], [18, 2], [18, 5]]
    shapes = shape("cat-1"), shape("cat-1", far), shape("cat-2", far)
    with pytest.raises(ValueError, match=r"cat-1, cat-2.*data\.labelme\.numbers=objects, or"):
        read(tmp_path / "a", *shapes)
    objects = read(tmp_path / "b", *shapes, numbers="objects")
    assert objects.info.class_names == ("cat",) and len(objects.raw(0).boxes) == 2
    classes = read(tmp_path / "c", *shapes, numbers="classes")
    assert classes.info.class_names == ("cat-1", "cat-2") and len(classes.raw(0).boxes) == 3
    assert read(tmp_path / "d", shape("mp-3"), shape("jpg-1")).info.class_names == ("jpg-1", "mp-3")


def test_boxes_alone_take_no_mask(tmp_path: Path) -> None:
    dataset = read(tmp_path, shape(), masks=False)
    assert dataset.raw(0).masks is None and not dataset.has_masks


def test_the_image_inside_of_a_file_is_read_where_none_lies_beside_it(tmp_path: Path) -> None:
    write_labelme(tmp_path, {"a": labelme_data(shape())})
    pixels = read_image(tmp_path / "a.png")
    text = base64.b64encode((tmp_path / "a.png").read_bytes()).decode()
    (tmp_path / "a.png").unlink()
    (tmp_path / "a.json").write_text(json.dumps(labelme_data(shape(), imageData=text)))
    options: dict[str, Any] = {"numbers": None, "join_groups": True, "drop_empty": False}
    rules = Rules(None, {}, "ignore")
    dataset = LabelmeDataset(
        tmp_path, folders=[tmp_path], name="x", rules=rules, masks=True, **options
    )
    np.testing.assert_array_equal(dataset.raw(0).image, pixels)
    assert image_size(tmp_path / "a.json") == (HEIGHT, WIDTH)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such folder; give the folder that holds labelme's"):
        options: dict[str, Any] = {"numbers": None, "join_groups": True, "drop_empty": False}
        rules, none = Rules(None, {}, "ignore"), tmp_path / "none"
        LabelmeDataset(none, folders=[none], name="x", rules=rules, masks=True, **options)
    with pytest.raises(ValueError, match=r"no image remains of 1 \(left out: 1 shape without"):
        read(tmp_path / "b", shape(None), drop_empty=True)
