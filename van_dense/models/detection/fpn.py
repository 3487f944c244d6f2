"""Feature Pyramid Network on torchvision's, with the two kinds of extra levels detectors use.

Source: Lin et al., "Feature Pyramid Networks for Object Detection", CVPR 2017.
Legend: c2..c5 backbone maps at strides 4..32, p2..p7 pyramid maps at strides 4..128.
"""

from collections import OrderedDict
from functools import partial
from typing import Literal

from torch import Tensor, nn
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import ExtraFPNBlock

from van_dense.models.conv import group_norm

Norm = Literal["none", "group"]
Extra = Literal["none", "maxpool", "c5", "c5_relu", "p5", "p5_relu"]


def norm_layer(norm: Norm) -> partial[nn.GroupNorm] | None:
    """GroupNorm of at most 32 groups for torchvision's builders, or None for no norm."""
    return partial(group_norm, max_groups=32) if norm == "group" else None


class FPN(nn.Module):
    """Pyramid over some backbone levels plus extra coarser levels.

    Args:
        in_channels: Channels of the backbone maps, fine to coarse.
        channels: Channels of every pyramid level.
        norm: Norm after each convolution; convolutions have a bias only without it.
        extra: "none" appends no level (Sparse R-CNN); "maxpool" one, the last one subsampled by 2
            (Mask R-CNN's P6); the others two, by strided convolutions. "c5" takes them from the
            last *backbone* map (RetinaNet of mmdet, ``on_input``; the paper's 36.3 M of VAN-B2 is
            only reached from C5), "p5" from the last *pyramid* map (ATSS's and GFL's of mmdet,
            ``on_output``); "c5_relu" (RetinaNet of Detectron2) and "p5_relu" (of torchvision)
            have a ReLU between P6 and P7.
    """

    def __init__(self, in_channels: list[int], channels: int, *, norm: Norm, extra: Extra) -> None:
        super().__init__()
        block: ExtraFPNBlock | None = None
        if extra == "maxpool":
            block = _MaxPoolLevel()
        elif extra != "none":
            block = _ConvLevels(in_channels[-1], channels, extra)
        self.num_levels = len(in_channels) + {"none": 0, "maxpool": 1}.get(extra, 2)
        self.pyramid = FeaturePyramidNetwork(
            in_channels, channels, extra_blocks=block, norm_layer=norm_layer(norm)
        )

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """Pyramid maps, fine to coarse, of backbone maps, fine to coarse."""
        named = OrderedDict((str(i), feature) for i, feature in enumerate(features))
        return list(self.pyramid(named).values())


class _MaxPoolLevel(ExtraFPNBlock):
    def forward(
        self, results: list[Tensor], x: list[Tensor], names: list[str]
    ) -> tuple[list[Tensor], list[str]]:
        p6 = nn.functional.max_pool2d(results[-1], kernel_size=1, stride=2)
        return [*results, p6], [*names, "p6"]


class _ConvLevels(ExtraFPNBlock):
    def __init__(self, c5_channels: int, channels: int, extra: Extra) -> None:
        super().__init__()
        self.takes_p5 = extra.startswith("p5")
        self.between = nn.ReLU() if extra.endswith("relu") else nn.Identity()
        in_channels = channels if self.takes_p5 else c5_channels
        self.p6 = nn.Conv2d(in_channels, channels, 3, stride=2, padding=1)
        self.p7 = nn.Conv2d(channels, channels, 3, stride=2, padding=1)
        for conv in (self.p6, self.p7):
            nn.init.kaiming_uniform_(conv.weight, a=1)  # as the rest of torchvision's pyramid
            assert conv.bias is not None
            nn.init.zeros_(conv.bias)

    def forward(
        self, results: list[Tensor], x: list[Tensor], names: list[str]
    ) -> tuple[list[Tensor], list[str]]:
        p6 = self.p6(results[-1] if self.takes_p5 else x[-1])
        return [*results, p6, self.p7(self.between(p6))], [*names, "p6", "p7"]
