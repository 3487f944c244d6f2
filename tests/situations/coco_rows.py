"""COCO annotation files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from helpers.coco_folder import annotation, coco_data, write_coco
from situations.situation import Situation

TITLE = "COCO annotation files"


def _files(**changes: Any) -> Callable[[Path], None]:
    """Three images; the second of three annotations has some changes. Both parts are alike."""

    def make(root: Path) -> None:
        records = [annotation(1), annotation(2, 2, **changes), annotation(3, 3)]
        for part, seed in (("train", 1), ("val", 2)):
            write_coco(root / part, coco_data(records), seed=seed)

    return make


def _check(project: str, *overrides: str) -> tuple[str, ...]:
    """The check of both parts with the config of a project."""
    paths = [
        f"data.{part}.{key}={part}/{value}"
        for part in ("train", "val")
        for key, value in (("images", "images"), ("annotations", "annotations.json"))
    ]
    return ("check", "--config", project, "--quiet", *paths, *overrides)


BOXES, MASKS = _check("retinanet_van_b0"), _check("maskrcnn_van_b0")

SITUATIONS = [
    Situation("sound boxes and polygons", _files(), MASKS, "3 images, 3 objects", objects=3),
    Situation(
        "a box outside of its image",
        _files(bbox=[50, 50, 4, 4]),
        BOXES,
        "2 images, 2 objects",
        ("shows nothing inside its 20x12 image",),
        exit_code=1,
        objects=3,
        quarantined="2 images, 2 objects",
    ),
]
