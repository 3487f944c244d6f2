"""Loaded runs of any kind of model, whose weights are random, on a tiny generated data set."""

from __future__ import annotations

from pathlib import Path

import torch
from contracts.conftest import KINDS, PROJECTS
from helpers.tiny_models import _standardise

from van_dense.config import load_config
from van_dense.inference.loaded import Loaded
from van_dense.tasks import task_of


def loaded_of(kind: str, root: Path, *overrides: str) -> Loaded:
    """A model of a kind of ``contracts/conftest.py``, with the data set of its task in ``root``."""
    project, options = KINDS[kind]
    sample = f"{{train_images: 4, val_images: 3, size: 64, seed: 3, root: {root}}}"
    config = load_config(
        PROJECTS / project,
        [
            f"data.sample={sample}",
            *(option.replace("{root}", str(root)) for option in options),
            "model.backbone.weights=null",
            *overrides,
        ],
        sample=True,
    )
    task = task_of(config)
    task.prepare_data(config)
    info = task.build_dataset(config, "val").info
    torch.manual_seed(0)
    model = task.build_model(config, info).eval()
    _standardise(model, 1.0)
    return Loaded(model, config, info, step=0, device=torch.device("cpu"))
