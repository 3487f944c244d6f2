"""labelme."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from helpers.coco_folder import coco_data, write_coco, write_image
from helpers.voc_folder import (
    HEIGHT,
    SQUARE,
    WIDTH,
    labelme_data,
    png_text,
    shape,
    write_labelme,
)
from situations.situation import Situation

TITLE = "labelme"

CAT, DOG = shape(), shape("dog", [[10, 2], [14, 2], [14, 9]])
Make = Callable[[Path], None]


def _parts(train: Callable[[Path], None]) -> Make:
    """A training part, and a validation part of one image with a cat and a dog."""

    def make(root: Path) -> None:
        train(root / "train")
        write_labelme(root / "val", {"v": labelme_data(CAT, DOG)}, seed=1)

    return make


def _files(*shapes: Any, **changes: Any) -> Make:
    """Three training images: a sound cat, the shapes of the situation, a sound dog."""

    def train(folder: Path) -> None:
        second = labelme_data(*shapes, **changes)
        write_labelme(folder, {"a": labelme_data(CAT), "b": second, "c": labelme_data(DOG)})

    return _parts(train)


def _second(text: str) -> Make:
    def train(folder: Path) -> None:
        write_labelme(folder, {"a": labelme_data(CAT), "b": text, "c": labelme_data(DOG)})

    return _parts(train)


def _check(*overrides: str, project: str = "maskrcnn_van_b0") -> tuple[str, ...]:
    paths = ("data.format=labelme", "data.labelme.train=train", "data.labelme.val=val")
    return ("check", "--config", project, "--quiet", *paths, *overrides)


def _beside(root: Path) -> None:
    """Three sound images, and what systems and other programs leave beside them."""
    _files(CAT)(root)
    for name in ("._a.jpg", "d.xyz", "list.csv"):
        (root / "train" / name).write_bytes(b"\0")


def _crowded(root: Path) -> None:
    """A sound training part, and 101 boxes of a class in an image of the validation part."""
    _files(CAT)(root)
    boxes = [[[x, y], [x + 3, y + 3]] for x in range(14) for y in range(8)][:101]
    shapes = [shape(points=box, shape_type="rectangle") for box in boxes]
    write_labelme(root / "val", {"v": labelme_data(*shapes)}, seed=1)


CHECK, BOXES = _check(), _check(project="retinanet_van_b0")


def _sound(title: str, *shapes: Any, objects: int, says: tuple[str, ...] = ()) -> Situation:
    read = f"3 images, {objects} objects"
    return Situation(title, _files(*shapes), CHECK, read, says, objects=objects)


def _broken(title: str, bad: Any, says: str) -> Situation:
    """A row whose second image has two shapes, one of them broken."""
    return Situation(title, _files(DOG, bad), CHECK, "3 images, 3 objects", (says,), exit_code=1,
                     objects=4, quarantined="3 images, 3 objects")  # fmt: skip


def _unreadable(title: str, make: Make, says: str) -> Situation:
    """A row whose second file is left out as a whole."""
    return Situation(title, make, CHECK, "2 images, 2 objects", (says,), exit_code=1, objects=3,
                     quarantined="2 images, 2 objects")  # fmt: skip


def _edit(change: Callable[[Path], None], *shapes: Any, **changes: Any) -> Make:
    """Three training images, of which something is changed afterwards."""

    def make(root: Path) -> None:
        _files(*(shapes or (CAT,)), **changes)(root)
        change(root / "train")

    return make


def _embedded(folder: Path) -> None:
    data = json.loads((folder / "b.json").read_text())
    data["imageData"] = base64.b64encode((folder / "b.png").read_bytes()).decode()
    (folder / "b.json").write_text(json.dumps(data))
    (folder / "b.png").unlink()


def _backslashes(folder: Path) -> None:
    data = json.loads((folder / "b.json").read_text())
    data["imagePath"] = "..\\pictures\\b.png"
    (folder / "b.json").write_text(json.dumps(data))
    (folder.parent / "pictures").mkdir()
    (folder / "b.png").rename(folder.parent / "pictures" / "b.png")


def _copied(folder: Path) -> None:
    (folder / "b.json").write_text(json.dumps(labelme_data(CAT, imagePath="a.png")))


def _twice(folder: Path) -> None:
    (folder / "b.png").unlink()
    _copied(folder)


def _coco(folder: Path) -> None:
    write_coco(folder, coco_data([]))


def _coco_beside(folder: Path) -> None:
    (folder / "instances.json").write_text(json.dumps(coco_data([])))


def _flags(folder: Path) -> None:
    write_labelme(folder, {"a": labelme_data(flags={"cat": True, "dog": False})})


def _isat(folder: Path) -> None:
    write_image(folder / "a.png", WIDTH, HEIGHT)
    data = {"info": {"description": "ISAT", "name": "a.png"}, "objects": [{"category": "cat"}]}
    (folder / "a.json").write_text(json.dumps(data))


RECTANGLE = shape(points=[[6, 8], [2, 3]], shape_type="rectangle")
CIRCLE = shape(points=[[10, 6], [13, 6]], shape_type="circle")
MASK = shape(points=[[2, 3], [5, 7]], shape_type="mask", mask=png_text(np.ones((5, 4))))
FAR = [[15, 2], [18, 2], [18, 5]]

SITUATIONS = [
    _sound("polygons", CAT, DOG, objects=4),
    _sound("a rectangle drawn from its lower right corner", RECTANGLE, objects=3,
           says=("1 rectangle with a filled mask",)),
    Situation("rectangles, polygons, circles and masks for a detector of boxes",
              _files(CAT, RECTANGLE | {"label": "dog"}, CIRCLE,
                     MASK | {"points": [[12, 4], [15, 8]]}), BOXES, "3 images, 6 objects",
              objects=6),
    _sound("a rectangle of four points, as X-AnyLabeling writes it",
           shape("dog", SQUARE, shape_type="rectangle"), objects=3,
           says=("1 rectangle with a filled mask",)),
    _sound("a rotated rectangle", shape("dog", SQUARE, shape_type="rotation"), objects=3,
           says=("1 rotated rectangle, each a polygon",)),
    _sound("a circle", CIRCLE, objects=3),
    _sound("a mask", MASK, objects=3),
    _sound("a shape without a type, as labelme 2 wrote it", shape(shape_type=None), objects=3),
    _sound("points, lines and strips of lines",
           CAT, shape(points=[[1, 1]], shape_type="point"),
           shape(points=[[1, 1], [4, 4]], shape_type="line"),
           shape(points=FAR, shape_type="linestrip"), objects=3,
           says=("3 shapes without area (points, lines)",)),
    _sound("polygons joined by group_id", shape(group_id=1), shape(points=FAR, group_id=1),
           DOG, objects=4, says=("1 object of several shapes with one group_id",)),
    Situation("polygons of one group_id, kept apart by the config",
              _files(shape(group_id=1), shape(points=FAR, group_id=1)),
              _check("data.labelme.join_groups=false"), "3 images, 4 objects", objects=4),
    _sound("a polygon and a mask joined by group_id", MASK | {"group_id": 1},
           shape(points=FAR, group_id=1), objects=3, says=("with one group_id",)),
    _sound("rectangles joined by group_id", RECTANGLE | {"group_id": 1},
           shape(points=[[15, 2], [18, 5]], shape_type="rectangle", group_id=1), objects=3,
           says=("whose box holds all of these rectangles", "join_groups=false")),
    _sound("one group_id for two classes", shape(group_id=1), DOG | {"group_id": 1}, objects=4),
    _sound("shapes called __ignore__ and _background_", CAT, shape("__ignore__"),
           shape("_background_"), objects=3, says=("1 shape called __ignore__",)),
    Situation("a shape marked difficult, as X-AnyLabeling writes it",
              _files(CAT, shape("dog", FAR, difficult=True)), CHECK,
              "3 images, 1 crowd, 3 objects", ("1 crowd region",), objects=3),
    Situation("labels with a number of the object", _files(shape("cat-1"), shape("cat-2", FAR)),
              CHECK, "nothing", ("data.labelme.numbers=objects",), exit_code=1, objects=4),
    Situation("labels with a number of the object, told by the config",
              _files(shape("cat-1"), shape("cat-2", FAR), shape("cat-2", SQUARE)),
              _check("data.labelme.numbers=objects"), "3 images, 4 objects",
              ("with one group_id",), objects=4),
    Situation("an image without a shape", _files(), CHECK, "2 images, 2 objects",
              ("1 of 3 images show no object",), objects=2),
    Situation("an image inside of its file", _edit(_embedded), CHECK, "3 images, 3 objects",
              ("1 image taken from inside of its annotation file",), objects=3),
    Situation("imagePath with backslashes to another folder", _edit(_backslashes), CHECK,
              "3 images, 3 objects", objects=3),
    Situation("imagePath of another computer", _files(CAT, imagePath="D:\\shots\\old.jpg"), CHECK,
              "3 images, 3 objects", objects=3),
    _unreadable("a copied file that names the image of the original", _edit(_copied),
                "imagePath names train/a.png"),
    _unreadable("two files of one image", _edit(_twice), "describes the same image"),
    _unreadable("a file whose image is missing", _edit(lambda f: (f / "b.png").unlink()),
                "is not there, nor one called b"),
    Situation("an image without a file",
              _edit(lambda f: write_image(f / "d.png", WIDTH, HEIGHT, 9)), CHECK,
              "3 images, 3 objects", ("1 image has no JSON file",), objects=3),
    Situation("no stated size", _files(CAT, imageHeight=None, imageWidth=None), CHECK,
              "3 images, 3 objects", objects=3),
    _unreadable("a stated size of another version of the image", _files(CAT, imageWidth=40),
                "the annotation belongs to another version"),
    _unreadable("a truncated JSON file", _second('{"shapes": ['), "not valid JSON"),
    _unreadable("an empty JSON file", _second(""), "not valid JSON"),
    _unreadable("a JSON file that is a list", _second("[1]"), "no list 'shapes'"),
    Situation("a COCO file among labelme's", _edit(_coco_beside), CHECK, "3 images, 3 objects",
              ("it is COCO JSON",), exit_code=1, objects=3, quarantined="3 images, 3 objects"),
    Situation("a folder of COCO JSON", _parts(_coco), CHECK, "nothing",
              ("none of 1 JSON files is one of labelme", "data.train.annotations"), exit_code=1),
    Situation("a folder of ISAT's files", _parts(_isat), CHECK, "nothing",
              ("it is ISAT JSON", "ISAT to COCO"), exit_code=1, objects=1),
    Situation("flags of whole images and no shape", _parts(_flags), CHECK, "nothing",
              ("name classes of whole images",), exit_code=1),
    Situation("a folder without a JSON file",
              _parts(lambda f: write_image(f / "a.png", WIDTH, HEIGHT)), CHECK, "nothing",
              ("no JSON file in this folder",), exit_code=1),
    _broken("a polygon of two points", shape(points=[[1, 1], [4, 4]]), "fewer than 3"),
    _broken("points that are no numbers", shape(points=[["a", 1], [4, 4], [1, 4]]),
            "no list of finite x, y"),
    _broken("a point at infinity", shape(points=[[1e999, 1], [4, 4], [1, 4]]),
            "no list of finite x, y"),
    _broken("a polygon outside of the image", shape(points=[[30, 1], [34, 1], [34, 4]]),
            "shows nothing inside its 20x12 image"),
    _broken("points as fractions of the sides", shape(points=[[0.1, 0.1], [0.5, 0.1], [0.5, 0.6]]),
            "are fractions of the sides"),
    _broken("a rectangle of no size", shape(points=[[4, 4], [4, 4]], shape_type="rectangle"),
            "enclose nothing"),
    _broken("a circle without a radius", shape(points=[[4, 4], [4, 4]], shape_type="circle"),
            "its points are"),
    _broken("a mask that is no PNG", MASK | {"mask": "bm8="}, "its mask is no PNG"),
    _broken("a mask that is no base64", MASK | {"mask": "?"}, "its mask is not base64"),
    _broken("a mask without a pixel", MASK | {"mask": png_text(np.zeros((5, 4)))},
            "its mask has no pixel"),
    _broken("a shape without a label", shape(None), "it has no label"),
    _broken("a shape of an unknown type", shape(shape_type="cuboid"), "a cuboid has no meaning"),
    _broken("a shape that is no object", 7, "it is 7"),
    Situation("a polygon that leaves its image",
              _files(shape(points=[[15, 2], [26, 2], [26, 9]])), CHECK, "3 images, 3 objects",
              ("leaves the 20x12 image by 6 pixels",), objects=3),
    Situation("a shape twice", _files(CAT, CAT), CHECK, "3 images, 4 objects",
              ("object 1 has the same class and box",), objects=4),
    Situation("more objects of a class than AP counts, in labelme", _crowded,
              _check(project="retinanet_van_b0"), "3 images, 3 objects",
              ("AP counts the best 100 detections of an image and class, and 1 image holds more",),
              objects=3),
    Situation("a polygon on a line in a file of labelme",
              _files(shape(points=[[2, 3], [6, 8], [2, 3]])), CHECK,
              "3 images, 3 objects", ("its mask is a line, and has no pixel",), objects=3),
    Situation("hidden and foreign files beside those of labelme", _beside, CHECK,
              "3 images, 3 objects",
              ("1 hidden file (._a.jpg)", "2 files of other kinds (.xyz, .csv)"), objects=3),
    Situation("rectangles alone where masks are to be learned",
              _parts(lambda f: write_labelme(f, {"a": labelme_data(RECTANGLE)})), CHECK,
              "nothing", ("all shapes are rectangles",), exit_code=1, objects=1),
]  # fmt: skip
