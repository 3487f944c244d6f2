"""What a config of mmdetection says of its network: taken over, refused, or as it is here."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from van_dense.config import load_config
from van_dense.data.readers.coco_json import coco_info
from van_dense.integrations.checkpoints.mmdet_settings import check_mmdet
from van_dense.integrations.checkpoints.openmmlab_file import ForeignFile
from van_dense.tasks import task_of

PROJECTS = Path(__file__).resolve().parents[3] / "projects"
COCO = coco_info()
UNNAMED = "the file does not name its classes; they are taken to be the project's"
RESNET = {"type": "ResNet", "depth": 50, "style": "pytorch"}
ONES, TENTHS = [1.0, 1.0, 1.0, 1.0], [0.1, 0.1, 0.2, 0.2]
RPN = {
    "anchor_generator": {
        "type": "AnchorGenerator",
        "scales": [8],
        "ratios": [0.5, 1.0, 2.0],
        "strides": [4, 8, 16, 32, 64],
    },
    "bbox_coder": {"type": "DeltaXYWHBBoxCoder", "target_stds": ONES},
}
EXTRACTOR = {"roi_layer": {"type": "RoIAlign", "output_size": 7, "sampling_ratio": 0}}
TEST = {
    "rpn": {"nms_pre": 1000, "max_per_img": 1000, "nms": {"type": "nms", "iou_threshold": 0.7}},
    "rcnn": {
        "score_thr": 0.05,
        "nms": {"type": "nms", "iou_threshold": 0.5},
        "max_per_img": 100,
        "mask_thr_binary": 0.5,
    },
}
MASK_RCNN = {
    "type": "MaskRCNN",
    "backbone": RESNET,
    "neck": {"type": "FPN", "out_channels": 256, "num_outs": 5},
    "rpn_head": RPN,
    "roi_head": {
        "bbox_roi_extractor": EXTRACTOR,
        "bbox_head": {
            "reg_class_agnostic": False,
            "bbox_coder": {"type": "DeltaXYWHBBoxCoder", "target_stds": TENTHS},
        },
    },
    "test_cfg": TEST,
}
CASCADE = {
    **MASK_RCNN,
    "type": "CascadeRCNN",
    "roi_head": {
        "bbox_roi_extractor": EXTRACTOR,
        "bbox_head": [
            {"reg_class_agnostic": True, "bbox_coder": {"target_stds": stds}}
            for stds in (TENTHS, [0.05, 0.05, 0.1, 0.1], [0.033, 0.033, 0.067, 0.067])
        ],
        "mask_head": {"type": "FCNMaskHead"},
    },
}
RETINANET = {
    "type": "RetinaNet",
    "backbone": RESNET,
    "neck": {"type": "FPN", "start_level": 1, "add_extra_convs": "on_input", "num_outs": 5},
    "bbox_head": {
        "anchor_generator": {
            "type": "AnchorGenerator",
            "octave_base_scale": 4,
            "scales_per_octave": 3,
            "ratios": [0.5, 1.0, 2.0],
            "strides": [8, 16, 32, 64, 128],
        },
        "bbox_coder": {"target_stds": ONES},
    },
    "test_cfg": {
        "nms_pre": 1000,
        "score_thr": 0.05,
        "nms": {"type": "nms", "iou_threshold": 0.5},
        "max_per_img": 100,
    },
}
MODELS = {
    "maskrcnn_r50_mmdet": MASK_RCNN,
    "cascade_maskrcnn_r50_mmdet": CASCADE,
    "retinanet_r50_mmdet": RETINANET,
}


def changed(model: dict[str, Any], path: str, value: object) -> dict[str, Any]:
    """A copy with the value at a dotted path."""
    model = copy.deepcopy(model)
    *parents, last = path.split(".")
    section: Any = model
    for part in parents:
        section = section[int(part) if part.isdigit() else part]
    section[last] = value
    return model


def published(model: dict[str, Any] | None, classes: tuple[str, ...] | None = None) -> ForeignFile:
    return ForeignFile(
        state={}, classes=classes, config=None if model is None else {"model": model}
    )


def check(project: str, file: ForeignFile, *overrides: str) -> list[str]:
    config = load_config(PROJECTS / f"{project}.yaml", list(overrides))
    return check_mmdet(file, config.model.model_dump(), COCO)


def taken(project: str, model: dict[str, Any], **config: Any) -> list[str]:
    file = ForeignFile(state={}, classes=None, config={"model": model, **config})
    project_config = load_config(PROJECTS / f"{project}.yaml", [])
    return task_of(project_config).foreign_settings(file, project_config)


@pytest.mark.parametrize("project", MODELS)
def test_the_projects_are_the_networks_of_mmdetection(project: str) -> None:
    assert check(project, published(MODELS[project], COCO.class_names)) == []
    assert taken(project, MODELS[project]) == []


@pytest.mark.parametrize(
    "project, path, value, setting",
    [
        (
            "maskrcnn_r50_mmdet",
            "rpn_head.anchor_generator.scales",
            [4],
            "model.anchor_sizes=[16.0, 32.0, 64.0, 128.0, 256.0]",
        ),
        (
            "maskrcnn_r50_mmdet",
            "roi_head.bbox_roi_extractor.roi_layer.sampling_ratio",
            2,
            "model.roi_align.samples=2",
        ),
        (
            "maskrcnn_r50_mmdet",
            "roi_head.bbox_roi_extractor.roi_layer.aligned",
            False,
            "model.roi_align.aligned=false",
        ),
        (
            "cascade_maskrcnn_r50_mmdet",
            "roi_head.bbox_head.0.reg_class_agnostic",
            False,
            "model.box_head.one_box=false",
        ),
        (
            "retinanet_r50_mmdet",
            "bbox_head.anchor_generator.octave_base_scale",
            3,
            "model.anchor_sizes=[24.0, 48.0, 96.0, 192.0, 384.0]",
        ),
        ("retinanet_r50_mmdet", "neck.relu_before_extra_convs", True, "model.extra_levels=c5_relu"),
        ("maskrcnn_r50_mmdet", "backbone.depth", 101, "model.backbone.name=resnet101"),
        ("maskrcnn_r50_mmdet", "backbone.style", "caffe", "model.backbone.name=resnet50_msra"),
    ],
)
def test_another_network_is_refused_with_the_setting(project, path, value, setting) -> None:
    file = published(changed(MODELS[project], path, value))
    with pytest.raises(ValueError) as error:
        check(project, file)
    assert setting in str(error.value)
    assert check(project, file, setting) == [UNNAMED]


def test_anchors_without_a_setting_of_their_own_are_told_by_what_the_projects_have() -> None:
    """The cascade averages logits in mmdetection, whatever a file says or does not say."""
    for model in (CASCADE, None):
        with pytest.raises(ValueError, match=r"model\.average=logits"):
            check("cascade_maskrcnn_r50_mmdet", published(model), "model.average=probabilities")


@pytest.mark.parametrize(
    "project, path, value, words",
    [
        ("maskrcnn_r50_mmdet", "neck.type", "PAFPN", "model.neck.type PAFPN (FPN here)"),
        ("maskrcnn_r50_mmdet", "test_cfg.rcnn.nms.type", "soft_nms", "soft_nms (nms here)"),
        ("maskrcnn_r50_mmdet", "rpn_head.anchor_generator.ratios", [1.0], "ratios (1.0,)"),
        ("maskrcnn_r50_mmdet", "roi_head.bbox_head.reg_class_agnostic", True, "class_agnostic"),
        ("retinanet_r50_mmdet", "bbox_head.bbox_coder.target_stds", TENTHS, "target_stds"),
        ("retinanet_r50_mmdet", "bbox_head.anchor_generator.scales_per_octave", 2, "octave 2"),
        ("maskrcnn_r50_mmdet", "backbone.dcn", {"type": "DCNv2"}, "model.backbone.dcn"),
        ("maskrcnn_r50_mmdet", "type", "FCOS", "model.type FCOS of the file is no detector"),
        ("maskrcnn_r50_mmdet", "type", "RetinaNet", "the file holds a retinanet"),
    ],
)
def test_what_has_no_setting_is_refused_by_its_name(project, path, value, words) -> None:
    with pytest.raises(ValueError) as error:
        check(project, published(changed(MODELS[project], path, value)))
    assert words in str(error.value)


def test_test_settings_come_along() -> None:
    model = changed(MASK_RCNN, "test_cfg.rcnn.score_thr", 0.01)
    model = changed(model, "test_cfg.rcnn.max_per_img", 300)
    model = changed(model, "test_cfg.rpn.max_per_img", 2000)
    pipeline = [{"type": "Resize", "scale": [1024, 512], "keep_ratio": True}]
    assert taken(
        "maskrcnn_r50_mmdet", model, test_dataloader={"dataset": {"pipeline": pipeline}}
    ) == [
        "model.box_head.score_threshold=0.01",
        "model.box_head.max_detections=300",
        "model.rpn.test_post_nms=2000",
        "data.transforms.test_short_side=512",
        "data.transforms.max_long_side=1024",
    ]


def test_words_of_mmdetection_2_are_read() -> None:
    """Its first releases have other keys for the proposals, and a step around the test steps."""
    rpn = {"nms_pre": 1000, "nms_post": 500, "nms_thr": 0.6}
    flip = {"type": "MultiScaleFlipAug", "img_scale": (1333, 640), "transforms": []}
    assert taken(
        "maskrcnn_r50_mmdet",
        changed(MASK_RCNN, "test_cfg.rpn", rpn),
        data={"test": {"pipeline": [flip]}},
    ) == [
        "model.rpn.test_post_nms=500",
        "model.rpn.nms_iou=0.6",
        "data.transforms.test_short_side=640",
    ]
    old = changed(RETINANET, "neck.add_extra_convs", True)
    assert check("retinanet_r50_mmdet", published(old, COCO.class_names)) == []


def test_the_first_releases_have_test_settings_beside_the_model() -> None:
    model = {key: value for key, value in MASK_RCNN.items() if key != "test_cfg"}
    test = {"rpn": {"max_num": 500}, "rcnn": {"score_thr": 0.0001, "nms": {"type": "nms"}}}
    assert taken("maskrcnn_r50_mmdet", model, test_cfg=test) == [
        "model.box_head.score_threshold=0.0001",
        "model.rpn.test_post_nms=500",
    ]
    soft = ForeignFile({}, config={"model": model, "test_cfg": {"rcnn": {"nms": {"type": "x"}}}})
    with pytest.raises(ValueError, match=r"test_cfg\.rcnn\.nms\.type x"):
        check("maskrcnn_r50_mmdet", soft)


def test_of_several_test_sizes_the_first_counts() -> None:
    flip = {"type": "MultiScaleFlipAug", "img_scale": [(1333, 640), (1333, 800)], "transforms": []}
    assert taken("maskrcnn_r50_mmdet", MASK_RCNN, data={"test": {"pipeline": [flip]}}) == [
        "data.transforms.test_short_side=640"
    ]


def test_images_that_do_not_keep_their_ratio_are_told() -> None:
    pipeline = [{"type": "Resize", "scale": (1333, 800), "keep_ratio": False}]
    sections = {"test_dataloader": {"dataset": {"pipeline": pipeline}}}
    file = ForeignFile({}, COCO.class_names, config={"model": MASK_RCNN, **sections})
    (note,) = check("maskrcnn_r50_mmdet", file)
    assert "every image into one size" in note


def test_one_section_may_stand_for_all_stages_of_a_cascade() -> None:
    head = {"reg_class_agnostic": True, "bbox_coder": {"target_stds": TENTHS}}
    model = changed(CASCADE, "roi_head.bbox_head", head)
    assert check("cascade_maskrcnn_r50_mmdet", published(model, COCO.class_names)) == []


def test_both_spellings_of_p6_from_p5_are_read() -> None:
    neck = {"type": "FPN", "add_extra_convs": True, "extra_convs_on_inputs": False}
    model = {"type": "ATSS", "neck": neck}
    assert check("atss_r50_mmdet", published(model, COCO.class_names)) == []
    with pytest.raises(ValueError, match="makes P6 of c5"):
        check("gfl_r50_mmdet", published({"type": "GFL", "neck": {"add_extra_convs": True}}))


def test_classes_of_another_data_set_are_refused() -> None:
    with pytest.raises(ValueError, match="the file has 2 classes and the project 80"):
        check("maskrcnn_r50_mmdet", published(MASK_RCNN, ("cat", "dog")))


def test_a_file_without_a_config_says_what_nobody_checked() -> None:
    (note,) = check("maskrcnn_r50_mmdet", published(None, COCO.class_names))
    assert note.startswith("the file has no config of its model")
