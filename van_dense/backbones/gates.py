"""Gates of VAN and its relatives: what a block multiplies its features by.

Sources: LKA, Guo et al., "Visual Attention Network", arXiv 2202.09741, Fig. 2 and 3; LSKA, Lau et
al., "Large Separable Kernel Attention", arXiv 2309.01439; MSCA, Guo et al., "SegNeXt", arXiv
2209.08575, Fig. 2; LSK, Li et al., "Large Selective Kernel Network for Remote Sensing Object
Detection", arXiv 2303.09030, Sec. 3.2. Names of convolutions are those of the official checkpoints.
Every gate maps (B, C, H, W) to the same shape; its last convolution gives the map that multiplies.
"""

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn

LKAVariant = Literal[
    "full", "no_dw", "no_dw_dilated", "no_attention", "add", "no_pointwise", "sigmoid", "lska"
]


@dataclass(frozen=True)
class LargeKernel:
    """How a K x K convolution is taken apart, and how its result is used.

    The depth-wise kernel has 2d - 1 sampling points a side, the dilated one ceil(K / d); Table 6
    has (K, d) of (7, 2), (14, 3), (21, 3), (28, 4). Variants are the rows of the ablation Table 3:
    ``no_dw``, ``no_dw_dilated`` and ``no_pointwise`` leave one convolution out; ``no_attention``
    (Fig. 3b) returns the convolved map itself, ``add`` (Fig. 3c) adds it to the input instead of
    multiplying, and ``sigmoid`` squashes it first.

    ``lska`` splits both kernels into a row and a column. Its K is the true span of the two, so the
    dilated one has (K - (2d - 1)) / d + 1 points: its paper has (K, d) of (7, 2), (11, 2), (23, 3),
    (35, 3), (41, 3), (53, 3). VAN's K of 21 spans 23.
    """

    kernel: int  #: K, side of the kernel that is taken apart, in pixels
    dilation: int  #: d
    variant: LKAVariant

    def __post_init__(self) -> None:
        if self.variant not in get_args(LKAVariant):
            known = list(get_args(LKAVariant))
            raise ValueError(f"lka_variant {self.variant!r} is unknown; use one of {known}")
        if self.kernel < 1 or self.dilation < 1:
            found = f"got {self.kernel} and {self.dilation}"
            raise ValueError(f"lka_kernel and lka_dilation must be at least 1, {found}")
        if self.variant == "lska":
            least = 2 * self.dilation - 1
            step = 2 * self.dilation  # a point on each side
            steps, rest = divmod(self.kernel - least, step)
            if steps < 0 or rest:
                below = least + max(steps, 0) * step
                raise ValueError(
                    f"lka_kernel {self.kernel} with lka_dilation {self.dilation}: the span of "
                    f"lska is {least} pixels and a whole number of steps of {step}; the nearest "
                    f"are {below} and {below + step}"
                )

    @property
    def points(self) -> tuple[int, int]:
        """Sampling points a side of the depth-wise kernel, and of the dilated one."""
        first = 2 * self.dilation - 1
        if self.variant == "lska":
            return first, (self.kernel - first) // self.dilation + 1
        return first, math.ceil(self.kernel / self.dilation)


def depthwise(
    dim: int, kernel: int | tuple[int, int], dilation: int = 1, *, bias: bool = True
) -> nn.Conv2d:
    """Convolution of each channel that keeps the size; ``kernel`` is a side, or (height, width).

    "same" keeps the size where the padding is odd (even kernel, odd dilation): the surplus row goes
    below and to the right. The four rows of VAN's Table 6 all have even, symmetric padding.
    """
    height, width = (kernel, kernel) if isinstance(kernel, int) else kernel
    totals = (dilation * (height - 1), dilation * (width - 1))
    is_odd = any(total % 2 for total in totals)
    padding: str | tuple[int, int] = "same" if is_odd else (totals[0] // 2, totals[1] // 2)
    sides = (height, width)
    return nn.Conv2d(dim, dim, sides, padding=padding, dilation=dilation, groups=dim, bias=bias)


class LKA(nn.Module):
    """Large kernel attention, eq. 1 and 2: a map of the input's own shape multiplies the input."""

    def __init__(self, dim: int, spec: LargeKernel) -> None:
        super().__init__()
        self.variant = spec.variant
        first, dilated = spec.points
        if spec.variant == "lska":
            self.conv0h = depthwise(dim, (1, first))
            self.conv0v = depthwise(dim, (first, 1))
            self.conv_spatial_h = depthwise(dim, (1, dilated), spec.dilation)
            self.conv_spatial_v = depthwise(dim, (dilated, 1), spec.dilation)
        elif spec.variant != "no_dw":
            self.conv0 = depthwise(dim, first)
        if spec.variant not in ("no_dw_dilated", "lska"):
            self.conv_spatial = depthwise(dim, dilated, spec.dilation)
        if spec.variant != "no_pointwise":
            self.conv1 = nn.Conv2d(dim, dim, 1)

    def forward(self, u: Tensor) -> Tensor:
        """Return u times its attention map, or what the variant says."""
        attention = u
        for conv in self.children():
            attention = conv(attention)
        if self.variant == "no_attention":
            return attention
        if self.variant == "add":
            return u + attention
        if self.variant == "sigmoid":
            attention = attention.sigmoid()
        return u * attention


class MSCA(nn.Module):
    """Multi-scale convolutional attention: a 5x5 kernel, and strips of 7, 11 and 21 behind it."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv0 = depthwise(dim, 5)
        for i, length in enumerate((7, 11, 21)):
            setattr(self, f"conv{i}_1", depthwise(dim, (1, length)))
            setattr(self, f"conv{i}_2", depthwise(dim, (length, 1)))
        self.conv3 = nn.Conv2d(dim, dim, 1)

    def forward(self, u: Tensor) -> Tensor:
        """Return u times its attention map."""
        centre = self.conv0(u)
        total = centre
        for i in range(3):
            row, column = getattr(self, f"conv{i}_1"), getattr(self, f"conv{i}_2")
            total = total + column(row(centre))
        return u * self.conv3(total)


class LSK(nn.Module):
    """Large selective kernel: each position chooses between a kernel of 5 and one that spans 23."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv0 = depthwise(dim, 5)
        self.conv_spatial = depthwise(dim, 7, 3)
        self.conv1 = nn.Conv2d(dim, dim // 2, 1)
        self.conv2 = nn.Conv2d(dim, dim // 2, 1)
        self.conv_squeeze = nn.Conv2d(2, 2, 7, padding=3)
        self.conv = nn.Conv2d(dim // 2, dim, 1)

    def forward(self, u: Tensor) -> Tensor:
        """Return u times its attention map."""
        near = self.conv0(u)
        far = self.conv_spatial(near)
        near, far = self.conv1(near), self.conv2(far)
        both = torch.cat([near, far], dim=1)
        pooled = torch.cat([both.mean(dim=1, keepdim=True), both.amax(dim=1, keepdim=True)], dim=1)
        weights = self.conv_squeeze(pooled).sigmoid()
        return u * self.conv(near * weights[:, :1] + far * weights[:, 1:])
