"""Quarantine lists, of which each was written before the command runs."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from helpers.coco_folder import annotation, coco_data, write_coco, write_image
from helpers.panoptic_folder import panoptic_data, write_panoptic
from situations.situation import run

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
CLASSES = (*CLASSES, "data.val=val")
SALIENCY = ("check", "--config", "saliency_van_b1", "--quiet")
SALIENCY = (
    *SALIENCY,
    *(
        f"data.{part}.{key}={part}/{key}"
        for part in ("train", "val")
        for key in ("images", "masks")
    ),
    "data.image_pattern={key}.png",
    "data.mask_pattern={key}.png",
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
    """The images of the helper in both parts; a change of the JSON of the training part."""

    def make(root: Path) -> None:
        for part, seed in (("train", 1), ("val", 2)):
            data = panoptic_data()
            folder = root / part
            _, file, masks = write_panoptic(folder, data)
            for image in (folder / "images").iterdir():  # not the pictures of the other part
                write_image(image, *_size(image), seed * 10 + len(image.name))
            if part == "train":
                change(data)
            file.write_text(json.dumps(data))
            file.rename(folder / "panoptic.json")
            masks.rename(folder / "panoptic")

    return make


def _size(path: Path) -> tuple[int, int]:
    from PIL import Image

    with Image.open(path) as image:
        return image.size
