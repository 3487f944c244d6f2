"""Receptive fields of networks whose fields are known exactly."""

import numpy as np
import pytest
import torch
from helpers.defaults import build_backbone
from torch import nn

from van_dense.explain.receptive_field import (
    Field,
    central_squares,
    field_figure,
    receptive_field,
)


def constant_conv(kernel: int, *, stride: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(3, 2, kernel, stride, padding=kernel // 2)
    nn.init.constant_(conv.weight, 1.0)
    nn.init.zeros_(conv.bias)
    return nn.Sequential(conv)


def ones(*size: int) -> torch.Tensor:
    return torch.ones(3, *size)


def test_the_identity_sees_its_own_pixel():
    field = receptive_field(nn.Sequential(nn.Identity()), [ones(8, 8)], "0")
    expected = np.zeros((8, 8))
    expected[4, 4] = 3.0  # one gradient of 1 from each colour
    np.testing.assert_array_equal(field.absolute, expected)
    assert all(square[1:] == (1, 1 / 64) for square in field.squares())


@pytest.mark.parametrize("size", [(16, 16), (15, 20)])
def test_a_convolution_sees_its_kernel(size):
    field = receptive_field(constant_conv(5), [ones(*size)] * 2, "0")
    expected = np.zeros(size)
    y, x = size[0] // 2, size[1] // 2
    expected[y - 2 : y + 3, x - 2 : x + 3] = 6.0  # three colours, two positive channels
    np.testing.assert_array_equal(field.absolute, expected)
    assert field.num_images == 2
    # Of 25 equal pixels, 1 and 9 hold 4 and 36 %, and all of them 100 %.
    assert [square.side for square in field.squares()] == [3, 3, 5, 5]
    assert field.squares()[0].area == 9 / (size[0] * size[1])


def test_two_convolutions_see_a_tent():
    net = nn.Sequential(constant_conv(3)[0], nn.Conv2d(2, 1, 3, padding=1))
    nn.init.constant_(net[1].weight, 1.0)
    field = receptive_field(net, [ones(9, 9)], "1")
    tent = np.array([1, 2, 3, 2, 1])
    np.testing.assert_allclose(field.absolute[2:7, 2:7], 6 * np.outer(tent, tent))
    assert field.absolute.sum() == pytest.approx(6 * 81)


def test_absolute_and_positive_gradients_are_kept_apart():
    conv = nn.Conv2d(3, 1, (1, 3), padding=(0, 1), bias=False)
    with torch.no_grad():
        conv.weight.copy_(torch.tensor([-1.0, 2.0, 1.0]).expand(1, 3, 1, 3))
    field = receptive_field(nn.Sequential(conv), [ones(4, 4)], "0")
    assert field.absolute[2].tolist() == [0, 3, 6, 3]
    assert field.positive[2].tolist() == [0, 0, 6, 3]


def test_the_centre_has_positive_channels_only():
    conv = constant_conv(1)
    nn.init.constant_(conv[0].weight[1], -1.0)  # that channel is negative, and does not count
    field = receptive_field(conv, [ones(4, 4)], "0")
    assert field.absolute[2, 2] == 3.0


def test_a_field_is_a_mean_over_images():
    conv = nn.Sequential(constant_conv(1)[0], nn.ReLU())
    field = receptive_field(conv, [ones(4, 4), -ones(4, 4)], "1")  # the second one gives nothing
    assert field.absolute[2, 2] == 6.0 / 2


def test_areas_count_what_lies_inside_the_image():
    scores = np.zeros((4, 6))
    scores[0, 0] = 1.0  # 2 rows above, 3 columns left of the centre (2, 3)
    assert central_squares(scores, [0.5])[0] == (0.5, 7, 1.0)


def test_the_numbers_of_replknet_are_those_of_its_logarithm():
    scores = np.zeros((7, 7))
    scores[3, 3], scores[3, 2] = 99.0, 9.0  # log10(1 + x) is 2 and 1
    field = Field(scores, scores, "layer", 1)
    assert [square.side for square in field.squares()] == [1, 1, 1, 3]
    assert central_squares(np.log10(1 + scores), [0.66])[0].side == 1
    assert central_squares(np.log10(1 + scores), [0.67])[0].side == 3
    assert field.replknet_squares()[3].side == 3
    assert field.to_json()["squares"][0] == {"threshold": 0.2, "side": 1, "area": 1 / 49}


def test_without_a_layer_the_last_stage_is_measured_and_nothing_is_changed():
    torch.manual_seed(0)
    options = {"embed_dims": [4, 4, 4, 4], "depths": [1, 1, 1, 1]}
    backbone = build_backbone("van_b0", options=options).train()
    field = receptive_field(backbone, [torch.randn(3, 64, 70)])
    assert field.layer == "norm4" and field.absolute.shape == (64, 70)
    assert backbone.training
    assert all(p.requires_grad and p.grad is None for p in backbone.parameters())
    assert not any(module._forward_hooks for module in backbone.modules())


@pytest.mark.parametrize("name", ["van_b0", "resnet18", "swin_tiny_patch4_window7_224"])
def test_a_network_that_recomputes_activations_has_the_same_field(name):
    options = {"embed_dim": 12} if name.startswith("swin") else {}
    plain, recomputing = (
        build_backbone(name, checkpointing=on, options=options).eval() for on in (False, True)
    )
    recomputing.load_state_dict(plain.state_dict())
    image = torch.randn(3, 64, 64)
    field = receptive_field(recomputing, [image])
    np.testing.assert_allclose(field.absolute, receptive_field(plain, [image]).absolute)
    assert any(getattr(part, "grad_checkpointing", False) for part in recomputing.modules())


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([], "no image"),
        ([ones(4, 4), ones(4, 6)], r"\(4, 4\) and \(4, 6\)"),
        ([-ones(4, 4)], "no positive channel"),
    ],
)
def test_what_cannot_be_measured_is_said(images, message):
    with pytest.raises(ValueError, match=message):
        receptive_field(constant_conv(1), images, "0")


def test_a_layer_that_hears_nothing_of_the_image_is_refused():
    class Deaf(nn.Module):
        def forward(self, images):
            return torch.ones_like(images)

    with pytest.raises(ValueError, match="no positive channel that depends on the images"):
        receptive_field(nn.Sequential(Deaf()), [ones(4, 4)], "0")


def test_fields_of_several_networks_share_one_figure():
    fields = {
        name: receptive_field(constant_conv(kernel), [ones(*size)], "0")
        for name, kernel, size in (("A", 3, (32, 32)), ("B", 5, (45, 31)))
    }
    picture = field_figure(fields)
    assert picture.dtype == np.uint8 and picture.shape[1] > 2 * 300


def test_squares_are_those_of_replknets_script_where_it_finds_one():
    scores = np.random.default_rng(0).gamma(0.2, size=(24, 30))

    def searched(threshold: float) -> tuple[int, float] | None:
        """erf/analyze_erf.py, get_rectangle: odd squares from 3 x 3 on, inside the image."""
        for reach in range(1, 12):
            inside = scores[12 - reach : 13 + reach, 15 - reach : 16 + reach]
            if inside.sum() / scores.sum() > threshold:
                side = 2 * reach + 1
                return side, side / 24 * side / 30
        return None

    found = central_squares(scores, [0.2, 0.3, 0.5])
    for square in found:
        assert (square.side, square.area) == pytest.approx(searched(square.threshold))
    assert found[0].side > 3 and searched(0.99) is None
