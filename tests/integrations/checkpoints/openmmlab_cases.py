"""Files of OpenMMLab that are another network than a project's, and what is said of each.

``docs/write_openmmlab.py`` makes the tables of docs/openmmlab.md of them and of the real networks.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from van_dense.config import load_config
from van_dense.core.dataset_info import DatasetInfo
from van_dense.integrations.checkpoints.openmmlab_file import foreign_file
from van_dense.models.dense_model import DenseModel
from van_dense.tasks import task_of
from van_dense.tasks.build import build_model

PROJECTS = Path(__file__).resolve().parents[3] / "projects"
OF = {
    "mmdet": "mmdetection 2.x, 3.x",
    "mmdet 1": "mmdetection 1.x",
    "mmseg": "mmsegmentation 0.x, 1.x",
    "mmpose": "mmpose 0.x, 1.x",
}
_KEYS = {
    "mmdet": ("neck.lateral_convs.0.conv.weight", "bbox_head.conv.weight"),
    "mmseg": ("decode_head.conv_seg.weight",),
    "mmpose": ("head.final_layer.weight",),
}


@dataclass(frozen=True)
class Case:
    """A file that a project does not fit."""

    framework: str  #: one of ``OF``
    title: str  #: what the file has
    project: str  #: stem in projects/
    model: Mapping[str, Any]  #: section ``model`` of the config in the file
    keys: tuple[str, ...] = ()  #: of its weights, where these say it
    config: Mapping[str, Any] = field(default_factory=dict)  #: further sections


_MASK = {"type": "MaskRCNN"}
_RETINA = {"type": "RetinaNet"}
_SEG = {"type": "EncoderDecoder"}
_POSE = {"type": "TopdownPoseEstimator"}
_RESNET = {"type": "ResNet", "depth": 50}
_V1C = {"type": "ResNetV1c", "depth": 50}
_GENERATOR = {"type": "AnchorGenerator", "strides": [4, 8, 16, 32, 64]}


def _cutting(**layer: Any) -> dict[str, Any]:
    """A second stage that cuts its regions out in a way of its own."""
    return {"bbox_roi_extractor": {"roi_layer": {"type": "RoIAlign", "output_size": 7, **layer}}}


# fmt: off
CASES = (
    Case("mmdet", "another backbone of the same kind", "maskrcnn_r50_mmdet",
         {**_MASK, "backbone": {**_RESNET, "depth": 101}}),
    Case("mmdet", "style caffe", "maskrcnn_r50_mmdet",
         {**_MASK, "backbone": {**_RESNET, "style": "caffe"}}),
    Case("mmdet", "smaller anchors", "maskrcnn_r50_mmdet",
         {**_MASK, "rpn_head": {"anchor_generator": {**_GENERATOR, "scales": [4]}}}),
    Case("mmdet", "RoIAlign of 2 x 2 samples", "maskrcnn_r50_mmdet",
         {**_MASK, "roi_head": _cutting(sampling_ratio=2)}),
    Case("mmdet", "RoIAlign of mmdetection 1.x", "maskrcnn_r50_mmdet",
         {**_MASK, "roi_head": _cutting(aligned=False)}),
    Case("mmdet", "a ReLU before P7", "retinanet_r50_mmdet",
         {**_RETINA, "neck": {"type": "FPN", "add_extra_convs": "on_input",
                              "relu_before_extra_convs": True}}),
    Case("mmdet", "a cascade with a box for each class", "cascade_maskrcnn_r50_mmdet",
         {"type": "CascadeRCNN", "roi_head": {"bbox_head": [{"reg_class_agnostic": False}],
                                              "mask_head": {"type": "FCNMaskHead"}}}),
    Case("mmdet", "a cascade without masks", "cascade_maskrcnn_r50_mmdet",
         {"type": "CascadeRCNN", "roi_head": {"bbox_head": [{"reg_class_agnostic": True}]}}),
    Case("mmdet", "masks for all classes", "maskrcnn_r50_mmdet",
         {**_MASK, "roi_head": {"mask_head": {"class_agnostic": True}}}),
    Case("mmdet", "normed classifiers, as with Seesaw loss", "maskrcnn_r50_mmdet",
         {**_MASK, "roi_head": {"bbox_head": {"cls_predictor_cfg": {"type": "NormedLinear"}}}}),
    Case("mmdet", "another head of a known detector", "retinanet_r50_mmdet",
         {**_RETINA, "bbox_head": {"type": "SABLRetinaHead"}}),
    Case("mmdet", "a project of VAN, whose cascade averages probabilities",
         "cascade_maskrcnn_van_b2_3x", {"type": "CascadeRCNN"}),
    Case("mmdet", "another pyramid", "maskrcnn_r50_mmdet", {**_MASK, "neck": {"type": "PAFPN"}}),
    Case("mmdet", "P6 of P5 without a ReLU", "retinanet_r50_mmdet",
         {**_RETINA, "neck": {"type": "FPN", "add_extra_convs": "on_output"}}),
    Case("mmdet", "other ratios of the anchors", "retinanet_r50_mmdet",
         {**_RETINA, "bbox_head": {"anchor_generator": {**_GENERATOR, "ratios": [1.0]}}}),
    Case("mmdet", "deformable convolutions", "maskrcnn_r50_mmdet",
         {**_MASK, "backbone": {**_RESNET, "dcn": {"type": "DCNv2"}}}),
    Case("mmdet", "ResNeXt and other backbones", "maskrcnn_r50_mmdet",
         {**_MASK, "backbone": {"type": "ResNeXt", "depth": 50}}),
    Case("mmdet", "Soft-NMS", "maskrcnn_r50_mmdet",
         {**_MASK, "test_cfg": {"rcnn": {"nms": {"type": "soft_nms"}}}}),
    Case("mmdet", "Mask R-CNN with a box for all classes", "maskrcnn_r50_mmdet",
         {**_MASK, "roi_head": {"bbox_head": {"reg_class_agnostic": True}}}),
    Case("mmdet", "another detector", "maskrcnn_r50_mmdet", {"type": "FCOS"}),
    Case("mmdet 1", "anything", "maskrcnn_r50_mmdet", _MASK,
         keys=("neck.lateral_convs.0.conv.weight", "bbox_head.fc_cls.weight")),
    Case("mmseg", "another backbone of the same kind", "upernet_r50_mmseg",
         {**_SEG, "backbone": {**_V1C, "depth": 101}}),
    Case("mmseg", "other scales of pooling", "upernet_r50_mmseg",
         {**_SEG, "decode_head": {"type": "UPerHead", "pool_scales": (1, 2, 4, 8)}}),
    Case("mmseg", "Semantic FPN for a project of UperNet", "upernet_r50_mmseg",
         {**_SEG, "decode_head": {"type": "FPNHead"}}),
    Case("mmseg", "a dilated ResNet", "upernet_r50_mmseg",
         {**_SEG, "backbone": {**_V1C, "strides": (1, 2, 1, 1), "dilations": (1, 1, 2, 4)}}),
    Case("mmseg", "aligned corners", "upernet_r50_mmseg",
         {**_SEG, "decode_head": {"type": "UPerHead", "align_corners": True}}),
    Case("mmseg", "one logit for two classes", "upernet_r50_mmseg",
         {**_SEG, "decode_head": {"type": "UPerHead", "out_channels": 1}}),
    Case("mmseg", "another head", "upernet_r50_mmseg",
         {**_SEG, "decode_head": {"type": "PSPHead"}}),
    Case("mmpose", "another backbone of the same kind", "pose_r50_mmpose_256x192",
         {**_POSE, "backbone": {**_RESNET, "depth": 101}}),
    Case("mmpose", "HRNet", "pose_r50_mmpose_256x192", {**_POSE, "backbone": {"type": "HRNet"}}),
    Case("mmpose", "UDP heatmaps", "pose_r50_mmpose_256x192",
         {**_POSE, "head": {"type": "HeatmapHead", "decoder": {"type": "UDPHeatmap"}}}),
    Case("mmpose", "DARK", "pose_r50_mmpose_256x192",
         {**_POSE, "head": {"type": "HeatmapHead",
                            "decoder": {"type": "MSRAHeatmap", "unbiased": True}}}),
    Case("mmpose", "SimCC and regression", "pose_r50_mmpose_256x192",
         {**_POSE, "head": {"type": "SimCCHead"}}),
    Case("mmpose", "flips without the shift by a pixel", "pose_r50_mmpose_256x192",
         {**_POSE, "test_cfg": {"flip_test": True, "shift_heatmap": False}}),
)
# fmt: on


def refusal(case: Case) -> str:
    """What is said of the file of a case."""
    state = {key: torch.zeros(1) for key in case.keys or _KEYS[case.framework]}
    sections = {"model": dict(case.model), **case.config}
    text = "\n".join(f"{name} = {value!r}" for name, value in sections.items())
    content = {"meta": {"cfg": text}, "state_dict": state}
    try:
        load(case.project, (), content)
    except ValueError as error:
        return str(error)
    raise AssertionError(f"{case.title} is not refused")


def load(project: str, overrides: tuple[str, ...], content: Mapping[str, Any]) -> DenseModel:
    """The network of a project without memory, with the weights of a file; ValueError or itself."""
    config = load_config(PROJECTS / f"{project}.yaml", list(overrides))
    task = task_of(config)
    file = foreign_file(content)
    info: DatasetInfo = task.foreign_info(file, config)
    with torch.device("meta"):
        model = build_model(config, info)
    with warnings.catch_warnings():  # there is no memory to copy weights to
        warnings.simplefilter("ignore")
        task.load_foreign(model, file, config, info)
    return model


def published(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """A file of some weights that says nothing else."""
    return {"meta": {}, "state_dict": dict(state)}
