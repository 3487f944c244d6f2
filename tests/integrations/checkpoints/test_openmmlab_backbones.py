"""Backbones of OpenMMLab: names, the order of patch merging, BGR stems, buffers."""

from typing import Any

import pytest
import timm
import torch
from helpers.defaults import build_backbone
from torch import Tensor, nn

from benchmarks.harness.seeded_weights import seed_weights
from van_dense.backbones.layouts import from_official
from van_dense.backbones.swin_layers import PatchMerging, position_index
from van_dense.integrations.checkpoints.openmmlab_backbones import from_openmmlab

OPTIONS: dict[str, dict[str, Any]] = {
    "swin_tiny_dense": {"embed_dim": 8, "depths": (2, 2, 2, 2), "num_heads": (1, 2, 2, 4)},
    "convnext_tiny_dense": {"dims": (8, 12, 16, 24), "depths": (1, 2, 1, 1)},
    "resnet50c": {"layers": (1, 1, 1, 1), "channels": (4, 4, 4, 4)},
    "van_b0": {"embed_dims": (8, 16, 24, 32), "depths": (1, 1, 1, 1)},
    "mscan_t": {"embed_dims": (8, 16, 24, 32), "depths": (1, 1, 1, 1)},
}


def ours(name: str) -> dict[str, Tensor]:
    """Entries of a small backbone of ours, with weights that differ everywhere."""
    return dict(seed_weights(build_backbone(name, options=OPTIONS[name])).state_dict())


def body(name: str) -> dict[str, Tensor]:
    return {key.removeprefix("body."): value for key, value in ours(name).items()}


def unfolded(value: Tensor) -> Tensor:
    """Inputs of patch merging in the order of ``nn.Unfold``, of ours."""
    channels = value.shape[-1] // 4
    places = torch.arange(4 * channels).view(1, 2, 2, channels)  # columns, then rows, then C
    image = places.transpose(1, 2).permute(0, 3, 1, 2).float()
    order = nn.functional.unfold(image, 2)[0, :, 0].long()
    return value[..., order]


def swin_of_openmmlab() -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    swaps = (
        ("patch_embed.proj.", "patch_embed.projection."),
        ("layers.", "stages."),
        (".attn.", ".attn.w_msa."),
        (".mlp.fc1.", ".ffn.layers.0.0."),
        (".mlp.fc2.", ".ffn.layers.1."),
    )
    for key, value in body("swin_tiny_dense").items():
        if ".downsample." in key:
            _, stage, rest = key.split(".", 2)
            found[f"stages.{int(stage) - 1}.{rest}"] = unfolded(value)
            continue
        for here, there in swaps:
            key = key.replace(here, there)
        found[key] = value
    for i in range(4):
        for j in range(2):
            key = f"stages.{i}.blocks.{j}.attn.w_msa.relative_position_index"
            found[key] = position_index(7)
    return found


def swin_of_the_authors() -> dict[str, Tensor]:
    found = {}
    for key, value in body("swin_tiny_dense").items():
        if ".downsample." in key:
            _, stage, rest = key.split(".", 2)
            key = f"layers.{int(stage) - 1}.{rest}"
        found[key] = value
    found["layers.0.blocks.0.attn.relative_position_index"] = position_index(7)
    return found


def convnext(depthwise: str, pointwise: str) -> dict[str, Tensor]:
    found = {}
    for key, value in body("convnext_tiny_dense").items():
        key = key.replace("stem.", "downsample_layers.0.").replace(".blocks.", ".")
        if ".downsample." in key:
            key = key.replace("stages.", "downsample_layers.").replace(".downsample.", ".")
        found[key.replace("conv_dw", depthwise).replace("mlp.fc", pointwise)] = value
    return found


def deep_stem() -> dict[str, Tensor]:
    return {
        key.replace("conv1.", "stem.", 1).replace("bn1.", "stem.7.", 1)
        if key.startswith(("conv1.", "bn1."))
        else key: value
        for key, value in body("resnet50c").items()
    }


def van(name: str, layout: str) -> dict[str, Tensor]:
    state = from_official(body(name), layout)
    return {key.removeprefix("backbone."): value for key, value in state.items()}


@pytest.mark.parametrize(
    ("name", "state"),
    [
        ("swin_tiny_dense", swin_of_openmmlab),
        ("swin_tiny_dense", swin_of_the_authors),
        ("convnext_tiny_dense", lambda: convnext("depthwise_conv", "pointwise_conv")),
        ("convnext_tiny_dense", lambda: convnext("dwconv", "pwconv")),
        ("resnet50c", deep_stem),
        ("van_b0", lambda: van("van_b0", "official")),
        ("van_b0", lambda: van("van_b0", "mmseg")),
        ("van_b0", lambda: van("van_b0", "mmpretrain")),
        ("mscan_t", lambda: van("mscan_t", "official")),
        ("mscan_t", lambda: van("mscan_t", "mmseg")),
    ],
)
def test_every_entry_finds_its_place(name: str, state: Any) -> None:
    expected = ours(name)
    found = from_openmmlab(state(), name)
    assert found.keys() == expected.keys()
    for key, value in found.items():
        torch.testing.assert_close(value, expected[key], rtol=0, atol=0)


def test_the_stem_of_a_deep_resnet_has_the_names_of_openmmlab() -> None:
    assert {key for key in deep_stem() if key.startswith("stem.")} > {
        "stem.0.weight",
        "stem.1.running_mean",
        "stem.3.weight",
        "stem.4.weight",
        "stem.6.weight",
        "stem.7.bias",
    }


def test_patch_merging_of_unfold_is_ours_after_reordering() -> None:
    norm, reduction = nn.LayerNorm(32), nn.Linear(32, 16, bias=False)
    seed_weights(norm), seed_weights(reduction)
    x = torch.randn(2, 6, 10, 8)
    columns = nn.functional.unfold(x.permute(0, 3, 1, 2), 2, stride=2)  # as mmdet does
    theirs = reduction(norm(columns.transpose(1, 2))).view(2, 3, 5, 16)
    names = {
        "stages.0.downsample.norm.weight": norm.weight,
        "stages.0.downsample.norm.bias": norm.bias,
        "stages.0.downsample.reduction.weight": reduction.weight,
    }
    found = from_openmmlab(names, "swin_tiny_dense")
    merging = PatchMerging(8)
    start = "body.layers.1.downsample."
    merging.load_state_dict({key.removeprefix(start): value for key, value in found.items()})
    torch.testing.assert_close(merging(x), theirs)


def test_a_buffer_of_other_values_is_an_entry_without_a_place() -> None:
    key = "stages.0.blocks.0.attn.w_msa.relative_position_index"
    state = swin_of_openmmlab() | {key: position_index(7).T}
    found = from_openmmlab(state, "swin_tiny_dense")
    assert found.keys() - ours("swin_tiny_dense").keys() == {
        "body.layers.0.blocks.0.attn.relative_position_index"
    }


@pytest.mark.parametrize("name", ["swin_small_dense", "convnext_base_dense", "resnet50", "van_b1"])
def test_what_has_no_place_keeps_its_name(name: str) -> None:
    state = {"absolute_pos_embed": torch.zeros(1)}
    if name == "van_b1":
        state |= van("van_b0", "official")
    assert "body.absolute_pos_embed" in from_openmmlab(state, name)


def test_a_caffe_style_resnet_takes_rgb_afterwards() -> None:
    stem = nn.Conv2d(3, 4, 7, 2, 3, bias=False)
    state = {"conv1.weight": stem.weight.detach(), "layer1.0.conv1.weight": torch.ones(1)}
    found = from_openmmlab(state, "resnet50_msra")
    pixels = 255 * torch.rand(1, 3, 8, 8)  # RGB
    mean = torch.tensor([123.675, 116.28, 103.53]).view(3, 1, 1)
    std = torch.tensor([58.395, 57.12, 57.375]).view(3, 1, 1)
    with torch.no_grad():
        theirs = stem((pixels - mean).flip(1))
        rgb = nn.functional.conv2d((pixels - mean) / std, found["body.conv1.weight"], None, 2, 3)
    torch.testing.assert_close(rgb, theirs, rtol=1e-4, atol=1e-3)
    assert torch.equal(found["body.layer1.0.conv1.weight"], torch.ones(1))
    assert torch.equal(from_openmmlab(state, "resnet50")["body.conv1.weight"], stem.weight)


def test_timms_tags_of_weights_do_not_matter() -> None:
    state = {"conv1.weight": torch.ones(1)}
    assert from_openmmlab(state, "resnet101.a1_in1k") == {
        "body.conv1.weight": state["conv1.weight"]
    }


def test_a_backbone_that_openmmlab_lacks_is_refused_with_those_it_has() -> None:
    with pytest.raises(ValueError, match=r"no 'resnext50_32x4d'.*resnet50c.*swin_tiny_dense"):
        from_openmmlab({}, "resnext50_32x4d")


def test_all_names_are_models_of_timm() -> None:
    from van_dense.integrations.checkpoints.openmmlab_backbones import _READERS

    assert all(timm.is_model(name) for name in _READERS)
