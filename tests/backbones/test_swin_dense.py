"""Swin as its detectors have it: padded before it is rolled, always shifted, maps normalised."""

from typing import Any

import pytest
import timm
import torch
from helpers.checkpointing import step
from helpers.defaults import build_backbone, build_classifier
from timm.models.swin_transformer import get_relative_position_index
from torch import Tensor, nn
from torchvision.models.swin_transformer import SwinTransformer

from benchmarks.harness.seeded_weights import seed_weights
from van_dense.backbones.swin import DenseSwin
from van_dense.backbones.swin_layers import position_index, shift_mask
from van_dense.backbones.weights import load_backbone

NAME = "swin_tiny_dense"
TINY = {"embed_dim": 8, "depths": (2, 2, 2, 2), "num_heads": (1, 2, 2, 4)}
STRIDES = (4, 8, 16, 32)
# As a classifier, and as a backbone with the norms of its maps: the published counts.
PARAMETERS = {
    "swin_tiny_dense": (28_288_354, 27_520_698),
    "swin_small_dense": (49_606_258, 48_838_602),
    "swin_base_dense": (87_768_224, 86_745_016),
}


def tiny(**changes: Any) -> Any:
    """A backbone in evaluation mode with weights that differ everywhere."""
    backbone = build_backbone(NAME, options={**TINY, **changes})
    return seed_weights(backbone).eval()


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def maps_of(model: nn.Module, images: Tensor) -> list[Tensor]:
    with torch.no_grad():
        return model(images)


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameter_counts_are_the_published_ones(name: str) -> None:
    whole, maps = PARAMETERS[name]
    with torch.device("meta"):
        assert count(timm.create_model(name)) == whole
        backbone = build_backbone(name)
        assert count(timm.create_model(name, features_only=True)) == maps
    assert count(backbone) == maps


# ------------------------------------------------------------------------------ beside torchvision


def torchvision_key(key: str) -> str:
    """The name of one of our entries in torchvision, where stages and merging are numbered on."""
    part, *rest = key.split(".")
    if part == "patch_embed":
        return f"features.0.{0 if rest[0] == 'proj' else 2}.{rest[1]}"
    if part == "layers" and rest[1] == "downsample":
        return f"features.{2 * int(rest[0])}.{'.'.join(rest[2:])}"
    if part == "layers":
        inside = ".".join(rest[3:]).replace("mlp.fc1", "mlp.0").replace("mlp.fc2", "mlp.3")
        return f"features.{2 * int(rest[0]) + 1}.{rest[2]}.{inside}"
    return key


@pytest.mark.parametrize("size", [(256, 320), (231, 301)])
def test_maps_before_their_norms_are_torchvisions(size: tuple[int, int]) -> None:
    """At these sizes no map is one window, where torchvision would drop the shift."""
    backbone = tiny()
    theirs = SwinTransformer(
        [4, 4], 8, [*TINY["depths"]], [*TINY["num_heads"]], [7, 7], stochastic_depth_prob=0.0
    ).eval()
    own = {
        k: v
        for k, v in backbone.body.state_dict().items()
        if k[:5] not in {f"norm{i}" for i in range(4)}
    }
    lacking = theirs.load_state_dict({torchvision_key(k): v for k, v in own.items()}, strict=False)
    assert not lacking.unexpected_keys
    assert {key.split(".")[0] for key in lacking.missing_keys if "index" not in key} == {
        "norm",
        "head",
    }
    images = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))
    padded = nn.functional.pad(images, (0, -size[1] % 4, 0, -size[0] % 4))
    expected, x = [], padded
    with torch.no_grad():
        for position, layer in enumerate(theirs.features):
            x = layer(x)
            if position % 2:
                norm = getattr(backbone.body, f"norm{position // 2}")
                expected.append(norm(x.permute(0, 3, 1, 2)))
    for level, wanted in zip(maps_of(backbone, images), expected, strict=True):
        torch.testing.assert_close(level, wanted, atol=2e-5, rtol=0)


def test_windows_shift_where_the_map_is_one_window_too() -> None:
    """timm pads after it rolled; at multiples of 7 there is nothing to pad."""
    images = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    ours = tiny()
    expected = {}
    for always in (True, False):
        theirs = timm.create_model(
            "swin_tiny_patch4_window7_224", num_classes=0, always_partition=always, **TINY
        ).eval()
        own = {k: v for k, v in ours.body.state_dict().items() if k in theirs.state_dict()}
        theirs.load_state_dict(own, strict=False)
        with torch.no_grad():
            level = theirs.forward_intermediates(images, intermediates_only=True)[3]
        expected[always] = ours.body.norm3(level)
    found = maps_of(ours, images)[3]
    torch.testing.assert_close(found, expected[True], atol=2e-5, rtol=0)
    assert (found - expected[False]).abs().max() > 1e-3


# ------------------------------------------------------------------------------------ windows


def test_the_index_of_relative_positions_is_timms() -> None:
    for window in (2, 7):
        torch.testing.assert_close(
            position_index(window), get_relative_position_index(window, window)
        )


def test_positions_attend_within_the_region_that_they_came_from() -> None:
    """A map of 4x2 in windows of 2x2, rolled by 1: the last window of rows holds the first row."""
    mask = shift_mask(4, 2, 2, 1, like=torch.zeros(()))
    assert mask.shape == (2, 4, 4)
    apart = (mask == -100.0).int().tolist()
    assert set(mask.unique().tolist()) == {-100.0, 0.0}
    left_right = [[0, 1, 0, 1], [1, 0, 1, 0], [0, 1, 0, 1], [1, 0, 1, 0]]
    assert apart[0] == left_right  # one window of columns: the roll parts left from right
    assert apart[1] == [[0, 1, 1, 1], [1, 0, 1, 1], [1, 1, 0, 1], [1, 1, 1, 0]]


def test_channels_must_split_into_heads() -> None:
    with pytest.raises(ValueError, match="8 channels do not split into 3 heads"):
        build_backbone(NAME, options={**TINY, "num_heads": (3, 3, 3, 3)})


# --------------------------------------------------------------------------- as any backbone


@pytest.mark.parametrize("size", [(64, 96), (100, 150), (33, 47), (65, 1)])
def test_maps_of_any_size_have_strides_4_to_32(size: tuple[int, int]) -> None:
    backbone = tiny()
    assert backbone.any_size
    found = [tuple(level.shape[1:]) for level in maps_of(backbone, torch.randn(2, 3, *size))]
    expected = [tuple(-(-side // stride) for side in size) for stride in STRIDES]
    assert found == [
        (channels, *sides) for channels, sides in zip((8, 16, 32, 64), expected, strict=True)
    ]


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_maps_have_the_memory_format_of_the_images(memory_format: torch.memory_format) -> None:
    images = torch.randn(2, 3, 64, 96).contiguous(memory_format=memory_format)
    found = maps_of(tiny(), images)
    assert all(level.is_contiguous(memory_format=memory_format) for level in found)


def test_every_parameter_learns() -> None:
    backbone = tiny().train()
    sum(level.square().sum() for level in backbone(torch.randn(2, 3, 64, 64))).backward()
    assert [n for n, p in backbone.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_checkpointing_changes_no_gradient_and_stores_less() -> None:
    def make() -> nn.Module:
        return DenseSwin(**TINY, num_classes=3, drop_path_rate=0.3)

    images = torch.randn(2, 3, 64, 64)
    gradients, _, stored = step(make, images, enable=False)
    gradients_again, _, stored_again = step(make, images, enable=True)
    torch.testing.assert_close(gradients_again, gradients, rtol=0, atol=0)
    assert stored_again < stored / 2


def test_stages_are_frozen_with_their_norms() -> None:
    backbone = build_backbone(NAME, options=TINY, freeze_stages=2)
    frozen = {n for n, p in backbone.body.named_parameters() if not p.requires_grad}
    first = ("patch_embed.", "layers.0.", "norm0.", "layers.1.", "norm1.")
    assert frozen == {n for n, _ in backbone.body.named_parameters() if n.startswith(first)}


def test_layers_of_learning_rates_are_blocks_and_new_norms_learn_as_a_head() -> None:
    depths = build_backbone(NAME, options=TINY).lr_layers()
    assert depths["body.norm0.weight"] == depths["body.norm3.bias"] == 0
    order = [depths[f"body.layers.{i}.blocks.{j}.norm1.weight"] for i in range(4) for j in range(2)]
    assert order == [8, 7, 6, 5, 4, 3, 2, 1]
    assert depths["body.patch_embed.proj.weight"] == 9
    assert depths["body.layers.1.downsample.reduction.weight"] == 6


def test_the_paths_that_are_dropped_grow_over_all_blocks() -> None:
    backbone = build_backbone(NAME, options=TINY, drop_path=0.7)
    blocks = [block for stage in backbone.body.layers for block in stage.blocks]
    rates = [getattr(block.drop_path, "drop_prob", 0.0) for block in blocks]
    assert rates == pytest.approx([0.1 * i for i in range(8)])


def test_a_classifier_normalises_the_last_map_and_averages_it() -> None:
    model = build_classifier(NAME, 5, options=TINY).eval()
    images = torch.randn(2, 3, 70, 45)
    with torch.no_grad():
        last = model.body.forward_features(images).permute(0, 2, 3, 1)
        expected = model.body.head(model.body.norm(last).mean((1, 2)))
        torch.testing.assert_close(model(images), expected)
    assert model.body.no_weight_decay() == {
        f"layers.{i}.blocks.{j}.attn.relative_position_bias_table"
        for i in range(4)
        for j in range(2)
    }


# ------------------------------------------------------------------------------------ weights


def timms(**changes: Any) -> dict[str, Tensor]:
    options = {**TINY, "always_partition": True, **changes}
    model = timm.create_model("swin_tiny_patch4_window7_224", num_classes=5, **options)
    return dict(seed_weights(model).state_dict())


def authors() -> dict[str, Tensor]:
    """Names of the authors' files, with their buffers."""
    found = {}
    for key, value in timms().items():
        if ".downsample." in key:
            _, stage, rest = key.split(".", 2)
            key = f"layers.{int(stage) - 1}.{rest}"
        found[key.replace("head.fc.", "head.")] = value
    found["layers.0.blocks.0.attn.relative_position_index"] = position_index(7)
    found["layers.0.blocks.1.attn_mask"] = shift_mask(56, 56, 7, 3, like=torch.zeros(()))
    return found


@pytest.mark.parametrize("state", [timms, authors])
def test_imagenet_weights_fill_all_but_the_norms_of_maps(state: Any) -> None:
    backbone = build_backbone(NAME, options=TINY)
    report = load_backbone(backbone, state())
    assert report.coverage == 100.0 and not report.missing and not report.reshaped
    assert report.new == [f"norm{i}.{part}" for i in range(4) for part in ("weight", "bias")]
    assert {*report.unexpected} == {"norm.weight", "norm.bias"}
    merging = "layers.2.downsample.reduction.weight"
    torch.testing.assert_close(backbone.body.state_dict()[merging], timms()[merging])
    classifier = build_classifier(NAME, 5, options=TINY)
    assert not load_backbone(classifier, state()).random_head()


def test_tables_of_other_windows_are_interpolated() -> None:
    backbone = build_backbone(NAME, options={**TINY, "window_size": 12})
    assert load_backbone(backbone, timms()).reshaped == []
    assert len(backbone.body.layers[0].blocks[0].attn.relative_position_bias_table) == 23**2


def test_timm_knows_where_its_weights_are(tmp_path: Any) -> None:
    ours = timm.get_pretrained_cfg(NAME)
    theirs = timm.get_pretrained_cfg("swin_tiny_patch4_window7_224.ms_in1k")
    assert (ours.hf_hub_id, ours.mean, ours.std) == (theirs.hf_hub_id, theirs.mean, theirs.std)
    torch.save(timms(), tmp_path / "swin.pth")
    options = {"pretrained": True, "pretrained_cfg_overlay": {"file": str(tmp_path / "swin.pth")}}
    backbone = build_backbone(NAME, options={**TINY, **options})
    own = backbone.body.state_dict()
    assert all(torch.equal(own[key], value) for key, value in timms().items() if key in own)
