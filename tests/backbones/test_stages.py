"""MogaNet and UniRepLKNet: counts, features of the authors' code, and what every backbone does."""

import subprocess
import sys
from typing import Any

import pytest
import timm
import torch
from helpers.checkpointing import step
from helpers.defaults import build_backbone, build_classifier
from torch import Tensor, nn

from benchmarks.harness.seeded_weights import seed_weights
from van_dense.backbones.download import PUBLISHED
from van_dense.backbones.moganet import MogaNet
from van_dense.backbones.statistics import statistics_of
from van_dense.backbones.unireplknet import UniRepLKNet

# With 1000 classes, and the four maps with their norms: counted from the authors' definitions.
PARAMETERS = {
    "moganet_xt": (2_956_066, 2_763_066),
    "moganet_t": (5_197_332, 4_940_332),
    "moganet_s": (25_335_675, 24_822_675),
    "moganet_b": (43_720_475, 43_207_475),
    "moganet_l": (82_480_978, 81_839_978),
    "moganet_xl": (180_991_924, 180_030_924),
    "unireplknet_a": (4_649_060, 4_328_620),
    "unireplknet_f": (6_489_328, 6_105_000),
    "unireplknet_p": (11_080_520, 10_568_416),
    "unireplknet_n": (18_818_880, 18_179_000),
    "unireplknet_t": (31_693_420, 31_053_540),
    "unireplknet_s": (56_456_704, 55_689_048),
    "unireplknet_b": (99_089_416, 98_066_208),
    "unireplknet_l": (220_076_056, 218_541_744),
    "unireplknet_xl": (388_690_984, 386_645_568),
}
SMALLEST = ("moganet_xt", "unireplknet_a")
each_family = pytest.mark.parametrize("name", SMALLEST)


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def tiny(name: str, **options: Any) -> Any:
    """Four stages as the real ones have them, small enough for finite time."""
    kind = MogaNet if name.startswith("moganet") else UniRepLKNet
    return kind((8, 16, 16, 24), (1, 2, 1, 1), **{"num_classes": 5, **options})


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameter_counts_are_exact(name: str) -> None:
    whole, maps = PARAMETERS[name]
    with torch.device("meta"):
        assert count(timm.create_model(name)) == whole
        assert count(timm.create_model(name, features_only=True)) == maps
        assert count(build_backbone(name)) == maps


# Sum, largest value and one value of each map of the authors' code (MogaNet 386b548, UniRepLKNet
# b5677d8) with the weights of ``seed_weights`` and the image below.
FEATURES: dict[str, list[tuple[float, float, float]]] = {
    "moganet_xt": [
        (3732.673, 0.4344043, 0.3025867),
        (1940.95, 0.4649005, 0.3731261),
        (1513.603, 0.9459133, 0.459567),
        (457.9165, 0.5279901, 0.2471939),
    ],
    "unireplknet_a": [
        (3039.771, 1.129035, 0.04791592),
        (1763.105, 0.9851029, -0.02534278),
        (1005.188, 1.128168, 0.02756117),
        (536.4965, 1.455073, 0.04364284),
    ],
}


def ramp(height: int, width: int) -> Tensor:
    """An image without random numbers, (1, 3, height, width)."""
    rows, columns = torch.arange(height)[:, None], torch.arange(width)[None]
    colours = torch.arange(1.0, 4.0)[:, None, None]
    return torch.sin(colours * (0.31 * rows + 0.17 * columns))[None]


@pytest.mark.parametrize("name", FEATURES)
def test_maps_are_those_of_the_authors_code(name: str) -> None:
    backbone = build_backbone(name)
    seed_weights(backbone.body)
    with torch.no_grad():
        maps = backbone.body.forward_intermediates(ramp(67, 95), intermediates_only=True)
    found = [(float(m.sum()), float(m.max()), float(m[0, 3, -1, 0])) for m in maps]
    for level, expected in zip(found, FEATURES[name], strict=True):
        assert level == pytest.approx(expected, rel=1e-5, abs=1e-5)


@each_family
@pytest.mark.parametrize("size", [(64, 96), (33, 47), (65, 1), (32, 31)])
def test_features_have_strides_4_to_32_on_any_size(name: str, size: tuple[int, int]) -> None:
    model = timm.create_model(name, features_only=True).eval()
    assert model.feature_info.reduction() == [4, 8, 16, 32]
    maps = model(torch.randn(1, 3, *size))
    expected = [tuple(-(-side // stride) for side in size) for stride in (4, 8, 16, 32)]
    assert [tuple(level.shape[2:]) for level in maps] == expected
    assert [level.shape[1] for level in maps] == model.feature_info.channels()


@each_family
def test_images_of_any_size_need_no_padding(name: str) -> None:
    assert build_backbone(name).body.any_size


@each_family
def test_classifier_can_be_read_replaced_and_removed(name: str) -> None:
    model = tiny(name).eval()
    assert model.get_classifier() is model.head
    model.reset_classifier(3)
    assert model(torch.randn(2, 3, 32, 32)).shape == (2, 3)
    assert model.forward_head(torch.randn(2, 24, 2, 2), pre_logits=True).shape == (2, 24)
    with pytest.raises(ValueError, match="global_pool"):
        model.reset_classifier(3, "max")
    with pytest.raises(ValueError, match="NCHW"):
        model.forward_intermediates(torch.randn(1, 3, 32, 32), output_fmt="NHWC")


@each_family
def test_pruning_drops_the_upper_stages(name: str) -> None:
    model = tiny(name).eval()
    images = torch.randn(1, 3, 32, 32)
    assert model.prune_intermediate_layers([0, 1], prune_norm=True) == [0, 1]
    left = {".".join(key.split(".")[:2]) for key in model.state_dict()}
    assert {"blocks2.0", "stages.1"} & left and not {"blocks3.0", "stages.2"} & left
    assert model(images).shape == (1, 16, 4, 4)
    assert [m.shape[1] for m in model.forward_intermediates(images, intermediates_only=True)] == [
        8,
        16,
    ]


@each_family
def test_drop_path_grows_linearly_over_all_blocks(name: str) -> None:
    model = tiny(name, drop_path_rate=0.4)
    rates = [module.drop_prob for module in model.modules() if hasattr(module, "drop_prob")]
    assert rates == pytest.approx([0.1, 0.2, 0.3, 0.4])


@each_family
def test_every_parameter_of_a_backbone_is_used(name: str) -> None:
    backbone = build_backbone(name)
    seed_weights(backbone)
    sum(level.square().sum() for level in backbone(torch.randn(2, 3, 64, 64))).backward()
    assert [n for n, p in backbone.named_parameters() if p.grad is None or not p.grad.any()] == []


@each_family
def test_every_parameter_of_a_classifier_gets_a_gradient(name: str) -> None:
    model = seed_weights(tiny(name)).train()
    model(torch.randn(2, 3, 64, 64)).square().sum().backward()
    assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


@each_family
def test_checkpointing_changes_neither_gradients_nor_statistics_and_stores_less(name: str) -> None:
    images = torch.randn(2, 3, 64, 64)

    def make() -> nn.Module:
        return tiny(name, drop_path_rate=0.5)

    gradients, buffers, stored = step(make, images, enable=False)
    gradients_again, buffers_again, stored_again = step(make, images, enable=True)
    torch.testing.assert_close(gradients_again, gradients, rtol=0, atol=0)
    torch.testing.assert_close(buffers_again, buffers, rtol=0, atol=0)
    assert stored_again < stored / 2


@each_family
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_the_memory_format_of_the_input_lasts_through_all_stages(
    name: str, memory_format: torch.memory_format
) -> None:
    model = tiny(name)
    model.prune_intermediate_layers([0, 1, 2, 3])
    model.to(memory_format=memory_format)
    images = torch.randn(1, 3, 64, 96).contiguous(memory_format=memory_format)
    maps = model.forward_intermediates(images, intermediates_only=True)
    assert all(level.is_contiguous(memory_format=memory_format) for level in maps)


@each_family
def test_layer_groups_are_single_blocks(name: str) -> None:
    model = tiny(name)
    model.prune_intermediate_layers([0, 1, 2, 3])
    first, blocks, down, norms = {
        "moganet_xt": ("patch_embed1.projection.0", "blocks2", "patch_embed2.norm", ["norm2"]),
        "unireplknet_a": ("downsample_layers.0.0", "stages.1", "downsample_layers.1.1", []),
    }[name]
    groups = timm.models.group_parameters(model, model.group_matcher(), reverse=True)

    def group(module: str) -> int:
        (found,) = {number for key, number in groups.items() if key.startswith(f"{module}.")}
        return found

    order = [group(module) for module in (first, f"{blocks}.0", f"{blocks}.1")]
    assert order == sorted(set(order))
    assert group(down) == group(f"{blocks}.0")
    assert all(group(norm) == group(f"{blocks}.1") for norm in norms)
    if name == "unireplknet_a":  # new norms learn as fast as a head
        assert group("norm0") == group("norm3") == max(groups.values())
    coarse = timm.models.group_parameters(model, model.group_matcher(coarse=True), reverse=True)
    assert coarse[f"{down}.weight"] == max(
        v for k, v in coarse.items() if k.startswith(f"{blocks}.1.")
    )


@each_family
@pytest.mark.parametrize("stages", [1, 2])
def test_frozen_stages_are_the_first_ones(name: str, stages: int) -> None:
    backbone = build_backbone(name, freeze_stages=stages)
    parts = {"moganet_xt": ("patch_embed{}", "blocks{}", "norm{}")}.get(
        name, ("downsample_layers.{}", "stages.{}", "norm{}")
    )
    start = 1 if name == "moganet_xt" else 0
    expected = {part.format(i + start) for part in parts for i in range(stages)}
    frozen = {n for n, p in backbone.body.named_parameters() if not p.requires_grad}
    inside = {
        n
        for n, _ in backbone.body.named_parameters()
        if n.startswith(tuple(f"{part}." for part in expected))
    }
    assert frozen == inside


@each_family
def test_weights_of_the_authors_have_our_names(name: str) -> None:
    own = set(timm.create_model(name).state_dict())
    expected = {
        "moganet_xt": {
            "patch_embed1.projection.4.running_var",
            "patch_embed2.projection.weight",
            "blocks1.0.attn.value.DW_conv2.bias",
            "blocks1.0.attn.sigma.scale",
            "blocks4.1.mlp.decompose.weight",
            "blocks3.9.layer_scale_2",
            "norm4.running_mean",
            "head.weight",
        },
        "unireplknet_a": {
            "downsample_layers.0.4.weight",
            "stages.0.1.dwconv.weight",
            "stages.1.0.dwconv.lk_origin.weight",
            "stages.1.0.dwconv.origin_bn.running_var",
            "stages.3.1.dwconv.dil_conv_k3_5.weight",
            "stages.3.1.dwconv.dil_bn_k7_2.bias",
            "stages.2.5.se.up.bias",
            "stages.2.5.pwconv1.1.weight",
            "stages.2.5.act.1.beta",
            "stages.2.5.pwconv2.2.running_mean",
            "stages.2.5.gamma",
            "norm.weight",
            "head.bias",
        },
    }
    assert expected[name] <= own


def test_preprocessing_belongs_to_the_weights() -> None:
    imagenet = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    names = [name for name in PUBLISHED if name.startswith(("moganet_", "unireplknet_"))]
    assert {name.rsplit("_in", 1)[0].split("_in")[0] for name in names} == {*PARAMETERS}
    for name in names:
        assert PUBLISHED[name].normalization == imagenet
        model, _, tag = name.replace("_in", ".in", 1).partition(".")
        cfg = timm.get_pretrained_cfg(f"{model}.{tag}")
        assert (cfg.url, cfg.license) == (PUBLISHED[name].url, "apache-2.0")
    assert statistics_of("moganet_t") == statistics_of("unireplknet_xl.in22k") == imagenet
    moganet = timm.get_pretrained_cfg("moganet_t.in1k_256")
    assert (moganet.input_size, moganet.crop_pct) == ((3, 256, 256), 0.9)
    large = timm.get_pretrained_cfg("unireplknet_xl.in22k_in1k_384")
    assert (large.input_size, large.crop_pct, large.num_classes) == ((3, 384, 384), 1.0, 1000)
    assert timm.get_pretrained_cfg("unireplknet_b.in22k").num_classes == 21841


@each_family
def test_a_classifier_is_built_and_classifies(name: str) -> None:
    model = build_classifier(name, 7).eval()
    assert model(torch.randn(2, 3, 40, 64)).shape == (2, 7)


def test_channels_of_moganet_must_split_into_eighths() -> None:
    with pytest.raises(ValueError, match="multiples of 8, got 12"):
        MogaNet((12, 16, 16, 16), (1, 1, 1, 1))


def test_importing_a_model_first_registers_all() -> None:
    first = "import van_dense.backbones.unireplknet, van_dense.backbones.moganet, timm"
    code = f"{first}; assert {{'moganet_xl', 'unireplknet_a'}} < set(timm.list_models())"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
