"""Whole detectors as Detectron2 names their weights, in its model zoo and in its own code base.

There the pyramid is Detectron2's too, its backbone lies below it, and RetinaNet's anchors of a
position are ordered by size first, where ours are ordered by ratio. A timm ResNet becomes
Detectron2's own ResNet, any other backbone the one that ``detectron2.VANBackbone`` holds.

Needs no Detectron2, so that checkpoints can be renamed without it.
Source of the names: Detectron2 0.6 ``modeling/backbone/fpn.py``; heads: ``detectron2_engine``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from van_dense.backbones.layouts import DETECTORS, rename_start
from van_dense.integrations.checkpoints import detectron2_resnet as resnet
from van_dense.integrations.checkpoints.detectron2_engine import (
    from_engine_key,
    to_engine_key,
    tower_stride,
)

FPN = (  # how a name begins, ours and theirs
    ("fpn.pyramid.extra_blocks.", "backbone.top_block."),
    ("backbone.", "backbone.bottom_up.body."),  # as ``detectron2.VANBackbone`` holds it
)
# In files of the zoo, and no weights: Detectron2 makes them from the config.
NO_WEIGHTS = re.compile(r"pixel_(mean|std)$|.*anchor_generator\.cell_anchors\.\d+$")
_INNER = re.compile(r"fpn\.pyramid\.(inner|layer)_blocks\.(\d+)\.([01])\.")
_LATERAL = re.compile(r"backbone\.fpn_(lateral|output)(\d+)\.(norm\.)?")
_TOWER_CONV = re.compile(r"head\.(class|box)_tower\.\d+\.0\.(weight|bias)$")
_PER_ANCHOR = re.compile(r"(head\.(class_logits|box_deltas)|head\.(cls_score|bbox_pred))\.")


def is_native(state: Mapping[str, Tensor]) -> bool:
    """Are these the names of a whole detector of Detectron2?"""
    return any(key.startswith(DETECTORS["detectron2"]) for key in state)


def to_native(state: Mapping[str, Tensor], *, is_msra: bool = False) -> dict[str, Tensor]:
    """Our state dict as a whole Detectron2 model names it.

    Args:
        state: State dict of our Mask R-CNN or RetinaNet.
        is_msra: Whether the backbone is a ``resnet50_msra`` or ``resnet101_msra``, whose stem
            changes too (``detectron2_resnet``).
    """
    stride, first = tower_stride(list(state)), _first_level(state)
    on_resnet = resnet.is_resnet(state)
    native = {}
    for key, value in state.items():
        if on_resnet and key.startswith(resnet.OURS):
            if not key.endswith("num_batches_tracked"):  # Detectron2's frozen norms count nothing
                stem = is_msra and key == resnet.STEM
                native[resnet.to_native_key(key)] = resnet.to_bgr(value) if stem else value
            continue
        theirs = to_engine_key(key, stride=stride).removeprefix("detector.")
        if match := _INNER.match(key):
            kind = {"inner": "lateral", "layer": "output"}[match[1]]
            norm = "norm." if match[3] == "1" else ""
            theirs = f"backbone.fpn_{kind}{int(match[2]) + first}.{norm}{key[match.end() :]}"
        theirs = rename_start(key, FPN) or theirs
        native[theirs] = _reorder(value, by_ratio=True) if _PER_ANCHOR.match(key) else value
        if stride == 3 and _TOWER_CONV.match(key):  # there, convolutions before a norm have a bias
            native[theirs.replace("weight", "bias")] = value.new_zeros(len(value))
    return native


def from_native(state: Mapping[str, Tensor], *, is_msra: bool = False) -> dict[str, Tensor]:
    """Inverse of ``to_native``; entries that hold no weights are left out."""
    prefixed = {key: _with_detector(key) for key in state}
    stride, first = tower_stride(list(prefixed.values())), _first_level(state)
    ours = {}
    for key, value in state.items():
        name = resnet.from_native_key(from_engine_key(prefixed[key], stride=stride))
        if NO_WEIGHTS.match(key) or _is_spare(name, value, stride):
            continue
        if match := _LATERAL.match(key):
            kind = {"lateral": "inner", "output": "layer"}[match[1]]
            layer = 1 if match[3] else 0
            number = int(match[2]) - first
            name = f"fpn.pyramid.{kind}_blocks.{number}.{layer}.{key[match.end() :]}"
        name = rename_start(key, [row[::-1] for row in FPN]) or name
        ours[name] = _reorder(value, by_ratio=False) if _PER_ANCHOR.match(key) else value
        if is_msra and name == resnet.STEM:
            ours[name] = resnet.to_rgb(value)
    return ours


def _is_spare(name: str, value: Tensor, stride: int) -> bool:
    """Is this a bias of zeros before a norm, which Detectron2's towers have and ours do not?"""
    match = _TOWER_CONV.match(name)
    if stride == 2 or match is None or match[2] == "weight":
        return False
    if value.any():
        raise ValueError(
            f"{name} is not zero, but towers with norms have no bias here; train it there with "
            "MODEL.RETINANET.NORM '', or here"
        )
    return True


def _with_detector(key: str) -> str:
    is_head = key.startswith(("proposal_generator.", "roi_heads.", "head."))
    return f"detector.{key}" if is_head else key


def _first_level(state: Mapping[str, Tensor]) -> int:
    """Number of the finest pyramid level: 3 of RetinaNet, which alone has towers, otherwise 2."""
    return 3 if any(key.startswith("head.") for key in state) else 2


def _reorder(value: Tensor, *, by_ratio: bool, sizes: int = 3, ratios: int = 3) -> Tensor:
    """Reorder the outputs (9 anchors x classes or coordinates, ...) between the two orders.

    Args:
        value: Weight or bias.
        by_ratio: Whether the order of ``value`` is ours, ratio by ratio.
        sizes: Number of sizes of the anchors of a position.
        ratios: Number of ratios of the anchors of a position.
    """
    if len(value) % (sizes * ratios):
        raise ValueError(
            f"{len(value)} outputs of RetinaNet's head do not belong to {sizes * ratios} anchors "
            "of each position, three sizes of three ratios"
        )
    rows, columns = (ratios, sizes) if by_ratio else (sizes, ratios)
    grid = value.reshape(rows, columns, -1, *value.shape[1:])
    return torch.transpose(grid, 0, 1).reshape(value.shape)
