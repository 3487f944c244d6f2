"""ResNets of Detectron2's model zoo: names of the weights, and the pixels that the stem expects.

The zoo's detectors start from MSRA's weights, which take BGR pixels of 0..255 minus their mean. Our
images are RGB and divided by their deviation, so the channels of the first convolution change
places and scale: the same function of the same image. Such a network is ``resnet50_msra`` here;
``resnet50`` stands for Detectron2's ResNet with ``STRIDE_IN_1X1: False`` on RGB with deviations.
Source: Detectron2 0.6 ``modeling/backbone/resnet.py``, ``config/defaults.py`` (PIXEL_MEAN, _STD).
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from van_dense.backbones.renaming import renamed
from van_dense.models.preprocess import IMAGENET_STD

OURS, THEIRS = "backbone.body.", "backbone.bottom_up."
STEM = f"{OURS}conv1.weight"
NAMES = (
    (f"{OURS}bn1.", f"{THEIRS}stem.conv1.norm."),
    (f"{OURS}conv1.", f"{THEIRS}stem.conv1."),
    (f"{OURS}layer{{1}}.{{0}}.bn{{1}}.", f"{THEIRS}res{{2}}.{{0}}.conv{{1}}.norm."),
    (f"{OURS}layer{{1}}.{{0}}.conv{{1}}.", f"{THEIRS}res{{2}}.{{0}}.conv{{1}}."),
    (f"{OURS}layer{{1}}.{{0}}.downsample.1.", f"{THEIRS}res{{2}}.{{0}}.shortcut.norm."),
    (f"{OURS}layer{{1}}.{{0}}.downsample.0.", f"{THEIRS}res{{2}}.{{0}}.shortcut."),
)


def is_msra(name: str) -> bool:
    """Does the timm name of a backbone stand for a ResNet on MSRA's weights?"""
    return name.endswith("_msra")


def is_resnet(state: Mapping[str, Tensor]) -> bool:
    """Is the backbone a ResNet with bottleneck blocks and one convolution in its stem?"""
    return {STEM, f"{OURS}layer1.0.conv3.weight"} <= state.keys()


def detectron2_key(key: str) -> str:
    """Name in Detectron2 of one of our keys below ``backbone.body.``."""
    if (theirs := renamed(key, NAMES)) is None:
        raise ValueError(f"{key!r} belongs to no ResNet that Detectron2 has")
    return theirs


def to_rgb(stem: Tensor) -> Tensor:
    """First convolution (C, 3, k, k) for normalised RGB, of one for BGR pixels of deviation 1."""
    return stem.flip(1) * torch.tensor(IMAGENET_STD, dtype=stem.dtype).view(3, 1, 1)


def to_bgr(stem: Tensor) -> Tensor:
    """Inverse of ``to_rgb``."""
    return (stem / torch.tensor(IMAGENET_STD, dtype=stem.dtype).view(3, 1, 1)).flip(1)
