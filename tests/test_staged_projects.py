"""Projects of MogaNet and UniRepLKNet say what their authors' configs say."""

from pathlib import Path

import pytest
import torch

import van_dense
from benchmarks.harness.complexity import count_parameters
from van_dense.config import load_config

ROOT = Path(__file__).resolve().parents[1]
# Learning rate, weight decay and batch of the authors, drop path, and millions of parameters in
# their READMEs: rounded of MogaNet, cut off of UniRepLKNet, whose UperNet was counted merged.
PUBLISHED = {
    "maskrcnn_moganet_t": (2e-4, 0.05, 16, 0.1, "25.0"),
    "semfpn_moganet_s": (2e-4, 1e-4, 32, 0.1, "29.1"),
    "pose_moganet_t_256x192": (1e-3, 0.0, 256, 0.15, "8.1"),
    "cascade_maskrcnn_unireplknet_t_3x": (1e-4, 0.05, 16, 0.3, "89"),
    "upernet_unireplknet_t": (1e-4, 0.05, 16, 0.2, "61"),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_recipe_is_that_of_the_authors(name: str) -> None:
    lr, weight_decay, batch, drop_path, _ = PUBLISHED[name]
    config = load_config(ROOT / f"projects/{name}.yaml")
    train, optimizer, backbone = config.train, config.train.optimizer, config.model.backbone
    assert (optimizer.lr, optimizer.weight_decay) == (lr, weight_decay)
    assert train.batch_size == optimizer.base_batch == batch
    assert (backbone.drop_path, backbone.weights) == (drop_path, f"{backbone.name}_in1k")
    assert (train.precision, train.clip_norm) == ("fp32", None)


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_network_has_the_parameters_that_are_published(name: str) -> None:
    options = ["model.backbone.weights=null"]
    if name == "upernet_unireplknet_t":
        options += ["model.backbone.options={merged: true}"]
    with torch.device("meta"):
        model = van_dense.build_model(load_config(ROOT / f"projects/{name}.yaml", options))
    millions = count_parameters(model) / 1e6
    written = str(int(millions)) if "unireplknet" in name else f"{millions:.1f}"
    assert written == PUBLISHED[name][-1]


def test_scales_of_moganet_do_not_decay() -> None:
    config = load_config(ROOT / "projects/maskrcnn_moganet_t.yaml")
    assert config.train.optimizer.no_decay == ("norm", "scale")
