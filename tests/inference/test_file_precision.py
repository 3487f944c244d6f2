"""The precision of a file is that of each stream, and files come from a fake runtime."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.exported import images_of
from helpers.tiny_models import tiny_model

import van_dense
from van_dense.api import Loaded
from van_dense.deploy.file_model import file_model
from van_dense.deploy.networks import network_of
from van_dense.inference.tiles import predict_tiled

IMAGE = np.random.default_rng(0).integers(0, 255, (64, 96, 3), np.uint8)


@pytest.fixture
def file() -> tuple[Loaded, list[str]]:
    """A file of a segmenter, and the precision of everything it computes."""
    network, used = network_of(tiny_model("semantic-semantic_fpn")), []

    def runner(precision):
        if precision == "fp16":
            raise ValueError("the runtime lacks fp16")

        def run(images, sizes, **more):
            used.append(precision)
            return network.run(images, sizes, **more)

        return run

    keep = ["data.transforms.test_scale=null", "model.backbone.weights=null"]
    config = van_dense.load_config("semfpn_van_b0", keep)
    info = van_dense.tasks.TASKS["semantic"].dataset_info(config)
    model = file_model(network, runner).eval()
    return Loaded(model, config, info, 0, torch.device("cpu")), used


def test_streams_that_take_turns_keep_their_precision(file):
    loaded, used = file
    exact, coarse = (loaded.stream(iter([IMAGE] * 2), precision=p) for p in ("fp32", "bf16"))
    for _ in range(2):
        next(exact), next(coarse)
    assert used == ["fp32", "bf16"] * 2
    loaded.predict(IMAGE)
    loaded.model.predict(images_of((64, 64)))
    assert used[4:] == ["fp32", "fp32"]


def test_blocks_of_one_file_say_nothing_of_another(file):
    loaded, used = file
    other = file_model(loaded.model.network, loaded.model.runner).eval()
    with loaded.model.autocast("bf16")(), loaded.model.autocast("fp32")():
        for model in (loaded.model, other):
            model.predict(images_of((64, 64)))
    assert used == ["bf16", "fp32"]


def test_a_file_has_no_layers(file):
    model = file[0].model
    assert not hasattr(model, "backbone") and getattr(model, "preprocess", None) is None
    with pytest.raises(ValueError, match="an exported file has no backbone"):
        model.backbone  # noqa: B018


def test_a_precision_that_the_runtime_lacks_is_a_mistake_of_the_call(file):
    loaded, used = file
    with pytest.raises(ValueError, match="lacks fp16"):
        loaded.stream([IMAGE], precision="fp16")
    assert used == []


@pytest.mark.parametrize("size", [(96, 160), (32, 64)], ids=["windows", "one window"])
def test_tiles_are_predicted_in_the_precision_of_the_stream(file, size):
    loaded, used = file

    def tiled(image):
        return predict_tiled(loaded, image, tile=(64, 64))

    image = np.zeros((*size, 3), np.uint8)
    list(loaded.stream([image], precision="bf16", predict_image=tiled))
    assert set(used) == {"bf16"}
