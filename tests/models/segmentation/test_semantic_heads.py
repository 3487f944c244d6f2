"""Semantic FPN and UperNet against a plain statement of their definition, and exact counts."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from helpers.defaults import auxiliary_fcn, build_backbone, semantic_fpn, upernet
from torch import Tensor

from benchmarks.harness.complexity import count_macs, count_parameters

CHANNELS = [8, 12, 20, 28]
SIZES = {"even": (64, 96), "odd": (52, 104)}  # of the image; the maps are 13x26, 7x13, 4x7, 2x4


@pytest.fixture(params=SIZES)
def features(request: pytest.FixtureRequest) -> list[Tensor]:
    height, width = SIZES[request.param]
    return [
        torch.randn(2, c, -(-height // s), -(-width // s))
        for c, s in zip(CHANNELS, (4, 8, 16, 32), strict=True)
    ]


def randomise_norms(module: torch.nn.Module) -> dict[str, Tensor]:
    for bn in module.modules():
        if isinstance(bn, torch.nn.BatchNorm2d):
            for tensor in (bn.weight.data, bn.running_var):
                tensor.uniform_(0.5, 1.5)
            for tensor in (bn.bias.data, bn.running_mean):
                tensor.normal_(std=0.2)
    return dict(module.state_dict())


def conv_bn_relu(x: Tensor, w: dict[str, Tensor], name: str, training: bool) -> Tensor:
    kernel = w[f"{name}.conv.weight"]
    x = F.conv2d(x, kernel, padding=kernel.shape[-1] // 2)
    bn = [w[f"{name}.bn.{k}"] for k in ("running_mean", "running_var", "weight", "bias")]
    bn[:2] = (bn[0].clone(), bn[1].clone())
    return F.batch_norm(x, *bn, training=training).relu()


def bilinear(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, like.shape[-2:], mode="bilinear", align_corners=False)


def doubled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def plain_semantic_fpn(features: list[Tensor], w: dict[str, Tensor], training: bool) -> Tensor:
    inner = [
        F.conv2d(f, w[f"neck.inner_blocks.{i}.0.weight"], w[f"neck.inner_blocks.{i}.0.bias"])
        for i, f in enumerate(features)
    ]
    for i in (2, 1, 0):
        inner[i] = inner[i] + F.interpolate(inner[i + 1], inner[i].shape[-2:], mode="nearest")
    p = [
        F.conv2d(
            x, w[f"neck.layer_blocks.{i}.0.weight"], w[f"neck.layer_blocks.{i}.0.bias"], padding=1
        )
        for i, x in enumerate(inner)
    ]
    s4 = conv_bn_relu(p[0], w, "scale_heads.0.0", training)
    s8 = doubled(conv_bn_relu(p[1], w, "scale_heads.1.0", training))
    s16 = doubled(conv_bn_relu(p[2], w, "scale_heads.2.0", training))
    s16 = doubled(conv_bn_relu(s16, w, "scale_heads.2.1", training))
    s32 = doubled(conv_bn_relu(p[3], w, "scale_heads.3.0", training))
    s32 = doubled(conv_bn_relu(s32, w, "scale_heads.3.1", training))
    s32 = doubled(conv_bn_relu(s32, w, "scale_heads.3.2", training))
    total = s4 + sum(bilinear(x, s4) for x in (s8, s16, s32))
    return F.conv2d(total, w["conv_seg.weight"], w["conv_seg.bias"])


def plain_upernet(features: list[Tensor], w: dict[str, Tensor], training: bool) -> Tensor:
    c5 = features[3]
    pooled = [
        bilinear(conv_bn_relu(F.adaptive_avg_pool2d(c5, n), w, f"psp_modules.{i}.1", training), c5)
        for i, n in enumerate((1, 2, 3, 6))
    ]
    p5 = conv_bn_relu(torch.cat([c5, *pooled], 1), w, "bottleneck", training)
    l4, l3, l2 = (conv_bn_relu(features[i], w, f"lateral_convs.{i}", training) for i in (2, 1, 0))
    l4 = l4 + bilinear(p5, l4)
    l3 = l3 + bilinear(l4, l3)
    l2 = l2 + bilinear(l3, l2)
    outs = [conv_bn_relu(x, w, f"fpn_convs.{i}", training) for i, x in enumerate((l2, l3, l4))]
    joined = torch.cat([bilinear(x, outs[0]) for x in (*outs, p5)], 1)
    joined = conv_bn_relu(joined, w, "fpn_bottleneck", training)
    return F.conv2d(joined, w["conv_seg.weight"], w["conv_seg.bias"])


@pytest.mark.parametrize("training", [True, False], ids=["batch statistics", "stored statistics"])
@pytest.mark.parametrize(
    "head, plain", [(semantic_fpn, plain_semantic_fpn), (upernet, plain_upernet)]
)
def test_logits_agree_with_the_plain_statement(features, head, plain, training):
    torch.manual_seed(0)
    module = head(CHANNELS, 11, channels=16, dropout=0.0).train(training)
    weights = {k: v.clone() for k, v in randomise_norms(module).items()}
    expected = plain(features, weights, training)
    assert torch.allclose(module(list(features)), expected, atol=1e-4)
    assert expected.std() > 1e-3


def test_the_auxiliary_head_is_one_convolution_and_a_classifier(features):
    module = auxiliary_fcn(CHANNELS[2], 11, channels=16, dropout=0.1).eval()
    weights = randomise_norms(module)
    x = conv_bn_relu(features[2], weights, "convs.0", training=False)
    expected = F.conv2d(x, weights["conv_seg.weight"], weights["conv_seg.bias"])
    assert torch.allclose(module(features[2]), expected, atol=1e-5)


@pytest.mark.parametrize("head", [semantic_fpn, upernet])
def test_dropout_takes_whole_channels_in_training_only(features, head):
    module = head(CHANNELS, 3, dropout=0.5)
    assert isinstance(module.dropout, torch.nn.Dropout2d) and module.dropout.p == 0.5
    seen = []
    module.conv_seg.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    module(list(features))
    empty = (seen[0] == 0).all(dim=(2, 3)).float().mean()
    assert 0.3 < empty < 0.7
    module.eval()
    assert torch.equal(module(list(features)), module(list(features)))


def test_the_auxiliary_head_drops_channels_too(features):
    module = auxiliary_fcn(CHANNELS[2], 3, channels=64, dropout=0.5)
    seen = []
    module.conv_seg.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    module(features[2])
    assert 0.3 < (seen[0] == 0).all(dim=(2, 3)).float().mean() < 0.7


def test_starting_weights_are_those_of_mmseg():
    torch.manual_seed(0)
    fpn, uper = semantic_fpn([64] * 4, 150), upernet([64] * 4, 150)
    for module in (fpn, uper, auxiliary_fcn(64, 150)):
        assert module.conv_seg.weight.std().item() == pytest.approx(0.01, rel=0.05)
        assert (module.conv_seg.bias == 0).all()
    conv = uper.fpn_bottleneck.conv.weight  # Kaiming: sqrt(2 / (9 * 512))
    assert conv.std().item() == pytest.approx((2 / (9 * 512)) ** 0.5, rel=0.02)
    lateral = fpn.neck.inner_blocks[0][0].weight  # Xavier: sqrt(2 / (64 + 256))
    assert lateral.std().item() == pytest.approx((2 / 320) ** 0.5, rel=0.02)


def count(
    name: str, head: Callable[..., torch.nn.Module], size: tuple[int, int], *, auxiliary: bool
) -> tuple[int, float]:
    with torch.device("meta"):
        backbone = build_backbone(name)
        modules = [backbone, head(backbone.channels, 150)]
        if auxiliary:
            modules.append(auxiliary_fcn(backbone.channels[2], 150))
        for module in modules:
            module.eval()

        def run() -> None:  # as mmseg's forward_dummy: up to the size of the image
            logits = modules[1](backbone(torch.zeros(1, 3, *size)))
            F.interpolate(logits, size, mode="bilinear", align_corners=False)

        macs = count_macs(run, "torchprofile")
    return sum(count_parameters(module) for module in modules), macs / 1e9


@pytest.mark.parametrize(
    "name, parameters, gmacs",
    [
        ("van_b0", 7_984_374, 25.93),
        ("van_b1", 17_615_446, 34.72),
        ("van_b2", 30_332_118, 47.79),
        ("van_b3", 48_519_254, 68.37),
    ],
)
def test_semantic_fpn_has_the_size_of_table_12(name, parameters, gmacs):
    assert count(name, semantic_fpn, (512, 512), auxiliary=False) == (
        parameters,
        pytest.approx(gmacs, rel=0.001),
    )


@pytest.mark.parametrize(
    "name, parameters, gmacs",
    [
        ("van_b2", 56_553_324, 948.3),
        ("van_b3", 74_740_460, 1030.6),
        ("van_b4", 90_258_028, 1098.0),
        ("van_b5", 121_890_188, 1205.3),
        ("van_b6", 231_481_580, 1656.7),
    ],
)
def test_upernet_has_the_size_of_tables_12_and_13(name, parameters, gmacs):
    assert count(name, upernet, (512, 2048), auxiliary=True) == (
        parameters,
        pytest.approx(gmacs, rel=0.001),
    )
