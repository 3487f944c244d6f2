"""What a file of mmdetection says of its network and of its tests, as settings of ours.

Source of the names and of what is meant where a key is absent: mmdetection 2.28 and 3.3.
"""

from collections.abc import Mapping
from typing import Any

from van_dense.core.dataset_info import DatasetInfo
from van_dense.core.plain_text import one_line
from van_dense.integrations.checkpoints.mmdet_fixed import DENSE, box_heads, fixed_values
from van_dense.integrations.checkpoints.openmmlab_file import ForeignFile
from van_dense.integrations.checkpoints.openmmlab_networks import check_backbone
from van_dense.integrations.checkpoints.openmmlab_settings import (
    check_classes,
    keeps_ratio,
    no_config,
    overrides,
    setting,
    steps_of,
    type_of,
)

Values = dict[str, Any]  # by keys of ours
KINDS = {
    "MaskRCNN": "maskrcnn",
    "CascadeRCNN": "cascade_maskrcnn",
    "RetinaNet": "retinanet",
    "ATSS": "atss",
    "GFL": "gfl",
    "SparseRCNN": "sparsercnn",
}
_EXTRA_LEVELS = {  # what P6 and P7 are made from here
    "retinanet": ("c5", "c5_relu", "p5_relu"),
    "atss": ("p5",),
    "gfl": ("p5",),
}
_CLASSES = (
    "name a project of the data set that the file was trained on, or your annotations of it, with "
    "the categories in this order"
)


def kind_of(config: Mapping[str, Any] | None) -> str | None:
    """``model.kind`` of the detector of a file's config, None where it says none.

    Raises:
        ValueError: For a detector that is not built here.
    """
    if not (name := type_of(setting(config, "model"))):
        return None
    if name not in KINDS:
        raise ValueError(
            f"model.type {one_line(name)} of the file is no detector that is read here: "
            f"{', '.join(KINDS)}; files of mmsegmentation and mmpose need a project of their task, "
            "such as upernet_r50_mmseg and pose_r50_mmpose_256x192"
        )
    return KINDS[name]


def check_mmdet(file: ForeignFile, settings: Mapping[str, Any], info: DatasetInfo) -> list[str]:
    """Make sure that a file has the network and the classes of a project, as far as it says.

    Args:
        file: A whole detector of mmdetection.
        settings: Section ``model`` of the project's config.
        info: Classes of the project.

    Returns:
        Sentences on what nobody checked, or what is spelled otherwise.

    Raises:
        ValueError: Where they disagree, with the settings to change.
    """
    kind, name = settings["kind"], settings["backbone"]["name"]
    notes = [check_classes(file.classes, info.class_names, fix=_CLASSES)]
    if (there := kind_of(file.config)) is None:
        theirs = _unsaid(kind)
        notes.append(no_config(file.config))
    else:
        assert file.config is not None
        if there != kind:
            raise ValueError(
                f"the file holds a {there}, the project a {kind}; take {there}_r50_mmdet"
            )
        check_backbone(file.config, name)
        model = _model(file.config)
        theirs = _unsaid(kind) | network_settings(model, kind)
        if found := list(fixed_values(model, kind)):
            text = ", ".join(f"{f.key} {one_line(f.found)} ({f.only} here)" for f in found)
            raise ValueError(f"networks here have no setting for what the file has: {text}")
        notes.append(keeps_ratio(file.config))
        levels, made = _extra_levels(model), _EXTRA_LEVELS.get(kind, ())
        if made and levels not in (None, *made):
            raise ValueError(
                f"the file makes P6 of {levels} (model.neck), and here it is {' or '.join(made)}"
            )
    wanted = {f"model.{key}": value for key, value in theirs.items()}
    if wrong := overrides(wanted, {"model": settings}):
        raise ValueError(
            f"the {kind} of the file is another network than that of the config: its weights "
            f"would load and find other objects. For this one: {' '.join(wrong)}"
        )
    return list(filter(None, notes))


def _unsaid(kind: str) -> Values:
    """What is so in every network of mmdetection, unless its config says otherwise."""
    if kind == "maskrcnn":
        return {"round_anchors": False, "roi_align.samples": 0, "roi_align.aligned": True}
    if kind == "retinanet":
        return {"round_anchors": False, "extra_levels": "c5"}
    return {"average": "logits"} if kind == "cascade_maskrcnn" else {}


def network_settings(model: Mapping[str, Any], kind: str) -> Values:
    """Settings below ``model`` that make a network what it is, and that no shape shows.

    Args:
        model: Section ``model`` of a config of mmdetection.
        kind: ``kind_of`` the config.
    """
    settings: Values = {} if kind == "sparsercnn" else {"anchor_sizes": _anchor_sizes(model, kind)}
    if kind == "maskrcnn":
        extractor = "roi_head.bbox_roi_extractor.roi_layer"
        settings["roi_align.samples"] = setting(model, f"{extractor}.sampling_ratio", default=0)
        settings["roi_align.aligned"] = setting(model, f"{extractor}.aligned", default=True)
    elif kind == "retinanet":
        settings["extra_levels"] = _extra_levels(model)
    elif kind == "cascade_maskrcnn":
        for number, head in enumerate(box_heads(model).values()):
            settings.setdefault("box_head.one_box", head.get("reg_class_agnostic", False))
            settings[f"stages.{number}.box_stds"] = setting(head, "bbox_coder.target_stds")
    elif kind == "sparsercnn":
        settings["proposals"] = setting(model, "rpn_head.num_proposals")
        settings["head.attention_heads"] = setting(model, "roi_head.bbox_head.0.num_heads")
    elif kind == "gfl":
        settings["max_distance"] = setting(model, "bbox_head.reg_max")
    return {key: value for key, value in settings.items() if value is not None}


def test_settings(config: Mapping[str, Any], kind: str) -> Values:
    """Settings of predictions that the file was published with, by whole keys of ours.

    Args:
        config: Config of a file of mmdetection.
        kind: ``kind_of`` it.
    """
    model = _model(config)
    head = "model.head" if kind in DENSE else "model.box_head"
    test = setting(model, "test_cfg" if kind in DENSE else "test_cfg.rcnn", default={})
    settings: Values = {}
    if kind == "sparsercnn":
        settings["model.max_detections"] = setting(test, "max_per_img")
    else:
        settings[f"{head}.score_threshold"] = setting(test, "score_thr")
        settings[f"{head}.nms_iou"] = setting(test, "nms.iou_threshold", "nms.iou_thr")
        settings[f"{head}.max_detections"] = setting(test, "max_per_img")
    if kind in ("maskrcnn", "cascade_maskrcnn"):
        rpn = setting(model, "test_cfg.rpn", default={})
        settings["model.mask_head.threshold"] = setting(test, "mask_thr_binary")
        settings["model.rpn.test_pre_nms"] = setting(rpn, "nms_pre")
        settings["model.rpn.test_post_nms"] = setting(rpn, "max_per_img", "max_num", "nms_post")
        settings["model.rpn.nms_iou"] = setting(rpn, "nms.iou_threshold", "nms_thr")
    settings |= _image_size(config)
    return {key: value for key, value in settings.items() if value is not None}


def _model(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Section ``model``, with what the first releases of 2.x have beside it."""
    model: Mapping[str, Any] = config["model"]
    return {"test_cfg": config.get("test_cfg"), **model}


def _anchor_sizes(model: Mapping[str, Any], kind: str) -> list[float] | None:
    """Side of the anchors of each level, of ratio 1 and the first of its octave, pixels."""
    head = "bbox_head" if kind in DENSE else "rpn_head"
    generator = setting(model, f"{head}.anchor_generator", default={})
    base = setting(generator, "octave_base_scale", "scales.0")
    strides = setting(generator, "strides", default=[])
    return None if base is None else [float(base * stride) for stride in strides]


def _extra_levels(model: Mapping[str, Any]) -> str | None:
    """What P6 of RetinaNet is made from, in words of ``model.extra_levels`` and others."""
    if (source := setting(model, "neck.add_extra_convs")) is None:
        return None
    relu = "_relu" if setting(model, "neck.relu_before_extra_convs", default=False) else ""
    if source is True:  # of mmdetection 2.0
        is_input = setting(model, "neck.extra_convs_on_inputs", default=True)
        source = "on_input" if is_input else "on_output"
    return {"on_input": "c5", "on_output": "p5"}.get(source, str(source)) + relu


def _image_size(config: Mapping[str, Any]) -> Values:
    """Sides of test images: of ``Resize`` in 3.x, of what stands around it in 2.x."""
    for step in steps_of(config, "Resize", "MultiScaleFlipAug"):
        scale = setting(step, "scale", "img_scale", default=())
        if scale and isinstance(scale[0], list | tuple):  # several, of which the first counts
            scale = scale[0]
        if [type(side) for side in scale] == [int, int]:
            return {
                "data.transforms.test_short_side": min(scale),
                "data.transforms.max_long_side": max(scale),
            }
    return {}
