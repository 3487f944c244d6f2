"""Maps of plain ViTs and of models that lack some strides."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from helpers.defaults import build_backbone
from torch import Tensor, nn

from van_dense.backbones.pyramid import SimplePyramid, Source, Sources, blocks_of, sources_of


def info(*strides: int) -> list[dict[str, Any]]:
    return [{"reduction": stride, "num_chs": 10 + i} for i, stride in enumerate(strides)]


def positions(strides: tuple[int, ...], *blocks: int) -> list[int]:
    return [source.position for source in sources_of(info(*strides), blocks).levels]


def statement(pyramid: SimplePyramid, level: int, x: Tensor, steps: int) -> Tensor:
    """A level in operations alone, with the weights of the pyramid."""
    parameters = list(pyramid.levels[level].parameters())

    def norm(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        mean = x.mean(1, keepdim=True)
        variance = ((x - mean) ** 2).mean(1, keepdim=True)
        unit = (x - mean) / (variance + 1e-6).sqrt()
        return unit * scale[:, None, None] + shift[:, None, None]

    for _ in range(-steps):
        x = x.unfold(2, 2, 2).unfold(3, 2, 2).amax((4, 5))
    for step in range(steps):
        if step:
            x = F.gelu(norm(x, parameters.pop(0), parameters.pop(0)))
        weight, bias = parameters.pop(0), parameters.pop(0)
        blocks = torch.einsum("bchw,cdij->bdhiwj", x, weight)
        x = blocks.flatten(4, 5).flatten(2, 3) + bias[:, None, None]
    return norm(x, *parameters)


# ------------------------------------------------------------------------------------- sources


def test_every_level_of_a_plain_vit_is_made_from_its_last_block_or_from_chosen_ones() -> None:
    assert positions((16,) * 12) == [11] * 4
    assert positions((16,) * 12, 7) == [7] * 4
    assert positions((16,) * 12, 2, 5, 8, 11) == [2, 5, 8, 11]


def test_own_maps_are_taken_and_missing_ones_made_from_the_nearest() -> None:
    assert positions((2, 4, 4, 8, 16, 32)) == [2, 3, 4, 5]
    assert positions((8, 16, 32)) == [0, 0, 1, 2]
    assert positions((16, 32, 64)) == [0, 0, 0, 1]
    assert positions((4, 8, 16)) == [0, 1, 2, 2]


def test_strides_that_are_no_powers_of_two_ask_for_another_size_of_the_image() -> None:
    assert sources_of(info(14, 14), ()).scale == 14 / 16
    assert [source.stride for source in sources_of(info(7, 14), ()).levels] == [8, 8, 16, 16]
    with pytest.raises(ValueError, match=r"\[12, 17\].* choose one such as van_b2"):
        sources_of(info(12, 17), ())


@pytest.mark.parametrize(
    ("strides", "blocks", "said"),
    [
        ((16, 16), (2,), r"\[2\] are none of the blocks 0\.\.1"),
        ((16, 16), (-1,), r"\[-1\] are none"),
        ((16, 16), (0, 1), "give one block, or one for each of c2..c5, not 2"),
        ((4, 8, 16, 32), (0,), r"maps at strides \[4, 8, 16, 32\], which are taken; remove it"),
    ],
)
def test_blocks_that_cannot_be_chosen_are_refused(
    strides: tuple[int, ...], blocks: tuple[int, ...], said: str
) -> None:
    with pytest.raises(ValueError, match=rf"model\.backbone\.options\.blocks: .*{said}"):
        sources_of(info(*strides), blocks)


def test_blocks_are_a_number_or_a_list_of_numbers() -> None:
    assert blocks_of(7) == [7] and blocks_of([2, 5, 8, 11]) == [2, 5, 8, 11]
    assert blocks_of(()) == []


@pytest.mark.parametrize("option", ["7", None, True, 1.5, ["7"], [1.0], {"c2": 1}])
def test_blocks_of_another_kind_are_refused(option: object) -> None:
    with pytest.raises(ValueError, match=r"options\.blocks: give the number of a block.*not "):
        blocks_of(option)


# ------------------------------------------------------------------------------------- pyramid


@pytest.mark.parametrize("stride", [4, 8, 16, 32])
def test_levels_equal_their_statement_in_operations(stride: int) -> None:
    torch.manual_seed(0)
    sources = Sources((Source(0, stride, 16),) * 4, 1.0, is_plain=True)
    pyramid = SimplePyramid(sources)
    for parameter in pyramid.double().parameters():
        nn.init.normal_(parameter)
    x = torch.randn(2, 16, 8, 16).double()
    for level, found in enumerate(pyramid([x] * 4)):
        steps = {4: 0, 8: 1, 16: 2, 32: 3}[stride] - level
        assert found.shape[1] == pyramid.channels[level] == 16 // 2 ** max(steps, 0)
        torch.testing.assert_close(found, statement(pyramid, level, x, steps), atol=1e-5, rtol=0)


def test_own_maps_of_several_strides_stay_as_they_are() -> None:
    sources = sources_of([{"reduction": s, "num_chs": 8} for s in (8, 16, 32)], ())
    maps = [torch.randn(1, 8, 8 // n, 8 // n) for n in (1, 1, 2, 4)]
    made, *own = SimplePyramid(sources)(maps)
    assert made.shape == (1, 4, 16, 16)
    assert all(torch.equal(a, b) for a, b in zip(own, maps[1:], strict=True))


@pytest.mark.parametrize("dim", [192, 384, 768, 1024])
def test_parameters_are_those_of_vitdet_without_its_last_convolutions(dim: int) -> None:
    with torch.device("meta"):
        pyramid = SimplePyramid(Sources((Source(0, 16, dim),) * 4, 1.0, is_plain=True))
    half, quarter = dim // 2, dim // 4
    enlarge = 4 * dim * half + half + 2 * half + 4 * half * quarter + quarter
    norms = 2 * (quarter + half + dim + dim)
    expected = enlarge + (4 * dim * half + half) + norms
    assert sum(p.numel() for p in pyramid.parameters()) == expected


# ------------------------------------------------------------------------------------ backbones


@pytest.mark.parametrize(
    "name",
    [
        "vit_small_patch16_dinov3",
        "vit_small_patch14_dinov2",
        "eva02_tiny_patch14_224",
        "xcit_nano_12_p8_224",
    ],
)
def test_a_plain_model_gives_four_maps_of_any_image(name: str) -> None:
    backbone = build_backbone(name, options={"depth": 2}).eval()
    for height, width in ((64, 96), (70, 101)):
        with torch.no_grad():
            maps = backbone(torch.randn(1, 3, height, width))
        assert [tuple(level.shape[1:]) for level in maps] == [
            (channels, -(-height // stride), -(-width // stride))
            for channels, stride in zip(backbone.channels, (4, 8, 16, 32), strict=True)
        ]


def test_maps_are_made_of_the_patch_tokens_of_the_blocks_that_were_chosen() -> None:
    options = {"depth": 4, "blocks": [0, 1, 2, 3]}
    backbone = build_backbone("vit_tiny_patch16_224", options=options).eval()
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        found = backbone(images)
        blocks = backbone.body.forward_intermediates(images, intermediates_only=True)
        assert backbone.pyramid is not None
        expected = backbone.pyramid(blocks)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_blocks_above_the_last_chosen_one_are_not_computed() -> None:
    one = build_backbone("vit_tiny_patch16_224", options={"depth": 4, "blocks": 1})
    assert len(one.body.blocks) == 2
    assert max(one.lr_layers().values()) == 3  # the embedding, below two blocks


def test_patches_of_14_pixels_see_the_image_at_14_of_16_of_its_size() -> None:
    backbone = build_backbone("vit_small_patch14_dinov2", options={"depth": 1}).eval()
    images = torch.randn(1, 3, 64, 96)
    smaller = F.interpolate(images, (56, 84), mode="bilinear", antialias=True)
    with torch.no_grad():
        c4 = backbone(images)[2]
        tokens = backbone.body.forward_intermediates(smaller, intermediates_only=True)[0]
        assert tokens.shape[-2:] == (4, 6)
        assert backbone.pyramid is not None
        torch.testing.assert_close(c4, backbone.pyramid.levels[2](tokens))


def test_a_model_whose_maps_are_cut_at_the_border_is_refused() -> None:
    with torch.device("meta"):
        backbone = build_backbone("inception_v3")
        with pytest.raises(ValueError, match=r"maps of InceptionV3 .*cuts the borders"):
            backbone(torch.zeros(1, 3, 96, 160))
