"""Whole detectors of torchvision: names of their weights, and the rows of their classes.

The modules inside are torchvision's in both, so names differ in their beginnings alone; those of
torchvision's first releases differ inside too.
A label of torchvision is a category id: COCO has 91, of which 0 is background and ten are unused,
where our classes are counted without gaps, with background last.
Source: torchvision 0.29 ``models/detection/{mask_rcnn,faster_rcnn,retinanet,rpn}.py``.
Legend: C our classes, K labels of torchvision.
"""

from collections.abc import Mapping, Sequence

from torch import Tensor

from van_dense.backbones.layouts import DETECTORS
from van_dense.backbones.renaming import renamed

_NAMES = (  # ours, theirs
    ("fpn.pyramid.", "backbone.fpn."),
    ("box.head.", "roi_heads.box_head."),
    ("box.class_logits.", "roi_heads.box_predictor.cls_score."),
    ("box.box_deltas.", "roi_heads.box_predictor.bbox_pred."),
    ("mask.head.", "roi_heads.mask_head."),
    ("mask.predictor.", "roi_heads.mask_predictor."),
    ("head.class_tower.", "head.classification_head.conv."),
    ("head.class_logits.", "head.classification_head.cls_logits."),
    ("head.box_tower.", "head.regression_head.conv."),
    ("head.box_deltas.", "head.regression_head.bbox_reg."),
)
_OLD_NAMES = (  # ours, and those of the first releases, under our prefixes
    ("mask.head.{0}.0.", "mask.head.mask_fcn{1}."),
    *(
        (f"{today}.{kind}", f"{old}.{kind}")
        for kind in ("weight", "bias")
        for today, old in (
            ("rpn.head.conv.0.0", "rpn.head.conv"),
            ("fpn.pyramid.inner_blocks.{0}.0", "fpn.pyramid.inner_blocks.{0}"),
            ("fpn.pyramid.layer_blocks.{0}.0", "fpn.pyramid.layer_blocks.{0}"),
            ("head.class_tower.{0}.0", "head.class_tower.{0:2}"),  # ReLUs were counted too
            ("head.box_tower.{0}.0", "head.box_tower.{0:2}"),
        )
    ),
)
_NEVER = -1e4  # logit of a label that stands for no class: probability 0, also in half precision


def is_torchvision(state: Mapping[str, Tensor]) -> bool:
    """Are these the names of a whole detector of torchvision?"""
    return any(key.startswith(DETECTORS["torchvision"]) for key in state)


def from_torchvision(state: Mapping[str, Tensor], category_ids: Sequence[int]) -> dict[str, Tensor]:
    """State dict of our Mask R-CNN or RetinaNet from one of torchvision.

    Category ids are those of our C classes, in order; ValueError where the file has no such labels.
    """
    labels = _labels(num_labels(state), category_ids)
    ours = {}
    for key, value in state.items():
        name = renamed(key, _NAMES, back=True) or key
        name = renamed(name, _OLD_NAMES, back=True) or name
        ours[name] = _rows_of(name, value, labels)
    return ours


def to_torchvision(state: Mapping[str, Tensor], category_ids: Sequence[int]) -> dict[str, Tensor]:
    """Inverse of ``from_torchvision``; a label without a class never wins.

    Where a category id is below 1, labels are 1..C.
    """
    labels = list(category_ids)
    if min(labels) < 1:
        labels = list(range(1, len(labels) + 1))
    return {renamed(k, _NAMES) or k: _spread(k, value, labels) for k, value in state.items()}


def num_labels(state: Mapping[str, Tensor]) -> int:
    """K, of a Mask R-CNN by its classifier, of a RetinaNet by those of its nine anchors."""
    if (bias := state.get("roi_heads.box_predictor.cls_score.bias")) is not None:
        return len(bias)
    scores = state.get("head.classification_head.cls_logits.bias")
    boxes = state.get("head.regression_head.bbox_reg.bias")
    if scores is None or boxes is None:
        raise ValueError("the file holds neither a Mask R-CNN nor a RetinaNet of torchvision")
    return len(scores) // (len(boxes) // 4)


def _labels(count: int, category_ids: Sequence[int]) -> list[int]:
    """Label of each of our classes."""
    if min(category_ids) >= 1 and count == max(category_ids) + 1:
        return list(category_ids)
    if count == len(category_ids) + 1:
        return list(range(1, count))
    raise ValueError(
        f"the file has {count} labels, background included, but the project has "
        f"{len(category_ids)} classes with category ids up to {max(category_ids)}; name a project "
        "of the data set that the file was trained on"
    )


def _rows_of(name: str, value: Tensor, labels: list[int]) -> Tensor:
    """Rows of our classes, out of a tensor with those of all labels; others as they are."""
    if name.startswith("box.class_logits."):
        return value[[*labels, 0]]
    if name.startswith("box.box_deltas."):
        return value.view(-1, 4, *value.shape[1:])[labels].flatten(0, 1)
    if name.startswith("mask.predictor.mask_fcn_logits."):
        return value[labels]
    if name.startswith("head.class_logits."):
        num = len(value) // (max(labels) + 1)
        return value.view(num, -1, *value.shape[1:])[:, labels].flatten(0, 1)
    return value


def _spread(name: str, value: Tensor, labels: list[int]) -> Tensor:
    """Inverse of ``_rows_of``."""
    count, rest = max(labels) + 1, value.shape[1:]
    empty = _NEVER if "class_logits" in name and name.endswith("bias") else 0.0
    if name.startswith("head.class_logits."):
        by_anchor = value.view(-1, len(labels), *rest)
        spread = value.new_full((len(by_anchor), count, *rest), empty)
        spread[:, labels] = by_anchor
        return spread.flatten(0, 1)
    if name.startswith("box.box_deltas."):
        spread = value.new_zeros(count, 4, *rest)
        spread[labels] = value.view(-1, 4, *rest)
        return spread.flatten(0, 1)
    is_class = name.startswith("box.class_logits.")
    if not is_class and not name.startswith("mask.predictor.mask_fcn_logits."):
        return value
    spread = value.new_full((count, *rest), empty)
    spread[[*labels, 0] if is_class else labels] = value
    return spread
