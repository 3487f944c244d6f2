"""What a file of mmdetection says of its network and of its tests, as settings of ours.

Source of the names and of what is meant where a key is absent: mmdetection 2.28 and 3.3.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from van_dense.backbones.download import Normalization
from van_dense.core.dataset_info import DatasetInfo
from van_dense.core.plain_text import one_line
from van_dense.integrations.checkpoints.openmmlab_file import OpenMMLabFile
from van_dense.integrations.checkpoints.openmmlab_networks import check_backbone
from van_dense.integrations.checkpoints.openmmlab_settings import (
    check_classes,
    overrides,
    pixel_overrides,
    plain,
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
_EXTRA_LEVELS = ("c5", "c5_relu", "p5_relu")  # what P6 and P7 are made from here
_DENSE = ("retinanet", "atss", "gfl")
_CLASSES = "name a project of the data set that the file was trained on, or your annotations of it"


def kind_of(config: Mapping[str, Any] | None) -> str | None:
    """``model.kind`` of the detector of a file's config, None where it says none.

    Raises:
        ValueError: For a detector that is not built here.
    """
    if not (name := type_of(setting(config, "model"))):
        return None
    if name not in KINDS:
        raise ValueError(
            f"model.type {one_line(name)} of the file has no counterpart here; {', '.join(KINDS)} "
            "have"
        )
    return KINDS[name]


class Fixed(NamedTuple):
    """What networks here have no setting for."""

    key: str  #: of the file's config
    found: object
    only: object  #: what it is here


def check_mmdet(file: OpenMMLabFile, settings: Mapping[str, Any], info: DatasetInfo) -> list[str]:
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
        notes.append("the file has no config: anchors, strides and pixels are the project's")
    else:
        assert file.config is not None
        if there != kind:
            raise ValueError(f"the file holds a {there}, the project a {kind}; choose another one")
        check_backbone(file.config, name)
        theirs = _unsaid(kind) | network_settings(file.config["model"], kind)
        if found := list(fixed_values(file.config["model"], kind)):
            text = ", ".join(f"{f.key} {one_line(f.found)} ({f.only} here)" for f in found)
            raise ValueError(f"networks here have no setting for what the file has: {text}")
    wanted = {f"model.{key}": value for key, value in theirs.items()}
    if wrong := overrides(wanted, {"model": settings}):
        raise ValueError(
            f"the {kind} of the file is another network than that of the config: its weights "
            f"would load and find other objects. For this one: {' '.join(wrong)}"
        )
    return list(filter(None, notes))


def settings_to_take(
    file: OpenMMLabFile, config: Mapping[str, Any], pixels: Normalization
) -> list[str]:
    """What a file says of pixels and predictions, where a project says otherwise.

    Args:
        file: A whole detector of mmdetection.
        config: The project's config, as plain data.
        pixels: Statistics of the project's pixels.

    Returns:
        ``key.path=value`` strings to lay over the project.
    """
    if kind_of(file.config) != config["model"]["kind"]:
        return []
    assert file.config is not None
    taken = pixel_overrides(file.config, config["model"]["backbone"]["name"], pixels)
    return [*taken, *overrides(test_settings(file.config, config["model"]["kind"]), config)]


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
        heads = setting(model, "roi_head.bbox_head", default=[])
        settings["box_head.one_box"] = setting(heads, "0.reg_class_agnostic", default=False)
        for number, head in enumerate(heads):
            settings[f"stages.{number}.box_stds"] = setting(head, "bbox_coder.target_stds")
    return {key: value for key, value in settings.items() if value is not None}


def fixed_values(model: Mapping[str, Any], kind: str) -> Iterator[Fixed]:
    """What must be as it is here, for there is no other network of this kind.

    Args:
        model: Section ``model`` of a config of mmdetection.
        kind: ``kind_of`` the config.
    """
    wanted: dict[str, object] = {"neck.type": "FPN"}
    if kind in _DENSE:
        wanted |= _anchors("bbox_head.", [1.0] if kind != "retinanet" else [0.5, 1.0, 2.0])
        wanted["bbox_head.anchor_generator.scales_per_octave"] = 3 if kind == "retinanet" else 1
        stds = [1.0] * 4 if kind == "retinanet" else [0.1, 0.1, 0.2, 0.2]
        if kind != "gfl":  # which has distances in place of deltas
            wanted["bbox_head.bbox_coder.target_stds"] = stds
        wanted |= {"test_cfg.nms.type": "nms", "test_cfg.nms_pre": 1000}
        if kind != "retinanet":
            wanted["neck.add_extra_convs"] = "on_output"
    elif kind == "sparsercnn":
        for number in range(len(setting(model, "roi_head.bbox_head", default=[]))):
            key = f"roi_head.bbox_head.{number}.bbox_coder.target_stds"
            wanted[key] = [0.5, 0.5, 1.0, 1.0]
        wanted["roi_head.bbox_roi_extractor.roi_layer.sampling_ratio"] = 2
    else:
        wanted |= _anchors("rpn_head.", [0.5, 1.0, 2.0])
        wanted["rpn_head.bbox_coder.target_stds"] = [1.0] * 4
        wanted |= {"test_cfg.rcnn.nms.type": "nms", "test_cfg.rpn.min_bbox_size": 0}
        if kind == "maskrcnn":
            wanted["roi_head.bbox_head.bbox_coder.target_stds"] = [0.1, 0.1, 0.2, 0.2]
            wanted["roi_head.bbox_head.reg_class_agnostic"] = False
        else:
            wanted["roi_head.bbox_roi_extractor.roi_layer.sampling_ratio"] = 0
    for key, only in wanted.items():
        found = setting(model, key, default=only)  # absent: mmdetection's default, which is ours
        if plain(found) != plain(only):
            yield Fixed(f"model.{key}", found, only)
    if kind == "retinanet" and (levels := _extra_levels(model)) not in (None, *_EXTRA_LEVELS):
        yield Fixed("model.neck.add_extra_convs", levels, "on_input")


def test_settings(config: Mapping[str, Any], kind: str) -> Values:
    """Settings of predictions that the file was published with, by whole keys of ours.

    Args:
        config: Config of a file of mmdetection.
        kind: ``kind_of`` it.
    """
    model = config["model"]
    head = "model.head" if kind in _DENSE else "model.box_head"
    test = setting(model, "test_cfg" if kind in _DENSE else "test_cfg.rcnn", default={})
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
        settings["model.rpn.test_post_nms"] = setting(rpn, "max_per_img", "nms_post")
        settings["model.rpn.nms_iou"] = setting(rpn, "nms.iou_threshold", "nms_thr")
    settings |= _image_size(config)
    return {key: value for key, value in settings.items() if value is not None}


def _anchors(head: str, ratios: list[float]) -> dict[str, object]:
    generator = f"{head}anchor_generator."
    offset = {f"{generator}center_offset": 0.0}
    return {**offset, f"{generator}ratios": ratios, f"{generator}type": "AnchorGenerator"}


def _anchor_sizes(model: Mapping[str, Any], kind: str) -> list[float] | None:
    """Side of the anchors of each level, of ratio 1 and the first of its octave, pixels."""
    head = "bbox_head" if kind in _DENSE else "rpn_head"
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
        scale = setting(step, "scale", "img_scale")
        if isinstance(scale, list | tuple) and len(scale) == 2:
            return {
                "data.transforms.test_short_side": min(scale),
                "data.transforms.max_long_side": max(scale),
            }
    return {}
