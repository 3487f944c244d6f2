"""Quarantine lists, of which each was written before the command runs."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from helpers.coco_folder import annotation, coco_data, write_coco, write_image
from helpers.panoptic_folder import panoptic_data, write_panoptic
from situations.situation import Situation, run

TITLE = "Quarantine lists"

Files = Callable[[Path], None]
EXPORT = "annotations/instances_default.json"  # what CVAT calls every export


def _write_export(root: Path, bad: bool, seed: int) -> None:
    """A task of CVAT with three images and objects; of a bad one, annotation 2 shows nothing."""
    changes: dict[str, Any] = {"bbox": [200, 10, 20, 20]} if bad else {}
    records = [annotation(1), annotation(2, 2, **changes), annotation(3, 3)]
    _, file = write_coco(root, coco_data(records), seed=seed)
    (root / EXPORT).parent.mkdir()
    file.rename(root / EXPORT)


def _exports(*steps: Files, bad: str = "train") -> Files:
    """Two exports of equal names, of which one has a fault; then more steps."""

    def make(root: Path) -> None:
        for part, seed in (("train", 1), ("val", 2)):
            _write_export(root / part, part == bad, seed)
        for step in steps:
            step(root)

    return make


def _check(project: str, *overrides: str, names: str = EXPORT, where: str = "") -> tuple[str, ...]:
    paths = [
        f"data.{part}.{key}={where}{part}/{value}"
        for part in ("train", "val")
        for key, value in (("images", "images"), ("annotations", names))
    ]
    return ("check", "--config", project, "--quiet", *paths, *overrides)


BOXES = _check("retinanet_van_b0")
LIST = "data.quarantine=bad.json"


def _quarantine(*command: str, to: str = "bad.json") -> Files:
    """Write the list of a check that runs in the folder of the files."""

    def step(root: Path) -> None:
        before = Path.cwd()
        os.chdir(root)
        try:
            run((*command, "--quarantine", to))
        finally:
            os.chdir(before)

    return step


def _move(old: str, new: str) -> Files:
    def step(root: Path) -> None:
        (root / new).parent.mkdir(parents=True, exist_ok=True)
        (root / old).rename(root / new)

    return step


def _write(name: str, data: Any) -> Files:
    def step(root: Path) -> None:
        (root / name).write_text(json.dumps(data))

    return step


def _touch(name: str) -> Files:
    """Another layout of the same JSON, as after an export of the same labels."""

    def step(root: Path) -> None:
        data = json.loads((root / name).read_text())
        data["annotations"].insert(0, data["annotations"].pop())
        (root / name).write_text(json.dumps(data))

    return step


def _repeat_image(root: Path) -> None:
    """The id of image 1 once more, for another file, as after joining two exports."""
    file = root / "train" / EXPORT
    data = json.loads(file.read_text())
    data["images"].append(data["images"][0] | {"file_name": "4.png"})
    write_image(root / "train" / "images" / "4.png", 20, 12, 99)
    file.write_text(json.dumps(data))


OLD = {"annotations/instances_default.json": {"images": [3], "annotations": [2]}}

YOLO = ("check", "--config", "retinanet_van_b0", "--quiet", "data.format=yolo", "data.yolo_root=.")
CLASSES = ("check", "--config", "classify_van_b0_in1k", "--quiet", "data.train=train")
CLASSES = (*CLASSES, "data.val=val", "data.num_classes=2")
SALIENCY = ("check", "--config", "saliency_van_b1", "--quiet")
SALIENCY = (
    *SALIENCY,
    *(
        f"data.{part}.{key}={part}/{key}"
        for part in ("train", "val")
        for key in ("images", "masks")
    ),
    'data.image_pattern="{key}.png"',
    'data.mask_pattern="{key}.png"',
)
PANOPTIC = ("check", "--config", "panopticfpn_van_b2", "--quiet")
PANOPTIC = (
    *PANOPTIC,
    *(
        f"data.{part}.{key}={part}/{value}"
        for part in ("train", "val")
        for key, value in (("images", "images"), ("annotations", "panoptic.json"))
    ),
)


def _yolo(*steps: Files) -> Files:
    """Three images with an object each; the class of the second does not exist."""

    def make(root: Path) -> None:
        (root / "data.yaml").write_text("train: images/train\nval: images/val\nnames: [cat]\n")
        for part, seed in (("train", 1), ("val", 5)):
            (root / "labels" / part).mkdir(parents=True)
            for number in range(3):
                image = root / "images" / part / f"{part}_{number}.png"
                write_image(image, 20, 12, seed * 10 + number)
                label = 7 if (part, number) == ("train", 1) else 0
                text = f"{label} .5 .5 .5 .5\n"
                (root / "labels" / part / f"{image.stem}.txt").write_text(text)
        for step in steps:
            step(root)

    return make


def _append(name: str, text: str) -> Files:
    def step(root: Path) -> None:
        with (root / name).open("a") as file:
            file.write(text)

    return step


def _classes(*steps: Files) -> Files:
    """Two classes of six images each in two parts; then more steps."""

    def make(root: Path) -> None:
        for part, seed in (("train", 1), ("val", 2)):
            for number in range(12):
                folder = ("ant", "bee")[number % 2]
                name = root / part / folder / f"{part}_{number}.png"
                write_image(name, 40, 40, seed * 100 + number)
        for step in steps:
            step(root)

    return make


def _add_image(name: str, content: bytes | None = None) -> Files:
    def step(root: Path) -> None:
        write_image(root / name, 40, 40, len(name))
        if content is not None:
            (root / name).write_bytes(content)

    return step


def _pairs(*steps: Files) -> Files:
    """Three images with masks in two parts; then more steps."""

    def make(root: Path) -> None:
        from PIL import Image

        for part, seed in (("train", 1), ("val", 2)):
            for number in range(3):
                name = f"{part}_{number}.png"
                write_image(root / part / "images" / name, 20, 12, seed * 10 + number)
                mask = Image.new("L", (20, 12))
                mask.paste(255, (2, 2, 8, 8))
                (root / part / "masks").mkdir(exist_ok=True)
                mask.save(root / part / "masks" / name)
        for step in steps:
            step(root)

    return make


def _remove(name: str) -> Files:
    return lambda root: (root / name).unlink()


def _panoptic(change: Callable[[dict[str, Any]], None]) -> Files:
    """Two images with four segments each in two parts; a change of the training part's JSON."""

    def make(root: Path) -> None:
        for part, seed in (("train", 1), ("val", 2)):
            data = panoptic_data()
            _, _, masks = write_panoptic(root / part, data, seed=seed)
            if part == "train":
                change(data)
            (root / part / "panoptic.json").write_text(json.dumps(data))
            masks.rename(root / part / "panoptic")

    return make


def _repeat_panoptic(data: dict[str, Any]) -> None:
    data["images"].append(dict(data["images"][0]))


def _lose_image_id(data: dict[str, Any]) -> None:
    data["annotations"].append({"file_name": "3.png", "segments_info": []})


SITUATIONS = [
    Situation(
        "two exports of CVAT, both called annotations/instances_default.json, a fault in one",
        _exports(),
        BOXES,
        "2 images, 2 objects",
        ("shows nothing inside its 20x12 image",),
        exit_code=1,
        objects=3,
        quarantined="2 images, 2 objects",
    ),
    Situation(
        "the list of two exports of equal names: the sound one keeps all records",
        _exports(_quarantine(*BOXES), bad="val"),
        (*BOXES, LIST),
        "3 images, 3 objects",
        objects=3,
    ),
    Situation(
        "an annotation file whose records moved after its list was written",
        _exports(_quarantine(*BOXES), _touch(f"train/{EXPORT}")),
        (*BOXES, LIST),
        "nothing",
        ("has changed since the list was written", "write it anew: van-dense check"),
        exit_code=1,
        objects=3,
    ),
    Situation(
        "a list of an older van_dense, keyed by the end of a path",
        _exports(_write("bad.json", OLD)),
        (*BOXES, LIST),
        "nothing",
        ("a list of an older van_dense", "write it anew: van-dense check"),
        exit_code=1,
    ),
    Situation(
        "a list of other files than those of the config",
        _exports(_quarantine(*BOXES), _move("train", "moved/train"), _move("val", "moved/val")),
        (*_check("retinanet_van_b0", where="moved/"), LIST),
        "2 images, 2 objects",
        ("the list leaves nothing out here, its parts are others",),
        exit_code=1,
        objects=3,
    ),
    Situation(
        "list and data moved together",
        _exports(
            _quarantine(*BOXES),
            *(_move(name, f"moved/{name}") for name in ("train", "val", "bad.json")),
        ),
        (*_check("retinanet_van_b0", where="moved/"), "data.quarantine=moved/bad.json"),
        "2 images, 2 objects",
    ),
    Situation(
        "a list in another folder than the data",
        _exports(_quarantine(*BOXES, to="lists/of/bad.json")),
        (*BOXES, "data.quarantine=lists/of/bad.json"),
        "2 images, 2 objects",
    ),
    Situation(
        "a list that is no JSON",
        _exports(lambda root: (root / "bad.json").write_text("images: [3]") and None),
        (*BOXES, LIST),
        "nothing",
        ("quarantine bad.json: not valid JSON",),
        exit_code=1,
    ),
    Situation(
        "a list that is not there",
        _exports(),
        (*BOXES, LIST),
        "nothing",
        ("quarantine bad.json: no such quarantine list",),
        exit_code=1,
    ),
    Situation(
        "an image id that two records of a COCO file have",
        _exports(_repeat_image, bad="none"),
        BOXES,
        "3 images, 3 objects",
        ("an earlier image has the same id",),
        exit_code=1,
        quarantined="3 images, 3 objects",
    ),
    Situation(
        "an image id that two records of a panoptic file have",
        _panoptic(_repeat_panoptic),
        PANOPTIC,
        "nothing",
        ("an earlier image has the same id",),
        exit_code=1,
        objects=8,
        quarantined="2 images, 8 segments",
    ),
    Situation(
        "a panoptic annotation of no image",
        _panoptic(_lose_image_id),
        PANOPTIC,
        "nothing",
        ("'image_id' must be a number or text, got None",),
        exit_code=1,
        objects=8,
        quarantined="2 images, 8 segments",
    ),
    Situation(
        "a YOLO line of a class that does not exist",
        _yolo(),
        YOLO,
        "2 images, 2 objects",
        ("a class that does not exist",),
        exit_code=1,
        objects=3,
        quarantined="2 images, 2 objects",
    ),
    Situation(
        "a YOLO label file that was edited after its list was written",
        _yolo(_quarantine(*YOLO), _append("labels/train/train_0.txt", "0 .2 .2 .1 .1\n")),
        (*YOLO, LIST),
        "nothing",
        ("has changed since the list was written",),
        exit_code=1,
        objects=4,
    ),
    Situation(
        "a class folder that validation has and training has not",
        _classes(_add_image("train/cat/1.png")),
        (*CLASSES, "data.classes=[ant, bee]"),
        "nothing",
        ("none of the 2 classes, which are ant, bee",),
        exit_code=1,
        objects=3,
        quarantined="12 images, 2 classes",
    ),
    Situation(
        "an image beside the class folders",
        _classes(_add_image("train/stray.png")),
        CLASSES,
        "nothing",
        ("it lies in no class folder",),
        exit_code=1,
        quarantined="12 images, 2 classes",
    ),
    Situation(
        "an image added to a class folder after its list was written",
        _classes(
            _add_image("train/ant/bad.png", b"GIF"),
            _quarantine(*CLASSES),
            _add_image("train/ant/new.png"),
        ),
        (*CLASSES, LIST),
        "nothing",
        ("has changed since the list was written",),
        exit_code=1,
    ),
    Situation(
        "an image without its mask",
        _pairs(_remove("train/masks/train_1.png")),
        SALIENCY,
        "nothing",
        ("has no mask",),
        exit_code=1,
        quarantined="2 images, labels 0 255",
    ),
    Situation(
        "a mask that was added after its list was written",
        _pairs(
            _move("train/masks/train_1.png", "later.png"),
            _quarantine(*SALIENCY),
            _move("later.png", "train/masks/train_1.png"),
        ),
        (*SALIENCY, LIST),
        "nothing",
        ("has changed since the list was written",),
        exit_code=1,
    ),
]
