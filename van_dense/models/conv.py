"""Convolution, norm and ReLU, named and initialised as mmcv's ``ConvModule``."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ConvBN(nn.Module):
    """Convolution without bias, BatchNorm, ReLU; size kept, Kaiming normal (He et al. 2015)."""

    def __init__(self, in_channels: int, channels: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, channels, kernel, padding=kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(channels)
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C_in, H, W) to (B, C, H, W)."""
        return F.relu(self.bn(self.conv(x)), inplace=True)


class ConvGN(nn.Module):
    """``ConvBN`` with GroupNorm of at most 32 groups in place of BatchNorm."""

    def __init__(self, in_channels: int, channels: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, channels, kernel, padding=kernel // 2, bias=False)
        self.norm = group_norm(channels, max_groups=32)
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C_in, H, W) to (B, C, H, W)."""
        return F.relu(self.norm(self.conv(x)), inplace=True)


def group_norm(channels: int, max_groups: int) -> nn.GroupNorm:
    """GroupNorm of as many groups as divide the channels, with two channels in each at least.

    One channel alone is always 0 on a map of one pixel.
    """
    most = min(max_groups, max(channels // 2, 1))
    groups = max(g for g in range(1, most + 1) if channels % g == 0)
    return nn.GroupNorm(groups, channels)


def classifier(channels: int, num_classes: int) -> nn.Conv2d:
    """1x1 convolution to logits, initialised as mmseg's ``conv_seg``: normal, std 0.01."""
    conv = nn.Conv2d(channels, num_classes, 1)
    nn.init.normal_(conv.weight, std=0.01)
    assert conv.bias is not None
    nn.init.zeros_(conv.bias)
    return conv


@contextmanager
def explain_single_values() -> Iterator[None]:
    """Name cause and fix of BatchNorm's ValueError for maps pooled to one value in the batch."""
    try:
        yield
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise ValueError(
            "this network normalises features pooled to one value an image, which takes two images "
            "or more in a training step; raise train.batch_size or train.micro_batch"
        ) from error


def is_symbolic(x: Tensor) -> bool:
    """Whether an exporter looks on: an "if" about sizes would fix the answer of its example."""
    return any(isinstance(side, torch.SymInt) for side in x.shape)


def resize_to(x: Tensor, like: Tensor) -> Tensor:
    """Bilinear resize of (B, C, h, w) to the height and width of ``like``, without corners."""
    if not (is_symbolic(x) or is_symbolic(like)) and x.shape[-2:] == like.shape[-2:]:
        return x
    return F.interpolate(x, like.shape[-2:], mode="bilinear", align_corners=False)
