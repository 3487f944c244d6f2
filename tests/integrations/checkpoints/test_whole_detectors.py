"""Which networks of ours are networks of other code bases, too."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml

from van_dense.config import load_config
from van_dense.core.dataset_info import DatasetInfo
from van_dense.integrations.checkpoints.detectors import (
    check_settings,
    load_detector,
    torchvision_note,
)
from van_dense.integrations.checkpoints.detectron2_settings import (
    check_representable,
    detectron2_yaml,
)
from van_dense.integrations.checkpoints.openmmlab_file import ForeignFile

PROJECTS = Path(__file__).resolve().parents[3] / "projects"
ONE_CLASS = DatasetInfo("one", ("a",), (1,))


def settings(project: str, *overrides: str) -> dict:
    changes = ["model.engine=torchvision", *overrides]
    return load_config(PROJECTS / f"{project}.yaml", changes).model.model_dump()


@pytest.mark.parametrize("kind", ["maskrcnn", "retinanet"])
@pytest.mark.parametrize("layout", ["detectron2", "torchvision"])
def test_the_projects_of_a_code_base_are_its_networks(kind: str, layout: str) -> None:
    check_settings(settings(f"{kind}_r50_{layout}"), layout)
    other = {"detectron2": "torchvision", "torchvision": "detectron2"}[layout]
    with pytest.raises(ValueError, match=rf"For one of {other}: model\.round_anchors="):
        check_settings(settings(f"{kind}_r50_{layout}"), other)


def test_the_projects_of_the_paper_are_networks_in_detectron2_with_our_backbone() -> None:
    for kind in ("maskrcnn", "retinanet"):
        check_settings(settings(f"{kind}_van_b2"), "detectron2")


def test_every_setting_to_change_is_named() -> None:
    with pytest.raises(ValueError, match="another network") as raised:
        check_settings(settings("maskrcnn_r50_detectron2"), "torchvision")
    for change in (
        "model.round_anchors=true",
        "model.roi_align.aligned=false",
        "model.roi_align.samples=2",
        "model.backbone.name=resnet50",
    ):
        assert change in str(raised.value)
    with pytest.raises(ValueError, match=r"model\.extra_levels=c5_relu$"):
        check_settings(settings("retinanet_r50_detectron2", "model.extra_levels=c5"), "detectron2")


@pytest.mark.parametrize(
    ("project", "keys", "message"),
    [
        (
            "maskrcnn_r50_torchvision",
            ["layer1.0.conv1.weight"],
            r"no whole detector .*layer1\.0\.conv1\.weight",
        ),
        (
            "retinanet_r50_torchvision",  # such as FCOS
            ["backbone.fpn.inner_blocks.0.0.weight"],
            "neither a Mask R-CNN nor a RetinaNet",
        ),
        (
            "maskrcnn_r50_torchvision",
            ["backbone.fpn.inner_blocks.0.0.weight", "roi_heads.box_head.5.weight"],
            "maskrcnn_resnet50_fpn_v2, another network",
        ),
    ],
)
def test_a_file_of_another_network_is_refused_and_named(
    project: str, keys: list[str], message: str
) -> None:
    weights = {key: torch.zeros(1) for key in keys}
    with pytest.raises(ValueError, match=message):
        load_detector(
            torch.nn.Identity(), ForeignFile(weights), settings=settings(project), info=ONE_CLASS
        )


def test_anchors_that_torchvision_must_be_told_are_named() -> None:
    renamed = {"roi_heads.box_predictor.cls_score.bias": torch.zeros(4)}
    usual = settings("maskrcnn_r50_torchvision")
    assert torchvision_note(usual, renamed) == "for torchvision's builder with num_classes=4"
    small = settings("maskrcnn_r50_torchvision", "model.anchor_sizes=[8,16,32,64,128]")
    note = torchvision_note(small, renamed)
    assert "rpn_anchor_generator of the sizes (8.0, 16.0, 32.0, 64.0, 128.0)" in note


def test_the_config_for_detectron2_follows_that_of_the_run() -> None:
    overrides = ("model.engine=torchvision", "data.transforms.test_short_side=480")
    config = load_config(PROJECTS / "maskrcnn_r50_detectron2.yaml", overrides)
    state = {"backbone.body.conv1.weight": torch.zeros(64, 3, 7, 7)}
    for block in range(23):  # of a ResNeXt-101 32x8d
        state[f"backbone.body.layer3.{block}.conv1.weight"] = torch.zeros(1)
    state["backbone.body.layer1.0.conv2.weight"] = torch.zeros(256, 8, 3, 3)
    state["backbone.body.layer1.0.conv3.weight"] = torch.zeros(1)
    info = DatasetInfo("toys", ("ball", "cube"), (1, 2))
    text = detectron2_yaml(config.model_dump(mode="json"), state, info, "weights.pth")
    assert "#   1 cube" in text
    found = yaml.safe_load(text)
    assert found["INPUT"] == {"FORMAT": "BGR", "MIN_SIZE_TEST": 480, "MAX_SIZE_TEST": 1333}
    assert found["MODEL"]["WEIGHTS"] == "weights.pth"
    assert found["MODEL"]["ROI_HEADS"]["NUM_CLASSES"] == 2
    assert found["MODEL"]["BACKBONE"] == {"NAME": "build_resnet_fpn_backbone", "FREEZE_AT": 2}
    assert found["MODEL"]["RESNETS"] == {
        "DEPTH": 101,
        "STRIDE_IN_1X1": True,
        "NUM_GROUPS": 32,
        "WIDTH_PER_GROUP": 8,
        "OUT_FEATURES": ["res2", "res3", "res4", "res5"],
        "NORM": "FrozenBN",
    }


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("model.backbone.options={lka_kernel: 7}", r"backbone\.options=\{'lka_kernel': 7\}"),
        ("model.fpn={channels: 32, norm: group}", r"model\.fpn\.norm=group on 32 channels"),
        ("model.mask_head.threshold=0.4", r"mask_head\.threshold=0\.4 \(0\.5 there\)"),
        ("data.size_divisor=64", r"data\.size_divisor=64 \(32 there\)"),
    ],
)
def test_what_detectron2_has_no_setting_for_is_named(override: str, named: str) -> None:
    overrides = ("model.engine=torchvision", override)
    config = load_config(PROJECTS / "maskrcnn_van_b0.yaml", overrides).model_dump()
    with pytest.raises(ValueError, match=f"Detectron2 has no setting for .*{named}"):
        check_representable(config)


def test_names_of_classes_cannot_end_the_comment_that_lists_them() -> None:
    config = load_config(PROJECTS / "maskrcnn_van_b0.yaml", ["model.engine=torchvision"])
    info = DatasetInfo("toys", ("ball\nMODEL: {}", "cube"), (1, 2))
    text = detectron2_yaml(config.model_dump(), {}, info, "weights.pth")
    assert "#   0 ball MODEL: {}" in text
    assert yaml.safe_load(text)["MODEL"]["WEIGHTS"] == "weights.pth"
