"""Every smp decoder on our backbones."""

from __future__ import annotations

import inspect

import pytest
import segmentation_models_pytorch as smp
import torch
from helpers.defaults import build_backbone
from segmentation_models_pytorch.encoders import encoders
from torch import Tensor

from van_dense.models.segmentation.smp_decoder import ARCHITECTURES, smp_decoder

CHANNELS = [16, 24, 32, 48]
# The papers of these use some maps only.
USED = {"PSPNet": [3], "DeepLabV3": [3], "DeepLabV3Plus": [0, 3]}
STRIDE = {"PSPNet": 32, "DeepLabV3": 8, "DPT": 2}  # of the logits
STRIDE |= dict.fromkeys(["Unet", "UnetPlusPlus", "MAnet", "Linknet"], 1)
POOLED = ["DeepLabV3", "DeepLabV3Plus", "PAN", "UPerNet"]  # BatchNorm after global pooling


def maps(height: int, width: int, batch: int = 2) -> list[Tensor]:
    return [
        torch.randn(batch, c, -(-height // s), -(-width // s))
        for c, s in zip(CHANNELS, (4, 8, 16, 32), strict=True)
    ]


def test_no_decoder_of_smp_is_missing():
    assert set(ARCHITECTURES.values()) == set(smp.MODEL_ARCHITECTURES_MAPPING.values())


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_every_decoder_covers_the_image_and_learns_everywhere_from_the_maps_of_its_paper(arch):
    decoder = smp_decoder(arch, CHANNELS, 7, options={})
    features = [f.requires_grad_() for f in maps(128, 160)]
    logits = decoder(features)
    stride = STRIDE.get(arch, 4)
    assert logits.shape == (2, 7, 128 // stride, 160 // stride)
    logits.square().mean().backward()
    assert [name for name, p in decoder.named_parameters() if p.grad is None] == []
    used = [i for i, feature in enumerate(features) if feature.grad is not None]
    assert used == USED.get(arch, [0, 1, 2, 3])


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_what_is_seen_at_a_place_is_answered_at_that_place(arch):
    torch.manual_seed(0)
    decoder = smp_decoder(arch, CHANNELS, 1, options={}).eval()
    features = maps(128, 128, batch=1)
    with torch.no_grad():
        before = decoder(features)
        for feature in features:  # the right half of the picture changes
            feature[..., feature.shape[-1] // 2 :] *= -1
        change = (decoder(features) - before).abs().mean(dim=(0, 1, 2))
    half = len(change) // 2
    assert change[half:].sum() > change[:half].sum()


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_images_of_any_size_get_logits_in_the_cells_of_c2_or_finer(arch):
    torch.manual_seed(0)
    decoder = smp_decoder(arch, CHANNELS, 3, options={}).eval()
    features = maps(133, 150)
    with torch.no_grad():
        logits = decoder(features)
    factor = max(1, 4 // STRIDE.get(arch, 4))
    assert logits.shape == (2, 3, 34 * factor, 38 * factor)


def test_what_is_continued_beyond_the_image_is_cut_off():
    torch.manual_seed(0)
    decoder = smp_decoder("Unet", CHANNELS, 3, options={}).eval()
    whole = maps(64, 768)
    strides = (4, 8, 16, 32)
    cut = [level[..., : -(-744 // s)] for level, s in zip(whole, strides, strict=True)]
    with torch.no_grad():
        expected, found = decoder(whole), decoder(cut)
    assert found.shape[-1] == 744
    assert found[..., :256].allclose(expected[..., :256], atol=1e-5)  # beyond any receptive field


@pytest.mark.parametrize("arch", [a for a in ARCHITECTURES if not a.startswith("DeepLab")])
@pytest.mark.parametrize("name", ["van_b0", "resnet18"])
def test_decoder_and_backbone_compute_what_the_model_of_smp_computes(arch, name):
    torch.manual_seed(0)
    options = {"PAN": {"encoder_output_stride": 32}}.get(arch, {})
    only_smp = {"PSPNet": {"encoder_depth": 5}, "DPT": {"decoder_readout": "ignore"}}.get(arch, {})
    if "upsampling" in inspect.signature(ARCHITECTURES[arch]).parameters:
        only_smp = {**only_smp, "upsampling": 1}
    if arch == "DPT" and name == "resnet18":
        only_smp["encoder_output_indices"] = [1, 2, 3, 4]
    theirs = ARCHITECTURES[arch](
        f"tu-{name}", encoder_weights=None, classes=3, **options, **only_smp
    ).eval()
    backbone = build_backbone(name)
    backbone.add_stride_2()
    ours = smp_decoder(arch, backbone.channels, 3, options=options).eval()
    weights = {
        key.removeprefix("model."): value
        for key, value in theirs.encoder.model.state_dict().items()
    }
    weights = {key: value for key, value in weights.items() if not key.startswith(("fc.", "head."))}
    backbone.body.load_state_dict(weights)
    ours.decoder.load_state_dict(theirs.decoder.state_dict())
    head = theirs.segmentation_head
    ours.head.load_state_dict((head.head if arch == "DPT" else head[0]).state_dict())
    images = torch.randn(2, 3, *((256, 256) if arch == "PAN" else (64, 96)))
    with torch.no_grad():
        expected = theirs(images)
        found = ours(backbone.eval()(images))
        if arch == "DPT":
            found = torch.nn.functional.interpolate(
                found, scale_factor=2, mode="bilinear", align_corners=True
            )
    torch.testing.assert_close(found, expected)


def test_atrous_rates_meet_a_map_of_the_stride_that_they_are_made_for():
    seen = []
    decoder = smp_decoder("DeepLabV3", CHANNELS, 3, options={"encoder_output_stride": 16})
    decoder.decoder.aspp.register_forward_pre_hook(lambda _, args: seen.append(args[0].shape[-2:]))
    assert decoder(maps(128, 160)).shape[-2:] == seen[0] == (8, 10)


def test_options_reach_smp():
    narrow = smp_decoder("Unet", CHANNELS, 3, options={"decoder_channels": [32, 16, 8, 8, 4]})
    assert narrow.head.in_channels == 4
    with pytest.warns(UserWarning, match="prefix tokens"):
        concatenated = smp_decoder("DPT", CHANNELS, 3, options={"decoder_readout": "cat"})
    assert len(list(concatenated.decoder.projection_blocks.parameters())) == 8


@pytest.mark.parametrize("option", ["decoder_chanels", "encoder_name", "upsampling", "activation"])
def test_an_option_that_would_have_no_effect_is_refused_with_the_known_ones(option):
    with pytest.raises(ValueError, match=rf"smp/FPN has no option \['{option}'\].*decoder_dropout"):
        smp_decoder("FPN", CHANNELS, 3, options={option: 1})


@pytest.mark.parametrize("value", [[32, 16], 3, "abc"])
def test_a_value_that_smp_refuses_is_named(value):
    with pytest.raises(ValueError, match=r"smp/Unet cannot be built .*decoder_channels"):
        smp_decoder("Unet", CHANNELS, 3, options={"decoder_channels": value})


def test_an_unknown_decoder_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"'UNet'.*'Unet'"):
        smp_decoder("UNet", CHANNELS, 3, options={})


@pytest.mark.parametrize("arch", ["Unet", "UnetPlusPlus"])
def test_attention_that_is_never_run_wants_no_gradient(arch):
    decoder = smp_decoder(arch, CHANNELS, 3, options={"decoder_attention_type": "scse"})
    decoder(maps(64, 64)).sum().backward()
    assert all(p.grad is not None for p in decoder.parameters() if p.requires_grad)


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_one_image_can_be_predicted_and_trains_unless_its_features_are_pooled(arch):
    decoder = smp_decoder(arch, CHANNELS, 3, options={})
    if arch in POOLED:  # the segmenter explains it
        with pytest.raises(ValueError, match="more than 1 value per channel"):
            decoder(maps(128, 128, batch=1))
    else:
        decoder(maps(128, 128, batch=1)).sum().backward()
    assert decoder.eval()(maps(128, 128, batch=1)).isfinite().all()


def test_pan_says_how_large_images_must_be():
    with pytest.raises(ValueError, match=r"8 positions.*\(6, 8\).*128 pixels"):
        smp_decoder("PAN", CHANNELS, 3, options={})(maps(96, 128))


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_a_decoder_is_built_on_meta_and_leaves_nothing_in_smp(arch):
    before = set(encoders)
    with torch.device("meta"):
        decoder = smp_decoder(arch, CHANNELS, 3, options={})
        assert decoder.eval()(maps(133, 150)).is_meta
    assert set(encoders) == before


def test_smp_itself_refuses_sizes_and_has_other_defaults():
    for arch in set(ARCHITECTURES) - {"Unet"}:
        assert ARCHITECTURES[arch].requires_divisible_input_shape
    model = smp.FPN("resnet18", encoder_weights=None)
    with pytest.raises(RuntimeError, match="divisible by 32"):
        model(torch.zeros(1, 3, 100, 96))
    defaults = {
        arch: inspect.signature(ARCHITECTURES[arch]).parameters for arch in ("PSPNet", "DPT")
    }
    assert defaults["PSPNet"]["encoder_depth"].default == 3  # stops at c3; here 5
    assert defaults["DPT"]["decoder_readout"].default == "cat"  # here "ignore"
    tversky = smp.losses.TverskyLoss("multiclass")
    assert (tversky.alpha, tversky.beta) == (0.5, 0.5)  # here 0.3 and 0.7


def test_smp_itself_ignores_misspelt_options_with_its_own_encoders():
    model = smp.FPN("resnet18", encoder_weights=None, decoder_chanels=1)
    plain = smp.FPN("resnet18", encoder_weights=None)
    assert list(model.state_dict()) == list(plain.state_dict())
