"""Whole segmenters in one run and on one thread, each beside UperNet on Swin-T.

From the pixels of one image to its label map, as ``predict`` gives it, with random weights. All
calls of all networks take turns; networks are compared with each other within a way.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from benchmarks.harness import deploy
from benchmarks.harness.clock import one_thread, spread
from benchmarks.harness.complexity import count_parameters
from benchmarks.harness.deploy import (
    Run,
    Seconds,
    about_runtimes,
    generated_photo,
    image_of,
    installed_runtimes,
    run_in_turn,
)
from van_dense.config import Config, dump_config, load_config
from van_dense.core.structures import Batch, Prediction
from van_dense.deploy.card import Card
from van_dense.deploy.network import Network
from van_dense.deploy.networks import network_of
from van_dense.deploy.runtime import open_file
from van_dense.deploy.write import write_onnx
from van_dense.models.cpu_copy import cpu_copy
from van_dense.models.segmentation.semantic import SemanticSegmenter
from van_dense.tasks import task_of

REFERENCE = "UperNet, Swin-T"
SEGMENTERS: dict[str, tuple[str, ...]] = {  # name: project and its overrides; ADE20K, 150 classes
    "SegNeXt-T": ("segnext_t",),
    "SegNeXt-B": ("segnext_b",),
    "Light-Ham, VAN-B2": ("van_b2_ham",),
    "UperNet, VAN-B2": ("upernet_van_b2",),
    REFERENCE: ("upernet_van_b2", "model.backbone.name=swin_tiny_patch4_window7_224"),
}
LABEL_MAP = "label_map"  # what all ways share: from logits to labels


def measure_segmenters(*, rounds: int) -> dict[str, Any]:
    """Time, parameters and agreement of ``SEGMENTERS`` at ``deploy.SIZE``, one image at a time.

    Args:
        rounds: Of measuring.
    """
    batch = _batch(image_of(generated_photo()))
    with one_thread(), tempfile.TemporaryDirectory() as folder:
        models = {name: _model(*project) for name, project in SEGMENTERS.items()}
        ways = {
            name: _ways(model, config, Path(folder, f"{index}.onnx"))
            for index, (name, (model, config)) in enumerate(models.items())
        }
        wall, cpu = run_in_turn(ways, [batch], rounds=rounds)
        found = beside_reference(wall, cpu)
        for name, (model, _) in models.items():
            found[name] = {
                "parameters": count_parameters(model),
                "same_labels": _agreement(ways[name], batch),
                "ways": found[name],
            }
    for name in found:
        share = found[name]["parameters"] / found[REFERENCE]["parameters"]
        found[name]["parameters_beside_reference"] = round(share, 3)
    size = {"size": list(deploy.SIZE), "threads": 1, "rounds": rounds, "reference": REFERENCE}
    return about_runtimes() | size | {"segmenters": found}


def config_of(project: str, *overrides: str) -> Config:
    """A project with random weights, and without the auxiliary head of its training."""
    return load_config(project, ["model.backbone.weights=null", "model.auxiliary=null", *overrides])


def _model(project: str, *overrides: str) -> tuple[SemanticSegmenter, str]:
    """A network of random weights, and its config as YAML."""
    config = config_of(project, *overrides)
    torch.manual_seed(0)
    task = task_of(config)
    model = task.build_model(config, task.dataset_info(config)).eval()
    assert isinstance(model, SemanticSegmenter)
    return model, dump_config(config)


def _ways(model: SemanticSegmenter, config: str, path: Path) -> dict[str, Run]:
    """Predictions of the model, of the copy that ``load`` makes, and of files of the model."""
    network = network_of(model)
    network.takes_any_size = False  # otherwise the export of Swin takes minutes
    write_onnx(network, network.example(deploy.SIZE), path, _card(network, config))
    ways: dict[str, Run] = {
        "eager": partial(_predict, model),
        "load": partial(_predict, cpu_copy(model)),
    }
    for runtime in installed_runtimes():
        run = open_file(path, runtime).runner(network.needed)
        ways[f"{runtime}_fp32"] = partial(network.predict, run)
    with torch.inference_mode():
        logits = model.logits(torch.zeros(1, 3, *deploy.SIZE))
    ways[LABEL_MAP] = partial(model.predict_by, lambda *_: logits)
    return ways


@torch.inference_mode()
def _predict(model: SemanticSegmenter, batch: Batch) -> list[Prediction]:
    return model.predict(batch)


def _card(network: Network, config: str) -> Card:
    digests = {"config_sha256": "", "checkpoint_sha256": ""}
    return Card(
        config, {}, step=0, outputs=network.outputs, multiple=32, version="benchmark", **digests
    )


def _batch(image: np.ndarray) -> Batch:
    return Batch(
        torch.from_numpy(image), sizes=[deploy.SIZE], orig_sizes=[deploy.SIZE], image_ids=[0]
    )


def _agreement(ways: Mapping[str, Run], batch: Batch) -> dict[str, float]:
    """Share of the pixels that have the label of the eager model."""
    maps = {way: run(batch)[0].semantic for way, run in ways.items() if way != LABEL_MAP}
    return {
        way: round(float((labels == maps["eager"]).mean()), 5)
        for way, labels in maps.items()
        if way != "eager"
    }


def beside_reference(wall: Seconds, cpu: Seconds) -> dict[str, Any]:
    """Time of every network and way, and how many times as fast as the reference in that way."""
    return {
        name: {
            way: {
                "ms": round(1000 * median(wall[name][way]), 1),
                "cpu_ms": round(1000 * median(cpu[name][way]), 1),
                "times_as_fast": spread(np.divide(wall[REFERENCE][way], wall[name][way])),
                "times_as_fast_of_cpu_time": spread(np.divide(cpu[REFERENCE][way], cpu[name][way])),
            }
            for way in wall[name]
        }
        for name in wall
    }
