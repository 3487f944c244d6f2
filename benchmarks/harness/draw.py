"""Drawing on a 4K photo beside the plain way to do it: whole masks, one after the other.

All work in one thread. The plain way is what a page of NumPy and pycocotools does: decode each mask
in the size of the image, blend it there, then box and text; a table of colours for a label map.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import torch

from benchmarks.harness.clock import compare, one_thread, time_in_turn
from van_dense.core.dataset_info import DatasetInfo
from van_dense.core.structures import (
    Instances,
    Prediction,
    Segment,
    Size,
    decode_masks,
    encode_masks,
)
from van_dense.visualize.draw import draw
from van_dense.visualize.palette import class_colors

SIZE: Size = (2160, 3840)
NUM_CLASSES = 150
OBJECTS = (100, 200)
_OPACITY = 0.5
_CPU = torch.device("cpu")
_NAMES = tuple(f"class {label}" for label in range(NUM_CLASSES))
INFO = DatasetInfo(
    "generated",
    _NAMES,
    tuple(range(NUM_CLASSES)),
    is_thing=tuple(label < NUM_CLASSES // 2 for label in range(NUM_CLASSES)),
)


def measure_draw(*, rounds: int) -> dict[str, Any]:
    """Compare the drawing of instances and maps with plain ways.

    Args:
        rounds: Of drawing each picture, after one to warm up.
    """
    photo = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    result: dict[str, Any] = {"rounds": rounds, "size": list(SIZE), "classes": NUM_CLASSES}
    with one_thread():
        for count in OBJECTS:
            found = make_instances(SIZE, count)
            result[f"{count}_instances"] = _compared(photo, found, rounds)
        for name, found in (("label_map", make_map(SIZE)), ("panoptic", make_panoptic(SIZE))):
            result[name] = _compared(photo, found, rounds)
    return result


def _compared(photo: np.ndarray, found: Prediction, rounds: int) -> dict[str, Any]:
    calls = {"plain": lambda: draw_plainly(photo, found), "ours": lambda: draw(photo, found, INFO)}
    return compare(time_in_turn(calls, rounds=rounds, device=_CPU), "plain", images=1)


def draw_plainly(photo: np.ndarray, found: Prediction) -> np.ndarray:
    """Draw the same things, without a legend or any care for what covers what."""
    picture = photo.copy()
    colors = np.array(class_colors(INFO), dtype=np.uint8)
    if found.instances is not None and isinstance(found.instances.masks, list):
        labels = found.instances.labels.tolist()
        boxes = found.instances.boxes.int().tolist()
        for rle, label, (x0, y0, x1, y1) in zip(found.instances.masks, labels, boxes, strict=True):
            mask = decode_masks([rle], found.size)[0].astype(bool)
            picture[mask] = (1 - _OPACITY) * picture[mask] + _OPACITY * colors[label]
            color = colors[label].tolist()
            cv2.rectangle(picture, (x0, y0), (x1, y1), color, 5)
            cv2.putText(picture, _NAMES[label], (x0, y0), cv2.FONT_HERSHEY_SIMPLEX, 1.5, color, 3)
    if found.semantic is not None:
        blended = (1 - _OPACITY) * picture + _OPACITY * colors[found.semantic]
        picture = blended.astype(np.uint8)
    for segment in found.segments or []:
        mask = found.panoptic == segment["id"]
        picture[mask] = (1 - _OPACITY) * picture[mask] + _OPACITY * colors[segment["label"]]
    return picture


def make_instances(size: Size, count: int) -> Prediction:
    """Ellipses of 2 to 25 % of the short side, with scores."""
    rng = np.random.default_rng(0)
    height, width = size
    axes = np.exp(rng.uniform(np.log(0.01), np.log(0.125), (count, 2))) * min(size)
    middles = rng.uniform(0, 1, (count, 2)) * [width, height]
    boxes = np.concatenate([middles - axes, middles + axes], axis=1)
    masks = []
    for (x, y), (across, down) in zip(middles, axes, strict=True):
        mask = np.zeros(size, np.uint8)
        radii = (max(1, int(across)), max(1, int(down)))
        cv2.ellipse(mask, (int(x), int(y)), radii, 0, 0, 360, 1, cv2.FILLED)
        masks += encode_masks(torch.from_numpy(mask)[None])
    instances = Instances(
        torch.from_numpy(boxes.clip(0, [width, height] * 2).astype(np.float32)),
        torch.from_numpy(rng.integers(0, NUM_CLASSES, count)),
        scores=torch.from_numpy(rng.uniform(0.3, 1, count).astype(np.float32)),
        masks=masks,
    )
    return Prediction("generated", size, instances)


def make_map(size: Size) -> Prediction:
    """A label map of a hundred round regions."""
    labels = np.random.default_rng(0).integers(0, NUM_CLASSES, 100, dtype=np.uint8)
    return Prediction("generated", size, semantic=labels[_regions(size)])


def make_panoptic(size: Size) -> Prediction:
    """The same regions as segments, with ids as large as COCO's."""
    rng = np.random.default_rng(0)
    labels, ids = rng.integers(0, NUM_CLASSES, 100), rng.choice(2**24 - 1, 100, replace=False) + 1
    segments = [
        Segment(id=i, label=label, score=0.9)
        for i, label in zip(ids.tolist(), labels.tolist(), strict=True)
    ]
    panoptic = ids.astype(np.int32)[_regions(size)]
    return Prediction("generated", size, panoptic=panoptic, segments=segments)


def _regions(size: Size) -> np.ndarray:
    """Number of the region, 0..99, of each pixel: that of the nearest of as many points."""
    rows, columns = np.indices((90, 160)).astype(np.float32) / [[[90]], [[160]]]
    points = np.random.default_rng(1).uniform(0, 1, (100, 2))
    nearest = (rows[..., None] - points[:, 0]) ** 2 + (columns[..., None] - points[:, 1]) ** 2
    small = nearest.argmin(axis=2).astype(np.uint8)
    return cv2.resize(small, size[::-1], interpolation=cv2.INTER_NEAREST)
