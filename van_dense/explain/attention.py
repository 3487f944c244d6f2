"""Where VAN's large kernel attention is strong: one map for each block.

Paper: Guo et al., "Visual Attention Network", Computational Visual Media 9(4), 2023, eq. 1 and 2:
the attention map, of the features' own shape, multiplies them. Its Fig. 9 draws the absolute value.
The channels are averaged here; the paper does not say how it reduces them.
Module names are those of the official checkpoints, so the authors' own model works as well.
"""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from van_dense.explain.grid import Cell, side_by_side
from van_dense.explain.layers import captured, evaluating, to_pixels
from van_dense.visualize.maps import draw_saliency

_UNIT = re.compile(r"(?:^|\.)block(\d+)\.(\d+)\.attn\.spatial_gating_unit$")
_ROWS = ("first block", "middle block", "last block")
_NO_ATTENTION = ("no_attention", "add")  # variants of Table 3 whose map multiplies nothing


def lka_maps(backbone: nn.Module, image: Tensor) -> dict[str, Tensor]:
    """Average the absolute attention of every LKA module of a VAN over its channels.

    Args:
        backbone: A VAN, or anything around one, that takes normalised images.
        image: Float (3, H, W), any size.

    Returns:
        float32 (h, w) on the CPU by "stage 3, block 2", both from 1, in the order of execution.

    Raises:
        ValueError: When the backbone is no VAN, or its attention multiplies nothing.
    """
    units = {
        f"stage {found[1]}, block {int(found[2]) + 1}": module
        for name, module in backbone.named_modules()
        if (found := _UNIT.search(name))
    }
    if not units:
        body = getattr(backbone, "body", backbone)
        raise ValueError(
            f"{type(body).__name__} has no large kernel attention; only VAN has it, and its "
            "relatives. Feature maps and the receptive field can be drawn for every backbone"
        )
    variants = {name: getattr(unit, "variant", "full") for name, unit in units.items()}
    if wrong := sorted(set(variants.values()) & set(_NO_ATTENTION)):
        raise ValueError(
            f"lka_variant {wrong[0]!r} multiplies the features with nothing: no attention to draw"
        )

    def reduced(name: str, attention: Any) -> Tensor:
        values = attention.sigmoid() if variants[name] == "sigmoid" else attention
        return values[0].abs().mean(dim=0).float().cpu()

    # The convolutions run in the order of registration; the last one gives the map.
    last = {name: list(unit.children())[-1] for name, unit in units.items()}
    with torch.no_grad(), evaluating(backbone), captured(last, reduced) as maps:
        backbone(image[None])
    return {name: maps[name] for name in units}


def attention_grid(photo: np.ndarray, maps: Mapping[str, Tensor], *, title: str = "") -> np.ndarray:
    """Draw the first, middle and last block of each stage over the photo, darkened and grey.

    Every map is drawn from its own smallest to its own largest value, which its caption gives:
    attention differs by an order of magnitude between blocks, and one scale would hide most.

    Args:
        photo: uint8 (H, W, 3) RGB, what the backbone saw.
        maps: As ``lka_maps`` gives them for it.
        title: One line above, such as the file name.

    Returns:
        uint8 RGB picture: a column for each stage.
    """
    depths: dict[int, int] = {}
    for name in maps:
        stage, number = (int(digits) for digits in re.findall(r"\d+", name))
        depths[stage] = max(depths.get(stage, 0), number)
    # Numbers of first, middle and last block; none twice.
    chosen = {
        stage: (1, (depth + 1) // 2 if depth > 2 else None, depth if depth > 1 else None)
        for stage, depth in depths.items()
    }
    # A row for a single stage, such as the middle one of VAN-B1, would be all but empty.
    least = min(2, len(depths))
    rows = [
        i for i in range(3) if sum(blocks[i] is not None for blocks in chosen.values()) >= least
    ]
    cells: dict[str, list[Cell]] = {f"stage {stage}": [] for stage in depths}
    for stage, depth in depths.items():
        for block in (chosen[stage][i] for i in rows):
            cell = Cell(None)
            if block is not None:
                attention = maps[f"stage {stage}, block {block}"]
                low, high = attention.aminmax()
                relative = (attention - low) / (high - low).clamp(min=torch.finfo(low.dtype).tiny)
                canvas = photo.copy()
                draw_saliency(canvas, to_pixels(relative[None], photo.shape[:2])[0].numpy())
                cell = Cell(canvas, f"block {block} of {depth}: {low:.2g} to {high:.2g}")
            cells[f"stage {stage}"].append(cell)
    return side_by_side(
        {name: [cell.picture for cell in column] for name, column in cells.items()},
        rows=[_ROWS[i] for i in rows],
        captions={name: [cell.caption for cell in column] for name, column in cells.items()},
        title=title,
        scale=("weakest of the block", "strongest"),
    )
