"""Swin Transformer as its detectors have it, as timm models ``swin_tiny_dense`` and larger.

Paper: Liu et al., "Swin Transformer: Hierarchical Vision Transformer using Shifted Windows", arXiv
2103.14030 (ICCV 2021), Sec. 3, from which this is written; dense prediction as in
github.com/SwinTransformer/Swin-Transformer-Object-Detection (MIT) and in OpenMMLab. Names of
modules are timm's. timm's own Swin is another function of dense images:

- It rolls a map and pads it to whole windows then; here the map is padded first.
- It drops the shift where the map it was built for is one window, as in stage 4 at 224 pixels.
- Its maps have no norms; here each passes a LayerNorm (epsilon 1e-5) on its way out.

Shapes: NHWC tensors are (B, H, W, C), all others (B, C, H, W). A side of H pixels becomes
ceil(H / stride), whatever H is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from van_dense.backbones.stages import (
    DownStage,
    NormedMaps,
    down_stage_groups,
    drop_path_rates,
    map_info,
)
from van_dense.backbones.swin_layers import EPS, Block, PatchEmbed, PatchMerging
from van_dense.backbones.swin_names import checkpoint_filter_fn

__all__ = ["SIZES", "DenseSwin", "checkpoint_filter_fn"]


class DenseSwin(NormedMaps):
    """Swin Transformer for maps of images of any size.

    Args:
        embed_dim: Channels of the first stage; each further one has twice as many.
        depths: Blocks of the four stages.
        num_heads: Heads of attention in the four stages, divisors of their channels.
        window_size: K, side of the windows; every other block shifts them by K // 2.
        mlp_ratio: Expansion of the feed-forward networks.
        num_classes: Outputs of ``head``; 0 leaves it out.
        in_chans: Channels of the image.
        global_pool: "avg", or "" to keep the map of the last stage.
        drop_path_rate: Stochastic depth of the last block, growing linearly from 0 over all blocks.
    """

    stage_lists = ("layers",)
    map_eps = EPS

    # timm hands over flat keyword arguments; hence more parameters than elsewhere.
    def __init__(
        self,
        embed_dim: int,
        depths: Sequence[int],
        num_heads: Sequence[int],
        *,
        window_size: int = 7,
        mlp_ratio: float = 4.0,
        num_classes: int = 1000,
        in_chans: int = 3,
        global_pool: str = "avg",
        drop_path_rate: float = 0.0,
    ) -> None:
        super().__init__()
        rates = drop_path_rates(drop_path_rate, depths)
        self.patch_embed = PatchEmbed(in_chans, embed_dim)
        self.layers = nn.ModuleList()
        self.feature_info = []
        for position, (depth, heads) in enumerate(zip(depths, num_heads, strict=True)):
            dim = embed_dim * 2**position
            blocks = [
                Block(
                    dim,
                    heads,
                    window=window_size,
                    shift=window_size // 2 if i % 2 else 0,
                    mlp_ratio=mlp_ratio,
                    drop_path=next(rates),
                )
                for i in range(depth)
            ]
            down = PatchMerging(dim // 2) if position else nn.Identity()
            self.layers.append(DownStage(down, blocks))
            self.feature_info.append(map_info(position, dim, "layers"))
        self.num_features = dim
        self.norm: nn.Module = nn.LayerNorm(self.num_features, eps=EPS)
        self.apply(_init_weights)
        self.reset_classifier(num_classes, global_pool)

    def run_stage(self, position: int, x: Tensor) -> Tensor:
        """Patch embedding or merging, and blocks of a stage."""
        x_NHWC = x.permute(0, 2, 3, 1) if position else self.patch_embed(x)
        return self.layers[position](x_NHWC).permute(0, 3, 1, 2)

    def pooled(self, x: Tensor) -> Tensor:
        """Means over all positions of the normalised map."""
        return self.norm(x.permute(0, 2, 3, 1)).mean(dim=(1, 2))

    def forward_intermediates(self, x: Tensor, *arguments: Any, **named: Any) -> Any:
        """Maps of chosen stages after their norms, in the memory format of the images."""
        found = super().forward_intermediates(x, *arguments, **named)
        if x.is_contiguous(memory_format=torch.channels_last):
            return found
        if isinstance(found, list):
            return [level.contiguous() for level in found]
        last, maps = found
        return last, [level.contiguous() for level in maps]

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Patterns of timm's layer groups, as ``down_stage_groups``."""
        return down_stage_groups("patch_embed", "layers", coarse=coarse)

    def no_weight_decay(self) -> set[str]:
        """The tables of relative positions."""
        return {name for name, _ in self.named_parameters() if name.endswith("_bias_table")}


# Channels of the first stage, blocks and heads of the four stages.
SIZES: dict[str, tuple[int, tuple[int, ...], tuple[int, ...]]] = {
    "swin_tiny_dense": (96, (2, 2, 6, 2), (3, 6, 12, 24)),
    "swin_small_dense": (96, (2, 2, 18, 2), (3, 6, 12, 24)),
    "swin_base_dense": (128, (2, 2, 18, 2), (4, 8, 16, 32)),
}


def _init_weights(module: nn.Module) -> None:
    """Official start: N(0, 0.02^2) cut at 2 for linear layers, 0 for their biases."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
