"""A file predicts large images through windows as its run does."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from contracts.conftest import KINDS, PROJECTS
from helpers.exported import assert_same
from helpers.tiny_models import tiny_model

import van_dense
from van_dense.api import Loaded
from van_dense.deploy.file_model import file_model
from van_dense.deploy.networks import network_of
from van_dense.inference.tiles import predict_tiled
from van_dense.models.dense_model import DenseModel
from van_dense.tasks import task_of

IMAGE = np.random.default_rng(0).integers(0, 255, (100, 130, 3), np.uint8)


def loaded_with(kind: str, model: DenseModel) -> Loaded:
    project, options = KINDS[kind]
    options = [one for one in options if "{root}" not in one]
    sizes = ["data.transforms={test_short_side: 64, max_long_side: 112}"]
    if kind.startswith("semantic"):
        sizes = []
    config = van_dense.load_config(PROJECTS / project, [*options, *sizes])
    info = task_of(config).dataset_info(config)
    return Loaded(model.eval(), config, info, 0, torch.device("cpu"))


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize(
    "kind",
    [
        "semantic-semantic_fpn",
        "detection-retinanet",
        "detection-maskrcnn",
        "panoptic-panoptic_fpn",
    ],
)
def test_a_file_is_tiled_as_its_run(kind, whole):
    model = tiny_model(kind, spread=1.0 if kind.startswith("semantic") else 0.5)
    if kind.startswith("panoptic"):
        model.types = ("panoptic", "instance", "semantic")
    network = network_of(model)
    pair = [model, file_model(network, lambda precision: network.run)]
    run, file = (
        predict_tiled(loaded_with(kind, one), IMAGE, tile=(64, 64), whole=whole) for one in pair
    )
    assert_same([file], [run])
    assert (run.panoptic is not None) == kind.startswith("panoptic")
    assert (run.semantic is not None) == kind.startswith(("panoptic", "semantic"))
