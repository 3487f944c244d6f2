"""Classifiers that are made for one size become files of that size."""

from __future__ import annotations

import pytest
from helpers.defaults import build_classifier, regularisation
from helpers.exported import assert_same, exported_file, images_of

from van_dense.deploy.networks import network_of
from van_dense.deploy.runtime import open_file
from van_dense.models.classifier import Classifier

TINY = {
    "vit_tiny_patch16_224": {"img_size": 64, "depth": 1},
    "swin_tiny_patch4_window7_224": {
        "img_size": 64,
        "window_size": 4,
        "depths": (1, 1, 1, 1),
        "embed_dim": 12,
        "num_heads": (1, 1, 1, 1),
    },
    "van_b0": {"embed_dims": (4, 8, 12, 16), "depths": (1, 1, 1, 1)},
}


def network(name: str):
    backbone = build_classifier(name, 5, options=TINY[name])
    return network_of(Classifier(backbone, regularisation=regularisation()).eval())


def test_timm_says_which_classifiers_take_one_size():
    assert [network(name).takes_any_size for name in TINY] == [False, False, True]


@pytest.mark.parametrize(
    "name",
    [
        "vit_tiny_patch16_224",
        pytest.param("swin_tiny_patch4_window7_224", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_its_file_agrees_and_refuses_another_size(name, runtime, tmp_path):
    pytest.importorskip(runtime)
    made = network(name)
    run = open_file(exported_file(made, tmp_path, (64, 64)), runtime).runner(())
    for number in (1, 3):
        batch = images_of(*[(64, 64)] * number)
        assert_same(made.predict(run, batch), made.model.predict(batch))
    with pytest.raises(ValueError, match="the file takes images of 64x64 alone, not 128x96"):
        made.predict(run, images_of((96, 128)))
