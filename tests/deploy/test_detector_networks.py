"""Files of detectors give what the detectors give: in PyTorch, and in ONNX Runtime."""

from __future__ import annotations

import pytest
from helpers.exported import assert_same, images_of, onnx_run
from helpers.tiny_models import tiny_model

from van_dense.deploy.networks import network_of

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
FEW = ("model.rpn={test_pre_nms: 60, test_post_nms: 40}",)
THREE = ((91, 67), (64, 64), (50, 96))


@pytest.fixture(scope="module", params=KINDS)
def network(request):
    return network_of(tiny_model(request.param, spread=SPREAD.get(request.param, 1.0)))


@pytest.fixture(scope="module")
def run(network, tmp_path_factory):
    return onnx_run(network, tmp_path_factory.mktemp("detector"))


@pytest.mark.parametrize("sizes", [THREE[:1], THREE], ids=["one", "three"])
def test_a_network_of_a_detector_finds_what_the_detector_finds(network, sizes):
    batch = images_of(*sizes)
    found = network.model.predict(batch)
    assert min(len(one.instances) for one in found) > 20
    assert_same(network.predict(network.run, batch), found)


@pytest.mark.parametrize("size", [(64, 96), (91, 67), (128, 160)])
def test_the_file_of_a_detector_agrees_for_any_size(network, run, size):
    batch = images_of(size)
    assert_same(network.predict(run, batch), network.model.predict(batch))


def test_the_file_of_a_detector_takes_padded_images_one_by_one(network, run):
    assert_same(network.predict(run, images_of(*THREE)), network.model.predict(images_of(*THREE)))
