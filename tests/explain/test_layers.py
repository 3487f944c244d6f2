"""Maps of layers have the same shape and extent whatever backbone they come from."""

import pytest
import timm
import torch
from helpers.defaults import build_backbone, build_classifier
from torch import nn

from van_dense.explain.layers import (
    captured,
    evaluating,
    find_layer,
    layer_maps,
    stage_layers,
    to_pixels,
)


def small(name: str) -> nn.Module:
    options = {
        "van_b0": {"embed_dims": [8, 16, 24, 32], "depths": [1, 1, 1, 1]},
        "swin_tiny_patch4_window7_224": {"embed_dim": 12, "depths": [1] * 4, "num_heads": [1] * 4},
        "swin_tiny_dense": {"embed_dim": 8, "depths": [1] * 4, "num_heads": [1] * 4},
        "convnext_tiny": {"depths": [1] * 4, "dims": [8, 16, 24, 32]},
        "convnext_tiny_dense": {"depths": [1] * 4, "dims": [8, 16, 24, 32]},
        "resnet50": {"layers": [1] * 4, "channels": [8, 8, 8, 8]},
    }
    return build_backbone(name, options=options[name])


BACKBONES = (
    "van_b0",
    "swin_tiny_patch4_window7_224",
    "swin_tiny_dense",
    "convnext_tiny",
    "convnext_tiny_dense",
    "resnet50",
)


@pytest.mark.parametrize("size", [(64, 96), (70, 45)])
@pytest.mark.parametrize("name", BACKBONES)
def test_the_stages_of_every_backbone_are_the_maps_that_it_returns(name, size):
    backbone = small(name).eval()
    images = torch.randn(2, 3, *size)
    stages = stage_layers(backbone)
    with torch.no_grad():
        maps = layer_maps(backbone, images, stages)
        expected = backbone(images)
    assert [tuple(maps[layer].shape) for layer in stages] == [tuple(m.shape) for m in expected]
    for layer, level in zip(stages, expected, strict=True):
        torch.testing.assert_close(maps[layer], level)


def test_a_list_of_tokens_becomes_a_map_without_the_class_token():
    body = timm.create_model(
        "vit_tiny_patch16_224", depth=1, embed_dim=12, num_heads=1, img_size=(32, 64), num_classes=2
    ).eval()
    images = torch.randn(1, 3, 32, 64)
    with torch.no_grad():
        tokens = body.forward_intermediates(images, intermediates_only=True)[0]
        maps = layer_maps(body, images, ["blocks.0"])
    assert maps["blocks.0"].shape == (1, 12, 2, 4)
    torch.testing.assert_close(maps["blocks.0"], tokens)


def test_a_classifier_has_the_stages_of_its_backbone():
    assert stage_layers(build_classifier("van_b0", 3)) == ["norm1", "norm2", "norm3", "norm4"]


@pytest.mark.parametrize("name", ["block4.0", "body.block4.0", "backbone.body.block4.0"])
def test_a_layer_is_found_by_the_end_of_its_name(name):
    backbone = small("van_b0")
    assert find_layer(backbone, name) is backbone.body.block4[0]


def test_an_unknown_layer_is_answered_with_its_neighbours():
    with pytest.raises(ValueError, match=r"no layer 'block5'.*block4"):
        find_layer(small("van_b0"), "block5")


class Whole(nn.Module):
    """A model around a backbone, with a pyramid and a part that is called like a layer."""

    def __init__(self):
        super().__init__()
        self.backbone = small("van_b0")
        self.fpn = nn.ModuleDict({"pyramid": nn.ModuleList([nn.Conv2d(1, 1, 1) for _ in range(3)])})
        self.head = nn.Conv2d(1, 1, 1)


@pytest.mark.parametrize("name", ["block4.0", "body.block4.0", "backbone.body.block4.0"])
def test_layers_of_a_whole_model_are_found_in_the_same_way(name):
    model = Whole()
    assert find_layer(model, name) is model.backbone.body.block4[0]
    assert find_layer(model, "fpn.pyramid.1") is model.fpn["pyramid"][1]
    assert find_layer(model, "head") is model.head


@pytest.mark.parametrize(
    ("name", "offered"),
    [
        ("fpn.nix", r"nearest names: \['fpn.pyramid.2', 'fpn.pyramid.1', 'fpn.pyramid.0'\]"),
        ("fpn.pyramid.9", r"nearest names: \['fpn.pyramid.2'"),
        ("block5", r"nearest names: .*'block4'"),
        ("neck", r"no name is similar; its parts are \['patch_embed1', .*'norm4', 'fpn', 'head'\]"),
        ("", r"no name is similar"),
    ],
)
def test_an_unknown_layer_of_a_model_is_answered_with_names_of_all_of_it(name, offered):
    with pytest.raises(ValueError, match=f"Whole has no layer '{name}'; {offered}"):
        find_layer(Whole(), name)


def test_a_layer_without_a_map_is_refused():
    with pytest.raises(ValueError, match=r"'head' returns \(1, 3\).*no map"):
        layer_maps(build_classifier("van_b0", 3), torch.randn(1, 3, 32, 32), ["head"])


def test_a_layer_that_does_not_run_is_refused():
    class Idle(nn.Module):
        def __init__(self):
            super().__init__()
            self.idle = nn.Identity()

        def forward(self, images):
            return images

    with pytest.raises(ValueError, match="'idle' does not run"):
        layer_maps(Idle(), torch.zeros(1, 3, 4, 4), ["idle"])


def test_an_output_is_kept_before_the_next_layer_overwrites_it():
    net = nn.Sequential(nn.Identity(), nn.Conv2d(3, 1, 1), nn.ReLU(inplace=True))
    nn.init.constant_(net[1].weight, -1.0)
    nn.init.zeros_(net[1].bias)
    with torch.no_grad():
        maps = layer_maps(net, torch.ones(1, 3, 4, 4), ["1"])
    assert maps["1"].max() == -3


def test_hooks_and_modes_are_put_back_even_after_an_error():
    net = nn.Sequential(nn.Identity(), nn.BatchNorm2d(1))
    net[1].eval()
    with pytest.raises(RuntimeError), evaluating(net), captured({"a": net[0]}):
        assert not net.training
        raise RuntimeError
    assert net.training and net[0].training and not net[1].training
    assert not net[0]._forward_hooks


def test_a_cell_covers_its_stride_also_where_the_image_ends_earlier():
    # 70 pixels at stride 32 are three cells; the last one has six pixels.
    pixels = to_pixels(torch.tensor([[[1.0, 2.0, 3.0]]]), (32, 70), "nearest")
    assert pixels[0, 0].tolist() == [1] * 32 + [2] * 32 + [3] * 6


def test_a_small_map_of_its_own_image_is_not_cut():
    maps = layer_maps(nn.Sequential(nn.Identity()), torch.zeros(1, 3, 8, 16), ["0"])
    assert maps["0"].shape == (1, 3, 8, 16)


def test_tokens_of_an_image_that_was_padded_become_a_map_without_its_padding():
    backbone = build_backbone("vit_tiny_patch16_224", options={"depth": 1}).eval()
    images = torch.randn(1, 3, 171, 128)
    maps = layer_maps(backbone, images, ["blocks.0"])
    assert maps["blocks.0"].shape == (1, 192, 11, 8)
