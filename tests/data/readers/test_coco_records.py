"""CocoRecords: what is read, derived, and left out is one judgement for reader, doctor and eval."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from helpers.coco_folder import annotation, coco_data, write_coco

from van_dense.core.dataset_info import DatasetInfo
from van_dense.data.doctor.doctor import CocoPart, check_dataset
from van_dense.data.readers.coco import CocoDataset
from van_dense.data.readers.coco_records import CocoRecords
from van_dense.data.readers.quarantine import Quarantine, QuarantinedPart

NAN, INF = float("nan"), float("inf")
POINTS = [3, 4, 2, 5, 4, 2, 4, 7, 1]
JOINTS = ["left_ear", "right_ear", "tail"]
RUNS = {"size": [12, 20], "counts": [27, 5, 7, 5, 7, 5, 7, 5, 172]}  # of the square


def records(
    annotations: list[dict[str, Any]], *, images: Any = None, joints: int = 0, **options: Any
) -> CocoRecords:
    data = coco_data(annotations)
    data["images"] = images or data["images"]
    info = DatasetInfo("tiny", ("dog", "cat"), (2, 5), keypoint_names=tuple(JOINTS[:joints]))
    settings: dict[str, Any] = {"masks": True, "keypoints": joints > 0, "crowds": "regions"}
    return CocoRecords(data, info, QuarantinedPart(), **{**settings, **options})


def only(found: CocoRecords) -> dict[str, Any]:
    (cleaned,) = found.cleaned()["annotations"]
    return cleaned


# ----------------------------------------------------------------------------- broken records

BROKEN_ANNOTATIONS: list[tuple[str, dict[str, Any]]] = [
    *(("image", {"image_id": v}) for v in (99, "x", True, None, [1], {}, 1.5, NAN, -1, "1.0")),
    *(("category", {"category_id": v}) for v in (99, "cat", True, None, [5], {}, 5.5, NAN, "5.0")),
    *(("box", {"bbox": v}) for v in ("2 3 4 5", 7, {"x": 2}, True, [2, 3, 4], [2, 3, 4, 5, 6])),
    *(("box", {"bbox": [2, v, 4, 5]}) for v in (NAN, INF, -INF, None, "x", True, [1], 10**400)),
    *(("box", {"bbox": v}) for v in ([2, 3, 0, 5], [2, 3, 4, 0], [2, 3, -4, 5], [2, 3, 4, -5])),
    *(("box", {"bbox": v}) for v in ([20, 3, 4, 5], [2, 12, 4, 5], [-9, 3, 4, 5], [2, -9, 4, 5])),
    *(("box", {"bbox": v}) for v in ([0.1, 0.2, 0.2, 0.4], [0.5, 0.5, 1, 1], [0, 0, 1, 1])),
    ("box", {"bbox": None, "segmentation": None}),
    ("box", {"bbox": [], "segmentation": []}),
    *(("mask", {"segmentation": v}) for v in ([], None, "text", 7, {}, [[]], [7], [[1, 2, 3]])),
    *(("mask", {"segmentation": [[2, 3, 6, 3, 6, v]]}) for v in (NAN, INF, None, "8", 1e9, [8])),
    *(("mask", {"segmentation": {**RUNS, "counts": v}}) for v in ([240, 1], [27, 5], [-1, 241])),
    *(("mask", {"segmentation": {**RUNS, "counts": v}}) for v in ([120.5, 119.5], "11", "é", 7)),
    *(("mask", {"segmentation": {**RUNS, "size": v}}) for v in ([20, 12], [12], None, "12x20")),
    ("mask", {"segmentation": {**RUNS, "counts": [240]}}),  # nothing
    *(("mask", {"segmentation": [v]}) for v in ([40, 40, 50, 40, 50, 50], [0, 0, 1, 0, 1, 1])),
    *(("crowd", {"iscrowd": v}) for v in (2, -1, 0.5, "maybe", [1], {}, NAN)),
    *(("joints", {"keypoints": v}) for v in ("text", 7, {}, [3, 4, 2], POINTS[:8], [*POINTS, 0])),
    *(("joints", {"keypoints": [*POINTS[:8], v]}) for v in (3, -1, 0.9, True, "2", NAN)),
    *(("joints", {"keypoints": [v, *POINTS[1:]]}) for v in (NAN, INF, None, "3", [3], True)),
]
BROKEN_IMAGES: list[dict[str, Any]] = [
    *({"id": v} for v in (None, True, [2], {}, 2.5, NAN)),
    *({"file_name": v} for v in (None, "", 7, ["2.png"])),
    *({"width": v} for v in (None, 0, -20, 20.5, "x", NAN, True, 1e9, [20])),
    *({"height": v} for v in (None, 0, INF)),
]


def check_broken(root: Path, data: dict[str, Any], place: str) -> None:
    """The record is named, the reader leaves it out alone, and quarantine leaves sound files."""
    images, file = write_coco(root, coco_data([]))
    file.write_text(json.dumps(data))
    part = CocoPart("train", str(images), str(file))
    report = check_dataset([part])
    errors = [problem for problem in report.problems if problem.severity == "error"]
    assert [problem for problem in errors if problem.where.startswith(place)]
    dataset = CocoDataset(images, file, name="tiny", drop_empty=False)
    assert sum(len(dataset.instances(i)) for i in range(len(dataset))) == 2
    assert any("left out: 1 " in note for note in dataset.notes)
    kept = dataset.coco_dict()["annotations"]
    assert [record["id"] for record in kept] == [1, 3]
    report.quarantine().save(root / "bad.json")
    quarantine = Quarantine.load(root / "bad.json")
    assert check_dataset([part], quarantine=quarantine).num_errors == 0
    again = CocoDataset(images, file, name="tiny", drop_empty=False, quarantine=quarantine)
    assert not any("left out: 1 " in note for note in again.notes)
    assert sum(len(again.instances(i)) for i in range(len(again))) == 2


@pytest.mark.parametrize(("kind", "changes"), BROKEN_ANNOTATIONS, ids=str)
def test_a_broken_annotation_is_named_left_out_and_quarantined(
    tmp_path: Path, kind: str, changes: dict[str, Any]
) -> None:
    sound = {"keypoints": POINTS, "num_keypoints": 3} if kind == "joints" else {}
    broken = {**annotation(2, 2, **sound), **changes}
    data = coco_data([annotation(1, **sound), broken, annotation(3, 3, **sound)])
    if kind == "joints":
        data["categories"][0]["keypoints"] = JOINTS
    check_broken(tmp_path, data, "annotations[1] (id 2)")


@pytest.mark.parametrize("changes", BROKEN_IMAGES, ids=str)
def test_a_broken_image_record_is_named_left_out_and_quarantined(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    data = coco_data([annotation(1), annotation(2, 2), annotation(3, 3)])
    data["images"][1] |= changes
    check_broken(tmp_path, data, "images[1]")


def test_all_broken_image_records_are_listed(tmp_path: Path) -> None:
    data = coco_data([annotation(1)])
    data["images"][1]["width"], data["images"][2]["id"] = 0, None
    images, file = write_coco(tmp_path, coco_data([]))
    file.write_text(json.dumps(data))
    problems = check_dataset([CocoPart("train", str(images), str(file))]).problems
    assert [p.record for p in problems if p.severity == "error"] == ["images[1]", "images[2]"]


def test_a_broken_annotation_does_not_take_a_sound_one_of_the_same_id_along(
    tmp_path: Path,
) -> None:
    data = coco_data([annotation(1), annotation(1, 2, bbox=[2, 3, 0, 5])])
    images, file = write_coco(tmp_path, data)
    report = check_dataset([CocoPart("train", str(images), str(file))])
    again = CocoDataset(images, file, name="tiny", drop_empty=False, quarantine=report.quarantine())
    assert len(again.instances(0)) == 1 and not any("left out: 1 " in n for n in again.notes)


# ------------------------------------------------------------------------------ what is not read


@pytest.mark.parametrize("kind", ["mask", "joints"])
def test_what_is_not_read_is_not_judged(kind: str) -> None:
    changes = [changes for name, changes in BROKEN_ANNOTATIONS if name == kind]
    found = records([annotation(n, **c) for n, c in enumerate(changes, 1)], masks=False)
    assert len(found.cleaned()["annotations"]) == len(changes) and not found.dropped


@pytest.mark.parametrize(
    ("stated", "read"),
    [
        (POINTS, POINTS),
        ([0, 0, 0, *POINTS[3:]], [0, 0, 0, *POINTS[3:]]),
        ([None, None, 0, *POINTS[3:]], [0, 0, 0, *POINTS[3:]]),
        ([NAN, NAN, 0, *POINTS[3:]], [0, 0, 0, *POINTS[3:]]),
        ([None, None, None, *POINTS[3:]], [0, 0, 0, *POINTS[3:]]),
        ([], [0] * 9),
        (None, [0] * 9),
    ],
)
def test_unlabelled_joints_may_hold_anything(stated: Any, read: list[float]) -> None:
    found = records([{**annotation(1), "keypoints": stated}], joints=3)
    assert only(found)["keypoints"] == read
    assert only(found)["num_keypoints"] == sum(v > 0 for v in read[2::3])


def test_num_keypoints_are_counted_anew_where_they_contradict() -> None:
    found = records([annotation(1, keypoints=POINTS, num_keypoints=0)], joints=3)
    assert only(found)["num_keypoints"] == 3
    assert any("num_keypoints contradict" in note for note in found.notes("a.json"))


# --------------------------------------------------------------------------- crowds, ids, boxes


@pytest.mark.parametrize(
    ("stated", "crowd"),
    [
        *((v, 0) for v in (0, 0.0, False, None, "0", "false", "False", "", "no")),
        *((v, 1) for v in (1, 1.0, True, "1", "true", "TRUE", "yes")),
    ],
)
def test_iscrowd_is_read_where_it_means_one_thing(stated: Any, crowd: int) -> None:
    found = records([annotation(1) | {"iscrowd": stated}])
    assert only(found)["iscrowd"] == crowd
    changes = ["values of iscrowd are text, and read as 0 or 1"] * isinstance(stated, str)
    assert list(found.changes) == changes


def test_a_class_of_which_most_are_crowds_has_a_word() -> None:
    cats = [annotation(n, iscrowd=0) for n in range(1, 41)]
    dogs = [annotation(n, category_id=2, iscrowd=int(n < 43)) for n in range(41, 44)]
    found = records([*cats, *dogs])
    list(found.usable())
    (warning,) = found.warnings()
    assert "2 of 43 annotations are crowd regions" in warning
    assert "evaluated: 2 of 3 dog;" in warning
    few = records([*cats, *dogs, annotation(44, category_id=2)])
    list(few.usable())
    assert few.warnings() == [] and "2 crowd regions" in few.remarks()[0]


@pytest.mark.parametrize(
    ("polygon", "empty"),
    [
        ([2, 3, 6, 3, 2, 3], True),
        ([2, 3, 6, 8, 2, 3], True),
        ([2.0, 3.0, 6.0, 8.0, 5.9, 8.0], True),
        ([2, 3, 6, 3, 6, 8], False),
        ([2, 3, 3, 3, 3, 4, 2, 4], False),
    ],
)
def test_masks_without_a_pixel_are_counted(polygon: list[float], empty: bool) -> None:
    found = records([annotation(1, segmentation=[polygon]), annotation(2)])
    assert len(list(found.usable())) == 2
    assert any("1 mask has no pixel" in what for what in found.warnings()) == empty
    boxes = records([annotation(1, segmentation=[polygon])], masks=False)
    list(boxes.usable())
    assert not boxes.changes, "no masks are read"


def test_crowds_can_be_read_as_objects_and_are_counted_by_class() -> None:
    data = [annotation(1, iscrowd=1, segmentation=RUNS), annotation(2, 2), annotation(3, 3)]
    regions = records(data)
    assert [a["iscrowd"] for a in regions.cleaned()["annotations"]] == [1, 0, 0]
    (note,) = regions.notes("a.json")
    assert "1 of 3 annotations are crowd regions" in note and "1 of 3 cat" in note
    objects = records(data, crowds="objects")
    assert [a["iscrowd"] for a in objects.cleaned()["annotations"]] == [0, 0, 0]
    assert objects.notes("a.json") == [
        "a.json: 1 crowd region (iscrowd 1) is read as objects: data.crowds"
    ]


def test_ids_are_found_as_text_and_as_number_and_never_as_true() -> None:
    found = records([annotation(1, image_id="1"), annotation(2, image_id=2.0, category_id="5")])
    assert [(a["image_id"], a["category_id"]) for a in found.cleaned()["annotations"]] == [
        (1, 5),
        (2, 5),
    ]


@pytest.mark.parametrize(
    ("changes", "box"),
    [
        ({"bbox": ["2", "3", "4", "5.5"]}, [2, 3, 4, 5.5]),
        ({"bbox": None}, [2, 3, 4, 5]),
        ({"bbox": [0, 0, 0, 0], "segmentation": RUNS}, [2, 3, 4, 5]),
        ({"bbox": [], "segmentation": None, "keypoints": POINTS}, [3, 4, 2, 3]),
    ],
)
def test_a_missing_box_is_derived(changes: dict[str, Any], box: list[float]) -> None:
    found = records([annotation(1, **changes)], joints=3, masks=False)
    assert only(found)["bbox"] == pytest.approx(box)


# ---------------------------------------------------------------------------------------- area


@pytest.mark.parametrize("area", [0, 1, -1, 240, None, "x", NAN, INF, True, [], 10**400, 0.05])
def test_an_area_that_cannot_be_right_is_that_of_mask_or_box(area: Any) -> None:
    plain = annotation(1, bbox=[2, 3, 8, 4], segmentation=None)
    drawn = annotation(2, 2, bbox=[2, 3, 8, 4], segmentation=[[2, 3, 6, 3, 6, 7, 2, 7]])
    found = records([{**plain, "area": area}, {**drawn, "area": area}], masks=False)
    assert [a["area"] for a in found.cleaned()["annotations"]] == [32, 16]
    (note,) = found.notes("a.json")
    assert "2 areas cannot be right, and are taken from the mask or else the box" in note


@pytest.mark.parametrize("area", [20, 20.0, 3.5, 40, 0.5])
def test_an_area_that_can_be_right_stays(area: float) -> None:
    found = records([annotation(1, area=area)])
    assert only(found)["area"] == area and not found.changes


def test_a_small_area_stays_where_the_mask_is_as_small() -> None:
    thin = [[0, 0, 20, 11.9, 20, 12, 0, 0.1]]
    found = records([annotation(1, bbox=[0, 0, 20, 12], segmentation=thin, area=2.0)])
    assert only(found)["area"] == 2.0 or found.changes  # the mask decides


def test_area_as_text_is_read() -> None:
    assert only(records([annotation(1, area="17.5")]))["area"] == 17.5


# ------------------------------------------------------------------------------ without files


def test_boxes_need_neither_names_nor_sizes_of_images() -> None:
    images = [{"id": 1, "width": 0, "height": 0}, {"id": 2}, {"id": 3, "width": None}]
    found = records([annotation(1), annotation(2, 2)], images=images, masks=False, files=False)
    assert len(found.cleaned()["annotations"]) == 2
    assert [(i["width"], i["height"]) for i in found.images] == [(0, 0)] * 3


def test_the_parsed_file_is_left_unchanged() -> None:
    data = [annotation(1, area="20", iscrowd="1"), annotation(2, bbox=None)]
    before = copy.deepcopy(data)
    found = records(data)
    first = found.cleaned()
    assert data == before and found.cleaned() == first
