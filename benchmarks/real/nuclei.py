"""Nuclei of the 2018 Data Science Bowl with the corrected masks: one PNG for each nucleus.

    stage1_train/ID/images/ID.png   stage1_train/ID/masks/*.png

The authors name no parts for which masks are public, so a fifth of the images, drawn once by
``SEED``, is the validation part. Images of one experiment fall on both sides: good for comparing
programs, not for a claim about new microscopes.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as mask_utils

SEED = 0
VALIDATION = 0.2  # fraction of the images


def read(source: Path, part: str) -> tuple[dict[str, Any], dict[int, Path]]:
    """COCO dictionary of a part with masks as run lengths, and the file of each image."""
    names = sorted(folder.name for folder in (source / "stage1_train").iterdir())
    held_out = set(random.Random(SEED).sample(names, round(VALIDATION * len(names))))
    coco: dict[str, Any] = {"images": [], "annotations": []}
    coco["categories"] = [{"id": 1, "name": "nucleus"}]
    files: dict[int, Path] = {}
    for number, name in enumerate(names, 1):
        if (name in held_out) != (part == "val"):
            continue
        folder = source / "stage1_train" / name
        files[number] = folder / "images" / f"{name}.png"
        width, height = Image.open(files[number]).size
        image = {"id": number, "file_name": f"{name}.png", "width": width, "height": height}
        coco["images"].append(image)
        for path in sorted((folder / "masks").glob("*.png")):
            entry = _annotation(np.asarray(Image.open(path)))
            if entry is not None:
                entry |= {"id": len(coco["annotations"]) + 1, "image_id": number}
                coco["annotations"].append(entry)
    return coco, files


def _annotation(mask: np.ndarray) -> dict[str, Any] | None:
    """Annotation of a mask (H, W) or (H, W, C), white on black; None for an empty one."""
    mask = mask if mask.ndim == 2 else mask[..., :3].max(axis=2)
    rle = mask_utils.encode(np.asfortranarray(mask > 127, dtype=np.uint8))
    area = int(mask_utils.area(rle))
    if area == 0:
        return None
    segmentation = {"size": rle["size"], "counts": rle["counts"].decode()}
    box = mask_utils.toBbox(rle).tolist()
    return {"category_id": 1, "bbox": box, "area": area, "iscrowd": 0, "segmentation": segmentation}


def label_map(image: dict[str, Any], entries: list[dict[str, Any]]) -> np.ndarray:
    """Label map uint8 (H, W) of an image: 0 background, 1 nucleus."""
    drawn = np.zeros((image["height"], image["width"]), np.uint8)
    for entry in entries:
        drawn |= mask_utils.decode(entry["segmentation"])
    return drawn
