"""A tiny experiment of every kind of model, on the sample data set that the session writes once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from van_dense.config import Config, load_config
from van_dense.data.sample_data import write_sample_data

PROJECTS = Path(__file__).resolve().parents[2] / "projects"
# One project for each kind of model of each task; a new task adds its own here.
KINDS = {"detection-maskrcnn": "quickstart.yaml", "detection-retinanet": "retinanet_van_b0.yaml"}


@pytest.fixture(scope="session")
def sample_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data") / "sample"
    write_sample_data(root, train_images=12, val_images=6, size=64, seed=3)
    return root


@pytest.fixture(scope="session", params=sorted(KINDS))
def make_config(request: pytest.FixtureRequest, sample_root: Path) -> Callable[..., Config]:
    # A detector that just began gives no score above the usual threshold.
    low = "head" if request.param == "detection-retinanet" else "box_head"

    def make(*overrides: str) -> Config:
        size = "{train_images: 12, val_images: 6, size: 64, seed: 3"
        return load_config(
            PROJECTS / KINDS[request.param],
            [
                f"data.sample={size}, root: {sample_root}}}",
                f"data.train.images={sample_root}/train2017",
                f"data.train.annotations={sample_root}/annotations/instances_train2017.json",
                f"data.val.images={sample_root}/val2017",
                f"data.val.annotations={sample_root}/annotations/instances_val2017.json",
                "data.transforms={short_sides: [64], test_short_side: 64, max_long_side: 112}",
                "data.workers=0",
                "model.fpn.channels=16",
                f"model.{low}.score_threshold=0.001",
                "model.anchor_sizes=[8, 16, 24, 36, 48]",
                "train.steps=4",
                "train.batch_size=2",
                "train.save_every=2",
                "train.log_every=1",
                "train.eval_every=null",
                "train.schedule.warmup_steps=0",
                "eval.pictures=2",
                "eval.oracle_images=4",
                *overrides,
            ],
            sample=True,
        )

    torch.set_num_threads(1)
    return make
