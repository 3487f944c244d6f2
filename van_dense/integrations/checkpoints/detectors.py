"""Whole detectors of other code bases: where a file comes from, and its weights in our model.

The same names and shapes do not make the same network: strides, pooling, anchors and the ReLU
before P7 are settings of ours. Weights are neither read nor written where these disagree with the
code base they belong to, for they would load, and silently find other objects. The file itself is
read by ``backbones/read.py``; the names of each code base have a module here.
"""

from collections.abc import Mapping, Sequence
from functools import reduce
from operator import getitem
from typing import Any

from torch import Tensor, nn

from van_dense.core.dataset_info import DatasetInfo
from van_dense.integrations.checkpoints.detectron2 import (
    from_detectron2,
    is_detectron2,
    to_detectron2,
)
from van_dense.integrations.checkpoints.detectron2_resnet import is_msra
from van_dense.integrations.checkpoints.fit import fill
from van_dense.integrations.checkpoints.mmdet import from_mmdet, is_mmdet
from van_dense.integrations.checkpoints.mmdet_settings import check_mmdet
from van_dense.integrations.checkpoints.openmmlab_file import ForeignFile
from van_dense.integrations.checkpoints.torchvision import (
    from_torchvision,
    is_torchvision,
    num_labels,
    to_torchvision,
)

State = Mapping[str, Tensor]
LAYOUTS = ("detectron2", "torchvision")  # that are written; mmdetection's are read alone
_KINDS = ("maskrcnn", "retinanet")
_CASCADE = (
    "; the cascade of Detectron2 is another network, with one mask head for all stages and boxes "
    "that do not depend on the class"
)
_HINT = (
    "compare backbone, head and number of classes of the config with those of the file ({} "
    "layout); the config.yaml of a run is a project too, and a training on other classes starts "
    "from the converted file with train.start_from"
)
_TORCHVISION_SIZES = (32, 64, 128, 256, 512)
_OUR_PIXELS = (
    "INPUT.FORMAT RGB, MODEL.PIXEL_MEAN [123.675, 116.28, 103.53], "
    "MODEL.PIXEL_STD [58.395, 57.12, 57.375]"
)


def is_foreign(state: State) -> bool:
    """Are these the names of a whole detector of another code base?"""
    return is_detectron2(state) or is_torchvision(state) or is_mmdet(state)


def load_detector(
    model: nn.Module, file: ForeignFile, *, settings: Mapping[str, Any], info: DatasetInfo
) -> str:
    """Load a whole detector of another code base into ours, and say what was loaded.

    It is one of Detectron2, torchvision or mmdetection.

    Every weight of the model must come from the file and every weight of the file find its place:
    another network or other classes are a ValueError.

    Args:
        model: Our detector; filled in place.
        file: A whole detector.
        settings: Section ``model`` of the config.
        info: Classes of the model.
    """
    state = file.state
    if is_mmdet(state):
        notes = check_mmdet(file, settings, info)
        kind, backbone = settings["kind"], settings["backbone"]["name"]
        ours = from_mmdet(state, kind=kind, backbone=backbone)
        _fill(model, ours, "mmdetection")
        report = f"whole detector (mmdetection layout), {len(state)} tensors"
        return "\n".join([report, *notes, *file.notes])
    if not is_foreign(state):
        raise ValueError(
            "this is no whole detector of Detectron2 (keys backbone.bottom_up.*), torchvision "
            "(backbone.fpn.*) or mmdetection (neck.lateral_convs.* and its heads); its keys are "
            f"{list(state)[:5]}, ..."
        )
    layout = "detectron2" if is_detectron2(state) else "torchvision"
    if "roi_heads.box_head.5.weight" in state and layout == "torchvision":
        raise ValueError(
            "this is torchvision's maskrcnn_resnet50_fpn_v2, another network than Mask R-CNN here: "
            "convolutions with BatchNorm in its pyramid and both heads; its first version, "
            "maskrcnn_resnet50_fpn, can be read"
        )
    check_settings(settings, layout)
    if layout == "detectron2":
        ours = from_detectron2(state, is_msra=_is_msra(settings))
    else:
        ours = from_torchvision(state, info.category_ids)
    _fill(model, ours, layout)
    return f"whole detector ({layout} layout), {len(state)} tensors{_note(settings, layout)}"


def _fill(model: nn.Module, ours: dict[str, Tensor], layout: str) -> None:
    for key, value in model.state_dict().items():
        if key.endswith("num_batches_tracked"):  # frozen norms have none, and momentum needs none
            ours.setdefault(key, value)
    fill(model, ours, _HINT.format(layout))


def to_layout(
    state: State, layout: str, *, settings: Mapping[str, Any], category_ids: Sequence[int]
) -> dict[str, Tensor]:
    """State dict of our Mask R-CNN or RetinaNet under the names of one of ``LAYOUTS``.

    The settings are section ``model`` of the model's config, the category ids those of its classes,
    in order. A model without names there, or of another network there, is a ValueError.
    """
    check_settings(settings, layout)
    if layout == "torchvision":
        return to_torchvision(state, category_ids)
    return to_detectron2(state, is_msra=_is_msra(settings))


def check_settings(settings: Mapping[str, Any], layout: str) -> None:
    """Make sure that another code base has a section's network too; ValueError says what to set."""
    kind, backbone = settings["kind"], settings["backbone"]["name"]
    if kind not in _KINDS:
        why = _CASCADE if kind == "cascade_maskrcnn" else ""
        raise ValueError(f"{kind} has no names in {layout}, only {' and '.join(_KINDS)} do{why}")
    is_torchvision = layout == "torchvision"
    expected: dict[str, tuple[object, ...]] = {"round_anchors": (is_torchvision,)}
    if kind == "maskrcnn":
        expected["roi_align.aligned"] = (not is_torchvision,)
        expected["roi_align.samples"] = (2 if is_torchvision else 0,)
    elif is_torchvision:
        expected["extra_levels"] = ("p5_relu", "c5_relu")  # of its first and second version
    else:  # the builder of detectron2.py makes the pyramid of the VAN paper
        expected["extra_levels"] = ("c5_relu" if _is_resnet(settings) else "c5",)
    wrong = [
        f"model.{key}={str(values[0]).lower()}"
        for key, values in expected.items()
        if reduce(getitem, key.split("."), settings) not in values
    ]
    if is_torchvision and _is_msra(settings):
        wrong.append(f"model.backbone.name={backbone.removesuffix('_msra')}")
    if wrong:
        raise ValueError(
            f"the {kind} of {layout} is another network than that of the config: its weights would "
            f"load and find other objects. For one of {layout}: {' '.join(wrong)}"
        )


def _is_resnet(settings: Mapping[str, Any]) -> bool:
    return str(settings["backbone"]["name"]).startswith(("resnet", "resnext"))


def _is_msra(settings: Mapping[str, Any]) -> bool:
    return is_msra(str(settings["backbone"]["name"]))


def _note(settings: Mapping[str, Any], layout: str) -> str:
    """What no name says: the settings of Detectron2 that the weights must belong to."""
    if layout == "torchvision":
        return ""
    if _is_msra(settings):
        needs = "MODEL.RESNETS.STRIDE_IN_1X1 True, INPUT.FORMAT BGR, MODEL.PIXEL_STD [1, 1, 1]"
    elif _is_resnet(settings):
        needs = f"MODEL.RESNETS.STRIDE_IN_1X1 False, {_OUR_PIXELS}"
    else:
        needs = f"a backbone of van_dense.integrations.detectron2, {_OUR_PIXELS}"
    return (
        f"; read as weights of a Detectron2 model with {needs}, MODEL.ANCHOR_GENERATOR.SIZES as "
        f"model.anchor_sizes {list(settings['anchor_sizes'])}"
    )


def torchvision_note(settings: Mapping[str, Any], renamed: Mapping[str, Tensor]) -> str:
    """What torchvision's builders must be told about ``renamed`` weights of ``to_layout``."""
    note = f"for torchvision's builder with num_classes={num_labels(renamed)}"
    sizes = tuple(settings["anchor_sizes"])
    if sizes != _TORCHVISION_SIZES:
        name = "rpn_anchor_generator" if settings["kind"] == "maskrcnn" else "anchor_generator"
        note += f" and {name} of the sizes {sizes}; its own {_TORCHVISION_SIZES} find less"
    return note
