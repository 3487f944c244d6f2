"""The attention map is the very tensor that multiplies the features."""

import numpy as np
import pytest
import torch
from helpers.defaults import build_backbone

from van_dense.explain.attention import attention_grid, lka_maps

TINY = {"embed_dims": [4, 6, 8, 10], "depths": [1, 2, 3, 1]}


def van(**options):
    torch.manual_seed(0)
    return build_backbone("van_b0", options={**TINY, **options})


@pytest.mark.parametrize("size", [(64, 32), (45, 70)])
def test_maps_equal_a_computation_with_the_parts_of_the_module(size):
    backbone = van().eval()
    image = torch.randn(3, *size)
    maps = lka_maps(backbone, image)
    body = backbone.body
    with torch.no_grad():
        x = body.norm1(body.block1(body.patch_embed1(image[None])))
        x = body.block2[0](body.patch_embed2(x))
        attention = body.block2[1].attn
        u = attention.activation(attention.proj_1(body.block2[1].norm1(x)))
        unit = attention.spatial_gating_unit
        weights = unit.conv1(unit.conv_spatial(unit.conv0(u)))
        torch.testing.assert_close(unit(u), u * weights)
    torch.testing.assert_close(maps["stage 2, block 2"], weights[0].abs().mean(dim=0))


def test_every_block_has_a_map_named_by_its_place():
    maps = lka_maps(van(), torch.randn(3, 64, 64))
    assert list(maps) == [
        "stage 1, block 1",
        "stage 2, block 1",
        "stage 2, block 2",
        "stage 3, block 1",
        "stage 3, block 2",
        "stage 3, block 3",
        "stage 4, block 1",
    ]
    assert [maps[f"stage {i}, block 1"].shape for i in (1, 2, 3, 4)] == [
        (16, 16),
        (8, 8),
        (4, 4),
        (2, 2),
    ]


def test_a_squashed_attention_is_drawn_as_it_multiplies():
    plain, squashed = van().eval(), van(lka_variant="sigmoid").eval()
    squashed.load_state_dict(plain.state_dict())
    first = "stage 1, block 1"
    image = torch.randn(3, 32, 32)
    assert lka_maps(squashed, image)[first].max() <= 1
    assert not torch.equal(lka_maps(plain, image)[first], lka_maps(squashed, image)[first])


@pytest.mark.parametrize("variant", ["add", "no_attention"])
def test_a_variant_without_a_product_has_no_attention(variant):
    with pytest.raises(ValueError, match="multiplies the features with nothing"):
        lka_maps(van(lka_variant=variant), torch.randn(3, 32, 32))


def test_other_backbones_have_no_large_kernel_attention():
    with pytest.raises(ValueError, match="ResNet has no large kernel attention; only VAN"):
        lka_maps(build_backbone("resnet18"), torch.randn(3, 32, 32))


def test_a_backbone_is_left_as_it_was():
    backbone = van().train()
    kept = {name: value.clone() for name, value in backbone.state_dict().items()}
    with pytest.raises(ValueError, match="channels"):
        lka_maps(backbone, torch.randn(4, 32, 32))
    lka_maps(backbone, torch.randn(3, 32, 32))
    assert backbone.training and all(module.training for module in backbone.modules())
    assert not any(module._forward_hooks for module in backbone.modules())
    for name, value in backbone.state_dict().items():
        assert torch.equal(value, kept[name]), name


def maps_of(*depths: int) -> dict[str, torch.Tensor]:
    return {
        f"stage {stage}, block {block}": torch.rand(5, 8)
        for stage, depth in enumerate(depths, start=1)
        for block in range(1, depth + 1)
    }


@pytest.fixture
def drawn(monkeypatch):
    """Captions of the tables that are drawn."""
    tables = []
    monkeypatch.setattr(
        "van_dense.explain.attention.side_by_side",
        lambda columns, **given: tables.append(given) or np.zeros((1, 1, 3), np.uint8),
    )
    return tables


@pytest.mark.parametrize(
    ("depths", "rows", "blocks"),
    [
        ((3, 3, 12, 3), 3, ["1 of 12", "6 of 12", "12 of 12"]),  # B2
        ((2, 2, 4, 2), 2, ["1 of 4", "4 of 4"]),  # B1: one middle block alone is no row
        ((1, 1, 1, 1), 1, ["1 of 1"]),
    ],
)
def test_the_grid_shows_first_middle_and_last_blocks_none_twice(drawn, depths, rows, blocks):
    attention_grid(np.zeros((40, 60, 3), np.uint8), maps_of(*depths))
    (table,) = drawn
    assert len(table["rows"]) == rows
    assert list(table["captions"]) == ["stage 1", "stage 2", "stage 3", "stage 4"]
    third = table["captions"]["stage 3"]
    assert [caption.split(":")[0] for caption in third] == [f"block {block}" for block in blocks]


def test_the_grid_is_a_picture_with_a_column_for_each_stage():
    photo = np.full((40, 60, 3), 128, dtype=np.uint8)
    picture = attention_grid(photo, maps_of(1, 2, 3), title="photo.jpg")
    assert picture.dtype == np.uint8 and picture.shape[1] > 3 * 320


def test_a_constant_map_is_drawn_dark_and_without_a_warning():
    photo = np.zeros((8, 8, 3), dtype=np.uint8)
    attention_grid(photo, {"stage 1, block 1": torch.ones(2, 2)})
