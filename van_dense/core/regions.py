"""Pixels of the values of a map, counted along its rows: area and box of every segment at once.

Legend: H, W pixels of the map; N values in it, 0 = void among them.
"""

from dataclasses import dataclass

import numpy as np

from van_dense.core.segments import run_starts


@dataclass(frozen=True)
class Regions:
    """What a map of ids shows of each value, by ascending value.

    Attributes:
        ids: int64 (N,), the values.
        areas: int64 (N,), pixels of each.
        boxes: int64 (N, 4) in (x1, y1, x2, y2) pixels around all pixels of each.
    """

    ids: np.ndarray
    areas: np.ndarray
    boxes: np.ndarray


def find_regions(ids: np.ndarray) -> Regions:
    """Area and box of each value of a map of integers (H, W) that has a pixel.

    A mask for each value would read the whole map N times; here runs of equal pixels are found
    once, and a map has a few thousand.
    """
    height, width = ids.shape
    flat = ids.ravel()
    starts = run_starts(flat, width=width)
    lengths = np.diff(starts, append=ids.size)
    values, index = np.unique(flat[starts], return_inverse=True)
    rows, columns = np.divmod(starts, max(1, width))
    boxes = np.empty((len(values), 4), dtype=np.int64)
    boxes[:, :2], boxes[:, 2:] = max(height, width), 0
    np.minimum.at(boxes[:, 0], index, columns)
    np.minimum.at(boxes[:, 1], index, rows)
    np.maximum.at(boxes[:, 2], index, columns + lengths)
    np.maximum.at(boxes[:, 3], index, rows + 1)
    areas = np.bincount(index, lengths, minlength=len(values)).astype(np.int64)
    return Regions(values.astype(np.int64), areas, boxes)
