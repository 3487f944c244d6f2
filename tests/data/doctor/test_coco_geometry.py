"""Boxes, masks and joints of one object are compared, and a whole file has one named cause."""

from __future__ import annotations

from typing import Any

import pytest

from van_dense.data.doctor.coco_geometry import GeometryCheck

SIZE = (200, 300)  # height, width
BOXES = [(20 + 30 * i, 40 + 9 * i, 50 + 3 * i, 30 + 5 * i) for i in range(6)]  # x, y, width, height


def polygon(x: float, y: float, w: float, h: float) -> list[list[float]]:
    return [[x, y, x + w, y, x + w, y + h, x, y + h]]


def causes(annotations: list[dict[str, Any]], num_keypoints: int = 0) -> list[str]:
    check = GeometryCheck(masks=True, num_keypoints=num_keypoints)
    for annotation in annotations:
        list(check.judge(annotation, SIZE))
    return [what for severity, what, _ in check.causes() if severity == "error"]


def shares(x: float, y: float, w: float, h: float) -> list[float]:
    return [x / 300, y / 200, w / 300, h / 200]


@pytest.mark.parametrize(
    ("write", "cause"),
    [
        (lambda x, y, w, h: [x, y, x + w, y + h], "two corners (x1, y1, x2, y2)"),
        (lambda x, y, w, h: [x + w / 2, y + h / 2, w, h], "hold their centre"),
        (shares, "shares of 1 (x, y, width, height)"),
        (lambda x, y, w, h: shares(x + w / 2, y + h / 2, w, h), "shares of 1 with their centre"),
        (lambda x, y, w, h: shares(x, y, x + w, y + h), "shares of 1 by two corners"),
        (lambda x, y, w, h: [y, x, h, w], "x and y are exchanged"),
        (lambda x, y, w, h: [y, x, y + h, x + w], "y1, x1, y2, x2, as in TensorFlow"),
    ],
)
def test_boxes_of_another_convention_are_known_by_their_masks(write: Any, cause: str) -> None:
    found = causes([{"bbox": write(*b), "segmentation": polygon(*b)} for b in BOXES])
    assert len(found) == 1 and f"{len(BOXES)} of 6 records: " in found[0] and cause in found[0]


@pytest.mark.parametrize(
    ("write", "cause"),
    [
        (lambda b: polygon(*shares(*b)), "the polygons are shares of 1"),
        (lambda b: polygon(*(2 * v for v in b)), "the polygons are 2 times as large"),
        (lambda b: polygon(*(0.5 * v for v in b)), "the polygons are 0.5 times as large"),
        (lambda b: polygon(b[1], b[0], b[3], b[2]), "x and y are exchanged"),
    ],
)
def test_masks_of_another_scale_are_known_by_their_boxes(write: Any, cause: str) -> None:
    found = causes([{"bbox": list(b), "segmentation": write(b)} for b in BOXES])
    assert len(found) == 1 and cause in found[0]


def test_joints_tell_boxes_of_another_convention_as_well() -> None:
    annotations = []
    for x, y, w, h in BOXES:
        joints = [x + 4, y + 4, 2, x + w - 4, y + 9, 2, x + 9, y + h - 4, 2]
        annotations.append({"bbox": shares(x, y, w, h), "keypoints": joints})
    (found,) = causes(annotations, num_keypoints=3)
    assert "6 of 6 records: the boxes are shares of 1" in found


@pytest.mark.parametrize(
    ("write", "cause"),
    [
        (lambda x, y, w, h: [x, y, x + w, y + h], "two corners"),
        (lambda x, y, w, h: shares(x, y, w, h), "shares of 1, not pixels"),
        (lambda x, y, w, h: [298 - w / 2, y + h / 2, w, h], "their centre"),
    ],
)
def test_boxes_alone_tell_what_is_most_likely(write: Any, cause: str) -> None:
    (found,) = causes([{"bbox": write(*b)} for b in BOXES])
    assert cause in found


def test_polygons_that_are_not_read_are_no_fault_of_the_boxes() -> None:
    def judged(boxes: list[Any], masks: list[Any]) -> list[str]:
        check = GeometryCheck(masks=False, num_keypoints=0)
        for box, mask in zip(boxes, masks, strict=True):
            list(check.judge({"bbox": list(box), "segmentation": mask}, SIZE))
        return [severity for severity, _, _ in check.causes()]

    assert judged(BOXES, [polygon(*shares(*b)) for b in BOXES]) == []
    corners = [(x, y, x + w, y + h) for x, y, w, h in BOXES]
    assert judged(corners, [polygon(*b) for b in BOXES]) == ["warning"]


def test_sound_files_and_single_slips_have_no_cause() -> None:
    sound = [{"bbox": list(b), "segmentation": polygon(*b)} for b in BOXES]
    assert causes(sound) == []
    slip = {"bbox": [20, 40, 70, 70], "segmentation": polygon(20, 40, 50, 30)}
    assert causes([*sound, slip]) == []


def test_differing_masks_and_masks_without_pixels_are_named_one_by_one() -> None:
    check = GeometryCheck(masks=True, num_keypoints=0)
    far = {"bbox": [20, 40, 50, 30], "segmentation": polygon(50, 60, 50, 30)}
    (message,) = check.judge(far, SIZE)
    assert "differ (IoU 0.07)" in message[0]
    line = {"bbox": [20, 40, 50, 30], "segmentation": [[20, 40, 70, 40, 20, 40]]}
    assert ["the mask has no pixel" in what for what, _ in check.judge(line, SIZE)] == [True]


def test_areas_of_boxes_are_remarked_where_masks_are_smaller() -> None:
    check = GeometryCheck(masks=True, num_keypoints=0)
    triangle = {"bbox": [20, 40, 50, 30], "area": 1500, "segmentation": [[20, 40, 70, 40, 20, 70]]}
    list(check.judge(triangle, SIZE))
    remark = check.remark()
    assert remark is not None and "area is that of the box in 1 of 1 records" in remark[0]
