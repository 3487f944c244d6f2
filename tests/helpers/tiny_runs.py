"""Run folders of tiny, untrained models, for commands."""

from __future__ import annotations

from pathlib import Path

import helpers.shallow_van  # noqa: F401  registers van_shallow

from van_dense.config import Config, load_config
from van_dense.runs.training import train_run

ROOT = Path(__file__).resolve().parents[2]
_TINY = "data.transforms={short_sides: [64], test_short_side: 64, max_long_side: 112}"
# The detector finds something everywhere.
PROJECTS = {
    "detector": ("quickstart", [_TINY, "model.box_head={score_threshold: 0.0, channels: 32}"]),
    "pose": ("pose_van_b0_256x192", ["data.transforms.size=[64, 64]", "model.channels=[8, 8]"]),
    "classifier": ("classify_van_b0_in1k", ["data.transforms={size: 32, resize: 32}"]),
}


def train_tiny(name: str, folder: Path, *, val_images: int = 4) -> Path:
    """Train a model of ``PROJECTS`` for a step; its run folder inside of ``folder``."""
    project, overrides = PROJECTS[name]
    backbone = "model.backbone={name: van_shallow, weights: null}"
    overrides = [*overrides, backbone, f"data.sample.val_images={val_images}"]
    train_run(_config(project, folder / f"{name}_data", *overrides), folder / name)
    return folder / name


def _config(project: str, root: Path, *overrides: str) -> Config:
    kinds = {"quickstart": "instances", "pose_van_b0_256x192": "person_keypoints"}
    kind = kinds.get(project)
    paths = [f"data.{part}={root}/classes/{part}" for part in ("train", "val")]
    paths = (
        paths
        if kind is None
        else [
            f"data.{part}={{images: {root}/{part}2017, "
            f"annotations: {root}/annotations/{kind}_{part}2017.json}}"
            for part in ("train", "val")
        ]
    )
    sample = f"data.sample={{root: {root}, train_images: 8, val_images: 4, size: 64, seed: 3}}"
    short = ["data.workers=0", "train.steps=1", "train.batch_size=2", "train.eval_every=null"]
    return load_config(
        ROOT / "projects" / f"{project}.yaml",
        [*paths, sample, *short, "eval.pictures=0", "eval.oracle_images=0", *overrides],
        sample=True,
    )
