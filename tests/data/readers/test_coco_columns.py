"""Annotations that are read in columns: the outcome is that of reading each of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers.coco_folder import annotation, coco_data

from van_dense.core.dataset_info import DatasetInfo
from van_dense.data.readers.coco_columns import CleanedRecords, ColumnReader
from van_dense.data.readers.coco_records import CocoRecords
from van_dense.data.readers.quarantine import QuarantinedPart

NAN = float("nan")
JOINTS = ("left_ear", "right_ear", "tail")
POINTS = [3, 4, 2, 5, 4, 2, 4, 7, 1]
SOUND: dict[str, Any] = {"keypoints": POINTS, "num_keypoints": 3}
LINE = [[2, 3, 6, 3, 4, 3]]
CHANGES: list[dict[str, Any]] = [
    *({"image_id": v} for v in (2, "1", 1.0, 9, True, None, [1])),
    *({"category_id": v} for v in (2, "5", 5.0, 9, None)),
    *({"iscrowd": v} for v in (1, "1", True, 2, 1.0, None, NAN)),
    *({"id": v} for v in (1, 0, None, "7", 2.0, NAN)),
    *({"area": v} for v in (0, 1, -1, 25, 400, "20", None, NAN, 1e400, 10**400, True)),
    *({"bbox": v} for v in ([2, 3, 4, 5.5], [2, 3, 0, 5], [0, 0, 1, 1], [0.5, 0, 1, 1], None)),
    *({"bbox": v} for v in ([-1, 3, 4, 5], [-1.5, 3, 4, 5], [19, 3, 4, 5], [17, 3, 4, 5], [0] * 4)),
    *({"bbox": v} for v in (["2", 3, 4, 5], [2, 3, 4], [2, 3, 4, NAN], [2, 3, 4, 1e31], [[2] * 4])),
    *({"bbox": v, "segmentation": None} for v in ([1, 1, 1.5, 2], [10**400, 3, 4, 5], [True] * 4)),
    *({"segmentation": v} for v in ([], None, LINE, [[2, 3, 6, 3, 6]], [[2, 3]])),
    {"segmentation": [2, 3, 6, 3, 6, 8]},
    *({"segmentation": [[2, 3, 6, 3, 6, 8], v]} for v in ([1, 2], [NAN] * 6, ["2"] * 6, LINE[0])),
    *({"segmentation": [v]} for v in ([12, 3, 16, 3, 16, 8], [0.5, 3, 6, 3, 6, 8], [1e6] * 6)),
    {"segmentation": {"size": [12, 20], "counts": [27, 5, 7, 5, 7, 5, 7, 5, 172]}},
    {"segmentation": {"size": [12, 20], "counts": [27, 5]}},
    *({key: v} for key in ("ignore", "difficult", "rotation") for v in (0, 1, 30)),
    {"attributes": {"difficult": True}},
    *({"num_keypoints": v} for v in (2, None, 3.0)),
    *({"keypoints": [*POINTS[:8], v]} for v in (0, 2, 3, 1.0, True, NAN)),
    *({"keypoints": v} for v in ([0, 0, 2, *POINTS[3:]], [], POINTS[:6], [POINTS[:3]] * 3, None)),
]  # fmt: skip


def outcome(entries: list[dict[str, Any]], **options: Any) -> dict[str, Any]:
    settings = {"masks": True, "keypoints": False, "crowds": "regions", **options}
    names = JOINTS if settings["keypoints"] else ()
    info = DatasetInfo("tiny", ("dog", "cat"), (2, 5), keypoint_names=names)
    records = CocoRecords(coco_data(entries), info, QuarantinedPart(), **settings)
    annotations = records.cleaned()["annotations"]
    assert isinstance(annotations, CleanedRecords)
    return {
        "texts": [annotations.text(index) for index in range(len(annotations))],
        "columns": annotations.columns.tolist(),
        "notes": records.notes("file"),
        "counts": [list(counter.items()) for counter in (records.counts, records.crowds)],
        "dropped": list(records.dropped.items()),
    }


@pytest.mark.parametrize("options", (
    {}, {"masks": False}, {"masks": False, "keypoints": True}, {"crowds": "objects"},
), ids=str)  # fmt: skip
@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_an_odd_annotation_among_sound_ones_has_the_same_outcome(
    monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], options: dict[str, Any]
) -> None:
    odd = {**annotation(2, **SOUND), **change}
    odd = {key: value for key, value in odd.items() if value is not None}
    entries = [annotation(1, **SOUND), odd, annotation(3, 3, category_id=2, **SOUND)]
    in_columns = outcome(entries, **options)
    read = ColumnReader.read

    def one_by_one(self: ColumnReader, records: Any) -> Any:
        columns, sound = read(self, records)
        return columns, np.zeros_like(sound)

    monkeypatch.setattr(ColumnReader, "read", one_by_one)
    assert str(in_columns) == str(outcome(entries, **options))  # as text, NaN is NaN


def test_sound_annotations_are_not_read_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [annotation(k, iscrowd=k % 2, **SOUND) for k in range(1, 5)]
    monkeypatch.setattr(CocoRecords, "read", None)
    for options in ({}, {"masks": False, "keypoints": True}):
        found = outcome(entries, **options)
        assert len(found["columns"]) == 4 and found["counts"] == [[(1, 4)], [(1, 2)]]
