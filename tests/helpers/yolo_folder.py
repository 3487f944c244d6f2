"""A tiny YOLO folder on disk, for tests to spoil."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from helpers.coco_folder import write_image

BOX = "0 0.5 0.5 0.5 0.5"
POLYGON = "1 0.1 0.25 0.5 0.25 0.5 0.75"

Labels = dict[str, str | bytes | None]


def write_part(
    root: Path,
    labels: Labels,
    *,
    images: str = "images/train",
    texts: str = "labels/train",
    suffix: str = ".png",
    text_suffix: str = ".txt",
    seed: int = 0,
) -> None:
    """Images of 20x12 (width x height) and their label files by name; None writes no label file."""
    for number, (name, text) in enumerate(labels.items(), seed):
        write_image(root / images / f"{name}{suffix}", 20, 12, number)
        if text is not None:
            file = root / texts / f"{name}{text_suffix}"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(text.encode() if isinstance(text, str) else text)


def write_data(root: Path, file: str = "data.yaml", **entries: Any) -> Path:
    """The data file of a training and a validation part of cats and dogs."""
    content = {"train": "images/train", "val": "images/val", "names": ["cat", "dog"], **entries}
    path = root / file
    path.write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")
    return path


def write_sound(root: Path, line: str = BOX) -> None:
    """A sound validation part of one image and one line."""
    write_part(root, {"v": line}, images="images/val", texts="labels/val", seed=1000)
