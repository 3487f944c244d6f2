"""VAN as timm models: paper figures, shapes, the ablation switches, and other libraries."""

import subprocess
import sys

import pytest
import timm
import torch
import torch.nn.functional as F
from helpers.checkpointing import step
from timm.layers import DropPath, LayerNorm2d
from torch import nn

from van_dense.backbones.gates import LKA, LargeKernel
from van_dense.backbones.van import SIZES, VAN
from van_dense.backbones.van_layers import Block, StageNorm

# Total with 1000 classes, and the classifier's share: counted from the official definition.
PARAMETERS = {
    "van_b0": (4_105_800, 257_000),
    "van_b1": (13_861_800, 513_000),
    "van_b2": (26_578_472, 513_000),
    "van_b3": (44_765_608, 513_000),
    "van_b4": (60_283_176, 513_000),
    "van_b5": (89_967_688, 769_000),
    "van_b6": (199_829_416, 769_000),
}


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def tiny_van(**options: object) -> VAN:
    """A VAN with the stages of the real ones, small enough for finite time."""
    return VAN((8, 8, 16, 16), (1, 2, 1, 1), num_classes=5, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", SIZES)
def test_parameter_counts_are_exact(name: str) -> None:
    total, head = PARAMETERS[name]
    with torch.device("meta"):
        assert count(timm.create_model(name)) == total
        assert count(timm.create_model(name, num_classes=0)) == total - head
        assert count(timm.create_model(name, features_only=True)) == total - head


@pytest.mark.parametrize(
    ("kernel", "dilation", "millions"), [(7, 2, 4.03), (14, 3, 4.07), (21, 3, 4.11), (28, 4, 4.14)]
)
def test_kernel_sizes_have_the_parameters_of_table_6(
    kernel: int, dilation: int, millions: float
) -> None:
    with torch.device("meta"):
        model = timm.create_model("van_b0", lka_kernel=kernel, lka_dilation=dilation)
    assert round(count(model) / 1e6, 2) == millions


@pytest.mark.parametrize(
    ("variant", "millions"),
    [
        ("no_dw", 4.1),
        ("no_dw_dilated", 4.0),
        ("no_attention", 4.1),
        ("add", 4.1),
        ("no_pointwise", 3.8),
        ("sigmoid", 4.1),
        ("full", 4.1),
    ],
)
def test_ablations_have_the_parameters_of_table_3(variant: str, millions: float) -> None:
    with torch.device("meta"):
        model = timm.create_model("van_b0", lka_variant=variant)
    assert round(count(model) / 1e6, 1) == millions


def test_ablations_compute_what_their_names_say() -> None:
    u = torch.randn(1, 4, 9, 9)
    lka = LKA(4, LargeKernel(21, 3, "full"))
    attention = lka.conv1(lka.conv_spatial(lka.conv0(u)))
    expected = {
        "full": u * attention,
        "no_attention": attention,
        "add": u + attention,
        "sigmoid": u * torch.sigmoid(attention),
        "no_dw": u * lka.conv1(lka.conv_spatial(u)),
        "no_dw_dilated": u * lka.conv1(lka.conv0(u)),
        "no_pointwise": u * lka.conv_spatial(lka.conv0(u)),
    }
    for variant, result in expected.items():
        other = LKA(4, LargeKernel(21, 3, variant))  # type: ignore[arg-type]
        other.load_state_dict(lka.state_dict(), strict=False)
        torch.testing.assert_close(other(u), result)


def test_a_block_is_the_formula_of_the_paper() -> None:
    torch.manual_seed(0)
    block, x = (
        Block(4, 2, LKA(4, LargeKernel(21, 3, "full")), 0.0, 0.0).eval(),
        torch.randn(2, 4, 10, 12),
    )
    attn, mlp = block.attn, block.mlp
    z = block.norm1(x)
    u = F.gelu(attn.proj_1(z))
    lka = attn.spatial_gating_unit
    assert (lka.conv0.kernel_size, lka.conv0.dilation) == ((5, 5), (1, 1))
    assert (lka.conv_spatial.kernel_size, lka.conv_spatial.dilation) == ((7, 7), (3, 3))
    y = x + 0.01 * (z + attn.proj_2(u * lka.conv1(lka.conv_spatial(lka.conv0(u)))))
    y = y + 0.01 * mlp.fc2(F.gelu(mlp.dwconv(mlp.fc1(block.norm2(y)))))
    torch.testing.assert_close(block(x), y)


def test_wrong_settings_of_the_kernel_are_named() -> None:
    with pytest.raises(ValueError, match=r"lka_variant 'mul' is unknown.*no_attention"):
        tiny_van(lka_variant="mul")
    with pytest.raises(ValueError, match="lka_dilation must be at least 1"):
        tiny_van(lka_dilation=0)


@pytest.mark.parametrize("size", [(64, 96), (33, 47), (65, 1), (32, 31)])
def test_features_have_strides_4_to_32_on_any_size(size: tuple[int, int]) -> None:
    model = timm.create_model("van_b0", features_only=True).eval()
    assert model.feature_info.reduction() == [4, 8, 16, 32]
    maps = model(torch.randn(1, 3, *size))
    expected = [tuple(-(-side // stride) for side in size) for stride in (4, 8, 16, 32)]
    assert [tuple(level.shape[2:]) for level in maps] == expected
    assert [level.shape[1] for level in maps] == model.feature_info.channels() == [32, 64, 160, 256]


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize(("kernel", "dilation"), [(7, 2), (14, 3), (28, 4), (10, 3)])
def test_every_kernel_keeps_the_size_even_with_odd_padding(kernel: int, dilation: int) -> None:
    # K 10, d 3: 4 taps at distance 3 need 9 rows of padding, 4 above and 5 below.
    model = tiny_van(lka_kernel=kernel, lka_dilation=dilation).eval()
    assert model.forward_features(torch.randn(1, 3, 40, 33)).shape == (1, 16, 2, 2)


def test_features_only_keeps_official_keys_and_the_maps_after_the_norms() -> None:
    whole = tiny_van().eval()
    features = timm.create_model("van_b0", features_only=True)
    own = set(timm.create_model("van_b0").state_dict())
    assert own - set(features.state_dict()) == {"head.weight", "head.bias"}
    assert {"patch_embed1.proj.weight", "block3.4.mlp.dwconv.dwconv.bias", "norm4.weight"} <= own
    assert "block1.0.attn.spatial_gating_unit.conv_spatial.weight" in own

    last, maps = whole.forward_intermediates(torch.randn(2, 3, 64, 64))
    torch.testing.assert_close(last, maps[-1])
    for level in maps:  # fresh LayerNorm: zero mean over channels
        torch.testing.assert_close(level.mean(1), torch.zeros_like(level[:, 0]), atol=1e-5, rtol=0)
    torch.testing.assert_close(
        whole.forward_head(last), F.linear(last.mean((2, 3)), whole.head.weight, whole.head.bias)
    )


def test_classifier_can_be_read_replaced_and_removed() -> None:
    model = tiny_van()
    assert model.get_classifier() is model.head
    model.reset_classifier(3)
    assert model(torch.randn(2, 3, 32, 32)).shape == (2, 3)
    model.reset_classifier(0, "")
    assert model(torch.randn(2, 3, 64, 64)).shape == (2, 16, 2, 2)
    with pytest.raises(ValueError, match="global_pool"):
        model.reset_classifier(3, "max")


def test_pruning_drops_the_upper_stages() -> None:
    model = tiny_van()
    assert model.prune_intermediate_layers([0, 1], prune_norm=True) == [0, 1]
    assert not hasattr(model, "block3") and hasattr(model, "norm2")
    assert model(torch.randn(1, 3, 32, 32)).shape == (1, 8, 4, 4)


def test_drop_path_grows_linearly_over_all_blocks_and_is_shared_by_both_branches() -> None:
    with torch.device("meta"):
        model = timm.create_model("van_b0", drop_path_rate=0.24)
    rates = [
        getattr(b.drop_path, "drop_prob", 0.0) for b in model.modules() if isinstance(b, Block)
    ]
    assert rates == pytest.approx([0.02 * position for position in range(13)])
    assert sum(isinstance(module, DropPath) for module in model.modules()) == 12


def test_drop_path_drops_whole_samples() -> None:
    torch.manual_seed(0)
    block = Block(4, 1, LKA(4, LargeKernel(21, 3, "full")), 0.0, 0.5)
    x = torch.randn(64, 4, 3, 3)
    is_dropped = (block(x) == x).flatten(1)
    assert is_dropped.all(1).any() and not is_dropped.all()
    assert set(is_dropped.all(1).tolist()) == {True, False}


def test_official_initialisation() -> None:
    torch.manual_seed(0)
    model = timm.create_model("van_b0")
    depthwise = model.block3[0].attn.spatial_gating_unit.conv_spatial
    assert depthwise.weight.std().item() == pytest.approx((2 / 49) ** 0.5, rel=0.03)
    pointwise = model.block3[0].mlp.fc1
    assert pointwise.weight.std().item() == pytest.approx((2 / 640) ** 0.5, rel=0.03)
    assert model.head.weight.std().item() == pytest.approx(0.02, rel=0.03)
    assert depthwise.bias.abs().max() == 0
    assert torch.all(model.block1[0].layer_scale_1 == 0.01)
    assert model.norm1.eps == 1e-6 and tiny_van(norm_eps=1e-5).norm4.eps == 1e-5


def test_every_parameter_gets_a_gradient() -> None:
    model = tiny_van()
    _, maps = model.forward_intermediates(torch.randn(2, 3, 64, 64))
    loss = model.forward_head(maps[-1]).square().sum() + sum(m.square().mean() for m in maps)
    loss.backward()
    assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_checkpointing_changes_neither_gradients_nor_statistics_and_stores_less() -> None:
    images = torch.randn(2, 3, 64, 64)

    def make() -> nn.Module:
        return tiny_van(drop_path_rate=0.5)

    gradients, buffers, stored = step(make, images, enable=False)
    gradients_again, buffers_again, stored_again = step(make, images, enable=True)
    torch.testing.assert_close(gradients_again, gradients, rtol=0, atol=0)
    torch.testing.assert_close(buffers_again, buffers, rtol=0, atol=0)
    assert stored_again < stored / 3


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_the_memory_format_of_the_input_lasts_through_all_stages(
    memory_format: torch.memory_format,
) -> None:
    model = tiny_van().to(memory_format=memory_format)  # type: ignore[call-overload]
    images = torch.randn(1, 3, 64, 96).contiguous(memory_format=memory_format)
    _, maps = model.forward_intermediates(images)
    assert all(level.is_contiguous(memory_format=memory_format) for level in maps)


def test_the_stage_norm_is_a_layer_norm_over_channels() -> None:
    norm, x = StageNorm(6), torch.randn(2, 6, 3, 5)
    nn.init.normal_(norm.weight)
    expected = F.layer_norm(x.permute(0, 2, 3, 1), (6,), norm.weight, norm.bias, 1e-6)
    torch.testing.assert_close(norm(x), expected.permute(0, 3, 1, 2))


def test_preprocessing_belongs_to_the_weights() -> None:
    one_k, many = (timm.get_pretrained_cfg(f"van_b4.{tag}") for tag in ("in1k", "in22k"))
    assert (one_k.mean, one_k.std, one_k.crop_pct) == ((0.5,) * 3, (0.5,) * 3, 0.9)
    assert (many.mean, many.crop_pct) == ((0.485, 0.456, 0.406), 0.875)
    assert (one_k.classifier, one_k.first_conv) == ("head", "patch_embed1.proj")


def test_layer_groups_follow_the_depth() -> None:
    model = tiny_van()
    matcher = model.group_matcher()
    groups = timm.models.group_parameters(model, matcher, reverse=True)
    names = ("patch_embed1.proj", "block1.0.norm1", "block2.0.norm1", "block2.1.norm1", "head")
    order = [groups[f"{name}.weight"] for name in names]
    assert order == sorted(set(order))
    assert groups["norm2.weight"] == groups["block2.1.norm1.weight"]
    coarse = timm.models.group_parameters(model, model.group_matcher(coarse=True), reverse=True)
    assert coarse["patch_embed3.proj.weight"] == coarse["norm3.bias"]
    assert model.no_weight_decay() == set()


def test_importing_the_package_registers_van_in_either_order() -> None:
    use = "assert 'van_b6' in timm.list_models('van_*'); timm.create_model('van_b0')"
    processes = [
        subprocess.Popen([sys.executable, "-c", f"{imports}; {use}"])
        for imports in ("import van_dense, timm", "import timm; import van_dense")
    ]
    assert [process.wait(timeout=1200) for process in processes] == [0, 0]


def test_segmentation_models_opens_van() -> None:
    smp = pytest.importorskip("segmentation_models_pytorch")
    for decoder in (smp.Unet, smp.UPerNet):
        model = decoder("tu-van_b0", encoder_weights=None, classes=2).eval()
        with torch.no_grad():
            assert model(torch.randn(1, 3, 64, 64)).shape == (1, 2, 64, 64)


def test_transformers_opens_van_as_a_timm_backbone() -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.TimmBackboneConfig(
        "van_b0", use_pretrained_backbone=False, out_indices=(0, 1, 2, 3)
    )
    backbone = transformers.TimmBackbone(config).eval()
    maps = backbone(torch.randn(1, 3, 64, 64)).feature_maps
    assert [level.shape[1] for level in maps] == [32, 64, 160, 256]


def test_transformers_gives_all_blocks_of_a_stage_one_of_the_first_four_rates() -> None:
    module = pytest.importorskip("transformers.models.deprecated.van")
    config = module.VanConfig(
        hidden_sizes=[32, 64, 160, 256], depths=[3, 3, 5, 2], drop_path_rate=0.24
    )
    with torch.device("cpu"):
        theirs = module.VanModel(config)
    rates = [
        getattr(layer.drop_path, "drop_prob", None) or 0.0
        for stage in theirs.encoder.stages
        for layer in stage.layers
    ]
    assert rates == pytest.approx([0.0] * 3 + [0.02] * 3 + [0.04] * 5 + [0.06] * 2)


def test_the_norm_of_timm_changes_the_memory_format() -> None:
    x = torch.randn(1, 6, 4, 5)
    theirs, ours = LayerNorm2d(6, eps=1e-6)(x), StageNorm(6)(x)
    torch.testing.assert_close(ours, theirs)
    assert not theirs.is_contiguous() and ours.is_contiguous()
