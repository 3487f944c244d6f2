"""Names of parameters: ours, and those of Detectron2's own heads.

This is the layout of the modules which ``integrations/detectron2/engine.py`` builds: backbone and
pyramid are ours, and the heads, in the attribute ``detector``, are Detectron2's. Whole models
of Detectron2 are in ``detectron2.py`` beside this file.

Needs no Detectron2, so that checkpoints can be renamed without it.
Source of the names: Detectron2 0.6 ``modeling/{proposal_generator/rpn,roi_heads/*,meta_arch/
retinanet}.py``.
"""

from __future__ import annotations

import re
from collections.abc import MutableMapping, Sequence

from torch import Tensor

from van_dense.backbones.layouts import rename_start

_ROI = "detector.roi_heads."
# How a name begins, ours and theirs. Those of a stage of Cascade Mask R-CNN follow its own prefix.
ENGINE = (
    # Mask R-CNN
    ("rpn.head.conv.0.0.", "detector.proposal_generator.rpn_head.conv."),
    ("rpn.head.cls_logits.", "detector.proposal_generator.rpn_head.objectness_logits."),
    ("rpn.head.bbox_pred.", "detector.proposal_generator.rpn_head.anchor_deltas."),
    ("box.head.fc6.", f"{_ROI}box_head.fc1."),
    ("box.head.fc7.", f"{_ROI}box_head.fc2."),
    ("box.class_logits.", f"{_ROI}box_predictor.cls_score."),
    ("box.box_deltas.", f"{_ROI}box_predictor.bbox_pred."),
    ("mask.head.{k}.0.", f"{_ROI}mask_head.mask_fcn{{i}}."),
    ("mask.predictor.conv5_mask.", f"{_ROI}mask_head.deconv."),
    ("mask.predictor.mask_fcn_logits.", f"{_ROI}mask_head.predictor."),
    # Cascade Mask R-CNN
    ("box.head.convs.{k}.bn.", f"{_ROI}box_head.conv{{i}}.norm."),
    ("box.head.convs.{k}.conv.", f"{_ROI}box_head.conv{{i}}."),
    # RetinaNet
    ("head.class_logits.", "detector.head.cls_score."),
    ("head.box_deltas.", "detector.head.bbox_pred."),
)
STAGE = (("box.head.fc.", f"{_ROI}box_head.fc1."), *ENGINE)
_STAGE = re.compile(r"stages\.(\d+)\.")
_ROI_STAGE = re.compile(re.escape(_ROI) + r"stages\.(\d+)\.")
_TOWER = re.compile(r"head\.(class|box)_tower\.(\d+)\.([01])\.")
_SUBNET = re.compile(r"detector\.head\.(cls|bbox)_subnet\.(\d+)\.")


def tower_stride(keys: Sequence[str]) -> int:
    """Layers of one step of RetinaNet's towers: convolution and ReLU, or with a norm between.

    Detectron2 numbers all of them, we number the convolutions. Works on the keys of either side.
    """
    numbers = {int(m[2]) for key in keys if (m := _SUBNET.match(key))}
    if numbers:
        return 2 if all(n % 2 == 0 for n in numbers) else 3
    return 3 if any(m[3] == "1" for key in keys if (m := _TOWER.match(key))) else 2


def to_engine_key(key: str, *, stride: int = 2) -> str:
    """Name in the engine layout of one of our names; others stay as they are.

    Args:
        key: Name of an entry of our state dict.
        stride: Layers of one step of RetinaNet's towers, from ``tower_stride``.
    """
    if match := _STAGE.match(key):
        inner = _renamed(key[match.end() :], STAGE)
        return f"{_ROI}stages.{match[1]}.{inner.removeprefix(_ROI)}"
    if match := _TOWER.match(key):
        name = {"class": "cls", "box": "bbox"}[match[1]]
        number = int(match[2]) * stride + int(match[3])
        return f"detector.head.{name}_subnet.{number}.{key[match.end() :]}"
    return _renamed(key, ENGINE)


def from_engine_key(key: str, *, stride: int = 2) -> str:
    """Inverse of ``to_engine_key``."""
    if match := _ROI_STAGE.match(key):
        inner = _renamed(_ROI + key[match.end() :], STAGE, back=True)
        return f"stages.{match[1]}.{inner}"
    if match := _SUBNET.match(key):
        name = {"cls": "class", "bbox": "box"}[match[1]]
        step, layer = divmod(int(match[2]), stride)
        return f"head.{name}_tower.{step}.{layer}.{key[match.end() :]}"
    return _renamed(key, ENGINE, back=True)


def _renamed(key: str, rows: Sequence[tuple[str, str]], *, back: bool = False) -> str:
    return rename_start(key, [row[::-1] for row in rows] if back else rows) or key


def rename(state: MutableMapping[str, Tensor], prefix: str = "", *, to_engine: bool) -> None:
    """Rename the keys of ``state`` in place, from our names to the engine layout or back.

    Args:
        state: State dict of a model, or of one that holds it.
        prefix: Beginning of the model's keys, which alone are renamed.
        to_engine: Whether to rename from our names to the engine layout, or back.
    """
    convert = to_engine_key if to_engine else from_engine_key
    entries = list(state.items())
    stride = tower_stride([key.removeprefix(prefix) for key, _ in entries])
    state.clear()
    for key, value in entries:
        is_ours = key.startswith(prefix)
        name = prefix + convert(key[len(prefix) :], stride=stride) if is_ours else key
        state[name] = value
