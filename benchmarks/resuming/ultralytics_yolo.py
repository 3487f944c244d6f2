"""YOLO11n of ultralytics from its YAML, without weights: ``resume=True`` of its ``last.pt``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

os.environ |= {"YOLO_CONFIG_DIR": str(Path("settings").absolute()), "YOLO_OFFLINE": "true"}

import torch
from common import CLASSES, SIZE, digest, mark, scenes, serve
from ultralytics import YOLO

SETTINGS = {
    "epochs": 6,
    "imgsz": SIZE,
    "batch": 4,
    "nbs": 8,  # gradients of two batches add up
    "workers": 1,
    "device": "cpu",
    "seed": 0,
    "deterministic": True,
    "plots": False,
    "exist_ok": True,
}


def start(run: Path) -> None:
    """Train from the architecture."""
    data = Path("scenes.yaml").absolute()
    names = dict(enumerate(CLASSES[1:]))
    root = scenes("train").parents[1]
    scenes("val")
    data.write_text(f"path: {root}\ntrain: images/train\nval: images/val\nnames: {names}\n")
    _train(YOLO("yolo11n.yaml"), data=str(data), project=str(run.parent), name=run.name, **SETTINGS)


def resume(run: Path) -> None:
    """Go on from the last checkpoint.

    Not of a training that is finished: there ``resume=True`` is an error, or where the optimiser
    has been taken out of the file already, the start of another one on coco8.
    """
    model = YOLO(run / "weights" / "last.pt")
    if model.ckpt["epoch"] not in (SETTINGS["epochs"] - 1, -1):
        _train(model, resume=True)


def _train(model: YOLO, **settings: Any) -> None:
    model.add_callback("on_train_start", lambda trainer: mark())
    model.train(**settings)


def result(run: Path) -> dict[str, Any]:
    """Weights of the last checkpoint, and the rows of results.csv without their times."""
    saved = torch.load(run / "weights" / "last.pt", map_location="cpu", weights_only=False)
    model = saved["model"] or saved["ema"]
    rows = [line.split(",") for line in (run / "results.csv").read_text().splitlines()]
    entries = [
        {k: v for k, v in zip(rows[0], row, strict=False) if k != "time"} for row in rows[1:]
    ]
    steps = [entry.get("epoch") for entry in entries]
    return {"weights": digest(model.state_dict()), "steps": steps, "log": entries}


def about(run: Path) -> dict[str, Any]:
    """Settings, and where things lie."""
    how = "YOLO('yolo11n.yaml').train(...), YOLO('RUN/weights/last.pt').train(resume=True)"
    files = {"checkpoint": "weights/last.pt", "log": "results.csv"}
    return {"program": "ultralytics, YOLO11n", "how": how, "settings": SETTINGS, **files}


if __name__ == "__main__":
    serve({"start": start, "resume": resume, "result": result, "about": about})
