"""Tiny data sets of Pascal VOC and of labelme on disk, for tests to spoil."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from helpers.coco_folder import write_image
from PIL import Image

WIDTH, HEIGHT = 20, 12
BOX = (3, 4, 6, 8)  # of the file: pixels from 1, both included
SQUARE = [[2.0, 3.0], [6.0, 3.0], [6.0, 8.0], [2.0, 8.0]]


def voc_object(name: str | None = "cat", box: Sequence[Any] | None = BOX, more: str = "") -> str:
    """XML of an object; None leaves name or box out, ``more`` is further XML in it."""
    corners = zip(("xmin", "ymin", "xmax", "ymax"), box or (), strict=False)
    inner = "".join(f"<{key}>{value}</{key}>" for key, value in corners)
    label = "" if name is None else f"<name>{name}</name>"
    return f"<object>{label}{more}{'' if box is None else f'<bndbox>{inner}</bndbox>'}</object>"


def voc_xml(
    *objects: str,
    filename: str = "",
    size: tuple[Any, Any, Any] | None = (WIDTH, HEIGHT, 3),
    head: str = "",
) -> str:
    """An annotation file; ``size`` is (width, height, depth), ``head`` stands before the root."""
    sides = zip(("width", "height", "depth"), size or (), strict=False)
    stated = "".join(f"<{key}>{value}</{key}>" for key, value in sides)
    named = f"<filename>{filename}</filename>" if filename else ""
    stated = f"<size>{stated}</size>" if size is not None else ""
    return f"{head}<annotation>{named}{stated}{''.join(objects)}</annotation>"


def write_voc(root: Path, files: Mapping[str, str], lists: Mapping[str, str] | None = None) -> Path:
    """XML files by stem and an image for each, and lists: by default all of them are for training.

    The validation part is another image, "v", with a cat and a dog, unless a list names others.
    """
    sound = voc_xml(voc_object(), voc_object("dog", (10, 2, 14, 9)))
    for seed, (stem, text) in enumerate({"v": sound, **files}.items()):
        file = root / "Annotations" / f"{stem}.xml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        write_image(root / "JPEGImages" / f"{stem}.png", WIDTH, HEIGHT, seed)
    folder = root / "ImageSets" / "Main"
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in {"train": "\n".join(files), "val": "v", **(lists or {})}.items():
        (folder / f"{name}.txt").write_text(text, encoding="utf-8")
    return root


def shape(label: Any = "cat", points: Any = None, **changes: Any) -> dict[str, Any]:
    """A sound polygon; ``changes`` replace keys, None removes one."""
    record = {
        "label": label,
        "points": SQUARE if points is None else points,
        "group_id": None,
        "shape_type": "polygon",
        "flags": {},
        **changes,
    }
    return {key: value for key, value in record.items() if value is not None}


def labelme_data(*shapes: Any, **changes: Any) -> dict[str, Any]:
    """Content of a file of labelme; ``changes`` replace keys."""
    return {
        "version": "5.7.0",
        "flags": {},
        "shapes": list(shapes),
        "imagePath": "",
        "imageData": None,
        "imageHeight": HEIGHT,
        "imageWidth": WIDTH,
        **changes,
    }


def write_labelme(folder: Path, files: Mapping[str, Any], seed: int = 0) -> Path:
    """JSON files by stem with an image for each; an empty imagePath becomes the image's name."""
    for number, (stem, data) in enumerate(files.items()):
        if isinstance(data, dict) and data.get("imagePath") == "":
            data = {**data, "imagePath": f"{stem}.png"}
        write_image(folder / f"{stem}.png", WIDTH, HEIGHT, seed=1000 * seed + number)
        text = data if isinstance(data, str) else json.dumps(data)
        (folder / f"{stem}.json").write_text(text, encoding="utf-8")
    return folder


def png_text(mask: Any) -> str:
    """A mask as labelme writes it: base64 of a PNG."""
    buffer = io.BytesIO()
    Image.fromarray(255 * np.asarray(mask, dtype=np.uint8)).save(buffer, format="PNG")
    return base64.b64encode(buffer.getvalue()).decode()
