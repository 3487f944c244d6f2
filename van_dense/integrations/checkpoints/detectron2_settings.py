"""Settings (yacs) of Detectron2 under which a detector of ours is the same network there.

Names and shapes of weights do not say where anchors lie, what pixels mean or how boxes are
suppressed; Detectron2's defaults differ from any run's in some of it, which costs accuracy without
a message. Everything that a prediction depends on is written out, whether it is the default or
not; of the training, the sampling of anchors and regions and the box losses.
Source of the names: Detectron2 0.6 ``config/defaults.py``.
"""

import re
from collections.abc import Mapping
from inspect import signature
from typing import Any

import yaml
from torch import Tensor

from van_dense.backbones.van import VAN
from van_dense.core.dataset_info import DatasetInfo
from van_dense.integrations.checkpoints import detectron2_resnet as resnet
from van_dense.models.detection.anchors import ASPECT_RATIOS, OCTAVE_SCALES
from van_dense.models.preprocess import IMAGENET_MEAN, IMAGENET_STD

_VAN_EPS = signature(VAN).parameters["norm_eps"].default  # where the config says nothing
_DIVISOR = 32  # padded sides are its multiples, as its pyramid asks for
_LEAST_GROUPED = 64  # channels; its GroupNorm has 32 groups, ours never less than two in one
_POOLER = {"POOLER_TYPE": "ROIAlignV2", "POOLER_SAMPLING_RATIO": 0}
_DEPTHS = {6: 50, 23: 101, 36: 152}  # by the blocks of the third stage


def detectron2_yaml(
    config: Mapping[str, Any], state: Mapping[str, Tensor], info: DatasetInfo, weights: str
) -> str:
    """A config file of Detectron2 that runs the weights ``to_detectron2`` renames, or ValueError.

    Args:
        config: Complete config of our Mask R-CNN or RetinaNet.
        state: State dict of the model, under our names.
        info: Classes of the data set.
        weights: Name of the file of the renamed weights.
    """
    model = config["model"]
    check_representable(config)
    is_rcnn, is_msra = model["kind"] == "maskrcnn", resnet.is_msra(model["backbone"]["name"])
    section = {
        "META_ARCHITECTURE": "GeneralizedRCNN" if is_rcnn else "RetinaNet",
        "WEIGHTS": weights,
        "MASK_ON": is_rcnn,
        "PIXEL_MEAN": list(IMAGENET_MEAN[:: -1 if is_msra else 1]),
        "PIXEL_STD": [1.0, 1.0, 1.0] if is_msra else list(IMAGENET_STD),
        **_backbone(model, state),
        **(_rcnn(model, info) if is_rcnn else _retinanet(model, info)),
    }
    transforms = config["data"]["transforms"]
    last = model["box_head"] if is_rcnn else model["head"]
    settings = {
        "MODEL": section,
        "INPUT": {
            "FORMAT": "BGR" if is_msra else "RGB",
            "MIN_SIZE_TEST": transforms["test_short_side"],
            "MAX_SIZE_TEST": transforms["max_long_side"],
        },
        "TEST": {"DETECTIONS_PER_IMAGE": last["max_detections"]},
        "VERSION": 2,
    }
    lines = ["# For the weights named below. Classes, in order:"]
    names = (" ".join(name.split()) for name in info.class_names)  # none may end the comment
    lines += [f"#   {label} {name}" for label, name in enumerate(names)]
    if "VAN" in section:
        needs = "`import van_dense.integrations.detectron2`, which registers the backbone"
        lines.append(f"# Needs {needs}.")
    text = yaml.safe_dump(settings, sort_keys=False, default_flow_style=None)
    return "\n".join([*lines, text])


def check_representable(config: Mapping[str, Any]) -> None:
    """Make sure that Detectron2 can build a config's network; ValueError says what it cannot."""
    model = config["model"]
    backbone, channels = model["backbone"], model["fpn"]["channels"]
    options = backbone["options"]
    problems = [f"model.backbone.options={options}"] if options else []
    threshold = model["mask_head"]["threshold"] if model["kind"] == "maskrcnn" else 0.5
    if threshold != 0.5:
        problems.append(f"model.mask_head.threshold={threshold} (0.5 there)")
    if (divisor := config["data"]["size_divisor"]) != _DIVISOR:
        problems.append(f"data.size_divisor={divisor} ({_DIVISOR} there)")
    norms = [f"model.{part}.norm" for part in ("fpn", "head") if _norm(model.get(part)) == "GN"]
    if norms and channels < _LEAST_GROUPED:
        problems.append(
            f"{' and '.join(norms)}=group on {channels} channels (32 groups there, ours have at "
            "least two channels each)"
        )
    if problems:
        raise ValueError(f"Detectron2 has no setting for {'; '.join(problems)}")


def _backbone(model: Mapping[str, Any], state: Mapping[str, Tensor]) -> dict[str, Any]:
    backbone, fpn = model["backbone"], model["fpn"]
    is_retinanet = model["kind"] == "retinanet"
    stages = ["res3", "res4", "res5"] if is_retinanet else ["res2", "res3", "res4", "res5"]
    pyramid = {"IN_FEATURES": stages, "OUT_CHANNELS": fpn["channels"], "NORM": _norm(fpn)}
    builder = "build_retinanet_{}_fpn_backbone" if is_retinanet else "build_{}_fpn_backbone"
    if not resnet.is_resnet(state):
        van = {
            "NAME": backbone["name"],
            "WEIGHTS": "",
            "DROP_PATH": backbone["drop_path"],
            "NORM_MODE": backbone["norm_mode"],
            "FREEZE_STAGES": backbone["freeze_stages"],
            "NORM_EPS": backbone["norm_eps"] or _VAN_EPS,
        }
        return {"BACKBONE": {"NAME": builder.format("van")}, "VAN": van, "FPN": pyramid}
    width, per_group = state[f"{resnet.OURS}layer1.0.conv2.weight"].shape[:2]
    blocks = {m[1] for key in state if (m := re.match(rf"{resnet.OURS}layer3\.(\d+)\.", key))}
    if len(blocks) not in _DEPTHS:
        raise ValueError(f"Detectron2 has no ResNet with {len(blocks)} blocks in its third stage")
    resnets = {
        "DEPTH": _DEPTHS[len(blocks)],
        "STRIDE_IN_1X1": resnet.is_msra(backbone["name"]),
        "NUM_GROUPS": width // per_group,
        "WIDTH_PER_GROUP": per_group,
        "OUT_FEATURES": stages,
        "NORM": "FrozenBN" if backbone["norm_mode"] == "frozen" else "BN",
    }
    frozen = backbone["freeze_stages"] and backbone["freeze_stages"] + 1  # it counts the stem
    body = {"NAME": builder.format("resnet"), "FREEZE_AT": frozen}
    return {"BACKBONE": body, "RESNETS": resnets, "FPN": pyramid}


def _rcnn(model: Mapping[str, Any], info: DatasetInfo) -> dict[str, Any]:
    rpn, box, mask = model["rpn"], model["box_head"], model["mask_head"]
    return {
        "ANCHOR_GENERATOR": {
            "SIZES": [[size] for size in model["anchor_sizes"]],
            "ASPECT_RATIOS": [list(ASPECT_RATIOS)],
        },
        "RPN": {
            "IN_FEATURES": ["p2", "p3", "p4", "p5", "p6"],
            "IOU_THRESHOLDS": [rpn["negative_iou"], rpn["positive_iou"]],
            "BATCH_SIZE_PER_IMAGE": rpn["samples"],
            "POSITIVE_FRACTION": rpn["positive_fraction"],
            "PRE_NMS_TOPK_TRAIN": rpn["train_pre_nms"],
            "POST_NMS_TOPK_TRAIN": rpn["train_post_nms"],
            "PRE_NMS_TOPK_TEST": rpn["test_pre_nms"],
            "POST_NMS_TOPK_TEST": rpn["test_post_nms"],
            "NMS_THRESH": rpn["nms_iou"],
            "SMOOTH_L1_BETA": rpn["smooth_l1_beta"],
        },
        "ROI_HEADS": {
            "NAME": "StandardROIHeads",
            "IN_FEATURES": ["p2", "p3", "p4", "p5"],
            "NUM_CLASSES": info.num_classes,
            "IOU_THRESHOLDS": [box["positive_iou"]],
            "BATCH_SIZE_PER_IMAGE": box["samples"],
            "POSITIVE_FRACTION": box["positive_fraction"],
            "SCORE_THRESH_TEST": box["score_threshold"],
            "NMS_THRESH_TEST": box["nms_iou"],
        },
        "ROI_BOX_HEAD": {
            "NAME": "FastRCNNConvFCHead",
            "NUM_FC": 2,
            "FC_DIM": box["channels"],
            "POOLER_RESOLUTION": 7,
            **_POOLER,
            "BBOX_REG_WEIGHTS": [10.0, 10.0, 5.0, 5.0],
            "SMOOTH_L1_BETA": 0.0,
        },
        "ROI_MASK_HEAD": {
            "NAME": "MaskRCNNConvUpsampleHead",
            "NUM_CONV": mask["convs"],
            "CONV_DIM": mask["channels"],
            "POOLER_RESOLUTION": 14,
            **_POOLER,
        },
    }


def _retinanet(model: Mapping[str, Any], info: DatasetInfo) -> dict[str, Any]:
    head = model["head"]
    octaves = [[size * scale for scale in OCTAVE_SCALES] for size in model["anchor_sizes"]]
    return {
        "ANCHOR_GENERATOR": {"SIZES": octaves, "ASPECT_RATIOS": [list(ASPECT_RATIOS)]},
        "RETINANET": {
            "IN_FEATURES": ["p3", "p4", "p5", "p6", "p7"],
            "NUM_CLASSES": info.num_classes,
            "NUM_CONVS": head["convs"],
            "NORM": _norm(head),
            "IOU_THRESHOLDS": [head["negative_iou"], head["positive_iou"]],
            "SCORE_THRESH_TEST": head["score_threshold"],
            "NMS_THRESH_TEST": head["nms_iou"],
            "TOPK_CANDIDATES_TEST": 1000,
            "BBOX_REG_WEIGHTS": [1.0, 1.0, 1.0, 1.0],
            "SMOOTH_L1_LOSS_BETA": 0.0,
        },
    }


def _norm(section: Mapping[str, Any] | None) -> str:
    return "GN" if section is not None and section.get("norm") == "group" else ""
