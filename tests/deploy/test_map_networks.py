"""Files of models that label pixels or images give what the models give."""

from __future__ import annotations

import pytest
from helpers.exported import assert_same, images_of, mostly_slow, onnx_run
from helpers.tiny_models import tiny_model

from van_dense.deploy.networks import network_of

KINDS = (
    "saliency-edn",
    "semantic-semantic_fpn",
    "semantic-smp",
    "semantic-upernet",
    "semantic-light_ham",
)
THREE = ((91, 67), (64, 64), (50, 96))


@pytest.fixture(scope="module", params=KINDS)
def network(request):
    return network_of(tiny_model(request.param))


@pytest.fixture(scope="module", params=mostly_slow(KINDS, "semantic-semantic_fpn"))
def exported(request, tmp_path_factory):
    network = network_of(tiny_model(request.param))
    return network, onnx_run(network, tmp_path_factory.mktemp("map"))


@pytest.fixture(scope="module")
def classifier():
    return network_of(tiny_model("classification-van"))


@pytest.mark.parametrize("sizes", [THREE[:1], THREE], ids=["one", "three"])
def test_a_network_labels_pixels_as_the_model(network, sizes):
    batch = images_of(*sizes)
    assert_same(network.predict(network.run, batch), network.model.predict(batch))


@pytest.mark.parametrize("sizes", [[(64, 96)], [(91, 67)] * 2, [(128, 160)], THREE], ids=str)
def test_the_file_of_a_map_agrees_for_any_size_and_number(exported, sizes):
    network, run = exported
    batch = images_of(*sizes)
    assert_same(network.predict(run, batch), network.model.predict(batch))


def test_a_network_classifies_images_as_the_model(classifier):
    batch = images_of((64, 64), (64, 64), (64, 64))
    assert_same(classifier.predict(classifier.run, batch), classifier.model.predict(batch))


def test_the_file_of_a_classifier_agrees_for_any_size_and_number(classifier, tmp_path):
    run = onnx_run(classifier, tmp_path)
    for sizes in ([(64, 96)], [(91, 67)] * 3, [(128, 160)] * 2):
        batch = images_of(*sizes)
        assert_same(classifier.predict(run, batch), classifier.model.predict(batch))


TINY_RESNET = (
    "{name: resnet18, weights: null, options: {layers: [1, 1, 1, 1], channels: [4, 8, 12, 16]}}"
)
AS_IT_IS = "eval.inference.multiple=1"


@pytest.mark.parametrize(
    "kind", mostly_slow(("semantic-semantic_fpn", "semantic-upernet"), "semantic-semantic_fpn")
)
def test_the_file_of_a_resnet_takes_images_without_padding(kind, tmp_path):
    network = network_of(tiny_model(kind, f"model.backbone={TINY_RESNET}", AS_IT_IS))
    run = onnx_run(network, tmp_path)
    for sizes in ([(64, 96)], [(91, 67)], [(125, 166), (50, 97)]):
        batch = images_of(*sizes)
        assert_same(network.predict(run, batch), network.model.predict(batch))


def test_a_backbone_that_pads_has_no_file_of_images_without_padding():
    model = tiny_model(
        "semantic-semantic_fpn",
        "model.backbone.name=convnext_atto",
        "model.backbone.options={}",
        AS_IT_IS,
    )
    with pytest.raises(ValueError, match=r"with ConvNeXt .* set eval\.inference\.multiple=32"):
        network_of(model)
