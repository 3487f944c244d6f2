"""A tiny COCO data set on disk, for tests to spoil."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SQUARE = [[2.0, 3.0, 6.0, 3.0, 6.0, 8.0, 2.0, 8.0]]


def write_image(path: Path, width: int, height: int, seed: int = 0, **options: Any) -> None:
    """Write noise; ``options`` go to Pillow."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path, **options)


def annotation(number: int, image_id: Any = 1, **changes: Any) -> dict[str, Any]:
    """A sound annotation of category 5; ``changes`` replace keys, None removes one.

    Area and polygon follow another box.
    """
    box = changes.get("bbox")
    if isinstance(box, list) and len(box) == 4 and all(isinstance(v, int | float) for v in box):
        x, y, w, h = box
        corners = [x, y, x + w, y, x + w, y + h, x, y + h]
        changes = {"segmentation": [corners], "area": w * h, **changes}
    record = {
        "id": number,
        "image_id": image_id,
        "category_id": 5,
        "bbox": [2, 3, 4, 5],
        "area": 20.0,
        "iscrowd": 0,
        "segmentation": SQUARE,
        **changes,
    }
    return {key: value for key, value in record.items() if value is not None}


def coco_data(annotations: list[dict[str, Any]], num_images: int = 3) -> dict[str, Any]:
    """Categories 5 = cat and 2 = dog; images 1, 2, ... are 20x12 (width x height)."""
    return {
        "images": [
            {"id": i, "file_name": f"{i}.png", "width": 20, "height": 12}
            for i in range(1, num_images + 1)
        ],
        "annotations": annotations,
        "categories": [{"id": 5, "name": "cat"}, {"id": 2, "name": "dog"}],
    }


def write_coco(root: Path, data: Any, seed: int = 0) -> tuple[Path, Path]:
    """Write images and JSON; returns both paths."""
    images, file = root / "images", root / "annotations.json"
    images.mkdir(parents=True, exist_ok=True)
    for record in data["images"]:
        if "file_name" in record:
            write_image(images / record["file_name"], 20, 12, seed=seed * 1000 + int(record["id"]))
    file.write_text(json.dumps(data))
    return images, file
