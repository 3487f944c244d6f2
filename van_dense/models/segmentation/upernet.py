"""UperNet and the auxiliary head that it is trained with.

Source: Xiao et al., "Unified Perceptual Parsing for Scene Understanding", ECCV 2018; definition of
mmseg's ``UPerHead`` and ``FCNHead``, as VAN-Segmentation configures them (configs/upernet).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from van_dense.models.conv import ConvBN, classifier, resize_to


class UperNet(nn.Module):
    """Decoder from c2..c5 to logits at stride 4: pyramid pooling on c5, then a pyramid.

    Args:
        in_channels: Channels of c2..c5.
        num_classes: C.
        channels: Channels of every level.
        pool_scales: Sides of the pooled maps of c5.
        dropout: Probability of a channel to be dropped before the classifier, in training.
    """

    def __init__(
        self,
        in_channels: list[int],
        num_classes: int,
        *,
        channels: int,
        pool_scales: Sequence[int],
        dropout: float,
    ) -> None:
        super().__init__()
        *finer, c5_channels = in_channels
        self.psp_modules = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(side), ConvBN(c5_channels, channels, 1))
            for side in pool_scales
        )
        self.bottleneck = ConvBN(c5_channels + len(pool_scales) * channels, channels, 3)
        self.lateral_convs = nn.ModuleList(ConvBN(c, channels, 1) for c in finer)
        self.fpn_convs = nn.ModuleList(ConvBN(channels, channels, 3) for _ in finer)
        self.fpn_bottleneck = ConvBN(len(in_channels) * channels, channels, 3)
        self.dropout = nn.Dropout2d(dropout)
        self.conv_seg = classifier(channels, num_classes)

    def forward(self, features: list[Tensor]) -> Tensor:
        """Logits (B, C, H/4, W/4) of c2..c5."""
        c2, c3, c4, c5 = features
        pooled = [resize_to(module(c5), c5) for module in self.psp_modules]
        levels = [conv(x) for conv, x in zip(self.lateral_convs, (c2, c3, c4), strict=True)]
        levels.append(self.bottleneck(torch.cat([c5, *pooled], dim=1)))
        for i in range(len(levels) - 1, 0, -1):
            levels[i - 1] = levels[i - 1] + resize_to(levels[i], levels[i - 1])
        for i, conv in enumerate(self.fpn_convs):
            levels[i] = conv(levels[i])  # one by one, so that inference frees the old map at once
        joined = torch.cat([resize_to(x, levels[0]) for x in levels], dim=1)
        return self.conv_seg(self.dropout(self.fpn_bottleneck(joined)))


class AuxiliaryFCN(nn.Module):
    """One convolution and a classifier on a single map, used in training only.

    The map, c4 in the recipe, has ``in_channels``, and what the convolution gives ``channels``,
    each of which is dropped before the classifier with probability ``dropout``.
    """

    def __init__(
        self, in_channels: int, num_classes: int, *, channels: int, dropout: float
    ) -> None:
        super().__init__()
        self.convs = nn.Sequential(ConvBN(in_channels, channels, 3))
        self.dropout = nn.Dropout2d(dropout)
        self.conv_seg = classifier(channels, num_classes)

    def forward(self, feature: Tensor) -> Tensor:
        """Logits (B, C, h, w) of a map (B, C_in, h, w)."""
        return self.conv_seg(self.dropout(self.convs(feature)))
