"""Activation maps of networks whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from van_dense.explain.cam import METHODS, activation_map, energy_inside


class Net(nn.Module):
    """One layer of two channels, bright and dark pixels, and an unused one."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 2, 1, bias=False)
        self.unused = nn.Conv2d(3, 2, 1)
        self.norm = nn.BatchNorm2d(2)
        with torch.no_grad():
            self.layer.weight.copy_(torch.tensor([[1.0, 1, 1], [-1.0, -1, -1]])[..., None, None])

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.layer(images)


@pytest.fixture
def images() -> torch.Tensor:
    """Dark, with a bright patch in rows 8..15 and columns 16..31."""
    pixels = torch.full((1, 3, 32, 64), -1.0)
    pixels[:, :, 8:16, 16:32] = 1.0
    return pixels


PATCH = (16.0, 8.0, 32.0, 16.0)


@pytest.mark.parametrize("method", ["gradcam", "layercam", "direction"])
def test_what_speaks_for_bright_pixels_lies_on_them(images, method):
    net = Net()
    heat = activation_map(net, images, lambda x: net(x)[0, 0].sum(), layer="layer", method=method)
    assert heat.shape == (32, 64) and heat.dtype == np.float32
    assert heat.max() == pytest.approx(1.0) and heat.min() == 0.0
    assert energy_inside(heat, PATCH)[0] > 0.99


def test_what_speaks_for_dark_pixels_lies_elsewhere(images):
    net = Net()
    heat = activation_map(net, images, lambda x: net(x)[0, 1].sum(), layer="layer")
    assert energy_inside(heat, PATCH)[0] < 0.01


def test_direction_does_not_see_how_strongly_cells_are_wired_and_layercam_does(images):
    """The number looks at the left border only, with a trace of the rest, as a region does."""
    net, wiring = Net(), torch.full((32, 64), 1e-3)
    wiring[:, :4] = 1.0
    pixels = torch.ones_like(images)
    border = (0.0, 0.0, 4.0, 32.0)
    shares = {}
    for method in ("layercam", "direction"):
        heat = activation_map(
            net, pixels, lambda x: (net(x)[0, 0] * wiring).sum(), layer="layer", method=method
        )
        # A map that is the same everywhere has no scale of its own: the library makes it zero.
        shares[method], chance = energy_inside(heat + 1e-6, border)
    assert shares["layercam"] > 0.9 and shares["direction"] == pytest.approx(chance, rel=0.01)


def test_the_model_is_as_before(images):
    net = Net().train()
    for method in METHODS:
        activation_map(net, images, lambda x: net(x)[0, 0].sum(), layer="layer", method=method)
    assert net.training and net.norm.training
    assert not net.layer._forward_hooks and net.layer.weight.grad is None
    assert all(parameter.requires_grad for parameter in net.parameters())


class NoWayBack(torch.autograd.Function):
    """What has no derivative."""

    @staticmethod
    def forward(ctx, images: torch.Tensor) -> torch.Tensor:
        return images.clone()

    @staticmethod
    def backward(ctx, grad: torch.Tensor) -> torch.Tensor:
        raise AssertionError("the gradient went beyond the layer")


def test_the_gradient_ends_at_the_layer(images):
    net = Net()
    heat = activation_map(net, images, lambda x: net(NoWayBack.apply(x))[0, 0].sum(), layer="layer")
    assert energy_inside(heat, PATCH)[0] > 0.99


def test_frozen_layers_are_explained_too(images):
    net = Net().requires_grad_(False)
    heat = activation_map(net, images, lambda x: net(x)[0, 0].sum(), layer="layer")
    assert energy_inside(heat, PATCH)[0] > 0.99


def test_mistakes_are_named(images):
    net = Net()

    def score(x: torch.Tensor) -> torch.Tensor:
        return net(x)[0, 0].sum()

    with pytest.raises(ValueError, match="method 'cam' is unknown; use one of"):
        activation_map(net, images, score, layer="layer", method="cam")
    with pytest.raises(ValueError, match=r"no layer 'lair'; nearest names: \['layer'\]"):
        activation_map(net, images, score, layer="lair")
    with pytest.raises(ValueError, match="'unused' has no part in what is explained"):
        activation_map(net, images, score, layer="unused")


def test_energy_is_measured_in_the_grown_box():
    heat = np.zeros((20, 40), np.float32)
    heat[4:16, 10:30] = 1.0
    assert energy_inside(heat, (10, 4, 30, 16)) == pytest.approx((1.0, 22 * 14 / 800), abs=0.02)
    assert energy_inside(heat, (0, 4, 20, 16))[0] == pytest.approx(11 / 20)
    assert energy_inside(np.zeros((4, 4)), (0, 0, 2, 2)) == (0.0, pytest.approx(0.25))
