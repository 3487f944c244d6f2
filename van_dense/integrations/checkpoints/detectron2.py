"""Whole detectors as Detectron2 names their weights, in its model zoo and in its own code base.

There the pyramid is Detectron2's too, its backbone lies below it, and RetinaNet's anchors of a
position are ordered by size first, where ours are ordered by ratio. A timm ResNet becomes
Detectron2's own ResNet, any other backbone the one that ``detectron2.VANBackbone`` holds.

Needs no Detectron2, so that checkpoints can be renamed without it.
Source of the names: Detectron2 0.6 ``modeling/backbone/fpn.py``; heads: ``detectron2_engine``.
"""

import re
from collections.abc import Mapping

from torch import Tensor

from van_dense.backbones.layouts import DETECTORS
from van_dense.backbones.renaming import Pair, renamed
from van_dense.integrations.checkpoints import detectron2_resnet as resnet
from van_dense.integrations.checkpoints.detectron2_engine import engine_key, tower_stride

# In files of the zoo, and no weights: Detectron2 makes them from the config.
_NO_WEIGHTS = re.compile(r"pixel_(mean|std)$|.*anchor_generator\.cell_anchors\.\d+$")
_TOWER_CONV = re.compile(r"head\.(class|box)_tower\.\d+\.0\.(weight|bias)$")
_PER_ANCHOR = re.compile(r"(head\.(class_logits|box_deltas)|head\.(cls_score|bbox_pred))\.")
_HEADS = ("proposal_generator.", "roi_heads.", "head.")  # theirs


def is_detectron2(state: Mapping[str, Tensor]) -> bool:
    """Are these the names of a whole detector of Detectron2?"""
    return any(key.startswith(DETECTORS["detectron2"]) for key in state)


def to_detectron2(state: Mapping[str, Tensor], *, is_msra: bool = False) -> dict[str, Tensor]:
    """State dict of our Mask R-CNN or RetinaNet as a whole Detectron2 model names it.

    ``is_msra`` are the backbones ``resnet50_msra`` and ``resnet101_msra``, whose stem changes too.
    """
    stride, pyramid = tower_stride(list(state)), _pyramid(state)
    on_resnet = resnet.is_resnet(state)
    native = {}
    for key, value in state.items():
        if on_resnet and key.startswith(resnet.OURS):
            if not key.endswith("num_batches_tracked"):  # Detectron2's frozen norms count nothing
                stem = is_msra and key == resnet.STEM
                native[resnet.detectron2_key(key)] = resnet.to_bgr(value) if stem else value
            continue
        theirs = renamed(key, pyramid) or engine_key(key, stride=stride).removeprefix("detector.")
        native[theirs] = _reorder(value) if _PER_ANCHOR.match(key) else value
        if stride == 3 and _TOWER_CONV.match(key):  # there, convolutions before a norm have a bias
            native[theirs.replace("weight", "bias")] = value.new_zeros(len(value))
    return native


def from_detectron2(state: Mapping[str, Tensor], *, is_msra: bool = False) -> dict[str, Tensor]:
    """Inverse of ``to_detectron2``; entries that hold no weights are left out."""
    prefixed = {f"detector.{key}" if key.startswith(_HEADS) else key: key for key in state}
    stride = tower_stride(list(prefixed))
    theirs = (*_pyramid(state), *resnet.NAMES)
    ours = {}
    for prefixed_key, key in prefixed.items():
        value = state[key]
        name = renamed(key, theirs, back=True) or engine_key(prefixed_key, stride=stride, back=True)
        if _NO_WEIGHTS.match(key) or _is_spare(name, value, stride):
            continue
        ours[name] = _reorder(value) if _PER_ANCHOR.match(key) else value
        if is_msra and name == resnet.STEM:
            ours[name] = resnet.to_rgb(value)
    return ours


def _is_spare(name: str, value: Tensor, stride: int) -> bool:
    """Is this a bias of zeros before a norm, which Detectron2's towers have and ours do not?"""
    match = _TOWER_CONV.match(name)
    if stride == 2 or match is None or match[2] == "weight":
        return False
    if value.any():
        fix = "train it there with MODEL.RETINANET.NORM '', or here"
        raise ValueError(f"{name} is not zero, but towers with norms have no bias here; {fix}")
    return True


def _pyramid(state: Mapping[str, Tensor]) -> list[Pair]:
    """Names of backbone and pyramid, whose finest level is 3 in RetinaNet, otherwise 2."""
    level = "{3}" if any(key.startswith("head.") for key in state) else "{2}"
    return [
        *(
            (f"fpn.pyramid.{ours}_blocks.{{0}}.{layer}.", f"backbone.fpn_{theirs}{level}.{norm}")
            for ours, theirs in (("inner", "lateral"), ("layer", "output"))
            for layer, norm in ((1, "norm."), (0, ""))
        ),
        ("fpn.pyramid.extra_blocks.", "backbone.top_block."),
        ("backbone.", "backbone.bottom_up.body."),  # as ``detectron2.VANBackbone`` holds it
    ]


def _reorder(value: Tensor) -> Tensor:
    """Outputs (9 anchors x classes or coordinates, ...) in the other one of the two orders."""
    if len(value) % 9:
        anchors = "9 anchors a position, three sizes of three ratios"
        raise ValueError(f"{len(value)} outputs of RetinaNet's head do not belong to {anchors}")
    # As many sizes as ratios, so the way back is the same.
    return value.reshape(3, 3, -1, *value.shape[1:]).transpose(0, 1).reshape(value.shape)
