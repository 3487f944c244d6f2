"""What single exporters write: turned boxes, other forms of polygons and boxes, marks, trackers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from helpers.coco_folder import SQUARE, annotation, coco_data, write_coco
from helpers.voc_folder import voc_object, voc_xml, write_voc
from situations import coco_rows, yolo_rows
from situations.coco_rows import BOXES, MASKS, POSES, RUNS
from situations.situation import Situation

TITLE = "What single exporters write"
ALL = "3 images, 3 objects"
Record = dict[str, Any]
Make = Callable[[Path], None]

changed, poses, kept = coco_rows._files, coco_rows._poses, coco_rows._kept
FORM = "1 segmentation is not in COCO's form, and is read as what it means"
BOX_FORM = "1 box is written as text or in another form, and is read as what it means"
TURNED = "box has a rotation, and is read as upright"
PAIRS = [[x, y] for x, y in zip(SQUARE[0][0::2], SQUARE[0][1::2], strict=True)]
NAMED = [{"x": x, "y": y} for x, y in PAIRS]
CROWDS = ("data.crowds=objects",)
# The square (4 wide, 5 high) in an image of 20x12, row by row where COCO has columns.
ROWS = {"size": [12, 20], "counts": [62, *[4, 16] * 4, 4, 240 - 62 - 84]}


def _names(*names: str) -> Make:
    """Both parts have categories of these names, with an object of the first each."""
    data = coco_data([annotation(n, n) for n in (1, 2, 3)])
    data["categories"] = [{"id": 5 + k, "name": name} for k, name in enumerate(names)]
    return coco_rows._write(data)


def _other_folder(root: Path) -> None:
    """File names begin with a folder that is not there."""
    data = coco_data([annotation(n, n) for n in (1, 2, 3)])
    images = [{**r, "file_name": f"images/{r['file_name']}"} for r in data["images"]]
    for part, seed in (("train", 1), ("val", 2)):
        _, file = write_coco(root / part, data, seed=seed)
        file.write_text(json.dumps({**data, "images": images}))


def _voc_turned(root: Path) -> None:
    turned = voc_object().replace(
        "</object>",
        "<attributes><attribute><name>rotation</name><value>30.0</value></attribute></attributes>"
        "</object>",
    )
    files = {"a": voc_xml(voc_object()), "b": voc_xml(turned), "c": voc_xml(voc_object("dog"))}
    write_voc(root / "voc", files)


def _tracked(count: int) -> Make:
    """Boxes with a confidence and the numbers 1 to ``count`` of tracks, and a sound box."""
    lines = [f"0 0.5 0.5 0.2 0.{n} 0.9{n} {n}\n" for n in range(1, count + 1)]
    return yolo_rows._files({"a": "".join(lines), "b": lines[0], "c": yolo_rows.BOX})


# ------------------------------------------------------------------------------------ results


def _saved(
    *, records: Callable[[list[Record]], list[Record]], images: int = 3, broken: bool = False
) -> Make:
    """The validation part of a config, perfect results with a change, and a quarantine list."""

    def make(root: Path) -> None:
        data = coco_data([annotation(n, n, bbox=[3 * n, n, 5, 4]) for n in range(1, images + 1)])
        for part, seed in (("train", 1), ("val", 2)):
            _, file = write_coco(root / part, data, seed=seed)
            if broken:
                data["images"][1]["file_name"] = ""
                file.write_text(json.dumps(data))
                data["images"][1]["file_name"] = "2.png"
        keys = ("image_id", "category_id", "bbox", "segmentation")
        found = [{**{k: a[k] for k in keys}, "score": 0.9} for a in data["annotations"]]
        (root / "results.json").write_text(json.dumps(records(found)))

    return make


def _boxes(change: Callable[[list[float]], list[float]]) -> Callable[[list[Record]], list[Record]]:
    return lambda found: [{**r, "bbox": change(r["bbox"])} for r in found]


def _eval(*options: str) -> tuple[str, ...]:
    return ("eval", "--predictions", "results.json", "--type", "bbox", *options)


BY_FILE = _eval("--annotations", "val/annotations.json")
BY_CONFIG = _eval(*[word for word in BOXES if word not in ("check", "--quiet")])

SITUATIONS = [
    kept("a turned box of CVAT in COCO", changed(segmentation=None, attributes={"rotation": 30.0}),
         BOXES, f"1 {TURNED}"),
    kept("a turned box of Encord in COCO", changed(segmentation=None, rotation=12.5),
         BOXES, f"1 {TURNED}"),
    kept("a rotation of 0", changed(segmentation=None, attributes={"rotation": 0.0}), BOXES),
    Situation("a turned box of CVAT in Pascal VOC", _voc_turned,
              ("check", "--config", "retinanet_van_b0", "--quiet", "data.format=voc",
               "data.voc.root=voc"), ALL, ("its box is turned by 30",), objects=3),
    # -------------------------------------------------------------------------------- forms
    kept("a polygon without the list around it", changed(segmentation=SQUARE[0]), MASKS, FORM),
    kept("a polygon of pairs", changed(segmentation=PAIRS), MASKS, FORM),
    kept("polygons of pairs", changed(segmentation=[PAIRS]), MASKS, FORM),
    kept("polygons of objects with x and y", changed(segmentation=[NAMED]), MASKS, FORM),
    kept("run lengths in a list", changed(segmentation=[RUNS]), MASKS, FORM),
    kept("a missing box beside a polygon of pairs", changed(segmentation=[PAIRS], bbox=None),
         BOXES, "1 box is missing, and is taken from the mask"),
    kept("a box with names of its numbers", changed(
        bbox={"x": 2, "y": 3, "width": 4, "height": 5}), BOXES, BOX_FORM),
    kept("a box with names of its corners", changed(
        bbox={"xmin": 2, "ymin": 3, "xmax": 6, "ymax": 8}), BOXES, BOX_FORM),
    kept("a box in a list", changed(bbox=[[2, 3, 4, 5]], segmentation=SQUARE), BOXES, BOX_FORM),
    Situation("run lengths row by row", coco_rows._all(
        segmentation=ROWS, bbox=[2, 3, 4, 5], area=20), MASKS, ALL,
        ("3 of 3 records: the run lengths go row by row",), exit_code=1),
    # -------------------------------------------------------------------------------- marks
    kept("an object marked as ignore", changed(ignore=1), BOXES,
         "1 object is marked as ignore or difficult, and is read as all others"),
    kept("an object marked as difficult by Datumaro", changed(attributes={"difficult": True}),
         BOXES, "1 object is marked as ignore or difficult, and is read as all others"),
    kept("crowds that are read as objects", coco_rows._all(iscrowd=1, segmentation=RUNS),
         (*MASKS, *CROWDS)),
    kept("two categories of one name", _names("cat", "cat"), BOXES,
         "the classes 5 and 6 are both called 'cat', and are two here"),
    kept("categories whose names differ in case", _names("Cat", "cat "), BOXES,
         "are alike but for case or spaces"),
    kept("labelled joints at 0, 0", poses(keypoints=[0, 0, 2, 5, 4, 2, 4, 7, 1]), POSES,
         "1 object has labelled joints at 0, 0"),
    kept("keypoints with a list for each joint", poses(keypoints=[[3, 4, 2], [5, 4, 2], [4, 7, 1]]),
         POSES, "1 list of keypoints holds a list for each joint"),
    Situation("file names with a folder that is not there", _other_folder, BOXES,
              "0 images, 0 classes", ("is train/images/1.png meant?",), exit_code=1, objects=3),
    # ------------------------------------------------------------------------------ trackers
    Situation("tracks of YOLO, of which number 1 looks like a polygon", _tracked(2),
              yolo_rows.BOXES, "1 image, 1 object",
              ("it has a whole number at its end", "the number of a tracker"),
              exit_code=1, objects=4, quarantined="1 image, 1 object"),
    Situation("tracks of YOLO that are all number 1", _tracked(1), yolo_rows.BOXES,
              "1 image, 1 object", ("it has a whole number at its end",),
              exit_code=1, objects=3, quarantined="1 image, 1 object"),
    Situation("two YOLO classes of one name", yolo_rows._files(
        {"a": yolo_rows.BOX}, names=["cat", "cat"]), yolo_rows.BOXES, "1 image, 1 object",
        ("the classes 0 and 1 are both called 'cat'",), objects=1),
    # -------------------------------------------------------------------------------- results
    Situation("results as two corners", _saved(records=_boxes(
        lambda b: [b[0], b[1], b[0] + b[2], b[1] + b[3]])), BY_FILE, "",
        ("3 as two corners (x1, y1, x2, y2)",)),
    Situation("results as centre and size", _saved(records=_boxes(
        lambda b: [b[0] + b[2] / 2, b[1] + b[3] / 2, *b[2:]])), BY_CONFIG, "",
        ("3 as centre and size",)),
    Situation("results that were joined twice", _saved(records=lambda found: found * 2), BY_FILE,
              "", ("3 of 6 records repeat another one",)),
    Situation("results beyond the limit, with a config", _saved(
        records=lambda found: [{**found[0], "score": 0.5 + k / 1000} for k in range(101)] + found),
        BY_CONFIG, "bbox/AP 1.000", ("--max-detections 102 counts all",)),
    Situation("results of an image that a run leaves out, with a config", _saved(
        records=lambda found: found, broken=True), BY_CONFIG, "bbox/AP 1.000",
        ("1 record is of an image that is left out of the annotations",)),
    Situation("results of an image that a run leaves out, with its file", _saved(
        records=lambda found: found, broken=True), BY_FILE, "bbox/AP 1.000",
        ("1 image has no file name; a run leaves them out, here they count",)),
]  # fmt: skip
