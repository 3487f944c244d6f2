"""Predicting a folder: how much of the time is the model at work?

The model is a stand-in that waits for a fixed time and needs no core, as a GPU does for the threads
around it; files are read, transformed, drawn and written as ``tools/predict.py`` does. The plain
way does one thing after the other.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import nn

from benchmarks.harness.clock import spread, time_in_turn
from benchmarks.harness.draw import INFO, make_instances
from van_dense.api import Loaded
from van_dense.config.load import RawConfig, validate
from van_dense.core.structures import Batch, Prediction, Size
from van_dense.data.io.sources import find_sources
from van_dense.inference.files import FilePrediction
from van_dense.models.dense_model import DenseModel

IMAGES = 48
SIZE: Size = (768, 1024)
OBJECTS = 20
SECONDS = 0.1  # of the stand-in for an image

_CONFIG = {
    "task": "detection",
    "data": {part: {"images": "unused", "annotations": "unused"} for part in ("train", "val")},
    "model": {"kind": "maskrcnn", "engine": "torchvision", "backbone": {"name": "van_b0"}},
    "train": {"epochs": 1},
}


class _StandIn(DenseModel):
    """Finds the same objects everywhere, and takes its time."""

    def __init__(self) -> None:
        super().__init__(nn.Identity())
        self.found = make_instances(SIZE, OBJECTS).instances

    def predict(self, batch: Batch) -> list[Prediction]:
        time.sleep(SECONDS * len(batch))
        sizes = zip(batch.image_ids, batch.orig_sizes, strict=True)
        return [Prediction(image_id, size, instances=self.found) for image_id, size in sizes]


def measure_predict(*, rounds: int) -> dict[str, Any]:
    """Share of the time in which the model is at work, with and without overlap.

    Args:
        rounds: Of predicting the folder in each way, after one to warm up.
    """
    raw = RawConfig()
    raw.merge(_CONFIG, "benchmark")
    loaded = Loaded(_StandIn(), validate(raw), INFO, 0, torch.device("cpu"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write_photos(folder / "photos")
        files = find_sources([str(folder / "photos")])

        def plain() -> None:
            for path in files:
                loaded.predict(path)[0].save(folder / "plain", overwrite=True)

        def ours() -> None:
            with tempfile.TemporaryDirectory(dir=folder) as output:
                FilePrediction(loaded.stream, Path(output)).run(files)

        calls = {"plain": plain, "ours": ours}
        seconds = time_in_turn(calls, rounds=rounds, device=torch.device("cpu"))
    at_work = SECONDS * IMAGES
    return {
        "rounds": rounds,
        "images": IMAGES,
        "size": list(SIZE),
        "objects": OBJECTS,
        "model_seconds_per_image": SECONDS,
        "model_at_work": {
            name: spread(at_work / np.array(values)) for name, values in seconds.items()
        },
    }


def _write_photos(folder: Path) -> None:
    """JPEGs with the detail of photos: noise at several scales."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(IMAGES):
        photo = np.zeros((*SIZE, 3), np.float32)
        for cells in (6, 48, 384):
            noise = rng.uniform(0, 1, (cells, cells * 4 // 3, 3)).astype(np.float32)
            photo += cv2.resize(noise, SIZE[::-1], interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(folder / f"{number:03d}.jpg"), (photo * 85).clip(0, 255).astype(np.uint8))
