"""ResNets of Detectron2's model zoo: names of the weights, and the pixels that the stem expects.

The zoo's detectors start from MSRA's weights, which take BGR pixels of 0..255 minus their mean. Our
images are RGB and divided by their deviation, so the channels of the first convolution change
places and scale: the same function of the same image. Such a network is ``resnet50_msra`` here;
``resnet50`` stands for Detectron2's ResNet with ``STRIDE_IN_1X1: False`` on RGB with deviations.
Source: Detectron2 0.6 ``modeling/backbone/resnet.py``, ``config/defaults.py`` (PIXEL_MEAN, _STD).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from van_dense.backbones.layouts import rename_start
from van_dense.models.preprocess import IMAGENET_STD

OURS, THEIRS = "backbone.body.", "backbone.bottom_up."
STEM = f"{OURS}conv1.weight"
_ROWS = (  # here and in Detectron2
    ("conv1.", "stem.conv1."),
    ("bn1.", "stem.conv1.norm."),
    ("layer{k}.{j}.conv{n}.", "res{i}.{j}.conv{n}."),
    ("layer{k}.{j}.bn{n}.", "res{i}.{j}.conv{n}.norm."),
    ("layer{k}.{j}.downsample.0.", "res{i}.{j}.shortcut."),
    ("layer{k}.{j}.downsample.1.", "res{i}.{j}.shortcut.norm."),
)
_BACK = tuple((theirs, ours) for ours, theirs in sorted(_ROWS, key=lambda row: -len(row[1])))


def is_msra(name: str) -> bool:
    """Does the timm name of a backbone stand for a ResNet on MSRA's weights?"""
    return name.endswith("_msra")


def is_resnet(state: Mapping[str, Tensor]) -> bool:
    """Is the backbone a ResNet with bottleneck blocks and one convolution in its stem?"""
    return {STEM, f"{OURS}layer1.0.conv3.weight"} <= state.keys()


def to_native_key(key: str) -> str:
    """Name in Detectron2 of one of our keys below ``backbone.body.``."""
    name = rename_start(key.removeprefix(OURS), _ROWS)
    if name is None:
        raise ValueError(f"{key!r} belongs to no ResNet that Detectron2 has")
    return THEIRS + name


def from_native_key(key: str) -> str:
    """Inverse of ``to_native_key``; keys of other parts stay as they are."""
    name = rename_start(key.removeprefix(THEIRS), _BACK)
    return key if name is None else OURS + name


def to_rgb(stem: Tensor) -> Tensor:
    """First convolution (C, 3, k, k) for normalised RGB, of one for BGR pixels of deviation 1."""
    return stem.flip(1) * torch.tensor(IMAGENET_STD, dtype=stem.dtype).view(3, 1, 1)


def to_bgr(stem: Tensor) -> Tensor:
    """Inverse of ``to_rgb``."""
    return (stem / torch.tensor(IMAGENET_STD, dtype=stem.dtype).view(3, 1, 1)).flip(1)
