"""Which network predicts: on a CPU a copy of the loaded model, if it is the same function."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import van_dense
from van_dense.api import Loaded
from van_dense.core.dataset_info import DatasetInfo
from van_dense.engine.checkpoint import save_checkpoint

IMAGE = np.random.default_rng(0).integers(0, 255, (50, 70, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    overrides = ["data.transforms={size: 64, resize: 72}", "model.backbone.weights=null"]
    config = van_dense.load_config("classify_van_b0_in1k", overrides)
    torch.manual_seed(0)
    model = van_dense.build_model(config)
    info = DatasetInfo("things", tuple(map(str, range(1000))), tuple(range(1000)))
    path = tmp_path_factory.mktemp("runs") / "a.pt"
    content = {"step": 0, "model": model.state_dict(), "ema": None, "info": info.to_dict()}
    save_checkpoint(path, {**content, "config": config.model_dump(mode="json")})
    return path


@pytest.fixture
def loaded(checkpoint: Path) -> Loaded:
    return van_dense.load(checkpoint, device="cpu")


def scores(loaded: Loaded) -> torch.Tensor:
    return loaded.predict(IMAGE)[0].class_scores


def test_a_copy_predicts_within_1e_4_and_the_model_stays_as_it_is(loaded):
    names = list(loaded.model.state_dict())
    assert loaded.network is not loaded.model and loaded.network is loaded.network
    difference = (scores(loaded) - scores(replace(loaded, fast=False))).abs().max()
    assert difference < 1e-4
    assert list(loaded.model.state_dict()) == names


def test_changed_weights_predict_at_once(loaded):
    before = scores(loaded)
    with torch.no_grad():
        loaded.model.backbone.body.head.bias[3] += 10
    assert scores(loaded)[3] > before[3] + 0.1


def test_hooks_see_the_outputs_of_their_modules(loaded):
    scores(loaded)  # there is a copy
    seen = []
    norm = loaded.model.backbone.body.patch_embed1.norm
    handle = norm.register_forward_hook(lambda module, inputs, output: seen.append(output))
    scores(loaded)
    assert len(seen) == 1
    handle.remove()


def test_a_model_that_was_put_together_by_hand_predicts_itself(loaded):
    assert replace(loaded, fast=False).network is loaded.model
