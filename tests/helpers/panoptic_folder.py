"""A tiny data set in COCO's panoptic layout on disk, for tests to spoil."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from helpers.coco_folder import write_image
from PIL import Image

CAT, DOG, GRASS = 5, 2, 9  # category ids
# Ids whose three bytes differ: a cat, a dog in front of it, a crowd of dogs, and grass; 0 is void.
CAT_ID, DOG_ID, CROWD_ID, GRASS_ID = 1 + 256 * 2 + 65536 * 3, 300, 70_000, 7


def id_map() -> np.ndarray:
    """Ids int32 of 12 x 20 pixels."""
    ids = np.zeros((12, 20), np.int32)
    ids[6:, :] = GRASS_ID
    ids[2:9, 2:8] = CAT_ID
    ids[4:8, 5:12] = DOG_ID
    ids[0:3, 15:20] = CROWD_ID
    return ids


def segments() -> list[dict[str, Any]]:
    """What the JSON says of the segments of ``id_map``."""
    rows = [
        (CAT_ID, CAT, [2, 2, 6, 7], 7 * 6 - 4 * 3, 0),
        (DOG_ID, DOG, [5, 4, 7, 4], 4 * 7, 0),
        (CROWD_ID, DOG, [15, 0, 5, 3], 3 * 5, 1),
        (GRASS_ID, GRASS, [0, 6, 20, 6], 6 * 20 - 3 * 6 - 2 * 4, 0),
    ]
    keys = "id", "category_id", "bbox", "area", "iscrowd"
    return [dict(zip(keys, row, strict=True)) for row in rows]


def panoptic_data(num_images: int = 2) -> dict[str, Any]:
    """Things 5 = cat and 2 = dog, stuff 9 = grass; images 1, 2, ... hold the same map."""
    numbers = range(1, num_images + 1)
    return {
        "images": [
            {"id": i, "file_name": f"photo_{i}.png", "width": 20, "height": 12} for i in numbers
        ],
        "annotations": [
            {"image_id": i, "file_name": f"{i}.png", "segments_info": segments()} for i in numbers
        ],
        "categories": [
            {"id": CAT, "name": "cat", "isthing": 1, "color": [255, 0, 0]},
            {"id": DOG, "name": "dog", "isthing": 1, "color": [0, 255, 0]},
            {"id": GRASS, "name": "grass", "isthing": 0, "color": [0, 0, 255]},
        ],
    }


def write_rgb(path: Path, ids: np.ndarray) -> None:
    """Write ids (H, W) as the RGB PNG of the format, in words of its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    channels = [ids % 256, ids // 256 % 256, ids // 65536]
    Image.fromarray(np.stack(channels, axis=-1).astype(np.uint8)).save(path)


def write_panoptic(root: Path, data: dict[str, Any], *, seed: int = 0) -> tuple[Path, Path, Path]:
    """Write photos, PNGs and JSON; returns the paths of images, JSON and PNGs."""
    images, file = root / "images", root / "annotations" / "panoptic_val.json"
    masks = file.with_suffix("")
    for record in data["images"]:
        write_image(images / record["file_name"], 20, 12, seed=seed * 1000 + int(record["id"]))
    for record in data["annotations"]:
        write_rgb(masks / record["file_name"], id_map())
    file.write_text(json.dumps(data))
    return images, file, masks
