"""Files of panoptic models give what the models give, with every type of result."""

from __future__ import annotations

from dataclasses import replace

import pytest
from helpers.exported import assert_same, images_of, mostly_slow, onnx_run
from helpers.tiny_models import tiny_model

from van_dense.deploy.network import Network
from van_dense.deploy.networks import network_of

TYPES = ("panoptic", "instance", "semantic")
SPREAD = {"panoptic-mask2former": 2.0, "panoptic-panoptic_fpn": 0.5}
THREE = ((91, 67), (64, 64), (50, 96))


def network_with_all_types(kind: str) -> Network:
    network = network_of(tiny_model(kind, spread=SPREAD[kind]))
    network.model.types = TYPES
    return network


@pytest.fixture(scope="module", params=SPREAD)
def network(request):
    return network_with_all_types(request.param)


@pytest.fixture(scope="module", params=mostly_slow(SPREAD, "panoptic-panoptic_fpn"))
def exported(request, tmp_path_factory):
    network = network_with_all_types(request.param)
    return network, onnx_run(network, tmp_path_factory.mktemp("panoptic"))


@pytest.mark.parametrize("types", [TYPES, ("instance",), ("semantic",)], ids=" ".join)
@pytest.mark.parametrize("sizes", [THREE[:1], THREE], ids=["one", "three"])
def test_a_network_of_a_panoptic_model_finds_what_the_model_finds(
    network, sizes, types, monkeypatch
):
    monkeypatch.setattr(network.model, "types", types)
    batch = images_of(*sizes)
    found = network.model.predict(batch)
    assert_same(network.predict(network.run, batch), found)
    for one in found:
        assert "panoptic" not in types or len(one.segments) > 0
        assert "instance" not in types or len(one.instances) > 2
        assert (one.semantic is not None) == ("semantic" in types)


@pytest.mark.parametrize("sizes", [[(64, 96)], [(91, 67)], [(128, 160)], THREE], ids=str)
def test_the_file_of_a_panoptic_model_agrees_for_any_size_and_number(exported, sizes):
    network, run = exported
    batch = images_of(*sizes)
    assert_same(network.predict(run, batch), network.model.predict(batch))


def test_no_segments_and_no_instances_are_a_result(network, monkeypatch):
    model = network.model
    if hasattr(model, "filters"):
        # Masks that reach no threshold show nothing.
        monkeypatch.setattr(model, "filters", replace(model.filters, mask_threshold=1.1))
    else:
        nothing = replace(model.box.filter, score_threshold=1.0)
        monkeypatch.setattr(model.box, "filter", nothing)
        monkeypatch.setattr(model, "rules", replace(model.rules, stuff_area=10**6))
    found = network.predict(network.run, images_of(*THREE))
    assert [len(one.segments) for one in found] == [0, 0, 0]
    assert [len(one.instances) for one in found] == [0, 0, 0]
    assert_same(found, model.predict(images_of(*THREE)))
