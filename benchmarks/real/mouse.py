"""A mouse in an open field: 116 frames with 4 body parts, DeepLabCut's example of its own layout.

    examples/openfield-Pranav-2018-10-30/labeled-data/m4s1/CollectedData_Pranav.csv, img0000.png ..

A box is that of the labelled parts and a margin around them, since the set has none. Every fifth
frame is the validation part. All frames are of one mouse, so they tell programs apart and nothing
about other mice.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from PIL import Image

FOLDER = "examples/openfield-Pranav-2018-10-30"
FRAMES = "labeled-data/m4s1"
MARGIN = 0.25  # of the longer side of the parts, on each side


def read(source: Path, part: str) -> tuple[dict[str, Any], dict[int, Path]]:
    """COCO dictionary of a part with keypoints, and the file of each image."""
    root = source / FOLDER
    with (root / FRAMES / "CollectedData_Pranav.csv").open(newline="") as file:
        _, names, _, *rows = csv.reader(file)
    keypoints = names[1::2]
    category = {"id": 1, "name": "mouse", "keypoints": keypoints, "skeleton": []}
    coco: dict[str, Any] = {"images": [], "annotations": [], "categories": [category]}
    files: dict[int, Path] = {}
    for number, (path, *values) in enumerate(rows, 1):
        if (number % 5 == 0) != (part == "val"):
            continue
        files[number] = root / FRAMES / Path(path).name
        width, height = Image.open(files[number]).size
        image = {"id": number, "file_name": Path(path).name, "width": width, "height": height}
        coco["images"].append(image)
        coco["annotations"].append(_annotation(number, values, (width, height)))
    return coco, files


def _annotation(number: int, values: list[str], size: tuple[int, int]) -> dict[str, Any]:
    """Annotation of x, y of each part, empty where it is not labelled, in an image (W, H)."""
    pairs = list(zip(values[::2], values[1::2], strict=True))
    seen = [(float(x), float(y)) for x, y in pairs if x and y]
    low = [min(axis) for axis in zip(*seen, strict=True)]
    high = [max(axis) for axis in zip(*seen, strict=True)]
    margin = MARGIN * max(b - a for a, b in zip(low, high, strict=True))
    low = [max(0.0, a - margin) for a in low]
    high = [min(float(side), b + margin) for b, side in zip(high, size, strict=True)]
    width, height = high[0] - low[0], high[1] - low[1]
    return {
        "id": number,
        "image_id": number,
        "category_id": 1,
        "bbox": [*low, width, height],
        "area": width * height,
        "iscrowd": 0,
        "keypoints": [
            v for x, y in pairs for v in ((float(x), float(y), 2) if x and y else (0,) * 3)
        ],
        "num_keypoints": len(seen),
    }
