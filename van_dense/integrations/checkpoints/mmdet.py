"""Whole detectors of mmdetection 2.x and 3.x: names of their weights.

The networks here follow mmdetection's definitions, so that anchors, classes and boxes have its
order and nothing but names changes. The names of 2.x and 3.x are the same.
Source of the names: mmdetection 2.28 and 3.3, ``models/{necks,dense_heads,roi_heads}``.
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from van_dense.backbones.renaming import Pair
from van_dense.integrations.checkpoints.mmdet_fixed import DENSE
from van_dense.integrations.checkpoints.openmmlab_backbones import renamed_network

_HEADS = ("rpn_head.", "roi_head.", "bbox_head.")
_VERSION_1 = re.compile(r"bbox_head\.(\d+\.)?(fc_cls|shared_fcs)\.")  # no ``roi_head.`` before it
_SCALE = re.compile(r"bbox_head\.scales\.(\d+)\.scale$")
_SCALES = "head.towers.scales"
_NORM_OF_C2 = "backbone.body.norm0."  # of Swin and ConvNeXt
_BINS = "bbox_head.integral.project"  # 0, 1, ... of GFL's distances, which are no weights here

_BRANCHES: tuple[Pair, ...] = (  # below ``box.`` or ``mask.``, and below ``roi_head.``
    ("box.class_logits.", "bbox_head.{}fc_cls."),
    ("box.box_deltas.", "bbox_head.{}fc_reg."),
    ("mask.head.{0}.0.", "mask_head.{}convs.{0}.conv."),
    ("mask.predictor.conv5_mask.", "mask_head.{}upsample."),
    ("mask.predictor.mask_fcn_logits.", "mask_head.{}conv_logits."),
)
_TWO_LAYERS: tuple[Pair, ...] = (
    ("box.head.fc6.", "bbox_head.{}shared_fcs.0."),
    ("box.head.fc7.", "bbox_head.{}shared_fcs.1."),
)
_CONVS: tuple[Pair, ...] = (
    ("box.head.convs.{0}.", "bbox_head.{}shared_convs.{0}."),
    ("box.head.fc.", "bbox_head.{}shared_fcs.0."),
    ("box.head.fc2.", "bbox_head.{}shared_fcs.1."),
)
_DYNAMIC: tuple[Pair, ...] = (  # below ``heads.N.`` and ``roi_head.bbox_head.N.``
    ("attention.", "attention.attn."),
    ("norm_attention.", "attention_norm."),
    ("dynamic.filters.", "instance_interactive_conv.dynamic_layer."),
    ("dynamic.norm_hidden.", "instance_interactive_conv.norm_in."),
    ("dynamic.norm_out.", "instance_interactive_conv.norm_out."),
    ("dynamic.project.", "instance_interactive_conv.fc_layer."),
    ("dynamic.norm_project.", "instance_interactive_conv.fc_norm."),
    ("norm_dynamic.", "instance_interactive_conv_norm."),
    ("feedforward.0.", "ffn.layers.0.0."),
    ("feedforward.2.", "ffn.layers.1."),
    ("norm_feedforward.", "ffn_norm."),
    ("class_layers.", "cls_fcs."),
    ("box_layers.", "reg_fcs."),
    ("class_logits.", "fc_cls."),
    ("box_deltas.", "fc_reg."),
)


def _towers(ours: str) -> tuple[Pair, ...]:
    """Names of the convolutions and norms of the towers of both outputs, below a name of ours."""
    return tuple(
        (f"{ours}{what}_tower.{{0}}.{place}.", f"bbox_head.{theirs}_convs.{{0}}.{layer}.")
        for what, theirs in (("class", "cls"), ("box", "reg"))
        for place, layer in ((0, "conv"), (1, "gn"))
    )


_ONE_STAGE: tuple[Pair, ...] = (
    *_towers("head.towers."),
    ("head.towers.class_logits.", "bbox_head.atss_cls."),
    ("head.towers.box_values.", "bbox_head.atss_reg."),
    ("head.centerness.", "bbox_head.atss_centerness."),
)
_RETINANET: tuple[Pair, ...] = (
    *_towers("head."),
    ("head.class_logits.", "bbox_head.retina_cls."),
    ("head.box_deltas.", "bbox_head.retina_reg."),
)
_RPN: tuple[Pair, ...] = (
    ("rpn.head.conv.0.0.", "rpn_head.rpn_conv."),
    ("rpn.head.cls_logits.", "rpn_head.rpn_cls."),
    ("rpn.head.bbox_pred.", "rpn_head.rpn_reg."),
)


def is_mmdet(state: Mapping[str, Tensor]) -> bool:
    """Are these the names of a whole detector of mmdetection?"""
    return any(key.startswith("neck.lateral_convs.") for key in state) and any(
        key.startswith(_HEADS) for key in state
    )


def from_mmdet(state: Mapping[str, Tensor], *, kind: str, backbone: str) -> dict[str, Tensor]:
    """State dict of our detector from one of mmdetection.

    What has no place here keeps its name, so that whoever compares the two can name it.

    Args:
        state: Tensors of the file by their keys.
        kind: ``model.kind`` of the project.
        backbone: ``model.backbone.name`` of the project, such as "resnet50_msra".

    Raises:
        ValueError: For a file of mmdetection 1.x, whose classes and boxes have another order, and
            for bins of GFL that are not 0, 1, 2, ...
    """
    if any(_VERSION_1.match(key) for key in state):
        raise ValueError(
            "this is a file of mmdetection 1.x, with background as the first class and boxes of "
            "another size; upgrade it there with upgrade_model_version.py"
        )
    pairs = (*_pyramid(state), *_heads(kind))
    ours = renamed_network(state, backbone, pairs)
    if (bins := ours.pop(_BINS, None)) is not None:
        _check_bins(bins)
    scales = {int(m[1]): ours.pop(m[0]) for m in map(_SCALE.match, list(ours)) if m}
    if scales:
        ours[_SCALES] = torch.stack([scales[level] for level in sorted(scales)])
    if kind in DENSE:  # whose pyramid begins at c3
        ours = {key: v for key, v in ours.items() if not key.startswith(_NORM_OF_C2)}
    return ours


def _check_bins(bins: Tensor) -> None:
    if not torch.equal(bins.float(), torch.arange(len(bins), dtype=torch.float32)):
        raise ValueError(f"{_BINS} is not 0, 1, 2, ... but {bins.tolist()}; another GFL than here")


def _pyramid(state: Mapping[str, Tensor]) -> list[Pair]:
    """Names of the pyramid; levels beyond the laterals are P6 and P7."""
    laterals = {key.split(".")[2] for key in state if key.startswith("neck.lateral_convs.")}
    first = len(laterals)
    return [
        ("fpn.pyramid.inner_blocks.{0}.0.", "neck.lateral_convs.{0}.conv."),
        ("fpn.pyramid.inner_blocks.{0}.1.", "neck.lateral_convs.{0}.gn."),
        ("fpn.pyramid.extra_blocks.p6.", f"neck.fpn_convs.{first}.conv."),
        ("fpn.pyramid.extra_blocks.p7.", f"neck.fpn_convs.{first + 1}.conv."),
        ("fpn.pyramid.layer_blocks.{0}.0.", "neck.fpn_convs.{0}.conv."),
        ("fpn.pyramid.layer_blocks.{0}.1.", "neck.fpn_convs.{0}.gn."),
    ]


def _heads(kind: str) -> list[Pair]:
    """Names of everything behind the pyramid."""
    if kind == "retinanet":
        return list(_RETINANET)
    if kind in DENSE:
        return [(ours, there.replace("atss", kind)) for ours, there in _ONE_STAGE]
    if kind == "sparsercnn":
        heads = [(f"heads.{{0}}.{o}", f"roi_head.bbox_head.{{0}}.{t}") for o, t in _DYNAMIC]
        return [
            ("proposals.boxes", "rpn_head.init_proposal_bboxes.weight"),
            ("proposals.features", "rpn_head.init_proposal_features.weight"),
            *heads,
        ]
    if kind == "cascade_maskrcnn":
        stages = [
            (f"stages.{{0}}.{ours}", "roi_head." + there.replace("{}", "{0}.", 1))
            for ours, there in (*_BRANCHES, *_CONVS)
        ]
        return [*_RPN, *stages]
    one = ((o, "roi_head." + t.replace("{}", "")) for o, t in (*_BRANCHES, *_TWO_LAYERS))
    return [*_RPN, *one]
