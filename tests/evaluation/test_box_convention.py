"""Results whose boxes agree with the annotations in another convention get a sentence."""

from __future__ import annotations

from typing import Any

import pytest

from van_dense.evaluation.box_convention import odd_convention
from van_dense.evaluation.result_table import ResultTable

BOXES = [[10 * n, 5 * n, 20 + n, 10 + n] for n in range(1, 6)]
OTHERS = {
    "two corners": lambda x, y, w, h: [x, y, x + w, y + h],
    "centre and size": lambda x, y, w, h: [x + w / 2, y + h / 2, w, h],
    "y, x, height, width": lambda x, y, w, h: [y, x, h, w],
    "y1, x1, y2, x2": lambda x, y, w, h: [y, x, y + h, x + w],
}


def truth() -> dict[str, Any]:
    entries = [
        {"image_id": n, "category_id": 1, "bbox": box, "iscrowd": 0} for n, box in enumerate(BOXES)
    ]
    images = [{"id": n} for n in range(len(BOXES))]
    return {"images": images, "categories": [{"id": 1}], "annotations": entries}


def found(boxes: list[list[float]]) -> ResultTable:
    records: list[Any] = [
        {"image_id": n, "category_id": 1, "bbox": box, "score": 1.0} for n, box in enumerate(boxes)
    ]
    return ResultTable.of(records, truth())


@pytest.mark.parametrize("name", OTHERS)
def test_another_convention_is_named(name: str) -> None:
    boxes = [OTHERS[name](*box) for box in BOXES]
    assert f"of 5 objects as they stand, and 5 as {name}" in (
        odd_convention(truth(), found(boxes)) or ""
    )


def test_boxes_that_agree_or_agree_in_no_way_need_no_word() -> None:
    assert odd_convention(truth(), found(BOXES)) is None
    assert odd_convention(truth(), found([[500, 500, 1, 1]] * 5)) is None
    assert odd_convention(truth(), found([])) is None
