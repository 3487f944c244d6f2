"""Which networks of ours are networks of other code bases, too."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from van_dense.config import load_config
from van_dense.integrations.detectors import check_settings, load_detector

PROJECTS = Path(__file__).resolve().parents[2] / "projects"


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


def test_a_file_of_something_else_is_refused() -> None:
    weights = {"layer1.0.conv1.weight": torch.zeros(1)}
    with pytest.raises(ValueError, match=r"no whole detector .*layer1\.0\.conv1\.weight"):
        load_detector(
            torch.nn.Identity(),
            weights,
            settings=settings("maskrcnn_r50_torchvision"),
            category_ids=(1,),
        )


def test_a_detector_of_another_kind_is_named() -> None:
    weights = {"backbone.fpn.inner_blocks.0.0.weight": torch.zeros(1)}  # such as FCOS
    with pytest.raises(ValueError, match="neither a Mask R-CNN nor a RetinaNet"):
        load_detector(
            torch.nn.Identity(),
            weights,
            settings=settings("retinanet_r50_torchvision"),
            category_ids=(1,),
        )
