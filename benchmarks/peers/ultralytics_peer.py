"""Ultralytics' YOLO11n, from its YAML without weights, with its own defaults for everything.

It has no way to take weights of a backbone of timm, and its own weights need a download. Validation
during training is off, since it is no part of the budget of the others.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

os.environ |= {"YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false"}

import numpy as np
import torch
from pycocotools import mask as mask_utils
from ultralytics import YOLO, settings

from benchmarks.peers.jobs import Job, Meter

# What a user writes, beside data.yaml.
USER = """
path: mine
train: images/train
val: images/val
names: {0: a}
from ultralytics import YOLO
YOLO("yolo11n.yaml").train(data="mine/data.yaml", epochs=N)
"""


class Enough(Exception):
    """The budget is spent."""


def train(job: Job, meter: Meter) -> int:
    """Train; the budget is brought to whole epochs, which its schedule counts in."""
    settings.update({"sync": False})
    images = len(job.annotations("train")["images"])
    batch = min(16, images)
    steps_of_epoch = -(-images // batch)
    epochs = max(1, meter.steps // steps_of_epoch) if meter.steps else 10_000
    meter.steps = epochs * steps_of_epoch if meter.steps else 0
    model = YOLO("yolo11n-seg.yaml" if job.task == "masks" else "yolo11n.yaml")

    def after_batch(trainer: Any) -> None:
        def save(path: Path) -> None:
            trainer.ema.update_attr(trainer.model, include=["yaml", "nc", "args", "names"])
            torch.save(trainer.ema.ema, path)

        if not meter.after_step(save):
            raise Enough

    model.add_callback("on_train_batch_end", after_batch)
    try:
        model.train(
            data=str(Path(job.folder) / "data.yaml"),
            epochs=epochs,
            imgsz=max(job.size),
            batch=batch,
            seed=job.seed,
            device="cpu",
            workers=0,
            val=False,
            plots=False,
            amp=False,
            project=job.out,
            name="run",
            exist_ok=True,
        )
    except Enough:
        pass
    return batch


def predictor(job: Job, state: Path) -> Any:
    """Predictions with the settings of its own validation: score 0.001, NMS 0.7, 300 at most."""
    from ultralytics.utils.patches import torch_load

    network = torch_load(state, weights_only=False).float().eval()  # written by this process
    model = YOLO("yolo11n-seg.yaml" if job.task == "masks" else "yolo11n.yaml")
    model.model = network
    ids = [category["id"] for category in job.annotations("val")["categories"]]

    def predict(path: Path) -> list[dict[str, Any]]:
        options = {"conf": 0.001, "iou": 0.7, "max_det": 300, "retina_masks": True}
        (found,) = model.predict(path, imgsz=max(job.size), device="cpu", verbose=False, **options)
        records = []
        for number, box in enumerate(found.boxes):
            x1, y1, x2, y2 = box.xyxy[0].tolist()
            record = {"category_id": ids[int(box.cls)], "score": float(box.conf)}
            record["bbox"] = [x1, y1, x2 - x1, y2 - y1]
            if found.masks is not None:
                mask = found.masks.data[number].numpy().astype(np.uint8)
                rle = mask_utils.encode(np.asfortranarray(mask))
                record["segmentation"] = {"size": rle["size"], "counts": rle["counts"].decode()}
            records.append(record)
        return records

    return predict
