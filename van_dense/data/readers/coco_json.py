"""Parse a COCO annotation file, and what it says about classes and keypoints.

Source of the format: https://cocodataset.org/#format-data.
"""

import logging
import re
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from van_dense.core.dataset_info import DatasetInfo
from van_dense.data.io.file_records import FileRecords
from van_dense.data.io.json_file import paused_garbage_collection
from van_dense.data.io.json_stream import stream_json
from van_dense.data.io.packed_records import PackedRecords
from van_dense.data.readers.foreign import COCO, PANOPTIC, RESULTS, name_of_json, way_in
from van_dense.data.readers.pose_lists import name_pose_list
from van_dense.data.readers.skeleton_file import check_order, read_bones

logger = logging.getLogger(__name__)

CocoDict = dict[str, Any]
Record = dict[str, Any]

# fmt: off
# Standard deviations of the 17 keypoints of a person, https://cocodataset.org/#keypoints-eval.
COCO_SIGMAS = {
    "nose": 0.026, "left_eye": 0.025, "right_eye": 0.025, "left_ear": 0.035, "right_ear": 0.035,
    "left_shoulder": 0.079, "right_shoulder": 0.079, "left_elbow": 0.072, "right_elbow": 0.072,
    "left_wrist": 0.062, "right_wrist": 0.062, "left_hip": 0.107, "right_hip": 0.107,
    "left_knee": 0.087, "right_knee": 0.087, "left_ankle": 0.089, "right_ankle": 0.089,
}
COCO_BONES = (  # pairs counted from 1, as in the official person_keypoints files
    (16, 14), (14, 12), (17, 15), (15, 13), (12, 13), (6, 12), (7, 13), (6, 7), (6, 8), (7, 9),
    (8, 10), (9, 11), (2, 3), (1, 2), (1, 3), (2, 4), (3, 5), (4, 6), (5, 7),
)
# fmt: on
# Category id and name of instances_{train,val}2017.json; the ids have gaps.
_THINGS = (
    "1 person; 2 bicycle; 3 car; 4 motorcycle; 5 airplane; 6 bus; 7 train; 8 truck; 9 boat; "
    "10 traffic light; 11 fire hydrant; 13 stop sign; 14 parking meter; 15 bench; 16 bird; 17 "
    "cat; 18 dog; 19 horse; 20 sheep; 21 cow; 22 elephant; 23 bear; 24 zebra; 25 giraffe; 27 "
    "backpack; 28 umbrella; 31 handbag; 32 tie; 33 suitcase; 34 frisbee; 35 skis; 36 "
    "snowboard; 37 sports ball; 38 kite; 39 baseball bat; 40 baseball glove; 41 skateboard; "
    "42 surfboard; 43 tennis racket; 44 bottle; 46 wine glass; 47 cup; 48 fork; 49 knife; 50 "
    "spoon; 51 bowl; 52 banana; 53 apple; 54 sandwich; 55 orange; 56 broccoli; 57 carrot; 58 "
    "hot dog; 59 pizza; 60 donut; 61 cake; 62 chair; 63 couch; 64 potted plant; 65 bed; 67 "
    "dining table; 70 toilet; 72 tv; 73 laptop; 74 mouse; 75 remote; 76 keyboard; 77 cell "
    "phone; 78 microwave; 79 oven; 80 toaster; 81 sink; 82 refrigerator; 84 book; 85 clock; "
    "86 vase; 87 scissors; 88 teddy bear; 89 hair drier; 90 toothbrush "
)
MAX_SIDE = 1_000_000  # pixels
_LISTS = ("images", "annotations", "categories")


def read_coco_json(path: str | Path, *, in_file: bool = False) -> CocoDict:
    """Parse a COCO annotation file; a ValueError with file, key and fix where it is no such file.

    Values inside of images and annotations are not judged here: one bad record among many is no
    reason to stop, see ``CocoRecords``.

    Args:
        path: The file.
        in_file: Leave the annotations in the file where that is possible: see ``FileRecords``.
    """
    data = read_coco_lists(path, in_file=in_file)
    if data["annotations"] and "segments_info" in data["annotations"][0]:
        fix = "give the file of the instances, such as instances_train2017.json"
        raise ValueError(f"{path}: a panoptic annotation file; {fix}")
    return data


@paused_garbage_collection()
def read_coco_lists(path: str | Path, *, in_file: bool = False) -> CocoDict:
    """Parse a file of images, categories and any kind of annotations, which are objects.

    Annotations are packed, or stay in the file: see ``PackedRecords`` and ``FileRecords``.

    A ValueError names file, key and fix where there is something else; categories are checked,
    images and annotations are not looked into.
    """
    stays = in_file and FileRecords.can_read(path)
    records: FileRecords | PackedRecords = FileRecords(path) if stays else PackedRecords()
    try:
        data = stream_json(path, "annotation file", records, key="annotations")
    except ValueError as error:
        raise ValueError(f"{error}{way_in(path, read_as=COCO)}") from None
    _check_structure(path, data)
    for index, record in enumerate(data["categories"]):
        _check_category(f"{path}: categories[{index}]", record)
    ids = [record["id"] for record in data["categories"]]
    if len(set(ids)) < len(ids):
        twice = sorted({i for i in ids if ids.count(i) > 1})
        raise ValueError(f"{path}: the category ids {twice} appear twice; give each class its own")
    return data


def _check_structure(path: str | Path, data: Any) -> None:
    problem = f"{path}: no COCO annotation file"
    expected = f"expected an object with the lists {', '.join(_LISTS)}"
    foreign = name_of_json(data)
    if foreign not in (None, COCO, PANOPTIC, RESULTS):
        raise ValueError(f"{problem}: {expected}; {foreign}")
    if isinstance(data, list):
        hint = name_pose_list(data)
        hint = hint or "a list is a results file of predictions; give the ground truth instead"
        raise ValueError(f"{problem}: {expected}; {hint}")
    if not isinstance(data, dict):
        raise ValueError(f"{problem}: {expected}, got {type(data).__name__}")
    for key in _LISTS:
        if key not in data:
            has = ", ".join(map(repr, list(data)[:8])) or "nothing"
            raise ValueError(f"{problem}: {key!r} is missing; it holds {has}")
        records = data[key]
        if isinstance(records, PackedRecords | FileRecords):
            index = records.first_other
        elif isinstance(records, list):
            others = (i for i, record in enumerate(records) if not isinstance(record, dict))
            index = next(others, None)
        else:
            raise ValueError(f"{path}: {key!r} must be a list, got {type(records).__name__}")
        if index is not None:
            what = f"{key}[{index}] must be an object, got {records[index]!r:.80}"
            raise ValueError(f"{path}: {what}")
    for key in ("images", "categories"):
        if not data[key]:
            raise ValueError(f"{path}: {key!r} is empty; there is nothing to learn from")


def _check_category(where: str, record: Record) -> None:
    if type(record.get("id")) is not int:
        raise ValueError(f"{where}: 'id' must be a whole number, got {record.get('id')!r}")
    if not isinstance(record.get("name"), str):
        raise ValueError(f"{where}: 'name' must be text, got {record.get('name')!r}")


@dataclass(frozen=True)
class Skeleton:
    """What a data set does not say about its keypoints, or says otherwise; all by name."""

    keypoints: tuple[str, ...]  #: K names, in the order of the annotations
    #: Pairs that swap under a flip; None finds those that differ in left and right.
    flip_pairs: tuple[tuple[str, str], ...] | None = None
    #: K standard deviations of OKS, in units of sqrt(area); None takes the mean of COCO's.
    sigmas: tuple[float, ...] | None = None
    bones: tuple[tuple[str, str], ...] = ()  #: pairs to join when drawing
    upper_body: tuple[str, ...] = ()  #: keypoints of the upper half; empty where nobody knows
    head: tuple[str, ...] = ()  #: keypoints of the head; empty where nobody knows


_NAMES = tuple(COCO_SIGMAS)
COCO_SKELETON = Skeleton(
    keypoints=_NAMES,
    sigmas=tuple(COCO_SIGMAS.values()),
    bones=tuple((_NAMES[a - 1], _NAMES[b - 1]) for a, b in COCO_BONES),
    upper_body=_NAMES[:11],  # to the wrists: mmpose 0.x, configs/_base_/datasets/coco.py
    head=_NAMES[:5],
)


def coco_info() -> DatasetInfo:
    """Describe COCO's 80 things, for models that are built without their data set at hand."""
    ids, names = split_categories(_THINGS)
    return DatasetInfo("coco", names, ids)


def split_categories(text: str) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Ids and names of a text such as "1 person; 2 bicycle"."""
    ids, names = zip(*(entry.split(maxsplit=1) for entry in text.split(";")), strict=True)
    return tuple(map(int, ids)), tuple(name.strip() for name in names)


def coco_person(skeleton: Skeleton | None = None) -> DatasetInfo:
    """Describe poses without reading a file: COCO's persons, or objects of another skeleton."""
    name, label = ("coco_keypoints", "person") if skeleton is None else ("keypoints", "object")
    return DatasetInfo(name, (label,), (1,), **_fields(skeleton or COCO_SKELETON))


def dataset_info(
    path: str | Path,
    data: CocoDict,
    name: str,
    skeleton: Skeleton | None = None,
    *,
    keypoints: bool = True,
) -> DatasetInfo:
    """Classes by ascending category id, without ``empty_root``; keypoints where one names some.

    Categories that name different keypoints are a ValueError, as are keypoints that are not those
    of ``skeleton`` one by one. Bones that cannot be are left out: see ``skeleton_notes``.

    Args:
        path: Annotation file, for messages.
        data: Content of the file, as ``read_coco_json`` returns it.
        name: Name of the data set in titles and logs.
        skeleton: Keypoints of the annotations, instead of what the file says about them.
        keypoints: Whether keypoints are read; nothing is asked of them otherwise.
    """
    root = empty_root(data)
    classes = [record for record in data["categories"] if record is not root]
    categories = sorted(classes, key=lambda record: record["id"])
    names = tuple(record["name"] for record in categories)
    ids = tuple(record["id"] for record in categories)
    if not keypoints:
        return DatasetInfo(name, names, ids)
    posed = posed_categories(data)
    for record in posed:
        _check_joints(path, record)
        if skeleton is not None:
            check_order(str(path), record["name"], record["keypoints"], skeleton.keypoints)
        elif record["keypoints"] != posed[0]["keypoints"]:
            what = f"the categories {posed[0]['name']!r} and {record['name']!r} name different"
            fix = "one data set has one list of keypoints; keep the categories of one list"
            lists = f"{posed[0]['keypoints']} and {record['keypoints']}"
            raise ValueError(f"{path}: {what} keypoints, {lists}; {fix}")
    if skeleton is not None:
        _check_counts(path, data, skeleton)
    elif posed:
        joints = tuple(posed[0]["keypoints"])
        bones, _ = read_bones(joints, posed[0].get("skeleton"))
        known = COCO_SKELETON if joints == COCO_SKELETON.keypoints else Skeleton(joints)
        skeleton = replace(known, bones=bones or known.bones)
    return DatasetInfo(name, names, ids, **({} if skeleton is None else _fields(skeleton)))


def empty_root(data: CocoDict) -> Record | None:
    """The category that Roboflow writes above all classes, number 0, or None.

    It is the super-category of all others, has none itself, and no annotation is one of it.
    """
    for record in data["categories"]:
        name, above = record["name"], record.get("supercategory")
        others = [other for other in data["categories"] if other is not record]
        is_root = record["id"] == 0 and others and above in (None, "", "none", "root", name)
        if is_root and all(other.get("supercategory") == name for other in others):
            used = any(a.get("category_id") in (0, "0") for a in data["annotations"])
            return None if used else record
    return None


def root_words(root: Record) -> str:
    """What is to be said of an empty root category."""
    what = f"the category {root['name']!r} (id {root['id']}) stands above all others and has no "
    return f"{what}instance, as Roboflow writes it; it is no class to learn"


def _check_counts(path: str | Path, data: CocoDict, skeleton: Skeleton) -> None:
    """ValueError where all annotations agree about another number of joints than the names."""
    lists = (a.get("keypoints") for a in data["annotations"])
    counts = {len(points) / 3 for points in lists if isinstance(points, list) and points}
    if len(counts) == 1 and (count := counts.pop()) != len(skeleton.keypoints) and count % 1 == 0:
        names = f"data.skeleton names {len(skeleton.keypoints)}: {list(skeleton.keypoints)}"
        fix = "name as many, in the order of the annotations, in data.skeleton.keypoints"
        raise ValueError(f"{path}: its annotations have {count:g} joints, {names}; {fix}")


def posed_categories(data: CocoDict) -> list[Record]:
    """Categories that name keypoints, by ascending id."""
    posed = [record for record in data["categories"] if record.get("keypoints")]
    return sorted(posed, key=lambda record: record["id"])


def skeleton_notes(path: str | Path, data: CocoDict, skeleton: Skeleton | None) -> list[str]:
    """What ``dataset_info`` changes or leaves out of the bones of a file, a sentence for each.

    Where ``skeleton`` stands in for the file, its bones are not read.
    """
    notes = []
    for record in posed_categories(data) if skeleton is None else ():
        _, problem = read_bones(record["keypoints"], record.get("skeleton"))
        if problem is not None:
            fix = "data.skeleton.bones can name the right ones"
            notes.append(f"{path}: category {record['name']!r}: {problem}; {fix}")
    return notes


def with_sigmas(info: DatasetInfo) -> DatasetInfo:
    """Give every joint the mean of COCO's sigmas if the data set has none, with a warning."""
    if info.sigmas or not info.keypoint_names:
        return info
    return replace(info, sigmas=_mean_sigmas(info.name, len(info.keypoint_names)))


@cache  # both parts of a data set and its model ask, and one warning is enough
def _mean_sigmas(name: str, count: int) -> tuple[float, ...]:
    mean = round(sum(COCO_SIGMAS.values()) / len(COCO_SIGMAS), 3)
    what = (
        "data set %r has no sigmas for its %d keypoints, so OKS takes %g for each, the mean of "
        "COCO's; give data.skeleton.sigmas for an AP that compares with others"
    )
    logger.warning(what, name, count, mean)
    return (mean,) * count


def _fields(skeleton: Skeleton) -> dict[str, Any]:
    """The part of a ``DatasetInfo`` that a skeleton describes."""
    pairs, names = skeleton.flip_pairs, skeleton.keypoints
    if twice := sorted({name for name in names if names.count(name) > 1}):
        what = f"the keypoints {twice} are named twice in {list(names)}"
        raise ValueError(f"{what}; give each its own name, in the file or in data.skeleton")
    return {
        "keypoint_names": skeleton.keypoints,
        "flip_pairs": flip_pairs(skeleton.keypoints) if pairs is None else pairs,
        "sigmas": skeleton.sigmas or (),
        "skeleton": skeleton.bones,
        "upper_body": skeleton.upper_body,
        "head": skeleton.head,
    }


def _check_joints(path: str | Path, category: Record) -> None:
    keypoints = category["keypoints"]
    if not isinstance(keypoints, list) or not all(isinstance(k, str) for k in keypoints):
        what = f"'keypoints' must be a list of names, got {keypoints!r:.80}"
        raise ValueError(f"{path}: category {category['name']!r}: {what}")


def flip_pairs(names: tuple[str, ...]) -> tuple[tuple[str, str], ...] | None:
    """Pairs of names that differ in left and right alone, each as (left, right).

    None when there is no pair or when a name lacks its twin: then nobody knows what swaps.
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
