"""Do the boxes of results only agree with the annotations when they are read otherwise?"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import numpy as np

from van_dense.data.readers.coco_json import CocoDict
from van_dense.evaluation.result_table import ResultTable

_MOST = 20_000  # annotations that are compared
_MATCH = 0.5  # IoU
_HALF = 0.5  # share of the objects that must be found otherwise
_TIMES = 2  # how many times as many as are found as the boxes stand
_LEAST = 3  # objects; fewer may agree by chance


def _corners(boxes: np.ndarray) -> np.ndarray:
    return np.hstack([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]])


# Boxes (N, 4) as they stand -> corners x1, y1, x2, y2.
_OTHERS: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "two corners (x1, y1, x2, y2)": lambda b: b,
    "centre and size": lambda b: np.hstack([b[:, :2] - b[:, 2:] / 2, b[:, :2] + b[:, 2:] / 2]),
    "y, x, height, width": lambda b: _corners(b[:, [1, 0, 3, 2]]),
    "y1, x1, y2, x2": lambda b: b[:, [1, 0, 3, 2]],
}


def odd_convention(truth: CocoDict, results: ResultTable) -> str | None:
    """Say that few objects are found as the boxes stand, and most are in another convention.

    Args:
        truth: Annotations, cleaned.
        results: Results with boxes, which should be x, y, width and height in pixels.
    """
    objects: dict[Any, list[Any]] = defaultdict(list)
    for entry in truth["annotations"][:_MOST]:
        if not entry["iscrowd"]:
            objects[entry["image_id"], entry["category_id"]].append(entry["bbox"])
    total = sum(map(len, objects.values()))
    found = _boxes(results, {image_id for image_id, _ in objects})
    if total < _LEAST or not found:
        return None
    pairs = [
        (_corners(np.array(boxes, dtype=np.float64)), np.array(found[key], dtype=np.float64))
        for key, boxes in objects.items()
        if key in found
    ]
    here = _matched(pairs, _corners)
    best, count = max(((name, _matched(pairs, read)) for name, read in _OTHERS.items()), key=_count)
    if count < _HALF * total or count < _TIMES * here:
        return None
    what = f"the boxes find {here} of {total} objects as they stand, and {count} as {best}"
    return f"{what}; a box is x, y, width, height in pixels"


def _boxes(results: ResultTable, image_ids: Collection[Any]) -> dict[Any, list[Any]]:
    """Boxes of some images, by image id and category id."""
    wanted = np.array([key in image_ids for key in results.image_ids], dtype=bool)
    found: dict[Any, list[Any]] = defaultdict(list)
    for block in results.blocks():
        rows = block[wanted[block["image"]]]
        columns = (rows[name].tolist() for name in ("image", "category", "bbox"))
        for image, category, box in zip(*columns, strict=True):
            found[results.image_ids[image], results.category_ids[category]].append(box)
    return found


def _count(item: tuple[str, int]) -> int:
    return item[1]


def _matched(
    pairs: Iterable[tuple[np.ndarray, np.ndarray]], read: Callable[[np.ndarray], np.ndarray]
) -> int:
    """Number of objects that some box overlaps by ``_MATCH``."""
    overlaps = (_ious(boxes, read(others)) for boxes, others in pairs)
    return sum(int((ious.max(axis=1) >= _MATCH).sum()) for ious in overlaps)


def _ious(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """IoU (N, M) of corners (N, 4) and (M, 4)."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    shared = np.prod(np.clip(high - low, 0, None), axis=2)
    areas = [np.prod(np.clip(b[:, 2:] - b[:, :2], 0, None), axis=1) for b in (first, second)]
    union = areas[0][:, None] + areas[1][None] - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
