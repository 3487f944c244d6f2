"""VAN written down plainly, as the yardstick of tools/benchmark.py: correct, and nothing more.

Independent of ``van_dense.backbones.van``, from the same paper (arXiv 2202.09741, Fig. 2 and 4) and
with the shape handling of the authors' code: NCHW throughout, except for a LayerNorm over tokens
(B, H * W, C) that is entered and left by reshaping each stage. The authors' two copies of the input
in every attention are left out; they would only make the yardstick easier to beat.
Module names are those of the official checkpoints, so any VAN state dict loads.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

EXPANSION = (8, 8, 4, 4)


class EagerBlock(nn.Module):
    """BatchNorm, attention, layer scale, shortcut; then the same around the convolutional MLP."""

    attn: Any  # modules without a class of their own
    mlp: Any

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.BatchNorm2d(dim), nn.BatchNorm2d(dim)
        self.layer_scale_1 = nn.Parameter(torch.full((dim,), 0.01))
        self.layer_scale_2 = nn.Parameter(torch.full((dim,), 0.01))
        self.attn = nn.Module()
        self.attn.proj_1, self.attn.proj_2 = nn.Conv2d(dim, dim, 1), nn.Conv2d(dim, dim, 1)
        self.attn.activation = nn.GELU()
        unit = self.attn.spatial_gating_unit = nn.Module()
        unit.conv0 = nn.Conv2d(dim, dim, 5, padding=2, groups=dim)
        unit.conv_spatial = nn.Conv2d(dim, dim, 7, padding=9, dilation=3, groups=dim)
        unit.conv1 = nn.Conv2d(dim, dim, 1)
        self.mlp = nn.Module()
        self.mlp.fc1, self.mlp.fc2 = nn.Conv2d(dim, hidden, 1), nn.Conv2d(hidden, dim, 1)
        self.mlp.dwconv = nn.Module()
        self.mlp.dwconv.dwconv = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden)
        self.mlp.act = nn.GELU()

    def attention(self, x: Tensor) -> Tensor:
        """1x1, GELU, large kernel attention, 1x1, plus the input."""
        attn, unit = self.attn, self.attn.spatial_gating_unit
        u = attn.activation(attn.proj_1(x))
        weights = unit.conv1(unit.conv_spatial(unit.conv0(u)))
        return attn.proj_2(u * weights) + x

    def feed_forward(self, x: Tensor) -> Tensor:
        """1x1, depth-wise 3x3, GELU, 1x1."""
        return self.mlp.fc2(self.mlp.act(self.mlp.dwconv.dwconv(self.mlp.fc1(x))))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        x = x + self.layer_scale_1.unsqueeze(-1).unsqueeze(-1) * self.attention(self.norm1(x))
        return x + self.layer_scale_2.unsqueeze(-1).unsqueeze(-1) * self.feed_forward(self.norm2(x))


class EagerVAN(nn.Module):
    """VAN without classifier, drop path and options.

    Args:
        dims: Channels of the four stages.
        depths: Blocks of the four stages.
        norm_eps: Of the LayerNorms.
    """

    def __init__(self, dims: Sequence[int], depths: Sequence[int], norm_eps: float) -> None:
        super().__init__()
        in_dim = 3
        for i, (dim, depth, ratio) in enumerate(zip(dims, depths, EXPANSION, strict=True), start=1):
            kernel, stride = (7, 4) if i == 1 else (3, 2)
            embed = nn.Module()
            embed.proj = nn.Conv2d(in_dim, dim, kernel, stride, padding=kernel // 2)
            embed.norm = nn.BatchNorm2d(dim)
            setattr(self, f"patch_embed{i}", embed)
            blocks = nn.ModuleList(EagerBlock(dim, dim * ratio) for _ in range(depth))
            setattr(self, f"block{i}", blocks)
            setattr(self, f"norm{i}", nn.LayerNorm(dim, eps=norm_eps))
            in_dim = dim

    def forward(self, x: Tensor) -> list[Tensor]:
        """Maps of the four stages after their LayerNorm, for images (B, 3, H, W)."""
        maps = []
        for i in range(1, 5):
            embed = getattr(self, f"patch_embed{i}")
            x = embed.norm(embed.proj(x))
            for block in getattr(self, f"block{i}"):
                x = block(x)
            batch, channels, height, width = x.shape
            tokens = getattr(self, f"norm{i}")(x.flatten(2).transpose(1, 2))
            x = tokens.reshape(batch, height, width, channels).permute(0, 3, 1, 2).contiguous()
            maps.append(x)
        return maps
