"""Every smp decoder on our backbones."""

from __future__ import annotations

import pytest
import torch

from van_dense.backbones.build import build_backbone
from van_dense.models.smp_decoder import ARCHITECTURES, smp_decoder

CHANNELS = [16, 24, 32, 48]


# PAN pools the deepest map three times.
SIDE = {arch: 256 if arch == "PAN" else 64 for arch in ARCHITECTURES}


def maps(height: int, width: int, batch: int = 2) -> list[torch.Tensor]:
    return [
        torch.randn(batch, c, height // s, width // s)
        for c, s in zip(CHANNELS, (4, 8, 16, 32), strict=True)
    ]


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_every_decoder_gives_logits_that_cover_the_image_and_learns_everywhere(arch):
    decoder = smp_decoder(arch, CHANNELS, 7, options={})
    height, width = SIDE[arch], SIDE[arch] + 32
    logits = decoder(maps(height, width))
    assert logits.shape[:2] == (2, 7)
    assert logits.shape[-2] / height == logits.shape[-1] / width  # one stride on both sides
    logits.square().mean().backward()
    assert [name for name, p in decoder.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_every_backbone_map_reaches_the_logits(arch):
    features = [f.requires_grad_() for f in maps(SIDE[arch], SIDE[arch])]
    smp_decoder(arch, CHANNELS, 3, options={})(features).sum().backward()
    used = [f.grad is not None for f in features]
    # The papers of these use some maps only.
    partial = {"PSPNet": [3], "DeepLabV3": [3], "DeepLabV3Plus": [0, 3]}
    expected = partial.get(arch, [0, 1, 2, 3])
    assert [i for i, is_used in enumerate(used) if is_used] == expected


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_what_is_seen_at_a_place_is_answered_at_that_place(arch):
    torch.manual_seed(0)
    decoder = smp_decoder(arch, CHANNELS, 1, options={}).eval()
    features = maps(256, 256, batch=1)
    with torch.no_grad():
        before = decoder(features)
        for feature in features:  # the right half of the picture changes
            feature[..., feature.shape[-1] // 2 :] *= -1
        change = (decoder(features) - before).abs().mean(dim=(0, 1, 2))
    half = len(change) // 2
    assert change[half:].sum() > change[:half].sum()


def test_options_reach_smp():
    narrow = smp_decoder("Unet", CHANNELS, 3, options={"decoder_channels": [32, 16, 8, 8, 4]})
    assert narrow.head.in_channels == 4


def test_an_unknown_option_names_the_known_ones():
    with pytest.raises(ValueError, match=r"decoder_chanels.*decoder_channels"):
        smp_decoder("Unet", CHANNELS, 3, options={"decoder_chanels": [1]})


def test_the_encoder_is_no_option():
    with pytest.raises(ValueError, match="encoder_name"):
        smp_decoder("Unet", CHANNELS, 3, options={"encoder_name": "resnet34"})


def test_sizes_that_smp_cannot_join_are_explained():
    features = maps(64, 64)
    features[0] = features[0][..., :15]
    with pytest.raises(ValueError, match=r"multiples of 32.*size_divisor"):
        smp_decoder("Unet", CHANNELS, 3, options={})(features)


def test_nothing_is_left_in_smp():
    from segmentation_models_pytorch.encoders import encoders

    before = set(encoders)
    smp_decoder("Unet", CHANNELS, 3, options={})
    assert set(encoders) == before


@pytest.mark.parametrize("name", ["van_b0", "resnet18", "convnext_atto"])
def test_our_backbones_fit(name):
    backbone = build_backbone(name)
    decoder = smp_decoder("Unet", backbone.channels, 3, options={})
    assert decoder(backbone(torch.randn(1, 3, 64, 64))).shape == (1, 3, 64, 64)


def test_a_decoder_is_built_without_computing_on_meta():
    with torch.device("meta"):
        decoder = smp_decoder("UPerNet", CHANNELS, 3, options={})
    assert next(decoder.parameters()).is_meta
