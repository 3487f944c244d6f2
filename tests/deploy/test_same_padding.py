"""Backbones with "same" convolutions are exported with constant padding, and compute the same."""

from __future__ import annotations

import timm
import torch
from timm.layers import Conv2dSame

from van_dense.backbones.build import TimmBackbone
from van_dense.deploy.same_padding import with_constant_padding


def backbone(name: str) -> TimmBackbone:
    torch.manual_seed(0)
    return TimmBackbone(timm.create_model(name)).eval()


def test_maps_of_multiples_of_32_are_equal_and_the_network_stays_as_it_is():
    network = backbone("tf_mobilenetv3_small_minimal_100")
    constant = with_constant_padding(network)
    assert any(isinstance(module, Conv2dSame) for module in network.modules())
    assert not any(isinstance(module, Conv2dSame) for module in constant.modules())
    for size in ((64, 96), (32, 32), (160, 64)):
        images = torch.randn(1, 3, *size)
        with torch.no_grad():
            pairs = zip(network(images), constant(images), strict=True)
        assert all(torch.equal(one, other) for one, other in pairs)


def test_other_backbones_are_taken_as_they_are():
    network = backbone("van_b0")
    assert with_constant_padding(network) is network
