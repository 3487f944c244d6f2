"""Names of parameters: ours, and those of Detectron2's own heads.

This is the layout of the modules which ``integrations/detectron2/engine.py`` builds: backbone and
pyramid are ours, and the heads, in the attribute ``detector``, are Detectron2's. Whole models
of Detectron2 are in ``detectron2.py`` beside this file.

Needs no Detectron2, so that checkpoints can be renamed without it.
Source of the names: Detectron2 0.6 ``modeling/{proposal_generator/rpn,roi_heads/*,meta_arch/
retinanet}.py``.
"""

import re
from collections.abc import MutableMapping, Sequence
from functools import cache

from torch import Tensor

from van_dense.backbones.renaming import Pair, renamed

_ROI = "detector.roi_heads."
_BRANCHES: tuple[Pair, ...] = (  # box and mask branch
    ("box.head.fc6.", "box_head.fc1."),
    ("box.head.fc7.", "box_head.fc2."),
    ("box.head.convs.{0}.bn.", "box_head.conv{1}.norm."),
    ("box.head.convs.{0}.conv.", "box_head.conv{1}."),
    ("box.class_logits.", "box_predictor.cls_score."),
    ("box.box_deltas.", "box_predictor.bbox_pred."),
    ("mask.head.{0}.0.", "mask_head.mask_fcn{1}."),
    ("mask.predictor.conv5_mask.", "mask_head.deconv."),
    ("mask.predictor.mask_fcn_logits.", "mask_head.predictor."),
)
_STAGE_BRANCHES: tuple[Pair, ...] = (("box.head.fc.", "box_head.fc1."), *_BRANCHES, ("", ""))
_ENGINE: tuple[Pair, ...] = (
    *((f"stages.{{0}}.{ours}", f"{_ROI}stages.{{0}}.{there}") for ours, there in _STAGE_BRANCHES),
    *((ours, _ROI + there) for ours, there in _BRANCHES),
    ("rpn.head.conv.0.0.", "detector.proposal_generator.rpn_head.conv."),
    ("rpn.head.cls_logits.", "detector.proposal_generator.rpn_head.objectness_logits."),
    ("rpn.head.bbox_pred.", "detector.proposal_generator.rpn_head.anchor_deltas."),
    ("head.class_logits.", "detector.head.cls_score."),
    ("head.box_deltas.", "detector.head.bbox_pred."),
)
_TOWER_NORM = re.compile(r"head\.(class|box)_tower\.\d+\.1\.")
_SUBNET = re.compile(r"detector\.head\.(cls|bbox)_subnet\.(\d+)\.")


def tower_stride(keys: Sequence[str]) -> int:
    """Layers of one step of RetinaNet's towers: convolution and ReLU, or with a norm between.

    Detectron2 numbers all of them, we number the convolutions. Works on the keys of either side.
    """
    numbers = {int(m[2]) for key in keys if (m := _SUBNET.match(key))}
    has_norm = any(n % 2 for n in numbers) or any(map(_TOWER_NORM.match, keys))
    return 3 if has_norm else 2


@cache
def engine_key(key: str, *, stride: int, back: bool = False) -> str:
    """Name in the engine layout of one of our names, or ``back``; others stay as they are.

    The stride is that of RetinaNet's towers, from ``tower_stride``.
    """
    towers = [
        (f"head.{ours}_tower.{{0}}.{layer}.", f"detector.head.{there}_subnet.{{{layer}:{stride}}}.")
        for ours, there in (("class", "cls"), ("box", "bbox"))
        for layer in range(stride - 1)
    ]
    return renamed(key, (*towers, *_ENGINE), back=back) or key


def rename(state: MutableMapping[str, Tensor], prefix: str = "", *, to_engine: bool) -> None:
    """Rename keys that begin with ``prefix`` in place, to the engine layout or back to ours."""
    entries = list(state.items())
    stride = tower_stride([key.removeprefix(prefix) for key, _ in entries])
    state.clear()
    for key, value in entries:
        if key.startswith(prefix):
            key = prefix + engine_key(key[len(prefix) :], stride=stride, back=not to_engine)
        state[key] = value
