"""Maps at strides 4, 8, 16 and 32 of models that lack some of them, such as plain ViTs.

Source: Li et al., "Exploring Plain Vision Transformer Backbones for Object Detection" (ViTDet, ECCV
2022), section 3, and ``SimpleFeaturePyramid`` of Detectron2. Transposed convolutions enlarge a map,
max-pooling shrinks it, and each map that is made ends in a LayerNorm over its channels. The 1x1 and
3x3 convolutions that ViTDet has after it belong to the decoders here.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from timm.layers import LayerNorm2d
from torch import Tensor, nn

STRIDES = (4, 8, 16, 32)  # of c2, c3, c4, c5


class Source(NamedTuple):
    """Map of a timm model that one of c2..c5 is, or is made from."""

    position: int  #: of the map in ``feature_info``
    stride: int  #: in pixels of the image as the backbone gets it, a power of two
    channels: int  #: C


class Sources(NamedTuple):
    """Where c2..c5 come from."""

    levels: tuple[Source, ...]  #: of c2, c3, c4, c5
    scale: float  #: factor by which images are resized first, 14 / 16 for patches of 14 pixels
    is_plain: bool  #: does the model have one stride only, as a plain ViT?


def sources_of(feature_info: Sequence[Mapping[str, Any]], blocks: Sequence[int]) -> Sources:
    """Decide which map of a timm model each of c2..c5 is made from.

    A map of the stride itself is taken as it is, the last one where there are several. What is
    missing is made from the nearest stride. Strides that are no powers of two, as of patches of 14
    pixels, count as the nearest one, of an image resized to fit.

    Args:
        feature_info: timm's data about the maps: ``reduction`` and ``num_chs`` of each.
        blocks: For models of one stride: the block that all levels are made from, or one for each
            of c2..c5, numbered from 0; none takes the last one.

    Raises:
        ValueError: For strides in no such relation, blocks that the model does not have, and any
            where it has several strides.
    """
    found = [level["reduction"] for level in feature_info]
    powers = [2 ** round(math.log2(stride)) for stride in found]
    scales = {stride / power for stride, power in zip(found, powers, strict=True)}
    if len(scales) != 1:
        odd = f"its maps have strides {sorted(set(found))}, of which none is a power of two times"
        raise ValueError(f"{odd} another; {OTHERS}")
    is_plain = len(set(powers)) == 1
    if is_plain:
        indices = _chosen(blocks, len(found))
    elif blocks:
        several = f"the backbone has maps at strides {sorted(set(found))}"
        raise ValueError(f"model.backbone.options.blocks: {several}, which are taken; remove it")
    else:
        indices = [_nearest(powers, stride) for stride in STRIDES]
    levels = [Source(i, powers[i], feature_info[i]["num_chs"]) for i in indices]
    return Sources(tuple(levels), scales.pop(), is_plain)


def blocks_of(option: object) -> list[int]:
    """The value of ``model.backbone.options.blocks``, 7 or [2, 5, 8, 11], as ``sources_of`` has it.

    Anything but a number or a list of numbers is a ValueError.
    """
    blocks = list(option) if isinstance(option, list | tuple) else [option]
    numbers = [block for block in blocks if isinstance(block, int) and block is not True]
    if len(numbers) < len(blocks):
        give = "give the number of a block, or a list of four for c2..c5"
        raise ValueError(f"model.backbone.options.blocks: {give}, not {option!r}")
    return numbers


OTHERS = "choose one such as van_b2, resnet50 or swin_tiny_patch4_window7_224"


class SimplePyramid(nn.Module):
    """Makes c2..c5 of the maps that ``sources_of`` names.

    Enlarging by 2 halves the channels. The attribute ``channels`` holds those of c2..c5.

    Args:
        sources: Where the levels come from.
    """

    def __init__(self, sources: Sources) -> None:
        super().__init__()
        self.levels = nn.ModuleList()
        self.channels: list[int] = []
        for source, stride in zip(sources.levels, STRIDES, strict=True):
            steps = int(math.log2(source.stride / stride))
            is_own = steps == 0 and not sources.is_plain
            level = nn.Identity() if is_own else _resampling(source.channels, steps)
            self.levels.append(level)
            self.channels.append(source.channels >> max(steps, 0))

    def leave_out(self, count: int) -> None:
        """Hand the maps of the ``count`` finest levels on as they are."""
        for level in range(count):
            self.levels[level] = nn.Identity()

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """[c2, c3, c4, c5] of the map of each one's source, (B, C, H, W)."""
        return [level(x) for level, x in zip(self.levels, maps, strict=True)]


def _chosen(blocks: Sequence[int], count: int) -> list[int]:
    key = "model.backbone.options.blocks"
    if outside := [block for block in blocks if not 0 <= block < count]:
        raise ValueError(f"{key}: {outside} are none of the blocks 0..{count - 1}")
    if len(blocks) not in (0, 1, len(STRIDES)):
        raise ValueError(f"{key}: give one block, or one for each of c2..c5, not {len(blocks)}")
    chosen = list(blocks) or [count - 1]
    return chosen if len(chosen) == len(STRIDES) else chosen * len(STRIDES)


def _nearest(strides: Sequence[int], wanted: int) -> int:
    """Position of the last map of the stride that is nearest to the wanted one."""
    near = min(strides, key=lambda stride: abs(math.log2(stride / wanted)))
    return max(i for i, stride in enumerate(strides) if stride == near)


def _resampling(channels: int, steps: int) -> nn.Sequential:
    """Enlarge by 2 ** steps, or shrink where that is negative; then normalise.

    Recipes know norms, which do not decay, by their names.
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for step in range(-steps):
        layers[f"pool{step}"] = nn.MaxPool2d(2, 2)
    for step in range(steps):
        if step:
            layers[f"norm{step}"] = LayerNorm2d(channels, eps=1e-6)
            layers[f"act{step}"] = nn.GELU()
        layers[f"up{step}"] = nn.ConvTranspose2d(channels, channels // 2, 2, 2)
        channels //= 2
    layers["norm"] = LayerNorm2d(channels, eps=1e-6)
    return nn.Sequential(layers)
