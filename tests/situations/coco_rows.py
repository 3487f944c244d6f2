"""COCO annotation files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from helpers.coco_folder import SQUARE, annotation, coco_data, write_coco
from situations.situation import Situation

TITLE = "COCO annotation files"
Record = dict[str, Any]
JOINTS = ["left_ear", "right_ear", "tail"]


def _write(data: Record) -> Callable[[Path], None]:
    def make(root: Path) -> None:
        for part, seed in (("train", 1), ("val", 2)):
            records = [{k: v for k, v in r.items() if v != "-"} for r in data["images"]]
            _, file = write_coco(root / part, coco_data([]), seed=seed)
            file.write_text(json.dumps({**data, "images": records}))

    return make


def _files(**changes: Any) -> Callable[[Path], None]:
    """Three images; the second of three annotations has some changes. Both parts are alike."""
    return _write(coco_data([annotation(1), annotation(2, 2, **changes), annotation(3, 3)]))


def _all(**changes: Any) -> Callable[[Path], None]:
    """Three images; all of three annotations have some changes."""
    return _write(coco_data([annotation(n, n, **changes) for n in (1, 2, 3)]))


def _one_class(root: Path) -> None:
    """Three images; 2 of 3 dogs are crowd regions, and none of 39 cats."""
    boxes = [[x, y, 3, 4] for x in range(14) for y in range(3)]
    kinds = [{"category_id": 2, "iscrowd": int(n < 2)} if n < 3 else {} for n in range(42)]
    records = [annotation(n + 1, n % 3 + 1, bbox=boxes[n], **kinds[n]) for n in range(42)]
    _write(coco_data(records))(root)


def _image(**changes: Any) -> Callable[[Path], None]:
    """The second of three image records has some changes; "-" takes a key out."""
    data = coco_data([annotation(1), annotation(2, 2), annotation(3, 3)])
    data["images"][1] |= changes
    return _write(data)


def _poses(category: Record | None = None, **changes: Any) -> Callable[[Path], None]:
    """The second of three poses has some changes, and the category has others."""
    pose: Record = {"keypoints": [3, 4, 2, 5, 4, 2, 4, 7, 1], "num_keypoints": 3}
    records = [annotation(n, n, **pose) for n in (1, 3)]
    second = annotation(2, 2, **{**pose, **changes})
    data = coco_data([records[0], second, records[1]])
    data["categories"] = [{"id": 5, "name": "cat", "keypoints": JOINTS, **(category or {})}]
    return _write(data)


def _check(project: str, *overrides: str) -> tuple[str, ...]:
    """The check of both parts with the config of a project."""
    paths = [
        f"data.{part}.{key}={part}/{value}"
        for part in ("train", "val")
        for key, value in (("images", "images"), ("annotations", "annotations.json"))
    ]
    return ("check", "--config", project, "--quiet", *paths, *overrides)


BOXES, MASKS = _check("retinanet_van_b0"), _check("maskrcnn_van_b0")
OBJECTS = _check("maskrcnn_van_b0", "data.crowds=objects")
POSES = _check(
    "pose_van_b0_256x192",
    "data.detections=null",
    "data.transforms.half_body=0",
    f"data.skeleton={{keypoints: [{', '.join(JOINTS)}]}}",
)
RUNS = {"size": [12, 20], "counts": [27, 5, 7, 5, 7, 5, 7, 5, 172]}  # of the square
ALL, TWO = "3 images, 3 objects", "2 images, 2 objects"


def _lost(
    title: str, make: Callable[[Path], None], command: tuple[str, ...], *says: str
) -> Situation:
    """One of three objects is left out, and quarantine leaves the others."""
    return Situation(title, make, command, TWO, says, exit_code=1, objects=3, quarantined=TWO)


def _kept(
    title: str, make: Callable[[Path], None], command: tuple[str, ...], *says: str
) -> Situation:
    """All objects are read, with a word or without."""
    return Situation(title, make, command, ALL, says, objects=3)


SITUATIONS = [
    _kept("sound boxes and polygons", _files(), MASKS),
    _kept("run lengths of an object (iscrowd 0)", _files(segmentation=RUNS), MASKS),
    # ------------------------------------------------------------------------- boxes
    _lost(
        "a box outside of its image",
        _files(bbox=[50, 50, 4, 4], segmentation=SQUARE, area=20),
        BOXES,
        "shows nothing inside its 20x12 image",
    ),
    _lost("a box of no width", _files(bbox=[2, 3, 0, 5]), BOXES, "has no positive size"),
    _lost(
        "a box with NaN among its numbers",
        _files(bbox=[2, float("nan"), 4, 5]),
        BOXES,
        "not four finite numbers",
    ),
    _lost("a box of three numbers", _files(bbox=[2, 3, 4]), BOXES, "not four finite numbers"),
    _kept("a box written as text", _files(bbox=["2", "3", "4", "5"]), BOXES, "written as text"),
    _kept(
        "a missing box beside a polygon",
        _files(bbox=None),
        BOXES,
        "1 box is missing, and is taken from the mask",
    ),
    _lost(
        "a missing box and no mask",
        _files(bbox=None, segmentation=None),
        BOXES,
        "not four finite numbers: None",
    ),
    Situation(
        "boxes as shares of 1",
        _all(bbox=[0.1, 0.25, 0.2, 0.4], segmentation=None, area=20),
        BOXES,
        "nothing",
        ("lies within the first pixel", "the boxes are shares of 1, not pixels"),
        exit_code=1,
        objects=3,
    ),
    Situation(
        "boxes by two corners, beside polygons",
        _all(bbox=[2, 3, 6, 8], segmentation=SQUARE, area=20),
        MASKS,
        ALL,
        ("3 of 3 records: the boxes hold two corners",),
        exit_code=1,
    ),
    Situation(
        "boxes by two corners, and nothing beside them",
        _all(bbox=[12, 6, 18, 11], segmentation=None, area=20),
        BOXES,
        ALL,
        ("most likely, the boxes hold two corners",),
        exit_code=1,
    ),
    Situation(
        "boxes by their centres, beside polygons",
        _all(bbox=[4, 5.5, 4, 5], segmentation=SQUARE, area=20),
        MASKS,
        ALL,
        ("3 of 3 records: the boxes hold their centre",),
        exit_code=1,
    ),
    # ------------------------------------------------------------------------- masks
    _kept("a box without mask, for a detector of boxes", _files(segmentation=[]), BOXES),
    _kept("a broken polygon, for a detector of boxes", _files(segmentation=[[1, 2, 3]]), BOXES),
    _lost(
        "one object without mask, for masks",
        _files(segmentation=[]),
        MASKS,
        "the segmentation is empty",
    ),
    Situation(
        "no object has a mask, for masks",
        _all(segmentation=None),
        MASKS,
        "nothing",
        ("no annotation has a segmentation",),
        exit_code=1,
        objects=3,
    ),
    _lost("a COCO polygon of two points", _files(segmentation=[[1, 2, 3, 4]]), MASKS, "2 points"),
    _lost(
        "run lengths shorter than their mask",
        _files(segmentation={**RUNS, "counts": [27, 5]}),
        MASKS,
        "annotations[1] (id 2) of 2.png: the RLE covers 32 pixels, its image has 240",
    ),
    _lost(
        "run lengths longer than their mask",
        _files(segmentation={**RUNS, "counts": [27, 5, 300]}),
        MASKS,
        "annotations[1] (id 2) of 2.png: the RLE covers 332 pixels, its image has 240",
    ),
    _lost(
        "run lengths with height and width exchanged",
        _files(segmentation={**RUNS, "size": [20, 12]}),
        MASKS,
        "the RLE has size [20, 12], its image [12, 20]",
    ),
    Situation(
        "polygons as shares of 1",
        _all(segmentation=[[0.1, 0.25, 0.3, 0.25, 0.3, 0.67, 0.1, 0.67]]),
        MASKS,
        "nothing",
        ("lies off its box", "the polygons are shares of 1, not pixels"),
        exit_code=1,
        objects=3,
    ),
    Situation(
        "polygons of an image twice as large",
        _all(segmentation=[[4, 6, 12, 6, 12, 16, 4, 16]]),
        MASKS,
        ALL,
        ("the polygons are 2 times as large as the boxes",),
        exit_code=1,
    ),
    Situation(
        "polygons with x and y exchanged",
        _all(bbox=[12, 3, 6, 4], segmentation=[[3, 12, 3, 18, 7, 18, 7, 12]]),
        MASKS,
        "nothing",
        ("x and y are exchanged",),
        exit_code=1,
        objects=3,
    ),
    _lost(
        "a polygon off the image",
        _files(segmentation=[[40, 40, 50, 40, 50, 50]]),
        MASKS,
        "the mask lies off its box",
    ),
    _kept(
        "a polygon that is a line",
        _files(segmentation=[[2, 3, 6, 3, 2, 3]]),
        MASKS,
        "the mask has no pixel",
    ),
    # ------------------------------------------------------------------------- crowds
    Situation(
        "masks exported as run lengths with iscrowd 1",
        _write(coco_data([annotation(1), annotation(2, 2, segmentation=RUNS, iscrowd=1)])),
        MASKS,
        "1 image, 1 object",
        ("1 of 2 annotations are crowd regions", "1 of 2 cat", "Datumaro", "data.crowds=objects"),
        objects=2,
    ),
    Situation(
        "the same with data.crowds=objects",
        _write(coco_data([annotation(1), annotation(2, 2, segmentation=RUNS, iscrowd=1)])),
        OBJECTS,
        "2 images, 2 objects",
        ("crowd regions (iscrowd 1), 1 of 2",),
        objects=2,
    ),
    _kept("iscrowd as the text false", _files(iscrowd="false"), BOXES, "iscrowd is text"),
    _kept("iscrowd missing", _files(iscrowd=None), BOXES),
    _lost("iscrowd 2", _files(iscrowd=2), BOXES, "'iscrowd' must be 0 or 1, got 2"),
    # ------------------------------------------------------------------------- area
    *(
        _kept(f"area {name}", _files(area=value), BOXES, "1 area cannot be right")
        for name, value in (
            ("missing", None),
            ("0", 0),
            ("-1", -1),
            ("1 of every object", 1),
            ("as text", "20"),
            ("of the image", 240),
        )
    ),
    # ------------------------------------------------------------------------- ids
    _kept("a category id as text", _files(category_id="5"), BOXES, "1 id of a category is text"),
    _lost("a category id that does not exist", _files(category_id=7), BOXES, "id 7 does not exist"),
    _lost("the category id true", _files(category_id=True), BOXES, "id True does not exist"),
    _kept(
        "an annotation id twice",
        _write(coco_data([annotation(1), annotation(1, 2), annotation(3, 3)])),
        BOXES,
        "annotations[0] has the same id",
    ),
    Situation(
        "a broken annotation with the id of a sound one",
        _write(coco_data([annotation(1), annotation(1, 2, bbox=[1, 1, 0, 0]), annotation(3, 3)])),
        BOXES,
        TWO,
        ("has no positive size",),
        exit_code=1,
        objects=3,
        quarantined=TWO,
    ),
    # ------------------------------------------------------------------------- images
    *(
        _lost(f"an image record {title}", _image(**changes), BOXES, what)
        for title, changes, what in (
            ("without id", {"id": "-"}, "images[1] (id None, 2.png): 'id' must be"),
            ("with the id true", {"id": True}, "'id' must be a number or text, got True"),
            ("without file name", {"file_name": "-"}, "'file_name' must be a path"),
            ("without width", {"width": "-"}, "must be a whole number of pixels, got None"),
            ("of height 0", {"height": 0}, "must be a whole number of pixels, got 20 and 0"),
        )
    ),
    _lost(
        "an image id twice",
        _image(id=1),
        BOXES,
        "images[1] (id 1, 2.png): an earlier image has the same id",
    ),
    # ------------------------------------------------------------------------- poses
    *(
        _kept(f"{title}, for boxes", _poses(**changes), BOXES)
        for title, changes in (
            ("empty keypoints", {"keypoints": []}),
            ("keypoints of visibility 3", {"keypoints": [3, 4, 3] * 3}),
            ("a short list of keypoints", {"keypoints": [3, 4, 2]}),
            ("a bone past the joints", {"category": {"skeleton": [[32, 33]]}}),
        )
    ),
    _kept("sound poses", _poses(), POSES),
    _kept(
        "keypoints of null where they are not labelled",
        _poses(keypoints=[None, None, 0, 5, 4, 2, 4, 7, 1], num_keypoints=2),
        POSES,
    ),
    *(
        _lost(f"{title}, for poses", _poses(keypoints=value), POSES, "not 3 times x, y")
        for title, value in (
            ("keypoints of visibility 3", [3, 4, 3] * 3),
            ("a short list of keypoints", [3, 4, 2]),
            ("keypoints with text", ["3", 4, 2] * 3),
        )
    ),
    Situation(
        "an object without keypoints, for poses",
        _poses(keypoints=None, num_keypoints=None),
        POSES,
        TWO,
        ("1 object has no list of keypoints, so no labelled joint",),
        objects=3,
    ),
    _kept(
        "num_keypoints 0 beside labelled keypoints",
        _poses(num_keypoints=0),
        POSES,
        "num_keypoints says 0, but 3 keypoints have a visibility > 0",
    ),
    Situation(
        "a class of which most objects are crowd regions",
        _one_class,
        _check("maskrcnn_van_b0"),
        "3 images, 2 crowds, 40 objects",
        ("neither learnt nor evaluated: 2 of 3 dog",),
        objects=42,
    ),
    Situation(
        "a polygon on a line",
        _files(segmentation=[[2, 3, 6, 8, 2, 3]]),
        _check("maskrcnn_van_b0"),
        "3 images, 3 objects",
        ("the mask has no pixel: it is a line",),
        objects=3,
    ),
]
