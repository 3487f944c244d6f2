"""Setting up the validation of a YOLO folder, beside one that decodes every image.

Files and images are generated. The ground truth of an evaluation is made from the records of the
reader; the plain way makes it from samples, of which each holds its decoded image, as readers
without records still do. Both give the same annotations.
"""

from __future__ import annotations

import os
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import cv2
import numpy as np
from PIL import Image

from benchmarks.harness.clock import one_thread, spread
from van_dense.core.structures import Size
from van_dense.data.readers.yolo import YoloDataset
from van_dense.evaluation.ground_truth import coco_ground_truth, from_samples

IMAGES = 5000
SIZE: Size = (960, 1280)
OBJECTS = 8
POINTS = 10  # of a polygon

_FILES = 20  # photos; the others are links to them


def measure_yolo(*, rounds: int) -> dict[str, Any]:
    """Compare both ways on ``IMAGES`` images with boxes, and with polygons.

    Args:
        rounds: Of making the ground truth in both ways.

    Raises:
        RuntimeError: When the annotations differ.
    """
    result: dict[str, Any] = {"rounds": rounds, "images": IMAGES, "size": list(SIZE)}
    with TemporaryDirectory() as name, one_thread():
        for kind in ("boxes", "polygons"):
            root = Path(name) / kind
            write_folder(root, polygons=kind == "polygons")
            result[kind] = _compare(root, rounds=rounds)
    return result


def _compare(root: Path, *, rounds: int) -> dict[str, Any]:
    seconds: dict[str, list[float]] = {"reader": [], "decoding": [], "ours": []}
    for _ in range(rounds):
        began = perf_counter()
        dataset = YoloDataset(root, "val", name="benchmark", drop_empty=False)
        seconds["reader"].append(perf_counter() - began)
        began = perf_counter()
        ours = coco_ground_truth(dataset)
        seconds["ours"].append(perf_counter() - began)
        began = perf_counter()
        plain = from_samples(dataset)
        seconds["decoding"].append(perf_counter() - began)
        if ours != plain:
            raise RuntimeError("the annotations of both ways differ")
    reader, decoding, fast = (np.array(seconds[k]) for k in ("reader", "decoding", "ours"))
    return {
        "seconds": {name: round(median(values), 3) for name, values in seconds.items()},
        "speedup": spread(decoding / fast),
        "speedup_with_reader": spread((reader + decoding) / (reader + fast)),
    }


def write_folder(root: Path, *, polygons: bool) -> None:
    """Write photos, links to them, and a label file for each."""
    rng = np.random.default_rng(16)
    for folder in ("photos", "images", "labels"):
        (root / folder).mkdir(parents=True)
    for number in range(min(_FILES, IMAGES)):
        small = rng.integers(0, 256, (SIZE[0] // 10, SIZE[1] // 10, 3), dtype=np.uint8)
        photo = cv2.resize(small, SIZE[::-1], interpolation=cv2.INTER_CUBIC)
        Image.fromarray(photo).save(root / "photos" / f"{number}.jpg", quality=90)
    for index in range(IMAGES):
        os.link(root / "photos" / f"{index % _FILES}.jpg", root / "images" / f"{index:06d}.jpg")
        lines = [_line(rng, polygons=polygons) for _ in range(OBJECTS)]
        (root / "labels" / f"{index:06d}.txt").write_text("\n".join(lines), encoding="utf-8")
    names = "train: images\nval: images\nnames: [one, two, three]\n"
    (root / "data.yaml").write_text(names, encoding="utf-8")


def _line(rng: np.random.Generator, *, polygons: bool) -> str:
    centre, size = rng.uniform(0.2, 0.8, 2), rng.uniform(0.05, 0.3, 2)
    values = np.concatenate([centre, size])
    if polygons:
        angles = np.arange(POINTS) / POINTS * 2 * np.pi
        radii = rng.uniform(0.5, 1, POINTS)[:, None] * size / 2
        values = (centre + radii * np.stack([np.cos(angles), np.sin(angles)], axis=1)).reshape(-1)
    return " ".join([str(rng.integers(3)), *(f"{value:.6f}" for value in values)])
