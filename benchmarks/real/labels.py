"""Boxes and masks of a COCO dictionary as lines of YOLO's label files."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np


def yolo_lines(coco: dict[str, Any]) -> Iterator[tuple[dict[str, Any], list[str]]]:
    """Each image with its lines: class and box, or class and polygon where there are masks.

    Classes count from 0 in the order of the categories. A box is its centre, width and height, a
    polygon the outline of the largest piece of a mask, all as fractions of the image.
    """
    number = {category["id"]: index for index, category in enumerate(coco["categories"])}
    entries: dict[int, list[Any]] = {image["id"]: [] for image in coco["images"]}
    for entry in coco["annotations"]:
        entries[entry["image_id"]].append(entry)
    for image in coco["images"]:
        size = (image["width"], image["height"])
        lines = []
        for entry in entries[image["id"]]:
            values = _outline(entry, size) if "segmentation" in entry else _box(entry, size)
            text = " ".join(f"{value:.6f}" for value in values)
            lines.append(f"{number[entry['category_id']]} {text}")
        yield image, lines


def _box(entry: dict[str, Any], size: tuple[int, int]) -> list[float]:
    x, y, width, height = entry["bbox"]
    centre = ((x + width / 2) / size[0], (y + height / 2) / size[1])
    return [*centre, width / size[0], height / size[1]]


def _outline(entry: dict[str, Any], size: tuple[int, int]) -> list[float]:
    import cv2
    from pycocotools import mask as mask_utils

    mask = mask_utils.decode(entry["segmentation"])
    pieces, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    points = max(pieces, key=cv2.contourArea).reshape(-1, 2).astype(np.float64)
    if len(points) < 3:  # one or two pixels
        x, y, width, height = entry["bbox"]
        points = np.array([[x, y], [x + width, y], [x + width, y + height], [x, y + height]])
    return (points / size).ravel().tolist()
