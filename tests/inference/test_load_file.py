"""What a file cannot follow is refused when it is loaded, and commands say it in one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.tiny_models import tiny_model
from PIL import Image

import van_dense
from van_dense.cli.main import main
from van_dense.config import dump_config, load_config
from van_dense.deploy.card import Card
from van_dense.deploy.networks import network_of
from van_dense.deploy.write import write_onnx
from van_dense.tasks import task_of

pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")
SMALL = (
    "model.decoder={name: semantic_fpn, channels: 16, head_channels: 16}",
    "model.backbone={name: van_shallow, weights: null}",
    "data.transforms.test_scale=null",
)


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    """A segmenter that was never trained, as a file."""
    config = load_config("semfpn_van_b0", SMALL)
    network = network_of(tiny_model("semantic-semantic_fpn", *SMALL[1:2])).eval()
    texts = dict.fromkeys(("version", "config_sha256", "checkpoint_sha256"), "")
    info = task_of(config).dataset_info(config).to_dict()
    card = Card(
        config=dump_config(config), info=info, step=3, outputs=network.outputs, multiple=32, **texts
    )
    path = tmp_path_factory.mktemp("file") / "model.onnx"
    write_onnx(network, network.example((64, 96)), path, card)
    return path


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"overrides": ["model.decoder.channels=32"]}, r"model\.decoder\.channels=32"),
        ({"overrides": ["model.backbone.name=van_b1"]}, r"model\.backbone\.name=van_b1"),
        ({"checkpoint": "last"}, "checkpoint 'last'"),
    ],
)
def test_what_is_inside_the_file_cannot_be_changed(file, options, what):
    with pytest.raises(ValueError, match=rf"has its model inside, so {what}.*load the run"):
        van_dense.load(file, **options)


def test_a_fragment_may_not_change_the_model_either(file, tmp_path):
    fragment = tmp_path / "a.yaml"
    fragment.write_text("model: {decoder: {head_channels: 8}}\n")
    with pytest.raises(ValueError, match=r"so model\.decoder\.head_channels=8 cannot be followed"):
        van_dense.load(file, fragments=[fragment])


def test_a_file_runs_on_the_cpu(file, monkeypatch):
    assert van_dense.load(file, device="cpu").device == torch.device("cpu")
    assert van_dense.load(file, device=torch.device("cpu")).step == 3
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(ValueError, match="exported files run on the CPU, not on device 'cuda:0'"):
        van_dense.load(file, device="cuda:0")
    with pytest.raises(ValueError, match="runtime 'openvino': exported files run on the CPU"):
        van_dense.load(file.parent, device="cuda:0", runtime="openvino")


def test_everything_else_may_be_changed(file):
    same = ["model.decoder.channels=16", "data.workers=0", "eval.inference={mode: slide, "
            "crop: [64, 64], stride: [32, 32]}"]  # fmt: skip
    loaded = van_dense.load(file, overrides=same, engine="torchvision")
    assert loaded.config.data.workers == 0
    assert loaded.model.network.model.inference.mode == "slide"


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["explain", "FILE", "IMAGE"], "an exported file has no"),
        (["explain", "FILE", "IMAGE", "--view", "attention"], "an exported file has no"),
        (["explain", "FILE", "IMAGE", "--view", "features"], "an exported file has no"),
        (["explain", "FILE", "IMAGE", "--view", "field"], "an exported file has no"),
        (["export", "FILE"], "is no checkpoint of ours"),
        (["export", "FILE", "--backbone"], "is no checkpoint of ours"),
        (["eval", "FILE", "--checkpoint", "last"], "the file has its model inside"),
        (["eval", "FILE", "model.decoder.channels=32"], "the file has its model inside"),
    ],
    ids=lambda one: " ".join(one) if isinstance(one, list) else "",
)
def test_commands_say_in_one_line_what_a_file_cannot_do(
    file, tmp_path, arguments, problem, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.zeros((64, 96, 3), np.uint8)).save("a.png")
    given = [{"FILE": str(file), "IMAGE": "a.png"}.get(one, one) for one in arguments]
    assert main(given) == 1
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1 and printed.startswith("error: ") and problem in printed


def test_a_file_is_tiled_by_the_command(file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.zeros((70, 130, 3), np.uint8)).save("a.png")
    arguments = ["predict", str(file), "a.png", "--tile", "64", "64", "--output", "found"]
    assert main(arguments) == 0
    assert len(list((tmp_path / "found" / "masks").iterdir())) == 1
