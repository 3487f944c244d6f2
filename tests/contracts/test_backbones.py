"""Each task learns and predicts on the smallest backbone of each family beside VAN."""

from __future__ import annotations

import pytest
from helpers.exported import assert_same, images_of, onnx_run
from helpers.tiny_models import tiny_model

from van_dense.backbones.unireplknet import merged_copy
from van_dense.deploy.networks import network_of
from van_dense.models.cpu_copy import cpu_copy

NAMES = ("moganet_xt", "unireplknet_a")
TASKS = (
    "classification-van",
    "detection-maskrcnn",
    "panoptic-panoptic_fpn",
    "pose-simple_baseline",
    "saliency-edn",
    "semantic-semantic_fpn",
)
each_family = pytest.mark.parametrize("name", NAMES)


def on(name: str, kind: str):
    """A tiny model of a kind, on another backbone."""
    return tiny_model(kind, f"model.backbone.name={name}", "model.backbone.drop_path=0.1")


@each_family
@pytest.mark.parametrize("kind", TASKS)
def test_a_model_of_any_task_predicts_images_of_odd_sizes(name: str, kind: str) -> None:
    model = on(name, kind)
    batch = images_of((91, 67))
    assert_same(cpu_copy(model).predict(batch), model.predict(batch))


@pytest.mark.slow
@each_family
def test_the_file_of_a_segmenter_agrees_for_other_sizes(name: str, tmp_path) -> None:
    model = on(name, "semantic-semantic_fpn")
    network = network_of(merged_copy(model))
    run = onnx_run(network, tmp_path)
    for sizes in ([(64, 96)], [(128, 160)] * 2):
        batch = images_of(*sizes)
        assert_same(network.predict(run, batch), model.predict(batch))
