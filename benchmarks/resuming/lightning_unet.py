"""A U-Net of segmentation-models-pytorch in PyTorch Lightning: ``ckpt_path="last"``."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import lightning
import segmentation_models_pytorch as smp
import torch
from common import CLASSES, Scenes, digest, mark, serve
from lightning.pytorch.callbacks import EMAWeightAveraging, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader

SETTINGS = {
    "max_epochs": 6,
    "accumulate_grad_batches": 2,
    "accelerator": "cpu",
    "deterministic": True,
    "log_every_n_steps": 1,
    "enable_progress_bar": False,
}


class Segmenter(lightning.LightningModule):
    """U-Net on ResNet-18, cross entropy, AdamW with a cosine."""

    def __init__(self) -> None:
        super().__init__()
        self.net = smp.Unet("resnet18", encoder_weights=None, classes=len(CLASSES))

    def training_step(self, batch: Any, index: int) -> torch.Tensor:
        """The loss."""
        loss = cross_entropy(self.net(batch[0]), batch[1])
        self.log("loss", loss)
        return loss

    def validation_step(self, batch: Any, index: int) -> None:
        """Loss and accuracy."""
        logits = self.net(batch[0])
        self.log("val_loss", cross_entropy(logits, batch[1]))
        self.log("val_accuracy", (logits.argmax(1) == batch[1]).float().mean())

    def configure_optimizers(self) -> Any:
        """As in many recipes."""
        optimizer = torch.optim.AdamW(self.parameters(), 1e-3)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, SETTINGS["max_epochs"])
        return [optimizer], [schedule]


class Mark(lightning.Callback):
    """For the harness."""

    def on_train_start(self, *_: Any) -> None:
        """The first step comes next."""
        mark()


def start(run: Path, checkpoint: str | None = None) -> None:
    """Train from random weights."""
    lightning.seed_everything(0, workers=True)
    last = ModelCheckpoint(run / "checkpoints", save_last=True, monitor="val_loss")
    trainer = lightning.Trainer(
        **SETTINGS,
        callbacks=[last, EMAWeightAveraging(decay=0.9), Mark()],
        logger=CSVLogger(run, name="", version=""),
        default_root_dir=run,
    )
    loader = DataLoader(
        Scenes("train", 24), 4, shuffle=True, num_workers=1, persistent_workers=True
    )
    trainer.fit(Segmenter(), loader, DataLoader(Scenes("val", 8), 4), ckpt_path=checkpoint)


def resume(run: Path) -> None:
    """Go on from the last checkpoint."""
    start(run, "last")


def result(run: Path) -> dict[str, Any]:
    """Weights of the last checkpoint, and the rows of metrics.csv."""
    saved = torch.load(run / "checkpoints" / "last.ckpt", map_location="cpu", weights_only=False)
    with open(run / "metrics.csv", newline="") as file:
        entries = list(csv.DictReader(file))
    steps = [entry["step"] for entry in entries]
    return {"weights": digest(saved["state_dict"]), "steps": steps, "log": entries}


def about(run: Path) -> dict[str, Any]:
    """Settings, and where things lie."""
    how = "trainer.fit(model, loader), trainer.fit(model, loader, ckpt_path='last')"
    more = {"seed_everything": "0, workers=True", "batch": 4, "num_workers": 1}
    more |= {"callbacks": "ModelCheckpoint(save_last=True), EMAWeightAveraging", "logger": "CSV"}
    files = {"checkpoint": "checkpoints/last.ckpt", "log": "metrics.csv"}
    program = "PyTorch Lightning, U-Net of segmentation-models-pytorch"
    return {"program": program, "how": how, "settings": SETTINGS | more, **files}


if __name__ == "__main__":
    serve({"start": start, "resume": resume, "result": result, "about": about})
