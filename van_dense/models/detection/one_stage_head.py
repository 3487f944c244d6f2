"""What detectors with one head over the whole pyramid share: towers, best scores of a level.

Legend: B images, A_l anchors of level l, C classes, V box values of an anchor.
"""

import math
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torchvision.ops.misc import Conv2dNormActivation

from van_dense.models.detection.fpn import Norm, norm_layer

PRIOR = 0.01  # foreground probability at the start, so that easy background does not swamp it
PRE_NMS = 1000  # best scores of each level that are decoded at all


def tower(channels: int, convs: int, norm: Norm) -> nn.Sequential:
    """3x3 convolutions with norm and ReLU that keep size and channels."""
    conv = partial(Conv2dNormActivation, channels, channels, 3, norm_layer=norm_layer(norm))
    return nn.Sequential(*(conv() for _ in range(convs)))


class ScaledTowers(nn.Module):
    """Class logits and box values of one anchor a position, the latter with factors by level.

    The towers are shared by all levels; the learnable factors let one convolution serve every
    stride (FCOS; mmdet's ``Scale``).

    Args:
        channels: Channels of the pyramid.
        num_classes: C.
        num_values: V.
        num_levels: Number of pyramid levels.
        convs: Number of convolutions of each tower.
        norm: Norm after each convolution of the towers.
    """

    def __init__(
        self,
        channels: int,
        num_classes: int,
        *,
        num_values: int,
        num_levels: int,
        convs: int,
        norm: Norm,
    ) -> None:
        super().__init__()
        self.class_tower = tower(channels, convs, norm)
        self.box_tower = tower(channels, convs, norm)
        self.class_logits = nn.Conv2d(channels, num_classes, 3, padding=1)
        self.box_values = nn.Conv2d(channels, num_values, 3, padding=1)
        self.scales = nn.Parameter(torch.ones(num_levels))
        start_small(self)
        start_rare(self.class_logits)

    def forward(
        self, features: Sequence[Tensor]
    ) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """Logits (B, A_l, C) and values (B, A_l, V) in float32, and what the box tower gives."""
        logits, values, towers = [], [], []
        for feature, scale in zip(features, self.scales, strict=True):
            towers.append(self.box_tower(feature))
            logits.append(flatten_maps(self.class_logits(self.class_tower(feature))))
            values.append(flatten_maps(self.box_values(towers[-1])) * scale)
        return logits, values, towers


def start_small(module: nn.Module) -> None:
    """Draw convolutions from a normal distribution of deviation 0.01, biases zero (mmdet)."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.normal_(layer.weight, std=0.01)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def start_rare(class_logits: nn.Conv2d | nn.Linear) -> None:
    """Set the bias so that every class begins with score ``PRIOR`` (RetinaNet, section 3.3)."""
    assert class_logits.bias is not None
    nn.init.constant_(class_logits.bias, -math.log((1 - PRIOR) / PRIOR))


def flatten_maps(maps: Tensor) -> Tensor:
    """Maps (B, V, H, W) as float32 (B, H * W, V), in the order of ``Anchors``."""
    return maps.flatten(2).transpose(1, 2).float()


def best_of_level(logits: Tensor, threshold: float) -> tuple[Tensor, Tensor, Tensor]:
    """Scores in 0..1, anchors and labels (K,) of the best of logits (A_l, C), best first.

    Scores of one image must be higher than ``threshold``.
    """
    scores, flat = logits.sigmoid().flatten().topk(min(PRE_NMS, logits.numel()))
    flat = flat[scores > threshold]
    num_classes = logits.shape[1]
    # topk sorts, so the kept scores come first.
    return scores[: len(flat)], flat // num_classes, flat % num_classes
