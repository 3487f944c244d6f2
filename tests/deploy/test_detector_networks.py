"""Files of detectors give what the detectors give: in PyTorch, and in ONNX Runtime."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from helpers.exported import assert_same, images_of, mostly_slow, onnx_run
from helpers.tiny_models import tiny_model

from van_dense.deploy.networks import network_of
from van_dense.models.dense_model import DenseModel

# What float32 enlarges in a row of heads, or without any suppression, gets smaller outputs.
SPREAD = {"detection-maskrcnn": 0.5, "detection-sparsercnn": 0.25}
KINDS = (
    "detection-atss",
    "detection-cascade_maskrcnn",
    "detection-gfl",
    "detection-maskrcnn",
    "detection-retinanet",
    "detection-sparsercnn",
)
THREE = ((91, 67), (64, 64), (50, 96))


@pytest.fixture(scope="module", params=KINDS)
def network(request):
    return network_of(tiny_model(request.param, spread=SPREAD.get(request.param, 1.0)))


@pytest.fixture(scope="module", params=mostly_slow(KINDS, "detection-retinanet"))
def exported(request, tmp_path_factory):
    network = network_of(tiny_model(request.param, spread=SPREAD.get(request.param, 1.0)))
    return network, onnx_run(network, tmp_path_factory.mktemp("detector"))


@pytest.mark.parametrize("sizes", [THREE[:1], THREE], ids=["one", "three"])
def test_a_network_of_a_detector_finds_what_the_detector_finds(network, sizes):
    batch = images_of(*sizes)
    found = network.model.predict(batch)
    assert min(len(one.instances) for one in found) > 20
    assert_same(network.predict(network.run, batch), found)


@pytest.mark.parametrize("size", [(64, 96), (91, 67), (128, 160)])
def test_the_file_of_a_detector_agrees_for_any_size(exported, size):
    network, run = exported
    batch = images_of(size)
    assert_same(network.predict(run, batch), network.model.predict(batch))


def test_the_file_of_a_detector_takes_padded_images_one_by_one(exported):
    network, run = exported
    assert_same(network.predict(run, images_of(*THREE)), network.model.predict(images_of(*THREE)))


def finds_nothing(model: DenseModel) -> DenseModel:
    """The model with a threshold above any score, or with boxes beyond the image."""
    if hasattr(model, "heads"):  # Sparse R-CNN has no threshold
        torch.nn.init.constant_(model.heads[-1].box_deltas.bias, 1e4)
        return model
    owner = model.box if hasattr(model, "box") else model
    owner.filter = replace(owner.filter, score_threshold=1.0)
    return model


@pytest.mark.parametrize("kind", KINDS)
def test_no_detections_at_all_are_a_result(kind):
    network = network_of(finds_nothing(tiny_model(kind)))
    batch = images_of(*THREE)
    found = network.predict(network.run, batch)
    assert [len(one.instances) for one in found] == [0, 0, 0]
    assert_same(found, network.model.predict(batch))


@pytest.mark.slow
def test_no_detections_at_all_are_a_result_of_a_file(tmp_path):
    network = network_of(finds_nothing(tiny_model("detection-maskrcnn")))
    found = network.predict(onnx_run(network, tmp_path), images_of(*THREE))
    assert_same(found, network.model.predict(images_of(*THREE)))
    assert [one.instances.masks for one in found] == [[], [], []]


def test_the_network_of_a_cascade_averages_what_the_cascade_averages():
    model = tiny_model("detection-cascade_maskrcnn")
    batch = images_of(*THREE)
    probabilities = network_of(model).predict(network_of(model).run, batch)
    model.average = "logits"
    logits = network_of(model).predict(network_of(model).run, batch)
    assert_same(logits, model.predict(batch))
    first, second = (found[0].instances.scores[:5] for found in (probabilities, logits))
    assert not torch.allclose(first, second, atol=1e-4)
