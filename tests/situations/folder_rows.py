"""Class folders, folders of images and masks, and file names of other systems."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from helpers.coco_folder import annotation, coco_data, write_coco, write_image
from PIL import Image
from situations.situation import Situation

TITLE = "Folders, and file names of other systems"

CLASSES = ("check", "--config", "classify_van_b0_in1k", "--quiet", "data.num_classes=null")
CLASSES = (*CLASSES, "data.train=train", "data.val=val")
MASKS = (
    "check",
    "--config",
    "semfpn_van_b0",
    "--quiet",
    "data.train.images=train",
    "data.train.masks=train_masks",
    "data.val.images=val",
    "data.val.masks=val_masks",
    'data.image_pattern="{key}.*"',
    'data.mask_pattern="{key}.*"',
    "data.classes=[soil, wheat]",
    "data.label_map=[0..1 -> 0..1]",
)


def _classes(change: Callable[[Path], object] = lambda root: None) -> Callable[[Path], None]:
    """Ants and bees, five of each in both parts; a change of the training part."""

    def make(root: Path) -> None:
        for part, seed in (("train", 0), ("val", 100)):
            for number in range(10):
                name = f"{part}/{('ant', 'bee')[number % 2]}/{part}{number}.png"
                write_image(root / name, 40, 36, seed + number)
        change(root / "train")

    return make


def _masks(change: Callable[[Path], object] = lambda root: None) -> Callable[[Path], None]:
    """Two images and masks in both parts; a change of the whole."""

    def make(root: Path) -> None:
        for part, seed in (("train", 0), ("val", 100)):
            for number in range(2):
                write_image(root / part / f"{part}{number}.jpg", 20, 12, seed + number)
                _mask(root / f"{part}_masks" / f"{part}{number}.png")
        change(root)

    return make


def _coco(file_name: str, place: str, **changes: Any) -> Callable[[Path], None]:
    """A COCO file of three images in both parts, one of them called by another name."""

    def make(root: Path) -> None:
        for part, seed in (("train", 1), ("val", 2)):
            data = coco_data([annotation(1), annotation(2, 2)]) | changes
            images, file = write_coco(root / part, data, seed=seed)
            (images / place).parent.mkdir(exist_ok=True)
            (images / "2.png").rename(images / place)
            data["images"][1]["file_name"] = file_name
            file.write_text(json.dumps(data))

    return make


def _mask(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.zeros((12, 20), np.uint8)
    values[:, 10:] = 1
    Image.fromarray(values).save(path)


def _link(path: Path, target: Path) -> None:
    path.symlink_to(target, target_is_directory=True)


BOXES = (
    "check",
    "--config",
    "retinanet_van_b0",
    "--quiet",
    *(f"data.{part}.images={part}/images" for part in ("train", "val")),
    *(f"data.{part}.annotations={part}/annotations.json" for part in ("train", "val")),
)
_ROOT = [
    {"id": 0, "name": "pets", "supercategory": "none"},
    {"id": 2, "name": "dog", "supercategory": "pets"},
    {"id": 5, "name": "cat", "supercategory": "pets"},
]
_OTHER_SUFFIXES = (".JPG", ".jfif", ".jpe", ".webp", ".jp2", ".avif", ".ppm", ".tif", ".bmp")

SITUATIONS = [
    Situation("sound class folders", _classes(), CLASSES, "10 images, 2 classes", objects=2),
    Situation(
        "class folders with pictures of other suffixes",
        _classes(
            lambda root: [
                write_image(root / f"bee/x{number}{suffix}", 40, 36, 200 + number)
                for number, suffix in enumerate(_OTHER_SUFFIXES)
            ]
        ),
        CLASSES,
        "19 images, 2 classes",
        objects=2,
    ),
    Situation(
        "class folders with pictures of a phone in HEIC, and no pillow-heif",
        _classes(lambda root: (root / "ant/a.HEIC").write_bytes(b"\0\0\0\x18ftypheic")),
        CLASSES,
        "10 images, 2 classes",
        ("left out: 1 .heic file, for which pillow-heif is missing",),
    ),
    Situation(
        "class folders with texts, and files without suffix",
        _classes(
            lambda root: [(root / "ant/urls.txt").write_text(""), (root / "LIST").write_text("")]
        ),
        CLASSES,
        "10 images, 2 classes",
        ("left out: 2 files of other kinds (no suffix, .txt)",),
        objects=2,
    ),
    Situation(
        "class folders that a Mac packed: __MACOSX, ._a.png, .DS_Store",
        _classes(
            lambda root: [
                write_image(root / "__MACOSX/ant/._a.png", 4, 4),
                (root / "ant/._a.png").write_bytes(b"\0"),
                (root / ".DS_Store").write_bytes(b"\0"),
            ]
        ),
        CLASSES,
        "10 images, 2 classes",
        ("left out: 2 hidden files (.DS_Store)",),
        objects=2,
    ),
    Situation(
        "class folders of Windows and of a network drive: Thumbs.db, @eaDir",
        _classes(
            lambda root: [
                write_image(root / "@eaDir/ant/a.png", 4, 4),
                write_image(root / "bee/@eaDir/a.png", 4, 4),
                (root / "ant/Thumbs.db").write_bytes(b"\0"),
            ]
        ),
        CLASSES,
        "10 images, 2 classes",
        ("1 hidden file (ant/Thumbs.db), 2 images in hidden or system folders (@eaDir)",),
        objects=2,
    ),
    Situation(
        "class folders that a notebook looked at: .ipynb_checkpoints",
        _classes(
            lambda root: [
                write_image(root / ".ipynb_checkpoints/a.png", 4, 4),
                write_image(root / "ant/.ipynb_checkpoints/a-checkpoint.png", 4, 4),
            ]
        ),
        CLASSES,
        "10 images, 2 classes",
        ("2 images in hidden or system folders (.ipynb_checkpoints)",),
        objects=2,
    ),
    Situation(
        "a class folder that is a link",
        _classes(
            lambda root: [
                write_image(root.parent / "pool/p.png", 40, 36, 300),
                _link(root / "cow", root.parent / "pool"),
                write_image(root.parent / "val/cow/v.png", 40, 36, 301),
            ]
        ),
        CLASSES,
        "11 images, 3 classes",
        ("1 of 3 classes have fewer than 5 images: cow (1)",),
        objects=3,
    ),
    Situation(
        "a class folder with a link to itself",
        _classes(lambda root: _link(root / "ant/more", root / "ant")),
        CLASSES,
        "10 images, 2 classes",
        ("1 linked folder read already or leading nowhere (ant/more)",),
        objects=2,
    ),
    Situation(
        "an image in no class folder",
        _classes(lambda root: write_image(root / "x.png", 40, 36, 300)),
        CLASSES,
        "nothing",
        ("it lies in no class folder",),
        exit_code=1,
        quarantined="10 images, 2 classes",
    ),
    Situation(
        "a link to an image that is gone",
        _classes(lambda root: (root / "ant/gone.png").symlink_to(root / "nowhere.png")),
        CLASSES,
        "10 images, 2 classes",
        ("no such file",),
        exit_code=1,
        objects=2,
        quarantined="10 images, 2 classes",
    ),
    Situation(
        "class folders without any image",
        _classes(
            lambda root: [file.rename(file.with_suffix(".npy")) for file in root.rglob("*.png")]
        ),
        CLASSES,
        "nothing",
        ("no image in its 2 class folders", "left out: 10 files of other kinds (.npy)"),
        exit_code=1,
    ),
    Situation("sound images and masks", _masks(), MASKS, "2 images, labels 0 1"),
    Situation(
        "images and masks with hidden copies and checkpoints",
        _masks(
            lambda root: [
                (root / "train/._train0.jpg").write_bytes(b"\0"),
                write_image(root / "train/.ipynb_checkpoints/a.png", 4, 4),
                _mask(root / "train_masks/__MACOSX/a.png"),
            ]
        ),
        MASKS,
        "2 images, labels 0 1",
        (
            "1 hidden file (._train0.jpg), 1 image in hidden or system folders",
            "1 image in hidden or system folders (__MACOSX)",
        ),
    ),
    Situation(
        "masks saved as .npy",
        _masks(
            lambda root: (root / "train_masks/train1.png").rename(root / "train_masks/train1.npy")
        ),
        MASKS,
        "nothing",
        ("the image train1.jpg has no mask", "left out: 1 file of other kinds (.npy)"),
        exit_code=1,
        quarantined="1 image, labels 0 1",
    ),
    Situation(
        "images that the pattern does not name",
        _masks(lambda root: write_image(root / "train/extra.png", 20, 12, 9)),
        (*MASKS[:8], 'data.image_pattern="{key}.jpg"', *MASKS[9:]),
        "2 images, labels 0 1",
        ("left out: 1 image not named as {key}.jpg says, such as extra.png",),
    ),
    Situation(
        "a COCO file with backslashes in file names",
        _coco("sub\\2.png", "sub/2.png"),
        BOXES,
        "2 images, 2 objects",
        ("1 file name is spelled otherwise than the files: sub\\2.png is sub/2.png",),
        objects=2,
    ),
    Situation(
        "a COCO file with %20 in file names",
        _coco("my%20cat.png", "my cat.png"),
        BOXES,
        "2 images, 2 objects",
        ("1 file name is spelled otherwise than the files: my%20cat.png is my cat.png",),
        objects=2,
    ),
    Situation(
        "a COCO file with %20 in file names, which the files have as well",
        _coco("my%20cat.png", "my%20cat.png"),
        BOXES,
        "2 images, 2 objects",
        objects=2,
    ),
    Situation(
        "a COCO file with accents that a Mac took apart in the names of files",
        _coco("caf\u00e9.png", "cafe\u0301.png"),
        BOXES,
        "2 images, 2 objects",
        ("1 file name is spelled otherwise than the files",),
        objects=2,
    ),
    Situation(
        "an empty root category, as Roboflow writes it",
        _coco("2.png", "2.png", categories=_ROOT),
        BOXES,
        "2 images, 2 objects",
        ("the category 'pets' (id 0) stands above all others", "it is no class to learn"),
        objects=2,
    ),
]
