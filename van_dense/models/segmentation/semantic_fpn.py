"""Semantic FPN: a pyramid whose levels are brought to stride 4 and added up.

Source: Kirillov et al., "Panoptic Feature Pyramid Networks", CVPR 2019; definition of mmseg's
``FPN`` and ``FPNHead``, as VAN-Segmentation configures them (configs/sem_fpn).
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import FeaturePyramidNetwork

from van_dense.models.conv import ConvBN, ConvGN, classifier, resize_to

_CONVS_OF_LEVEL = (1, 1, 2, 3)  # at strides 4, 8, 16, 32


class SemanticFPN(nn.Module):
    """Decoder from c2..c5 to logits at stride 4.

    Args:
        in_channels: Channels of c2..c5.
        num_classes: C.
        channels: Channels of every pyramid level.
        head_channels: Channels of the levels once they are at stride 4.
        dropout: Probability of a channel to be dropped before the classifier, in training.
    """

    def __init__(
        self,
        in_channels: list[int],
        num_classes: int,
        *,
        channels: int,
        head_channels: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.neck = FeaturePyramidNetwork(in_channels, channels)
        for module in self.neck.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.xavier_uniform_(module.weight)  # mmseg; torchvision has Kaiming's
        self.scale_heads = scale_heads(channels, head_channels, norm="batch")
        self.dropout = nn.Dropout2d(dropout)
        self.conv_seg = classifier(head_channels, num_classes)

    def forward(self, features: list[Tensor]) -> Tensor:
        """Logits (B, C, H/4, W/4) of c2..c5."""
        c2, c3, c4, c5 = features
        levels = list(self.neck(OrderedDict(c2=c2, c3=c3, c4=c4, c5=c5)).values())
        return self.conv_seg(self.dropout(sum_levels(self.scale_heads, levels)))


def scale_heads(
    in_channels: int, channels: int, *, norm: Literal["batch", "group"]
) -> nn.ModuleList:
    """Convolutions of p2..p5 for ``sum_levels``: one for each doubling up to stride 4, or one."""
    conv = ConvBN if norm == "batch" else ConvGN
    widths = [in_channels, channels, channels]  # that the convolutions of a level take
    return nn.ModuleList(
        nn.Sequential(*(conv(width, channels, 3) for width in widths[:num_convs]))
        for num_convs in _CONVS_OF_LEVEL
    )


def sum_levels(heads: nn.ModuleList, levels: Sequence[Tensor]) -> Tensor:
    """Bring pyramid maps p2..p5 to the stride 4 of the first one and add them up."""
    first, *deeper = heads
    total: Tensor = first(levels[0])
    for level, head in enumerate(deeper, start=1):
        assert isinstance(head, nn.Sequential)  # ``scale_heads`` makes no other
        x = levels[level]
        for conv in head:
            x = F.interpolate(conv(x), scale_factor=2.0, mode="bilinear", align_corners=False)
        total = total + resize_to(x, total)  # as mmseg, where sides are no multiples of 32
    return total
