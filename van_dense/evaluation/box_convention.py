"""Do the boxes of results only agree with the annotations when they are read otherwise?"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from van_dense.data.readers.coco_json import CocoDict
from van_dense.evaluation.coco_truth import TruthTable
from van_dense.evaluation.result_table import ResultTable

_MOST = 20_000  # annotations that are compared
_MATCH = 0.5  # IoU
_HALF = 0.5  # share of the objects that must be found otherwise
_TIMES = 2  # how many times as many as are found as the boxes stand
_AT_ONCE = 2_000  # objects, which may share an image and class with a hundred boxes each
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
    objects = TruthTable(truth, "bbox").columns[:_MOST]
    objects = objects[~objects["crowd"]]
    total = len(objects)
    if total < _LEAST:
        return None
    owners = objects["image"].astype(np.int64)
    keys = owners * len(results.category_ids) + objects["category"]
    boxes = _corners(objects["bbox"])
    candidates = _boxes(results, owners, keys)
    here = _matched(boxes, keys, _corners, *candidates)
    if _TIMES * here > total:  # no other way finds so many
        return None
    counts = ((name, _matched(boxes, keys, read, *candidates)) for name, read in _OTHERS.items())
    best, count = max(counts, key=_count)
    if count < _HALF * total or count < _TIMES * here:
        return None
    what = f"the boxes find {here} of {total} objects as they stand, and {count} as {best}"
    return f"{what}; a box is x, y, width, height in pixels"


def _boxes(
    results: ResultTable, owners: np.ndarray, keys: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (N, 4) of the images and classes of objects, and their ascending keys (N,)."""
    wanted = np.zeros(len(results.image_ids), dtype=bool)
    wanted[owners] = True
    known = np.unique(keys)
    codes, boxes = [np.empty(0, dtype=np.int64)], [np.empty((0, 4))]
    for block in results.blocks():
        rows = block[wanted[block["image"]]]
        code = rows["image"] * np.int64(len(results.category_ids)) + rows["category"]
        is_known = known[np.minimum(np.searchsorted(known, code), len(known) - 1)] == code
        codes.append(code[is_known])
        boxes.append(rows["bbox"][is_known])
    joined = np.concatenate(codes)
    order = np.argsort(joined, kind="stable")
    return np.concatenate(boxes)[order], joined[order]


def _count(item: tuple[str, int]) -> int:
    return item[1]


def _matched(
    objects: np.ndarray,
    keys: np.ndarray,
    read: Callable[[np.ndarray], np.ndarray],
    boxes: np.ndarray,
    codes: np.ndarray,
) -> int:
    """Number of objects, corners (N, 4), that some box of their key overlaps by ``_MATCH``."""
    corners, matched = read(boxes), 0
    first, last = (np.searchsorted(codes, keys, side=side) for side in ("left", "right"))
    for start in range(0, len(objects), _AT_ONCE):
        some = slice(start, start + _AT_ONCE)
        counts = last[some] - first[some]
        owner = np.repeat(np.arange(len(counts)), counts)
        nth = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
        ious = _ious(objects[some][owner], corners[first[some][owner] + nth])
        matched += len(np.unique(owner[ious >= _MATCH]))
    return matched


def _ious(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """IoU (N,) of corners (N, 4) and (N, 4), pair by pair."""
    low = np.maximum(first[:, :2], second[:, :2])
    high = np.minimum(first[:, 2:], second[:, 2:])
    shared = np.prod(np.clip(high - low, 0, None), axis=1)
    areas = [np.prod(np.clip(b[:, 2:] - b[:, :2], 0, None), axis=1) for b in (first, second)]
    union = areas[0] + areas[1] - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
