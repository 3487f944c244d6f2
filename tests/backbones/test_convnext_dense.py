"""ConvNeXt as its detectors have it: timm's, with a LayerNorm on each map."""

from typing import Any

import pytest
import timm
import torch
from helpers.checkpointing import step
from helpers.defaults import build_backbone, build_classifier
from torch import Tensor, nn

from benchmarks.harness.seeded_weights import seed_weights
from van_dense.backbones.convnext import DenseConvNeXt
from van_dense.backbones.weights import load_backbone

NAME = "convnext_tiny_dense"
TINY = {"dims": (8, 12, 16, 24), "depths": (1, 2, 1, 1)}
# As a classifier, and as a backbone with the norms of its maps: the published counts.
PARAMETERS = {
    "convnext_tiny_dense": (28_589_128, 27_821_472),
    "convnext_small_dense": (50_223_688, 49_456_032),
    "convnext_base_dense": (88_591_464, 87_568_256),
}


def tiny() -> Any:
    """A backbone in evaluation mode with weights that differ everywhere."""
    return seed_weights(build_backbone(NAME, options=TINY)).eval()


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameter_counts_are_the_published_ones(name: str) -> None:
    whole, maps = PARAMETERS[name]
    with torch.device("meta"):
        assert count(timm.create_model(name)) == whole
        backbone = build_backbone(name)
        assert count(timm.create_model(name, features_only=True)) == maps
    assert count(backbone) == maps


def test_maps_are_timms_after_a_norm_of_epsilon_1e_6() -> None:
    ours = tiny()
    theirs = timm.create_model("convnext_tiny", num_classes=0, **TINY).eval()
    own = {k: v for k, v in ours.body.state_dict().items() if not k.startswith("norm")}
    assert not theirs.load_state_dict(own, strict=False).unexpected_keys
    images = torch.randn(2, 3, 96, 160, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found = ours(images)
        maps = theirs.forward_intermediates(images, intermediates_only=True)
    for position, (level, x) in enumerate(zip(found, maps, strict=True)):
        norm = getattr(ours.body, f"norm{position}")
        x = x.permute(0, 2, 3, 1)
        x = nn.functional.layer_norm(x, x.shape[-1:], norm.weight, norm.bias, eps=1e-6)
        torch.testing.assert_close(level, x.permute(0, 3, 1, 2), atol=1e-5, rtol=0)


def test_images_are_padded_to_multiples_of_32_and_maps_cut() -> None:
    backbone = tiny()
    images = torch.randn(1, 3, 100, 150)
    padded = nn.functional.pad(images, (0, 10, 0, 28))
    with torch.no_grad():
        found, whole = backbone(images), backbone(padded)
    assert not backbone.any_size
    assert [tuple(level.shape[2:]) for level in found] == [(25, 38), (13, 19), (7, 10), (4, 5)]
    for level, x in zip(found, whole, strict=True):
        torch.testing.assert_close(level, x[..., : level.shape[2], : level.shape[3]])


def test_every_parameter_learns() -> None:
    backbone = tiny().train()
    sum(level.square().sum() for level in backbone(torch.randn(2, 3, 64, 64))).backward()
    assert [n for n, p in backbone.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_checkpointing_changes_no_gradient_and_stores_less() -> None:
    def make() -> nn.Module:
        return DenseConvNeXt(**TINY, num_classes=3, drop_path_rate=0.3)

    images = torch.randn(2, 3, 64, 64)
    gradients, _, stored = step(make, images, enable=False)
    gradients_again, _, stored_again = step(make, images, enable=True)
    torch.testing.assert_close(gradients_again, gradients, rtol=0, atol=0)
    assert stored_again < stored / 2


def test_stages_are_frozen_with_their_norms() -> None:
    backbone = build_backbone(NAME, options=TINY, freeze_stages=2)
    frozen = {n for n, p in backbone.body.named_parameters() if not p.requires_grad}
    first = ("stem.", "stages.0.", "norm0.", "stages.1.", "norm1.")
    assert frozen == {n for n, _ in backbone.body.named_parameters() if n.startswith(first)}


def test_layers_of_learning_rates_are_blocks_and_new_norms_learn_as_a_head() -> None:
    depths = build_backbone(NAME, options=TINY).lr_layers()
    assert depths["body.norm0.weight"] == depths["body.norm3.bias"] == 0
    blocks = [(0, 0), (1, 0), (1, 1), (2, 0), (3, 0)]
    order = [depths[f"body.stages.{i}.blocks.{j}.gamma"] for i, j in blocks]
    assert order == [5, 4, 3, 2, 1]
    assert depths["body.stem.0.weight"] == 6
    assert depths["body.stages.1.downsample.1.weight"] == 4


# ------------------------------------------------------------------------------------ weights


def timms() -> dict[str, Tensor]:
    model = timm.create_model("convnext_tiny", num_classes=5, **TINY)
    return dict(seed_weights(model).state_dict())


def authors() -> dict[str, Tensor]:
    """Names of the authors' files."""
    swaps = (
        ("stem.", "downsample_layers.0."),
        (".blocks.", "."),
        ("conv_dw", "dwconv"),
        ("mlp.fc", "pwconv"),
        ("head.fc.", "head."),
        ("head.norm.", "norm."),
    )
    found = {}
    for key, value in timms().items():
        if ".downsample." in key:
            key = key.replace("stages.", "downsample_layers.").replace(".downsample.", ".")
        for here, there in swaps:
            key = key.replace(here, there)
        found[key] = value
    return found


@pytest.mark.parametrize("state", [timms, authors])
def test_imagenet_weights_fill_all_but_the_norms_of_maps(state: Any) -> None:
    backbone = build_backbone(NAME, options=TINY)
    report = load_backbone(backbone, state())
    assert report.coverage == 100.0 and not report.missing and not report.reshaped
    assert report.new == [f"norm{i}.{part}" for i in range(4) for part in ("weight", "bias")]
    assert {*report.unexpected} <= {"norm.weight", "norm.bias"}  # of the classifier
    own = backbone.body.state_dict()
    assert all(torch.equal(own[key], value) for key, value in timms().items() if key in own)


def test_a_classifier_is_timms() -> None:
    model = build_classifier(NAME, 5, options=TINY).eval()
    assert not load_backbone(model, authors()).random_head()
    theirs = timm.create_model("convnext_tiny", num_classes=5, **TINY).eval()
    theirs.load_state_dict(timms())
    images = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        torch.testing.assert_close(model(images), theirs(images))


def test_timm_knows_where_its_weights_are() -> None:
    ours, theirs = (timm.get_pretrained_cfg(n) for n in (NAME, "convnext_tiny.fb_in1k"))
    assert (ours.hf_hub_id, ours.mean, ours.std) == (theirs.hf_hub_id, theirs.mean, theirs.std)
