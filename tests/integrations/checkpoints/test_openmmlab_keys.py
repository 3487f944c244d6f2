"""Every weight of the networks of mmdet, mmseg and mmpose finds its place; needs none of them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers.openmmlab_keys import known_states
from integrations.openmmlab.networks import NETWORKS
from torch import Tensor

from van_dense.config import load_config
from van_dense.integrations.checkpoints.openmmlab_file import foreign_file
from van_dense.tasks import task_of
from van_dense.tasks.build import build_model

pytestmark = pytest.mark.filterwarnings("ignore:.*no-op")  # weights that a model on meta takes
PROJECTS = Path(__file__).resolve().parents[3] / "projects"


@pytest.fixture(scope="module")
def states() -> dict[str, dict[str, Tensor]]:
    return known_states()


def loaded(name: str, state: dict[str, Tensor]) -> str:
    """What is said when a file of `state` is loaded into the project of the network."""
    network = NETWORKS[name]
    config = load_config(PROJECTS / f"{network.project}.yaml", list(network.overrides))
    task = task_of(config)
    file = foreign_file({"meta": {}, "state_dict": state})
    info = task.foreign_info(file, config)
    with torch.device("meta"):
        model = build_model(config, info)
    return task.load_foreign(model, file, config, info)


def test_every_network_is_known(states):
    assert list(states) == list(NETWORKS)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_weight_finds_its_place(name, states):
    loaded(name, states[name])


@pytest.mark.parametrize("name", NETWORKS)
def test_a_weight_less_or_more_is_no_such_network(name, states):
    state = dict(states[name])
    last = next(key for key in reversed(state) if key.endswith("weight"))
    with pytest.raises(ValueError, match="not"):
        loaded(name, {key: value for key, value in state.items() if key != last})
    with pytest.raises(ValueError, match="not"):
        loaded(name, {**state, last.replace("weight", "another"): state[last]})


def test_heads_of_mmpose_0_had_another_name(states):
    old = {key.replace("head.", "keypoint_head."): v for key, v in states["pose_r50"].items()}
    assert "keypoint_head.final_layer.weight" in old
    loaded("pose_r50", old)
