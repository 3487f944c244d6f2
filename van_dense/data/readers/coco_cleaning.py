"""Annotations of a COCO file as they are evaluated: usable ones, with every key in its place."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from van_dense.core.dataset_info import DatasetInfo
from van_dense.core.structures import Size
from van_dense.data.io.json_file import paused_garbage_collection
from van_dense.data.io.packed_records import PackedRecords
from van_dense.data.readers.annotation_columns import InstanceRecord
from van_dense.data.readers.coco_columns import CleanedRecords, ColumnReader, new_columns
from van_dense.data.readers.coco_geometry import area_is_possible, derive_area, stated_box
from van_dense.data.readers.coco_images import ImageRecords
from van_dense.data.readers.coco_json import CocoDict, Record
from van_dense.data.readers.coco_values import (
    are_same,
    is_id,
    num_labelled,
    parse_id,
    sound_keypoints,
)
from van_dense.data.readers.segmentation import FORMS, rle_to_json

_AT_ONCE = 1024  # annotations that are looked at together


class Judge(Protocol):
    """What cleaning asks of ``CocoRecords``, which imports this module."""

    data: CocoDict
    info: DatasetInfo
    images: list[Record]
    sizes: list[Size]
    image_records: ImageRecords
    masks: bool
    num_keypoints: int
    crowds_are_objects: bool
    in_quarantine: bool
    counts: Counter[int]
    crowds: Counter[int]

    @property
    def changes(self) -> Mapping[str, object]:
        """Kinds of what was read otherwise than it is written."""
        ...

    def reset(self) -> None:
        """Begin to count anew."""

    def usable_at(self, index: int, annotation: Record) -> InstanceRecord | None:
        """What is read of an annotation, or None for one that is left out."""


@paused_garbage_collection()
def clean(records: Judge) -> CocoDict:
    """The file of ``records`` as it is evaluated, see ``CocoRecords.cleaned``.

    Its annotations are ``CleanedRecords``, so that evaluators need not parse them again.
    """
    records.reset()
    texts, kept = records.data["annotations"], CleanedRecords()
    reader, columns = _column_reader(records), [new_columns(0, records.num_keypoints)]
    ids = []
    for start in range(0, len(texts), _AT_ONCE):
        block = texts[start : start + _AT_ONCE]
        rows, sound = reader.read(block)
        if records.crowds_are_objects:
            sound &= ~rows["crowd"]
        if records.in_quarantine:
            sound[:] = False
        is_kept = sound.copy()
        judged = zip(block, sound, rows["category"].tolist(), rows["crowd"].tolist(), strict=True)
        for place, (annotation, is_sound, label, crowd) in enumerate(judged):
            changed = annotation
            if is_sound:
                records.counts[label] += 1
                records.crowds[label] += crowd
            else:
                instance = records.usable_at(start + place, annotation)
                if instance is None:
                    continue
                changed, rows[place] = _as_evaluated(annotation, instance, records)
                is_kept[place] = True
            if isinstance(texts, PackedRecords) and (is_sound or are_same(annotation, changed)):
                kept.copy(texts, start + place)
            else:
                kept.append(changed)
            ids.append(annotation.get("id", 0))
        columns.append(rows[is_kept])
    known = set(map(parse_id, ids))
    if len(known) < len(ids) or 0 in known or not all(map(is_id, ids)):
        as_found, kept = kept, CleanedRecords()
        for number, annotation in enumerate(as_found, 1):
            kept.append({**annotation, "id": number})
    kept.columns, kept.category_ids = np.concatenate(columns), records.info.category_ids
    kept.image_ids = [image["id"] for image in records.images]
    kept.has_masks = records.masks
    return {**records.data, "images": records.images, "annotations": kept}


def _column_reader(records: Judge) -> ColumnReader:
    position, labels = records.image_records.position, records.info.label_of
    reads: Any = {"masks": records.masks, "num_keypoints": records.num_keypoints}
    return ColumnReader(position, records.sizes, labels, **reads)


def _as_evaluated(
    annotation: Record, instance: InstanceRecord, records: Judge
) -> tuple[Record, tuple[Any, ...]]:
    """A usable annotation with every key in its place, and its row of ``new_columns``."""
    size = records.sizes[instance.image]
    changed: Record = {
        **annotation,
        "image_id": records.images[instance.image]["id"],
        "category_id": records.info.category_ids[instance.label],
        "iscrowd": int(instance.crowd),
    }
    joints: list[float] | None = None
    if records.num_keypoints:
        joints = sound_keypoints(annotation.get("keypoints"), records.num_keypoints)
        assert joints is not None  # the instance is usable
        changed |= {"keypoints": joints, "num_keypoints": num_labelled(joints)}
    if isinstance(instance.segmentation, list):  # broken polygons are gone
        changed["segmentation"] = instance.segmentation
    elif isinstance(instance.segmentation, dict) and FORMS in records.changes:
        changed["segmentation"] = rle_to_json(instance.segmentation)
    box, change = stated_box(annotation, size, joints)
    assert box is not None
    if change is not None:
        x1, y1, x2, y2 = box
        changed["bbox"] = [x1, y1, x2 - x1, y2 - y1]
    if not area_is_possible(annotation, box, size):
        changed["area"] = derive_area(annotation, box, size)
    numbers = instance.image, instance.label, instance.crowd, changed["area"], changed["bbox"]
    return changed, (*numbers, joints or (), num_labelled(joints or ()))
