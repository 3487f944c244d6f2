"""Results of many records at once, where nothing about them needs a word.

The rules are those of ``result_files``: what a block breaks is read record by record there, which
counts, corrects or refuses it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from van_dense.core.rle import areas_of_sound
from van_dense.core.structures import Size
from van_dense.data.io.json_blocks import Block, RecordForm, columns_of
from van_dense.evaluation.result_table import Masks, ResultTable

_HUGE = 1e30  # see ``coco_values``
_EXACT = 2.0**53  # beyond it floats are no ids


class BlockReader:
    """Brings blocks of records into a table.

    Args:
        table: What is filled.
        sizes: (height, width) of the images by id.
        left_out: Ids of images whose records are counted and left out.
        fields: Fields that are measured, and must be sound.
        num_joints: Joints of a pose; 0 for any number.
    """

    def __init__(
        self,
        table: ResultTable,
        sizes: Mapping[Any, Size],
        left_out: Collection[Any],
        fields: Sequence[str],
        num_joints: int,
    ) -> None:
        self._table, self._fields, self._num_joints = table, fields, num_joints
        self._images, self._categories = map(_numbers, (table.image_ids, table.category_ids))
        is_numbered = self._images is not None and self._categories is not None
        self._is_usable = is_numbered and not left_out
        ordered = [sizes[key] for key in table.image_ids]
        self._sizes = np.array(ordered, dtype=np.float64).reshape(-1, 2)
        self._form: RecordForm | None = None
        self._columns: dict[str, slice] = {}

    def learn(self, text: str, value: Any) -> bool:
        """Take the form of a record for that of all; False where blocks cannot have it."""
        self._form = form = RecordForm.of(text, value)
        if form is None or not self._is_usable:
            return False
        lengths: dict[str, int | None] = {"image_id": None, "category_id": None, "score": None}
        if "bbox" in self._fields:
            lengths["bbox"] = 4
        if "keypoints" in self._fields:
            held = value["keypoints"]
            lengths["keypoints"] = 3 * self._num_joints or len(held) // 3 * 3
        columns = {key: columns_of(form, (key,), length) for key, length in lengths.items()}
        if "segmentation" in self._fields:
            columns["size"] = columns_of(form, ("segmentation", "size"), 2)
            inner = value["segmentation"]
            if not isinstance(inner, dict) or inner.keys() != {"size", "counts"}:
                return False
            if ("segmentation", "counts") not in form.texts:
                return False
        self._columns = {key: found for key, found in columns.items() if found is not None}
        return len(self._columns) == len(columns)

    def read(self, text: str) -> tuple[int, int]:
        """Number of characters and of records that were read; 0 where one record needs a look."""
        block = None if self._form is None else self._form.read(text)
        if block is None:
            return 0, 0
        taken = self._take(block)
        return (block.length, len(block.numbers)) if taken else (0, 0)

    def _take(self, block: Block) -> bool:
        assert self._images is not None and self._categories is not None and self._form is not None
        values = {key: block.numbers[:, where] for key, where in self._columns.items()}
        images = _positions(self._images, values["image_id"][:, 0])
        categories = _positions(self._categories, values["category_id"][:, 0])
        scores = values["score"][:, 0]
        if images is None or categories is None or not np.isfinite(scores).all():
            return False
        fields: dict[str, Any] = {}
        for field in ("bbox", "keypoints"):
            if field in values:
                if not _are_pixels(field, values[field]):
                    return False
                fields[field] = values[field]
        if "size" in values:
            counts = block.texts[self._form.texts.index(("segmentation", "counts"))]
            sizes = values["size"]
            if not (sizes == self._sizes[images]).all():
                return False
            areas = areas_of_sound(counts, sizes.prod(axis=1))
            if areas is None:
                return False
            fields["segmentation"] = Masks(sizes, counts, areas)
        return self._table.append_columns(images, categories, scores, fields)


def _are_pixels(field: str, values: np.ndarray) -> bool:
    """Whether boxes or keypoints (N, M) are in the range that the rules allow."""
    if not (np.abs(values) < _HUGE).all():
        return False
    if field != "bbox":
        return True
    return bool((values[:, 2:] >= 0).all() and (values[:, :2] + values[:, 2:] < _HUGE).all())


def _numbers(ids: Sequence[Any]) -> np.ndarray | None:
    """Sorted ids as float64 (N,), or None where some are text, or too large."""
    if not all(type(key) is int and abs(key) < _EXACT for key in ids):
        return None
    return np.array(ids, dtype=np.float64)


def _positions(known: np.ndarray, ids: np.ndarray) -> np.ndarray | None:
    """Position of each id among the known ones, or None where one is not."""
    found = np.minimum(np.searchsorted(known, ids), len(known) - 1)
    return found if len(known) and (known[found] == ids).all() else None
