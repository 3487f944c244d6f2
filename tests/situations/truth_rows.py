"""Skeletons, crowded images, and saved predictions with their annotations."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from helpers.coco_folder import SQUARE, annotation, coco_data, write_coco
from situations.situation import Situation, run

from van_dense.data.readers.coco_json import COCO_SIGMAS

TITLE = "Skeletons, crowded images and saved predictions"

PAWS = ["left_paw", "right_paw", "tail"]
SEEN = [3, 4, 2, 9, 4, 2, 6, 10, 2]
Make = Callable[[Path], None]


# ------------------------------------------------------------------------------------------ poses


def _poses(
    names: list[str] | None, changes: dict[str, Any] | None = None, **category: Any
) -> dict[str, Any]:
    """Two images of a dog each, the second with changes (None removes a key)."""
    count = len(SEEN) if names is None or len(names) == 3 else 3 * len(names)
    seen = (SEEN * 17)[:count]
    record = {"category_id": 1, "bbox": [2, 3, 9, 8], "area": 60.0, "iscrowd": 0, "keypoints": seen}
    annotations = [{"id": i, "image_id": i, **record} for i in (1, 2)]
    annotations[1] |= changes or {}
    annotations[1] = {k: v for k, v in annotations[1].items() if v is not None}
    named = {} if names is None else {"keypoints": names}
    images = [{"id": i, "file_name": f"{i}.png", "width": 20, "height": 12} for i in (1, 2)]
    categories = [{"id": 1, "name": "dog", **named, **category}]
    return {"images": images, "annotations": annotations, "categories": categories}


def _parts(data: dict[str, Any]) -> Make:
    def make(root: Path) -> None:
        for part, seed in (("train", 1), ("val", 2)):
            write_coco(root / part, data, seed=seed)

    return make


def _check(project: str, *overrides: str) -> tuple[str, ...]:
    paths = [
        f"data.{part}.{key}={part}/{value}"
        for part in ("train", "val")
        for key, value in (("images", "images"), ("annotations", "annotations.json"))
    ]
    return ("check", "--config", project, "--quiet", *paths, *overrides)


PERSONS = _check("pose_van_b0_256x192")
DOGS = (
    *PERSONS,
    "data.skeleton={keypoints: [left_paw, right_paw, tail]}",
    "data.transforms.half_body=0",
)
COCO_NAMES = list(COCO_SIGMAS)
BOWL = {"id": 2, "name": "bowl"}
UNLABELLED = "1 object has no list of keypoints, so no labelled joint"


def _with_bowl() -> dict[str, Any]:
    data = _poses(PAWS, {"category_id": 2, "keypoints": None})
    return {**data, "categories": [*data["categories"], BOWL]}


def _two_skeletons() -> dict[str, Any]:
    data = _poses(PAWS)
    cat = {"id": 2, "name": "cat", "keypoints": PAWS[::-1]}
    return {**data, "categories": [*data["categories"], cat]}


SKELETONS = [
    Situation("joints as in data.skeleton", _parts(_poses(PAWS)), DOGS, "2 images, 2 objects"),
    Situation(
        "joints in another order than in data.skeleton",
        _parts(_poses(["tail", "left_paw", "right_paw"])),
        DOGS,
        "nothing",
        ("the same names in another order", "data.skeleton.keypoints=[tail, left_paw, right_paw]"),
        exit_code=1,
        objects=2,
    ),
    Situation(
        "left and right exchanged against data.skeleton",
        _parts(_poses(["right_paw", "left_paw", "tail"])),
        DOGS,
        "nothing",
        ("left and right are exchanged",),
        exit_code=1,
        objects=2,
    ),
    Situation(
        "other joints than in data.skeleton",
        _parts(_poses(["hoof", "horn", "nose"])),
        DOGS,
        "nothing",
        ("other names, such as 'hoof'",),
        exit_code=1,
        objects=2,
    ),
    Situation(
        "more joints in the annotations than in data.skeleton, and no names",
        _parts(_poses(None, keypoints=[])),
        (*DOGS, "data.skeleton={keypoints: [left_paw, right_paw]}"),
        "nothing",
        ("its annotations have 3 joints, data.skeleton names 2",),
        exit_code=1,
        objects=2,
    ),
    Situation(
        "joints that differ in case and blanks alone",
        _parts(_poses(["Left Paw", "right-paw", "TAIL"])),
        DOGS,
        "2 images, 2 objects",
    ),
    Situation(
        "joints of a dog without data.skeleton",
        _parts(_poses(PAWS)),
        PERSONS,
        "nothing",
        ("data.skeleton={keypoints: [left_paw, right_paw, tail]}",),
        exit_code=1,
        objects=2,
    ),
    Situation(
        "a class without keypoints beside one with them",
        _parts(_with_bowl()),
        DOGS,
        "1 image, 1 object",
        (UNLABELLED,),
        objects=2,
    ),
    Situation(
        "an object without a list of keypoints",
        _parts(_poses(PAWS, {"keypoints": None})),
        DOGS,
        "1 image, 1 object",
        (UNLABELLED,),
        objects=2,
    ),
    Situation(
        "two classes with their joints in different orders",
        _parts(_two_skeletons()),
        DOGS,
        "nothing",
        ("category 'cat' has the keypoints ['tail', 'right_paw', 'left_paw']",),
        exit_code=1,
        objects=2,
    ),
    Situation(
        "bones that point past the joints",
        _parts(_poses(COCO_NAMES, skeleton=[[1, 2], [17, 18]])),
        PERSONS,
        "2 images, 2 objects",
        ("1 of 2 bones are no pairs of keypoint numbers from 1 to 17", "data.skeleton.bones"),
    ),
    Situation(
        "bones that count the joints from 0",
        _parts(_poses(COCO_NAMES, skeleton=[[0, 1], [15, 16]])),
        PERSONS,
        "2 images, 2 objects",
        ("its bones count the keypoints from 0, the format from 1; they are read so",),
    ),
    Situation(
        "a joint that is named twice",
        _parts(_poses(["paw", "paw", "tail"])),
        PERSONS,
        "nothing",
        ("['paw'] are named twice",),
        exit_code=1,
        objects=2,
    ),
]


# ---------------------------------------------------------------------------------------- crowded


def _grid(count: int) -> dict[str, Any]:
    """Small boxes of one class on one image."""
    boxes = [[i % 18, i // 18, 2, 2] for i in range(count)]
    return coco_data([annotation(i, bbox=box) for i, box in enumerate(boxes, 1)], num_images=1)


def _found(data: dict[str, Any], field: str = "bbox", **changes: Any) -> list[dict[str, Any]]:
    """Perfect results of annotations, with changes to all of them."""
    keys = ("image_id", "category_id", field)
    entries = [{key: entry[key] for key in keys} for entry in data["annotations"]]
    return [{**entry, "score": 0.9 - i / 1000, **changes} for i, entry in enumerate(entries)]


def _files(truth: Any, results: Any, fragment: dict[str, Any] | None = None) -> Make:
    """gt.json, found.json and fragment.yaml; text is written as it is."""

    def make(root: Path) -> None:
        for name, content in (("gt.json", truth), ("found.json", results)):
            text = content if isinstance(content, str) else json.dumps(content)
            (root / name).write_text(text, encoding="utf-8")
        (root / "fragment.yaml").write_text(json.dumps(fragment or {}), encoding="utf-8")

    return make


def _eval(kind: str, *options: str) -> tuple[str, ...]:
    files = ("--predictions", "found.json", "--annotations", "gt.json")
    return ("eval", *files, "--type", kind, *options)


BOXES = _eval("bbox")
POSES = _eval("keypoints")
SKELETON = {"data": {"skeleton": {"keypoints": PAWS, "sigmas": [0.1, 0.1, 0.1]}}}
WITH_SKELETON = _eval("keypoints", "--data", "fragment.yaml")


def _many_dogs(count: int) -> dict[str, Any]:
    data = _poses(PAWS)
    one = data["annotations"][0]
    moved = [
        {**one, "id": i + 1, "keypoints": [v + 40 * i * (k % 3 == 0) for k, v in enumerate(SEEN)]}
        for i in range(count)
    ]
    wide = [{**image, "width": 2000} for image in data["images"]]
    return {**data, "images": wide, "annotations": moved}


CROWDED = [
    Situation(
        "101 objects of a class in an image, for training",
        _parts(_grid(101)),
        _check("retinanet_van_b0"),
        "1 image, 101 objects",
        (
            "AP counts the best 100 detections of an image and class, and 1 image holds more",
            "the model gives at most 100 objects of an image (model.head.max_detections)",
        ),
        objects=101,
    ),
    Situation(
        "101 objects of a class in an image, with room for them",
        _parts(_grid(101)),
        _check("retinanet_van_b0", "eval.max_detections=101", "model.head.max_detections=101"),
        "1 image, 101 objects",
        objects=101,
    ),
    Situation(
        "101 objects of a class in an image, all found",
        _files(_grid(101), _found(_grid(101))),
        BOXES,
        "bbox/AP 0.990",
        (
            "1 of 101 objects count as missed even if all are found; --max-detections 101",
            "1 of 101 results are beyond the best 100 of their image and class",
        ),
    ),
    Situation(
        "101 objects of a class in an image, all found and counted",
        _files(_grid(101), _found(_grid(101))),
        _eval("bbox", "--max-detections", "101"),
        "bbox/AP 1.000",
    ),
    Situation(
        "40 persons in an image, all found: COCO counts 20",
        _files(_many_dogs(40), _found(_many_dogs(40), "keypoints"), SKELETON),
        WITH_SKELETON,
        "keypoints/AP 0.505",
        ("AP counts the best 20 detections of an image and class",),
    ),
]


# ---------------------------------------------------------------------------------- the truth


def _truth(**changes: Any) -> dict[str, Any]:
    """Four boxes on an image, the first with changes; None stays and ... removes a key."""
    boxes = [[0, 1, 4, 5], [5, 1, 4, 5], [10, 1, 4, 5], [15, 1, 4, 5]]
    entries = [annotation(i, bbox=box, segmentation=None) for i, box in enumerate(boxes, 1)]
    entries[0] = {k: v for k, v in (entries[0] | changes).items() if v is not ...}
    return coco_data(entries, num_images=2)


SOUND = _truth()
FOUND = _found(SOUND)
POLYGON = [[0, 1, 4, 1, 4, 6, 0, 6]]


def _row(
    title: str, truth: Any, metric: str, *says: str, results: Any = None, kind: str = "bbox"
) -> Situation:
    """A situation of "eval"; without a metric it is refused."""
    make = _files(truth, FOUND if results is None else results)
    return Situation(title, make, _eval(kind), metric, says, exit_code=0 if metric else 1)


def _without_sizes() -> dict[str, Any]:
    images = [{**image, "width": 0, "height": 0} for image in SOUND["images"]]
    return {**SOUND, "images": images}


def _quarantined(root: Path) -> None:
    """The second image is broken, and in the list of the doctor; both have results."""
    images, truth = write_coco(root, SOUND)
    (images / "2.png").write_bytes(b"no image")
    _files(SOUND, [*FOUND, {**FOUND[0], "image_id": 2}])(root)
    truth.replace(root / "gt.json")
    given = ("--images", str(images), "--annotations", str(root / "gt.json"))
    run(("check", *given, "--quarantine", str(root / "bad.json"), "--quiet"))


LEFT_OUT = "left out: annotations[0] (id 1) of 1.png: "
AIC_LIST = [{"image_id": "a", "keypoint_annotations": {"human1": []}, "human_annotations": {}}]
MPII_LIST = [{"image": "a.jpg", "joints": [[1, 2]], "joints_vis": [1], "center": [5, 5]}]

TRUTHS = [
    _row("iscrowd that is null", _truth(iscrowd=None), "bbox/AP 1.000"),
    _row("iscrowd that is the word false", _truth(iscrowd="false"), "bbox/AP 1.000", "iscrowd is"),
    _row("area that is null", _truth(area=None), "bbox/AP 1.000", "1 area cannot be right", "area"),
    _row("area written as text", _truth(area="20"), "bbox/AP 1.000", "1 area cannot be right"),
    _row(
        "an annotation whose category is null",
        _truth(category_id=None),
        "bbox/AP 0.750",
        "1 annotation names a category id that does not exist",
        f"{LEFT_OUT}the category id None does not exist",
    ),
    _row(
        "an annotation of a category that does not exist",
        _truth(category_id=9),
        "bbox/AP 0.750",
        f"{LEFT_OUT}the category id 9 does not exist",
    ),
    _row(
        "an annotation without image_id",
        _truth(image_id=...),
        "bbox/AP 0.750",
        "1 annotation names an image id that does not exist",
    ),
    _row(
        "an annotation whose image id is text",
        _truth(image_id="1"),
        "bbox/AP 1.000",
        "1 id of an image is text here and a number there",
    ),
    _row(
        "an annotation without a box, with a polygon",
        _truth(bbox=[], segmentation=POLYGON),
        "bbox/AP 1.000",
        "1 box is missing, and is taken from the mask",
    ),
    _row(
        "an annotation without a box or polygon",
        _truth(bbox=...),
        "bbox/AP 0.750",
        f"{LEFT_OUT}the box is not four finite numbers",
    ),
    _row(
        "a box that holds NaN",
        _truth(bbox=[0, 1, float("nan"), 5]),
        "bbox/AP 0.750",
        f"{LEFT_OUT}the box is not four finite numbers",
    ),
    _row(
        "images of width 0, and boxes",
        _without_sizes(),
        "bbox/AP 1.000",
        "2 images have no size; a run leaves them out, here they count",
    ),
    _row(
        "images of width 0, and masks",
        {**_without_sizes(), "annotations": [annotation(1)]},
        "",
        "no image remains of 2",
        results=[],
        kind="segm",
    ),
    _row("a list of results as annotations", FOUND, "", "give the ground truth instead"),
    _row("MPII's own list of poses", MPII_LIST, "", "MPII's list of poses", kind="keypoints"),
    _row("AI Challenger's own list of poses", AIC_LIST, "", "AI Challenger's", kind="keypoints"),
    Situation(
        "a quarantined image with results",
        _quarantined,
        _eval("bbox", "--quarantine", "bad.json"),
        "bbox/AP 1.000",
        ("quarantine leaves out 1 image", "1 record is of an image that is left out"),
    ),
]


DOG = _poses(PAWS)
DOGS_FOUND = _found(DOG, "keypoints")


def _pose_row(title: str, truth: Any, metric: str, *says: str, results: Any = None) -> Situation:
    make = _files(truth, DOGS_FOUND if results is None else results, SKELETON)
    return Situation(title, make, WITH_SKELETON, metric, says, exit_code=0 if metric else 1)


POSE_TRUTHS = [
    _pose_row("poses as in data.skeleton", DOG, "keypoints/AP 1.000"),
    _pose_row(
        "poses without area, as of AI Challenger, CrowdPose and JHMDB",
        _poses(PAWS, {"area": None}),
        "keypoints/AP 1.000",
        "1 area cannot be right, and is taken from the mask or else the box",
    ),
    _pose_row(
        "a pose without a box",
        _poses(PAWS, {"bbox": None}),
        "keypoints/AP 1.000",
        "1 box is missing, and is drawn around the labelled joints",
    ),
    _pose_row(
        "a pose without a list of keypoints",
        _poses(PAWS, {"keypoints": None}),
        "keypoints/AP 1.000",
        UNLABELLED,
    ),
    _pose_row(
        "saved poses whose annotations name the joints in another order",
        _poses(["tail", "left_paw", "right_paw"]),
        "",
        "the same names in another order",
    ),
    _pose_row(
        "saved poses that name their joints in another order",
        DOG,
        "",
        "left and right are exchanged",
        results={
            "annotations": DOGS_FOUND,
            "categories": [
                {"id": 1, "name": "dog", "keypoints": ["right_paw", "left_paw", "tail"]}
            ],
        },
    ),
    Situation(
        "saved poses, and bones that point past the joints",
        _files(_poses(COCO_NAMES, skeleton=[[1, 99]]), _found(_poses(COCO_NAMES), "keypoints")),
        POSES,
        "keypoints/AP 1.000",
        ("1 of 1 bones are no pairs of keypoint numbers from 1 to 17",),
    ),
    Situation(
        "saved poses, and annotations that name no joints",
        _files(_poses(None), DOGS_FOUND),
        POSES,
        "",
        ("no category names keypoints",),
        exit_code=1,
    ),
]


# ------------------------------------------------------------------------------------- results


def _with_masks() -> dict[str, Any]:
    return coco_data([annotation(1), annotation(2, 2)], num_images=2)


def _lines(records: list[dict[str, Any]]) -> str:
    return "".join(f"{json.dumps(record)}\n" for record in records)


FRACTIONS = [{**r, "bbox": [r["bbox"][0] / 20, 0.1, 0.2, 0.4]} for r in FOUND]
CORNERS = [{**r, "bbox": [x, y, x + w, y + h]} for r in FOUND for x, y, w, h in [r["bbox"]]]
SHORT_RUNS = {"size": [12, 20], "counts": [10, 5]}

RESULTS = [
    _row("results in a COCO object", SOUND, "bbox/AP 1.000", results={"annotations": FOUND}),
    _row(
        "results in a COCO object whose image ids are others",
        SOUND,
        "",
        "file_name is '9.png' in the results and '1.png' in the annotations",
        results={"images": [{"id": 1, "file_name": "9.png"}], "annotations": FOUND},
    ),
    _row("annotations as results", SOUND, "", "its records have no score", results=SOUND),
    _row(
        "results with ids of images as text",
        SOUND,
        "bbox/AP 1.000",
        "4 records name images by text instead of numbers",
        results=_found(SOUND, image_id="1"),
    ),
    _row(
        "results with file names instead of ids of images",
        SOUND,
        "bbox/AP 1.000",
        "4 records name images by name instead of id",
        results=_found(SOUND, image_id="1.png"),
    ),
    _row(
        "results with names instead of ids of categories",
        SOUND,
        "bbox/AP 1.000",
        "4 records name categories by name instead of id",
        results=_found(SOUND, category_id="cat"),
    ),
    _row(
        "results with labels from 0 instead of ids of categories",
        SOUND,
        "",
        "record 0 (counted from 0): category_id 0 is not in the annotation file",
        results=_found(SOUND, category_id=0),
    ),
    _row(
        "results of another part",
        SOUND,
        "",
        "image_id 77 is not in the annotation file",
        results=_found(SOUND, image_id=77),
    ),
    _row(
        "results with confidence instead of score",
        SOUND,
        "",
        "call 'confidence' 'score'",
        results=[{"confidence": r["score"], **{k: r[k] for k in r if k != "score"}} for r in FOUND],
    ),
    _row("results with a record on each line", SOUND, "", "jq -s .", results=_lines(FOUND)),
    _row(
        "results with two corners as box",
        SOUND,
        "bbox/AP 0.180",
        "leave their image, and would not as two corners",
        results=CORNERS,
    ),
    _row(
        "results with boxes in fractions of the image",
        SOUND,
        "bbox/AP 0.000",
        "4 of 4 boxes lie within 0..1",
        results=FRACTIONS,
    ),
    _row(
        "results with polygons as masks",
        _with_masks(),
        "segm/AP 1.000",
        "2 masks are polygons or lists of run lengths, and are read so",
        results=_found(_with_masks(), "segmentation", segmentation=SQUARE),
        kind="segm",
    ),
    _row(
        "results with run lengths shorter than their image",
        _with_masks(),
        "",
        "record 0 (counted from 0): segmentation must be",
        results=_found(_with_masks(), "segmentation", segmentation=SHORT_RUNS),
        kind="segm",
    ),
    _row("results without a record", SOUND, "bbox/AP 0.000", "holds no record", results=[]),
]

SITUATIONS = [*SKELETONS, *CROWDED, *TRUTHS, *POSE_TRUTHS, *RESULTS]
