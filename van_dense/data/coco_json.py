"""Read a COCO annotation file, and what it says about classes and keypoints.

Source of the format: https://cocodataset.org/#format-data.
"""

from __future__ import annotations

import gc
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from van_dense.dataset_info import DatasetInfo

CocoDict = dict[str, Any]
Record = dict[str, Any]

# Standard deviations of the 17 keypoints of a person, https://cocodataset.org/#keypoints-eval.
COCO_SIGMAS = {
    "nose": 0.026,
    "left_eye": 0.025,
    "right_eye": 0.025,
    "left_ear": 0.035,
    "right_ear": 0.035,
    "left_shoulder": 0.079,
    "right_shoulder": 0.079,
    "left_elbow": 0.072,
    "right_elbow": 0.072,
    "left_wrist": 0.062,
    "right_wrist": 0.062,
    "left_hip": 0.107,
    "right_hip": 0.107,
    "left_knee": 0.087,
    "right_knee": 0.087,
    "left_ankle": 0.089,
    "right_ankle": 0.089,
}
MAX_SIDE = 1_000_000  # pixels
_LISTS = ("images", "annotations", "categories")


@contextmanager
def paused_garbage_collection() -> Iterator[None]:
    """Do not search growing data for cycles: parsing train2017 takes 5 s instead of 14."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@paused_garbage_collection()
def read_coco_json(path: str | Path) -> CocoDict:
    """Parse a COCO annotation file and check what every record must have.

    Values inside of annotations are not judged here: one bad record among many is no reason to
    stop, see ``CocoDataset``.

    Raises:
        ValueError: With file, key and fix, when it is missing, no JSON, or something else.
    """
    try:
        data = json.loads(Path(path).read_bytes())
    except FileNotFoundError:
        raise ValueError(f"{path}: no such annotation file; looked in {Path.cwd()}") from None
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not valid JSON ({error}); is the file complete?") from None
    _check_structure(path, data)
    for index, record in enumerate(data["images"]):
        _check_image(f"{path}: images[{index}]", record)
    for index, record in enumerate(data["categories"]):
        _check_category(f"{path}: categories[{index}]", record)
    ids = [record["id"] for record in data["categories"]]
    if len(set(ids)) < len(ids):
        twice = sorted({i for i in ids if ids.count(i) > 1})
        raise ValueError(f"{path}: the category ids {twice} appear twice; give each class its own")
    return data


def _check_structure(path: str | Path, data: Any) -> None:
    want = f"expected an object with the lists {', '.join(_LISTS)}"
    if isinstance(data, list):
        hint = "a list is a results file of predictions; give the ground truth instead"
        raise ValueError(f"{path}: no COCO annotation file: {want}; {hint}")
    if not isinstance(data, dict):
        raise ValueError(f"{path}: no COCO annotation file: {want}, got {type(data).__name__}")
    for key in _LISTS:
        if key not in data:
            has = ", ".join(map(repr, list(data)[:8])) or "nothing"
            raise ValueError(f"{path}: no COCO annotation file: {key!r} is missing; it holds {has}")
        if not isinstance(data[key], list):
            raise ValueError(f"{path}: {key!r} must be a list, got {type(data[key]).__name__}")
        for index, record in enumerate(data[key]):
            if not isinstance(record, dict):
                raise ValueError(f"{path}: {key}[{index}] must be an object, got {record!r:.80}")
    for key in ("images", "categories"):
        if not data[key]:
            raise ValueError(f"{path}: {key!r} is empty; there is nothing to learn from")
    if data["annotations"] and "segments_info" in data["annotations"][0]:
        raise ValueError(
            f"{path}: a panoptic annotation file; give the file of the instances, such as "
            "instances_train2017.json"
        )


def _check_image(where: str, record: Record) -> None:
    if not isinstance(record.get("id"), int | str):
        raise ValueError(f"{where}: 'id' must be a number or text, got {record.get('id')!r}")
    name = record.get("file_name")
    if not isinstance(name, str) or not name:
        raise ValueError(
            f"{where}: 'file_name' must be a path below the image folder, got {name!r}"
        )
    for key in ("width", "height"):
        side = record.get(key)
        if not isinstance(side, int | float) or not 1 <= side <= MAX_SIDE or side % 1:
            raise ValueError(
                f"{where} ({name}): {key!r} must be a whole number of pixels, got {side!r}; write "
                "the size of the image file there"
            )


def _check_category(where: str, record: Record) -> None:
    if type(record.get("id")) is not int:
        raise ValueError(f"{where}: 'id' must be a whole number, got {record.get('id')!r}")
    if not isinstance(record.get("name"), str):
        raise ValueError(f"{where}: 'name' must be text, got {record.get('name')!r}")
    keypoints = record.get("keypoints", [])
    if not isinstance(keypoints, list) or not all(isinstance(k, str) for k in keypoints):
        raise ValueError(f"{where}: 'keypoints' must be a list of names, got {keypoints!r:.80}")


def dataset_info(path: str | Path, data: CocoDict, name: str) -> DatasetInfo:
    """Classes by ascending category id; keypoints where a category names some.

    Raises:
        ValueError: When categories name different keypoints.
    """
    categories = sorted(data["categories"], key=lambda record: record["id"])
    posed = [record for record in categories if record.get("keypoints")]
    keypoints = tuple(posed[0]["keypoints"]) if posed else ()
    for record in posed:
        if tuple(record["keypoints"]) != keypoints:
            raise ValueError(
                f"{path}: the categories {posed[0]['name']!r} and {record['name']!r} name "
                "different keypoints; one data set has one list of keypoints"
            )
    known = keypoints == tuple(COCO_SIGMAS)
    return DatasetInfo(
        name=name,
        class_names=tuple(record["name"] for record in categories),
        category_ids=tuple(record["id"] for record in categories),
        keypoint_names=keypoints,
        flip_pairs=flip_pairs(keypoints),
        sigmas=tuple(COCO_SIGMAS.values()) if known else (),
        skeleton=_skeleton(path, posed[0]) if posed else (),
    )


def _skeleton(path: str | Path, category: Record) -> tuple[tuple[str, str], ...]:
    """Bones as pairs of names; the file counts keypoints from 1."""
    names, bones = category["keypoints"], category.get("skeleton") or []
    for bone in bones:
        ends = bone if isinstance(bone, list) and len(bone) == 2 else [None]
        if not all(type(end) is int and 1 <= end <= len(names) for end in ends):
            raise ValueError(
                f"{path}: category {category['name']!r}: the bone {bone!r} of its skeleton is no "
                f"pair of keypoint numbers from 1 to {len(names)}"
            )
    return tuple((names[a - 1], names[b - 1]) for a, b in bones)


def flip_pairs(names: tuple[str, ...]) -> tuple[tuple[str, str], ...] | None:
    """Pairs of names that differ in left and right alone, each as (left, right).

    Returns:
        None when there is no such pair or when a name lacks its twin: then nobody knows what swaps.
    """
    sides = [name for name in names if re.search("left|right", name, re.IGNORECASE)]
    twins = {"left": "right", "Left": "Right", "LEFT": "RIGHT"}
    pairs = [
        (name, re.sub("left", lambda match: twins[match[0]], name, flags=re.IGNORECASE))
        for name in sides
        if re.search("left|Left|LEFT", name)
    ]
    complete = len(sides) == 2 * len(pairs) and all(right in names for _, right in pairs)
    return tuple(pairs) if pairs and complete else None
