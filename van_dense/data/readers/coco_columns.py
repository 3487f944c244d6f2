"""Annotations of a COCO file in columns, and which of them are sound beyond doubt.

The rules are those of ``CocoRecords.read``, applied by NumPy to some hundred annotations at once.
Annotations that these do not settle are left to it, and so is every message.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np

from van_dense.core.structures import Size
from van_dense.data.io.packed_records import PackedRecords
from van_dense.data.readers.coco_geometry import (
    OUTSIDE_TOLERANCE,
    PIXEL,
    area_fits,
    is_within_first_pixel,
)
from van_dense.data.readers.coco_json import Record
from van_dense.data.readers.coco_marks import MARKED
from van_dense.data.readers.segmentation import MAX_COORDINATE, MIN_POINTS
from van_dense.data.readers.table import MIN_SIDE

_HUGE = 1e30  # see ``coco_values``
_INTEGERS, _NUMBERS = frozenset((int,)), frozenset((int, float))


class CleanedRecords(PackedRecords):
    """Annotations beside the columns of what evaluators ask of each.

    Attributes:
        columns: Structured array (N,), see ``new_columns``.
        image_ids: Ids of the images, of which "image" is a position.
        category_ids: Ids of the classes, of which "category" is one.
        has_masks: Whether all segmentations were judged, and are usable.
    """

    columns: np.ndarray
    image_ids: Sequence[int | str]
    category_ids: Sequence[int]
    has_masks: bool


def new_columns(count: int, num_keypoints: int) -> np.ndarray:
    """Zeros for some annotations: "image", "category", "crowd", "area", "bbox" as COCO has it.

    "keypoints" are x, y and visibility of K joints, "num_keypoints" how many are labelled.
    """
    numbers = [("image", "i4"), ("category", "i4"), ("crowd", "?"), ("area", "f8")]
    lists: Any = [("bbox", "f8", (4,)), ("keypoints", "f8", (3 * num_keypoints,))]
    return np.zeros(count, dtype=[*numbers, *lists, ("num_keypoints", "i4")])


class ColumnReader:
    """Reads annotations whose values have JSON's expected types, and says which are sound.

    One value of another type, or one that is missing, makes all annotations of a call doubtful.

    Args:
        images: Position of each usable image by id.
        sizes: (height, width) of these; 0 is unknown.
        labels: Position of each class by category id.
        masks: Whether segmentations must be sound as well.
        num_keypoints: Joints of each list of keypoints; 0 reads none.
    """

    def __init__(
        self,
        images: Mapping[Any, int],
        sizes: Sequence[Size],
        labels: Mapping[int, int],
        *,
        masks: bool,
        num_keypoints: int,
    ) -> None:
        self._images, self._labels = images, labels
        self._sizes = np.array([*sizes, (0, 0)], dtype=np.float64)  # at -1 of unknown images
        self._masks, self._num_keypoints = masks, num_keypoints

    def read(self, records: Sequence[Record]) -> tuple[np.ndarray, np.ndarray]:
        """Columns of N annotations, and which of these are sound, bool (N,)."""
        columns = new_columns(len(records), self._num_keypoints)
        try:
            with np.errstate(all="ignore"):
                return columns, self._fill(columns, records)
        except (_NotPlain, KeyError, OverflowError):  # a value of another kind, or missing
            return columns, np.zeros(len(records), dtype=bool)

    def _fill(self, columns: np.ndarray, records: Sequence[Record]) -> np.ndarray:
        for name, key, known in (
            ("image", "image_id", self._images),
            ("category", "category_id", self._labels),
        ):
            ids = _values(records, key, _INTEGERS)
            columns[name] = [known.get(value, -1) for value in ids]
        crowds = np.array(_values(records, "iscrowd", _INTEGERS))
        columns["area"] = _values(records, "area", _NUMBERS)
        columns["bbox"], columns["crowd"] = _lists(records, "bbox", 4), crowds
        sound = (
            (columns["image"] >= 0) & (columns["category"] >= 0) & ((crowds == 0) | (crowds == 1))
        )
        sound &= [MARKED.isdisjoint(record) for record in records]
        sound &= self._boxes_are_sound(columns)
        if self._num_keypoints:
            columns["keypoints"] = _lists(records, "keypoints", 3 * self._num_keypoints)
            columns["num_keypoints"] = _values(records, "num_keypoints", _INTEGERS)
            sound &= _joints_are_sound(columns)
        return sound & _masks_are_sound(columns["bbox"], records) if self._masks else sound

    def _boxes_are_sound(self, columns: np.ndarray) -> np.ndarray:
        x1, y1, width, height = columns["bbox"].T
        x2, y2 = x1 + width, y1 + height
        sound = np.abs([x1, y1, x2, y2]).max(axis=0) < _HUGE
        sound &= (x2 > x1) & (y2 > y1) & ~is_within_first_pixel(x1, y1, x2, y2)
        rows, cols = self._sizes[columns["image"]].T
        outside = np.max([-x1, -y1, x2 - cols, y2 - rows], axis=0)
        shown = [np.minimum(x2, cols) - np.maximum(x1, 0), np.minimum(y2, rows) - np.maximum(y1, 0)]
        sound &= (rows == 0) | (
            (outside <= OUTSIDE_TOLERANCE) & (np.min(shown, axis=0) >= MIN_SIDE)
        )
        area = columns["area"]
        return sound & (area > 0) & np.isfinite(area) & area_fits(area, x2 - x1, y2 - y1)


class _NotPlain(Exception):
    """Values of another kind than expected are among those of some annotations."""


def _values(records: Sequence[Record], key: str, types: frozenset[type]) -> list[Any]:
    """The value of a key in each record, of some types."""
    values = [record[key] for record in records]
    if not types.issuperset(map(type, values)):
        raise _NotPlain
    return values


def _lists(records: Sequence[Record], key: str, length: int) -> np.ndarray:
    """Lists of so many numbers under a key, float64 (N, length)."""
    lists = _values(records, key, frozenset((list,)))
    if not {length}.issuperset(map(len, lists)):
        raise _NotPlain
    return _flat(lists).reshape(-1, length)


def _flat(lists: Sequence[list[Any]]) -> np.ndarray:
    numbers = list(chain.from_iterable(lists))
    if not _NUMBERS.issuperset(map(type, numbers)):
        raise _NotPlain
    return np.array(numbers, dtype=np.float64)


def _joints_are_sound(columns: np.ndarray) -> np.ndarray:
    x, y, seen = (columns["keypoints"][:, axis::3] for axis in range(3))
    sound = (np.abs(columns["keypoints"]) < _HUGE).all(axis=1) & np.isin(seen, (0, 1, 2)).all(
        axis=1
    )
    sound &= (seen > 0).sum(axis=1) == columns["num_keypoints"]
    return sound & ~((seen > 0) & (x == 0) & (y == 0)).any(axis=1)


def _masks_are_sound(boxes: np.ndarray, records: Sequence[Record]) -> np.ndarray:
    """Whether all polygons are sound, and the first lies in its box and encloses a pixel."""
    found = [record["segmentation"] for record in records]
    chosen = [k for k, value in enumerate(found) if type(value) is list]
    sound = np.zeros(len(records), dtype=bool)
    polygons = [polygon for k in chosen for polygon in found[k]]
    held = np.array([len(found[k]) for k in chosen], dtype=np.int64)
    if not len(held) or not held.all() or not all(type(p) is list for p in polygons):
        return sound
    lengths = np.fromiter(map(len, polygons), dtype=np.int64, count=len(polygons))
    if lengths.min() < 2 * MIN_POINTS:
        return sound
    numbers = _flat(polygons)
    starts, firsts = np.cumsum(lengths) - lengths, np.cumsum(held) - held
    good = np.maximum.reduceat(np.abs(numbers), starts) <= MAX_COORDINATE
    good &= lengths % 2 == 0
    start, length = starts[firsts], lengths[firsts]
    least, most = boxes[chosen, :2], boxes[chosen, :2] + boxes[chosen, 2:]
    inside = np.logical_and.reduceat(good, firsts)
    for place in (start, start + length // 4 * 2):
        point = numbers[place[:, None] + [0, 1]]
        inside &= ((least - PIXEL <= point) & (point <= most + PIXEL)).all(axis=1)
    first, second, third = (
        numbers[(start + part * (length // 6 * 2))[:, None] + [0, 1]] for part in (0, 1, 2)
    )
    second, third = second - first, third - first
    spanned = second[:, 0] * third[:, 1] - second[:, 1] * third[:, 0]
    sound[chosen] = inside & (np.abs(spanned) >= 2)
    return sound
