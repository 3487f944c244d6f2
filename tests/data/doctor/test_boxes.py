"""Sizes of boxes in the views of a config, and boxes that no anchor reaches."""

import numpy as np
import pytest
import torch
from torchvision.ops import box_iou

from van_dense.config import load_config
from van_dense.core.dataset_info import DatasetInfo
from van_dense.data.dataset import FirstImages
from van_dense.data.doctor.box_report import BoxStatistics
from van_dense.data.doctor.boxes import (
    AnchorLevel,
    AnchorRule,
    BoxSetting,
    BoxTable,
    View,
    best_iou,
    is_reached,
    see,
)
from van_dense.data.doctor.report import PartReport
from van_dense.data.readers.annotation_columns import ImageRecord, InstanceRecord, columns_of
from van_dense.data.readers.table import TableDataset
from van_dense.models.detection.anchors import Anchors, in_padding
from van_dense.tasks import task_of

INFO = DatasetInfo("cells", ("red", "white"), (1, 2))
TWICE = View("train x2", lambda size: (2 * size[0], 2 * size[1]), is_train=True)
SAME = View("test", lambda size: size, is_test=True)
SQUARE = AnchorLevel(8, np.array([[-8.0, -8.0, 8.0, 8.0]]))
RULE = AnchorRule([SQUARE], 0.5, "IoU 0.5", 0.05)


def dataset(*boxes: tuple[int, tuple[float, float, float, float], int, bool]) -> TableDataset:
    """Three images of 100x64 (width x height); rows of image, box, label, crowd."""
    images = [ImageRecord(f"{i}.png", i, (64, 100)) for i in range(3)]
    rows = [InstanceRecord(*row) for row in boxes]
    columns = columns_of(images, rows, INFO, masks=False)
    return TableDataset(INFO, columns, masks=False, drop_empty=False)


def table(*sides: float, label: int = 0) -> BoxTable:
    """A square box of each side, around (32, 32) of the first image."""
    rows = [(0, (32 - s / 2, 32 - s / 2, 32 + s / 2, 32 + s / 2), label, False) for s in sides]
    found = BoxTable.of(dataset(*rows))
    assert found is not None
    return found


def test_boxes_are_those_of_the_reader_without_crowds() -> None:
    rows = [(0, (0, 0, 10, 20), 1, False), (2, (5, 5, 9, 9), 0, False), (2, (0, 0, 9, 9), 0, True)]
    found = BoxTable.of(dataset(*rows))
    assert found is not None
    assert found.boxes.tolist() == [[0, 0, 10, 20], [5, 5, 9, 9]]
    assert found.labels.tolist() == [1, 0] and found.per_image.tolist() == [1, 0, 1]
    assert found.ratios.tolist() == [2, 1]
    first = BoxTable.of(FirstImages(dataset(*rows), 1))
    assert first is not None and len(first.boxes) == 1 and first.sizes.tolist() == [[64, 100]]


def test_a_view_scales_each_axis_as_the_transform_does() -> None:
    view = View("test", lambda size: (32, 200), is_test=True)
    seen = see(table(8), view, None)
    assert seen.boxes.tolist() == [[56, 14, 72, 18]] and seen.reached is None
    assert seen.sides.tolist() == [8]


@pytest.mark.parametrize(("side", "reached"), [(16, True), (11, False), (12, True), (23, False)])
def test_a_box_is_reached_from_the_iou_of_the_rule_on(side: float, reached: bool) -> None:
    seen = see(table(side), SAME, RULE)  # 11 ** 2 / 16 ** 2 = 0.47, 16 ** 2 / 23 ** 2 = 0.48
    assert seen.reached is not None and seen.reached.tolist() == [reached]


@pytest.mark.parametrize("rounded", [False, True])
def test_the_best_anchor_is_that_of_all_anchors_of_the_image(rounded: bool) -> None:
    rng = np.random.default_rng(0)
    size = (70, 101)
    corner = rng.uniform(0, (90, 60), (200, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(1, 60, (200, 2))], axis=1)
    boxes = boxes.clip(0, (101, 70, 101, 70))
    anchors = Anchors((10.0, 33.0), (8, 16), rounded=rounded)
    maps = [torch.zeros(1, 1, -(-96 // s), -(-128 // s)) for s in (8, 16)]  # padded to 128x96
    every = torch.cat(anchors(maps)).double()
    expected = box_iou(torch.from_numpy(boxes), every[~in_padding(every, size)]).amax(dim=1)
    levels = [
        AnchorLevel(stride, getattr(anchors, f"base_{i}").double().numpy())
        for i, stride in enumerate((8, 16))
    ]
    found = best_iou(boxes, np.tile(size, (200, 1)), levels)
    assert np.allclose(found, expected.numpy(), atol=1e-6)


def test_without_a_least_iou_an_anchor_must_be_centred_in_the_box() -> None:
    rule = AnchorRule([SQUARE], None, "centred", 0.05)
    boxes = np.array([[1, 1, 7, 7], [7, 7, 9, 9], [8, 8, 16, 16], [7, 1, 9, 7], [98, 62, 99, 63.0]])
    found = is_reached(boxes, np.tile((64, 100), (5, 1)), rule)
    assert found.tolist() == [False, True, False, False, False]


# -------------------------------------------------------------------------------------- the report


def add(table: BoxTable, *, is_train: bool = True, rule: AnchorRule | None = RULE) -> PartReport:
    report = PartReport("train", "train.json")
    setting = BoxSetting([TWICE, SAME], rule, "random crops")
    BoxStatistics(table, setting, is_train=is_train).add_to(report)
    return report


def test_the_table_has_a_row_for_each_view_and_each_class() -> None:
    rows = [
        (0, (0, 0, 10, 20), 1, False),
        (2, (4, 4, 10, 10), 0, False),
        (2, (0, 0, 6, 6), 0, False),
    ]
    found = BoxTable.of(dataset(*rows))
    assert found is not None
    (text,) = add(found).tables
    lines = text.splitlines()
    assert "3 after the transform" in lines[0] and "median 1, at most 2" in lines[0]
    assert "random crops" in lines[1]
    rows = [line.split() for line in lines[5:]]
    assert rows[0][:3] == ["test", "3", "6x6"] and rows[0][-4:] == [
        "66.7%",
        "100.0%",
        "100.0%",
        "66.7%",
    ]
    assert rows[1][:4] == ["train", "x2", "3", "12x12"]
    assert rows[3][:3] == ["red", "2", "6x6"] and rows[4][:3] == ["white", "1", "10x20"]


def test_validation_images_have_the_views_of_the_test_alone() -> None:
    (text,) = add(table(16), is_train=False).tables
    assert "train x2" not in text and "random crops" not in text


def test_many_tiny_boxes_are_a_warning_with_the_key_to_change() -> None:
    (problem,) = add(table(*[3] * 2, *[8] * 28), rule=None).problems
    assert problem.severity == "warning" and problem.what.startswith(
        "6.7% of the boxes are smaller"
    )
    assert "data.transforms.short_sides" in problem.fix
    (problem,) = add(table(*[7] * 2, *[8] * 28), rule=None, is_train=False).problems
    assert "data.transforms.test_short_side" in problem.fix
    assert not add(table(*[7] * 2, *[8] * 28), rule=None).problems  # they are 14 px in training


def test_many_boxes_beyond_the_anchors_are_a_warning_with_the_key_to_change() -> None:
    small = add(table(*[5] * 3, *[8] * 27)).problems[-1]
    assert "3 smaller than the smallest anchor of 16 px" in small.what
    assert "model.anchor_sizes" in small.fix and "10.0% of the boxes are" in small.what
    large = add(table(*[30] * 3, *[8] * 27)).problems[-1]
    assert "3 larger than the largest of 16 px" in large.what and "raise model.anchor" in large.fix
    assert not add(table(*[30], *[8] * 29)).problems


def test_long_boxes_are_told_apart() -> None:
    rows = [(0, (0, 20, 32, 22), 0, False)] * 3 + [(0, (28, 28, 36, 36), 0, False)] * 27
    found = BoxTable.of(dataset(*rows))
    assert found is not None
    (problem,) = add(found).problems
    assert "3 of height / width outside 1..1" in problem.what and "atss and gfl" in problem.fix


def test_a_class_of_which_most_boxes_are_beyond_the_anchors_is_named() -> None:
    rows = [(0, (30, 30, 32, 32), 1, False)] * 20 + [(0, (28, 28, 36, 36), 0, False)] * 980
    found = BoxTable.of(dataset(*rows))
    assert found is not None
    tiny, beyond = add(found).problems
    assert "2.0% of the boxes (100.0% of 'white')" in tiny.what
    assert "2.0% of the boxes (100.0% of 'white')" in beyond.what


def test_few_boxes_are_no_reason_for_a_warning() -> None:
    assert not add(table(*[2] * 19)).problems
    assert not add(BoxTable.of(dataset()) or table()).tables


# -------------------------------------------------------------------------------------- the config


def setting(project: str, *overrides: str) -> BoxSetting:
    config = load_config(project, ["model.backbone.weights=null", *overrides])
    found = task_of(config).box_setting(config)
    assert found is not None
    return found


def names(found: BoxSetting) -> list[tuple[str, bool, bool]]:
    return [(view.name, view.is_train, view.is_test) for view in found.views]


def test_views_are_the_extremes_of_training_and_the_test() -> None:
    sides = "data.transforms.short_sides=[480, 640, 800]"
    assert names(setting("maskrcnn_van_b2", sides)) == [
        ("train 480", True, False),
        ("train, test 800", True, True),
    ]
    found = setting("maskrcnn_van_b2", sides, "data.transforms.test_short_side=600")
    assert names(found)[-1] == ("test 600", False, True)
    assert found.views[0].resized((427, 640)) == (480, 719)
    jitter = "data.transforms.large_scale_jitter={size: [512, 512], scale: [0.5, 2.0]}"
    found = setting("maskrcnn_van_b2", jitter)
    assert names(found)[:2] == [("train x0.5", True, False), ("train x2", True, False)]
    assert found.views[0].resized((200, 400)) == (128, 256)


@pytest.mark.parametrize(
    ("project", "shapes", "iou"),
    [
        ("maskrcnn_van_b2", 15, 0.3),
        ("cascade_maskrcnn_van_b2_3x", 15, 0.3),
        ("retinanet_van_b0", 45, 0.5),
        ("atss_van_b2_3x", 5, None),
        ("gfl_van_b2_3x", 5, None),
    ],
)
def test_anchors_are_those_of_the_model(project: str, shapes: int, iou: float | None) -> None:
    rule = setting(project).rule
    assert rule is not None and rule.iou == iou
    assert sum(len(level.shapes) for level in rule.levels) == shapes


def test_detectors_without_anchors_have_sizes_alone() -> None:
    assert setting("sparsercnn_van_b2_3x").rule is None
