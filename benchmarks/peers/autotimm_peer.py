"""AutoTimm: FCOS on a backbone of timm by Lightning, with its own defaults.

It takes timm's weights, so it starts where this project starts; its transforms normalise by
ImageNet's statistics whatever the backbone. Compiling is off: on a CPU it costs minutes.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import albumentations as A
import cv2
import pytorch_lightning as pl
import torch
from albumentations.pytorch import ToTensorV2
from autotimm import DetectionDataModule, FeatureBackboneConfig, ObjectDetector

from benchmarks.peers.backbone import fill
from benchmarks.peers.jobs import Job, Meter

BATCH = 4  # its default is 16, of which a CPU makes one step in a minute and a half
USER = """
from autotimm import DetectionDataModule, FeatureBackboneConfig, ObjectDetector, AutoTrainer
data = DetectionDataModule(train_images_dir="mine/images/train", val_images_dir="mine/images/val",
    train_ann_file="mine/train.json", val_ann_file="mine/val.json", image_size=640, batch_size=4)
data.setup("fit")
backbone = FeatureBackboneConfig("tf_efficientnet_lite0", pretrained=False)
model = ObjectDetector(backbone, num_classes=data.num_classes)
model.backbone.load_state_dict(load_file("weights.safetensors"), strict=False)
AutoTrainer(max_epochs=N).fit(model, datamodule=data)
"""


class Clock(pl.Callback):
    """Tells the meter of each step, and stops the trainer."""

    def __init__(self, meter: Meter) -> None:
        self.meter = meter

    def on_train_batch_end(self, trainer: Any, module: Any, *_: Any) -> None:
        """Count."""
        if not self.meter.after_step(lambda path: torch.save(module.state_dict(), path)):
            trainer.should_stop = True


def network(job: Job, *, seed: int | None = None) -> ObjectDetector:
    """The detector without trained weights."""
    backbone = FeatureBackboneConfig(job.backbone, pretrained=False)
    rules: dict[str, Any] = {"compile_model": False, "seed": seed, "deterministic": False}
    return ObjectDetector(backbone, num_classes=len(job.classes), **rules)


def train(job: Job, meter: Meter) -> int:
    """Train a detector."""
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    model = network(job, seed=job.seed)
    if job.weights:
        fill(model.backbone, job.weights)
    data = DetectionDataModule(
        train_images_dir=job.images["train"],
        val_images_dir=job.images["val"],
        train_ann_file=Path(job.folder) / "train.json",
        val_ann_file=Path(job.folder) / "val.json",
        image_size=max(job.size),
        batch_size=BATCH,
        num_workers=0,
    )
    trainer = pl.Trainer(
        max_steps=meter.steps or 100_000,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        limit_val_batches=0,
        callbacks=[Clock(meter)],
    )
    trainer.fit(model, datamodule=data)
    return BATCH


def predictor(job: Job, state: Path) -> Any:
    """Detections in the image's pixels; the transform is that of its evaluation."""
    model = network(job).eval()
    model.load_state_dict(torch.load(state, weights_only=True))
    side = max(job.size)
    ids = sorted(category["id"] for category in job.annotations("val")["categories"])
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    pad = {"border_mode": 0, "fill": (114, 114, 114), "position": "center"}
    steps = [A.LongestMaxSize(max_size=side), A.PadIfNeeded(side, side, **pad)]
    transform = A.Compose([*steps, A.Normalize(mean=mean, std=std), ToTensorV2()])

    @torch.inference_mode()
    def predict(path: Path) -> list[dict[str, Any]]:
        image = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
        height, width = image.shape[:2]
        scale = side / max(height, width)
        left, top = (side - round(width * scale)) // 2, (side - round(height * scale)) // 2
        (found,) = model.predict(transform(image=image)["image"][None])
        records = []
        values = (found[k] for k in ("boxes", "scores", "labels"))
        for box, score, label in zip(*values, strict=True):
            x1, y1, x2, y2 = ((box - torch.tensor([left, top] * 2)) / scale).tolist()
            x1, x2 = (min(max(x, 0.0), width) for x in (x1, x2))
            y1, y2 = (min(max(y, 0.0), height) for y in (y1, y2))
            record = {"category_id": ids[int(label)], "score": float(score)}
            records.append({**record, "bbox": [x1, y1, x2 - x1, y2 - y1]})
        return records

    return predict
