"""What a detector of mmdetection must have for ours to be the same one, where we have no setting.

Source of the names and of what is meant where a key is absent: mmdetection 2.28 and 3.3.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from van_dense.integrations.checkpoints.openmmlab_settings import plain, setting

Allowed = dict[str, tuple[Any, ...]]  # dotted keys below ``model``; the first value where absent
DENSE = ("retinanet", "atss", "gfl")

_ZEROS, _ONES, _TENTHS = (0.0,) * 4, (1.0,) * 4, (0.1, 0.1, 0.2, 0.2)
_PYRAMID: Allowed = {
    "neck.type": ("FPN",),
    "neck.act_cfg": (None,),
    "neck.upsample_cfg.mode": ("nearest",),
}
_SOFTMAX: Allowed = {  # below a box head of two stages
    "type": ("Shared2FCBBoxHead", "Shared4Conv1FCBBoxHead", "ConvFCBBoxHead"),
    "loss_cls.type": ("CrossEntropyLoss",),
    "loss_cls.use_sigmoid": (False,),
    "cls_predictor_cfg.type": ("Linear",),
    "reg_predictor_cfg.type": ("Linear",),
}
_MASKS: Allowed = {
    "roi_head.mask_head.type": ("FCNMaskHead",),
    "roi_head.mask_head.class_agnostic": (False,),
    "roi_head.mask_head.predictor_cfg.type": ("Conv",),
    "roi_head.mask_head.upsample_cfg.type": ("deconv",),
}
_HEADS = {  # the second differs in training alone
    "retinanet": ("RetinaHead", "PISARetinaHead"),
    "atss": ("ATSSHead",),
    "gfl": ("GFLHead",),
}


class Fixed(NamedTuple):
    """A value that no project can have."""

    key: str  #: of the file's config
    found: object
    only: object  #: what it is here


def fixed_values(model: Mapping[str, Any], kind: str) -> Iterator[Fixed]:
    """What of a file's network is otherwise than in all of ours.

    Args:
        model: Section ``model`` of a config of mmdetection.
        kind: ``model.kind`` of ours.
    """
    allowed = dict(_PYRAMID)
    if kind in DENSE:
        allowed |= _dense(kind)
    elif kind == "sparsercnn":
        allowed |= _extractor("bbox", size=7) | _sparse(model)
    else:
        allowed |= _two_stages(model, kind)
    for key, values in allowed.items():
        found = plain(setting(model, key, default=values[0]))
        if found not in values:
            yield Fixed(f"model.{key}", found, values[0])
    if kind == "cascade_maskrcnn" and box_heads(model) and not setting(model, "roi_head.mask_head"):
        yield Fixed("model.roi_head.mask_head", None, "one for each stage")


def box_heads(model: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Box heads of a cascade by their keys, also where one section stands for all stages."""
    heads = setting(model, "roi_head.bbox_head", default=[])
    if isinstance(heads, Mapping):
        return {"roi_head.bbox_head": heads}
    return {f"roi_head.bbox_head.{number}": head for number, head in enumerate(heads)}


def _dense(kind: str) -> Allowed:
    is_retina = kind == "retinanet"
    allowed = _anchors("bbox_head", (0.5, 1.0, 2.0) if is_retina else (1.0,))
    allowed["bbox_head.type"] = _HEADS[kind]
    allowed["bbox_head.loss_cls.use_sigmoid"] = (True,)
    allowed["bbox_head.anchor_generator.scales_per_octave"] = (3 if is_retina else 1,)
    allowed |= {"test_cfg.nms.type": ("nms",), "test_cfg.nms_pre": (1000,)}
    if kind != "gfl":  # which has distances in place of deltas
        allowed |= _coder("bbox_head", _ONES if is_retina else _TENTHS)
    if not is_retina:
        allowed["neck.relu_before_extra_convs"] = (False,)
    return allowed


def _two_stages(model: Mapping[str, Any], kind: str) -> Allowed:
    allowed = _anchors("rpn_head", (0.5, 1.0, 2.0)) | _coder("rpn_head", _ONES) | _MASKS
    allowed |= {"rpn_head.type": ("RPNHead",), "rpn_head.num_convs": (1,)}
    allowed |= _extractor("bbox", size=7) | _extractor("mask", size=14)
    allowed |= {"test_cfg.rcnn.nms.type": ("nms",), "test_cfg.rpn.min_bbox_size": (0,)}
    box = "roi_head.bbox_roi_extractor.roi_layer"
    for name, default in (("sampling_ratio", 0), ("aligned", True)):
        value = setting(model, f"{box}.{name}", default=default)
        allowed[f"roi_head.mask_roi_extractor.roi_layer.{name}"] = (value,)
        if kind == "cascade_maskrcnn":
            allowed[f"{box}.{name}"] = (default,)
    if kind == "maskrcnn":
        allowed["roi_head.bbox_head.reg_class_agnostic"] = (False,)
        return allowed | _coder("roi_head.bbox_head", _TENTHS) | _below("roi_head.bbox_head")
    for key in box_heads(model):
        allowed |= _below(key)
        allowed |= {k: v for k, v in _coder(key, _TENTHS).items() if not k.endswith("stds")}
    return allowed


def _sparse(model: Mapping[str, Any]) -> Allowed:
    allowed: Allowed = {"roi_head.bbox_roi_extractor.roi_layer.sampling_ratio": (2,)}
    for key in box_heads(model):
        allowed |= _coder(key, (0.5, 0.5, 1.0, 1.0))
        allowed |= {f"{key}.type": ("DIIHead",), f"{key}.ffn_act_cfg.type": ("ReLU",)}
        allowed[f"{key}.dynamic_conv_cfg.act_cfg.type"] = ("ReLU",)
    return allowed


def _below(head: str) -> Allowed:
    return {f"{head}.{key}": values for key, values in _SOFTMAX.items()}


def _anchors(head: str, ratios: tuple[float, ...]) -> Allowed:
    generator = f"{head}.anchor_generator"
    return {
        f"{generator}.type": ("AnchorGenerator",),
        f"{generator}.ratios": (ratios,),
        f"{generator}.center_offset": (0.0,),
        f"{generator}.base_sizes": (None,),
        f"{generator}.scale_major": (True,),
    }


def _coder(head: str, stds: tuple[float, ...]) -> Allowed:
    coder = f"{head}.bbox_coder"
    return {
        f"{coder}.type": ("DeltaXYWHBBoxCoder",),
        f"{coder}.target_means": (_ZEROS,),
        f"{coder}.target_stds": (stds,),
    }


def _extractor(branch: str, *, size: int) -> Allowed:
    """Of the regions of a branch: P2 to P5 by their size, and RoIAlign."""
    key = f"roi_head.{branch}_roi_extractor"
    return {
        f"{key}.type": ("SingleRoIExtractor",),
        f"{key}.finest_scale": (56,),
        f"{key}.featmap_strides": ((4, 8, 16, 32),),
        f"{key}.roi_layer.type": ("RoIAlign",),
        f"{key}.roi_layer.output_size": (size, (size, size)),
    }
