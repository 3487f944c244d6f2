"""ResNets of Detectron2's model zoo: names of the weights, and the pixels that the stem expects.

The zoo's detectors start from MSRA's weights, which take BGR pixels of 0..255 minus their mean. Our
images are RGB and divided by their deviation, so the channels of the first convolution change
places and scale: the same function of the same image. Such a network is ``resnet50_msra`` here;
``resnet50`` stands for Detectron2's ResNet with ``STRIDE_IN_1X1: False`` on RGB with deviations.
Source: Detectron2 0.6 ``modeling/backbone/resnet.py``, ``config/defaults.py`` (PIXEL_MEAN, _STD).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from van_dense.models.preprocess import IMAGENET_STD

OURS, THEIRS = "backbone.body.", "backbone.bottom_up."
STEM = f"{OURS}conv1.weight"
_NORM = re.compile(r"layer(\d)\.(\d+)\.bn(\d)\.")
_CONV = re.compile(r"layer(\d)\.(\d+)\.conv(\d)\.")
_SHORTCUT = re.compile(r"layer(\d)\.(\d+)\.downsample\.([01])\.")
_BLOCK = re.compile(r"res(\d)\.(\d+)\.(conv\d|shortcut)\.(norm\.)?")


def is_msra(name: str) -> bool:
    """Does the timm name of a backbone stand for a ResNet on MSRA's weights?"""
    return name.endswith("_msra")


def is_resnet(state: Mapping[str, Tensor]) -> bool:
    """Is the backbone a ResNet with bottleneck blocks and one convolution in its stem?"""
    return {STEM, f"{OURS}layer1.0.conv3.weight"} <= state.keys()


def to_native_key(key: str) -> str:
    """Name in Detectron2 of one of our keys below ``backbone.body.``."""
    name = key.removeprefix(OURS)
    if name.startswith("conv1."):
        return f"{THEIRS}stem.{name}"
    if name.startswith("bn1."):
        return f"{THEIRS}stem.conv1.norm.{name.removeprefix('bn1.')}"
    for pattern, part in ((_NORM, "conv{}.norm."), (_CONV, "conv{}.")):
        if match := pattern.match(name):
            block = f"res{int(match[1]) + 1}.{match[2]}"
            return f"{THEIRS}{block}.{part.format(match[3])}{name[match.end() :]}"
    if match := _SHORTCUT.match(name):
        norm = "norm." if match[3] == "1" else ""
        return f"{THEIRS}res{int(match[1]) + 1}.{match[2]}.shortcut.{norm}{name[match.end() :]}"
    raise ValueError(f"{key!r} belongs to no ResNet that Detectron2 has")


def from_native_key(key: str) -> str:
    """Inverse of ``to_native_key``; keys of other parts stay as they are."""
    name = key.removeprefix(THEIRS)
    if name.startswith("stem.conv1."):
        rest = name.removeprefix("stem.conv1.")
        own = f"bn1.{rest[5:]}" if rest.startswith("norm.") else f"conv1.{rest}"
        return OURS + own
    if (match := _BLOCK.match(name)) is None:
        return key
    block, part, rest = f"layer{int(match[1]) - 1}.{match[2]}", match[3], name[match.end() :]
    if part == "shortcut":
        return f"{OURS}{block}.downsample.{int(bool(match[4]))}.{rest}"
    return f"{OURS}{block}.{part.replace('conv', 'bn') if match[4] else part}.{rest}"


def to_rgb(stem: Tensor) -> Tensor:
    """First convolution (C, 3, k, k) for normalised RGB, of one for BGR pixels of deviation 1."""
    return stem.flip(1) * torch.tensor(IMAGENET_STD, dtype=stem.dtype).view(3, 1, 1)


def to_bgr(stem: Tensor) -> Tensor:
    """Inverse of ``to_rgb``."""
    return (stem / torch.tensor(IMAGENET_STD, dtype=stem.dtype).view(3, 1, 1)).flip(1)
