"""MogaNet-XT..XL as timm models ``moganet_xt`` .. ``moganet_xl``.

Paper: Li et al., "MogaNet: Multi-order Gated Aggregation Network", arXiv 2211.03295 (ICLR 2024).
Module names are those of the published checkpoints (github.com/Westlake-AI/MogaNet, Apache-2.0).

Shapes: every tensor is (B, C, H, W); a map is the output of its stage after the BatchNorm that the
next stage gets as well. The mean over all positions in each block makes every output depend on the
padding of a batch.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from timm.layers import DropPath
from torch import Tensor, nn

from van_dense.backbones.gates import depthwise
from van_dense.backbones.stages import NumberedStages, drop_path_rates
from van_dense.backbones.van_layers import Stage, init_weights

_SCALE = 1e-5  # of the branches of a block, and of the differences in ``Contrast``, at the start


class Contrast(nn.Module):
    """Adds to each channel its difference from something plainer, times a learned factor."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((1, dim, 1, 1), _SCALE))

    def forward(self, x: Tensor, plain: Tensor) -> Tensor:
        """x + scale (x - plain)."""
        return x + self.scale * (x - plain)


class MultiOrder(nn.Module):
    """Depth-wise convolutions of three reaches, each on its share of the channels.

    An eighth of the channels keeps the 5x5 convolution that all get, three eighths get a dilated
    5x5 after it, the other half a dilated 7x7.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        if dim % 8:
            raise ValueError(f"channels of MogaNet are multiples of 8, got {dim}")
        self.shares = (dim // 8, 3 * dim // 8, dim // 2)
        self.DW_conv0 = depthwise(dim, 5)
        self.DW_conv1 = depthwise(self.shares[1], 5, 2)
        self.DW_conv2 = depthwise(self.shares[2], 7, 3)
        self.PW_conv = nn.Conv2d(dim, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Filter, and mix channels."""
        near, middle, far = self.DW_conv0(x).split(self.shares, dim=1)
        return self.PW_conv(torch.cat((near, self.DW_conv1(middle), self.DW_conv2(far)), dim=1))


class GatedAggregation(nn.Module):
    """Product of a gate and of multi-order features, with a shortcut around it."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.proj_1 = nn.Conv2d(dim, dim, 1)
        self.gate = nn.Conv2d(dim, dim, 1)
        self.value = MultiOrder(dim)
        self.proj_2 = nn.Conv2d(dim, dim, 1)
        self.sigma = Contrast(dim)

    def forward(self, x: Tensor) -> Tensor:
        """Stress what differs from the mean over all positions, gate it, and add the input."""
        y = self.proj_1(x)
        y = F.silu(self.sigma(y, y.mean(dim=(2, 3), keepdim=True)))
        return x + self.proj_2(F.silu(self.gate(y)) * F.silu(self.value(y)))


class ChannelAggregation(nn.Module):
    """Feed-forward network that stresses what differs from one map of all channels."""

    def __init__(self, dim: int, hidden_dim: int, drop: float) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(dim, hidden_dim, 1)
        self.dwconv = depthwise(hidden_dim, 3)
        self.decompose = nn.Conv2d(hidden_dim, 1, 1)
        self.sigma = Contrast(hidden_dim)
        self.fc2 = nn.Conv2d(hidden_dim, dim, 1)
        self.drop = nn.Dropout(drop)

    def forward(self, x: Tensor) -> Tensor:
        """Expand, filter, activate, contrast and project back."""
        x = self.drop(F.gelu(self.dwconv(self.fc1(x))))
        return self.drop(self.fc2(self.sigma(x, F.gelu(self.decompose(x)))))


class Block(nn.Module):
    """Aggregation over space, then over channels, each normalised before and scaled after."""

    def __init__(self, dim: int, mlp_ratio: int, drop: float, drop_path: float) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(dim)
        self.attn = GatedAggregation(dim)
        self.drop_path = DropPath(drop_path) if drop_path > 0 else nn.Identity()
        self.norm2 = nn.BatchNorm2d(dim)
        self.mlp = ChannelAggregation(dim, dim * mlp_ratio, drop)
        self.layer_scale_1 = nn.Parameter(torch.full((1, dim, 1, 1), _SCALE))
        self.layer_scale_2 = nn.Parameter(torch.full((1, dim, 1, 1), _SCALE))

    def forward(self, x: Tensor) -> Tensor:
        """Add both scaled branches, one after the other."""
        x = x + self.drop_path(self.layer_scale_1 * self.attn(self.norm1(x)))
        return x + self.drop_path(self.layer_scale_2 * self.mlp(self.norm2(x)))


def _halved(in_chans: int, dim: int) -> list[nn.Module]:
    return [nn.Conv2d(in_chans, dim, 3, 2, padding=1), nn.BatchNorm2d(dim)]


class Stem(nn.Module):
    """Two strided convolutions, to a quarter of each side."""

    def __init__(self, in_chans: int, dim: int) -> None:
        super().__init__()
        self.projection = nn.Sequential(
            *_halved(in_chans, dim // 2), nn.GELU(), *_halved(dim // 2, dim)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Reduce the sides to ceil(H / 4)."""
        return self.projection(x)


class PatchEmbed(nn.Module):
    """Strided convolution with overlapping windows, then BatchNorm."""

    def __init__(self, in_chans: int, dim: int) -> None:
        super().__init__()
        self.projection, self.norm = _halved(in_chans, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Reduce the sides to ceil(H / 2)."""
        return self.norm(self.projection(x))


class MogaNet(NumberedStages):
    """Multi-order gated aggregation network.

    Args:
        embed_dims: Channels of the four stages, multiples of 8.
        depths: Blocks of the four stages.
        mlp_ratios: Expansion ratios of the feed-forward networks.
        num_classes: Outputs of ``head``; 0 leaves it out.
        in_chans: Channels of the image.
        global_pool: "avg", or "" to keep the map of the last stage.
        drop_rate: Dropout in the feed-forward networks; the published models use none.
        drop_path_rate: Stochastic depth of the last block, growing linearly from 0 over all blocks.
    """

    parts = ("patch_embed", "blocks", "norm")

    def __init__(
        self,
        embed_dims: Sequence[int],
        depths: Sequence[int],
        mlp_ratios: Sequence[int] = (8, 8, 4, 4),
        *,
        num_classes: int = 1000,
        in_chans: int = 3,
        global_pool: str = "avg",
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
    ) -> None:
        super().__init__()
        rates = drop_path_rates(drop_path_rate, depths)
        self.feature_info = []
        stages = zip(embed_dims, depths, mlp_ratios, strict=True)
        for i, (dim, depth, ratio) in enumerate(stages, start=1):
            embed = Stem(in_chans, dim) if i == 1 else PatchEmbed(in_chans, dim)
            blocks = [Block(dim, ratio, drop_rate, next(rates)) for _ in range(depth)]
            setattr(self, f"patch_embed{i}", embed)
            setattr(self, f"blocks{i}", Stage(*blocks))
            setattr(self, f"norm{i}", nn.BatchNorm2d(dim))
            info = {"num_chs": dim, "reduction": 2 ** (i + 1), "module": f"norm{i}"}
            self.feature_info.append(info)
            in_chans = dim
        self.num_features = embed_dims[-1]
        self.apply(init_weights)
        self.reset_classifier(num_classes, global_pool)


# Channels and blocks of the four stages; expansion ratios are 8, 8, 4, 4 everywhere.
SIZES: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "moganet_xt": ((32, 64, 96, 192), (3, 3, 10, 2)),  # 3.0 M with the classifier
    "moganet_t": ((32, 64, 128, 256), (3, 3, 12, 2)),  # 5.2 M
    "moganet_s": ((64, 128, 320, 512), (2, 3, 12, 2)),  # 25.3 M
    "moganet_b": ((64, 160, 320, 512), (4, 6, 22, 3)),  # 43.7 M
    "moganet_l": ((64, 160, 320, 640), (4, 6, 44, 4)),  # 82.5 M
    "moganet_xl": ((96, 192, 480, 960), (6, 6, 44, 4)),  # 181.0 M
}
