"""Pixels and classes that configs of OpenMMLab name, old and new, and what becomes of them."""

from __future__ import annotations

from typing import Any

import pytest

from van_dense.backbones.download import IMAGENET, Normalization
from van_dense.integrations.checkpoints.openmmlab_settings import (
    Pixels,
    check_classes,
    overrides,
    pixel_overrides,
    pixels_of,
    setting,
    steps_of,
)

MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
RGB = Pixels(tuple(MEAN), tuple(STD), is_rgb=True)
NEW = {"model": {"data_preprocessor": {"mean": MEAN, "std": STD, "bgr_to_rgb": True}}}


def old(**normalize: Any) -> dict[str, Any]:
    """A config of 0.x or 2.x; its test pipeline keeps most steps inside another."""
    inner = [{"type": "Resize", "keep_ratio": True}, {"type": "Normalize", **normalize}]
    outer = {"type": "MultiScaleFlipAug", "transforms": inner}
    return {"data": {"test": {"pipeline": [{"type": "LoadImageFromFile"}, outer]}}}


def test_a_setting_is_looked_for_at_several_places() -> None:
    config = {"model": {"test_cfg": {"mode": "slide"}, "heads": [{"type": "A"}, {"type": "B"}]}}
    assert setting(config, "test_cfg.mode", "model.test_cfg.mode") == "slide"
    assert setting(config, "model.heads.1.type") == "B"
    assert setting(config, "model.heads.2.type", "model.test_cfg.mode.x", default=7) == 7
    assert setting(None, "model") is None


def test_steps_of_the_test_pipeline_are_found_in_both_generations() -> None:
    assert [step["keep_ratio"] for step in steps_of(old(), "Resize")] == [True]
    new = {"test_dataloader": {"dataset": {"pipeline": [{"type": "mmdet.Resize", "scale": 3}]}}}
    assert [step["scale"] for step in steps_of(new, "Resize")] == [3]
    assert not list(steps_of({}, "Resize"))


@pytest.mark.parametrize(
    "config",
    [
        NEW,
        {"data_preprocessor": NEW["model"]["data_preprocessor"]},
        old(mean=MEAN, std=STD, to_rgb=True),
    ],
    ids=["model of 1.x", "beside the model", "pipeline of 0.x"],
)
def test_pixels_are_found_in_both_generations(config: dict[str, Any]) -> None:
    assert pixels_of(config) == RGB
    assert pixel_overrides(config, "swin_tiny_dense", IMAGENET) == []


def test_pixels_of_mmpose_0_are_fractions() -> None:
    step = {"type": "NormalizeTensor", "mean": [0.5, 0.5, 0.5], "std": [0.2, 0.2, 0.2]}
    assert pixels_of({"data": {"test": {"pipeline": [step]}}}) == Pixels(
        (127.5,) * 3, (51.0,) * 3, is_rgb=True
    )
    assert pixels_of({"data": {}}) is None
    assert pixel_overrides(None, "resnet50", IMAGENET) == []


def test_other_statistics_come_along_as_settings() -> None:
    config = old(mean=[127.5, 127.5, 127.5], std=[51, 51, 51], to_rgb=True)
    assert pixel_overrides(config, "resnet50", IMAGENET) == [
        "model.backbone.mean=[0.5, 0.5, 0.5]",
        "model.backbone.std=[0.2, 0.2, 0.2]",
    ]
    half = Normalization((0.5, 0.5, 0.5), (0.2, 0.2, 0.2))
    assert pixel_overrides(config, "resnet50", half) == []


def test_caffe_style_is_another_name_of_the_backbone() -> None:
    caffe = old(mean=MEAN[::-1], std=[1.0, 1.0, 1.0], to_rgb=False)
    assert pixel_overrides(caffe, "resnet50_msra", IMAGENET) == []
    older = old(mean=[102.0, 114.75, 122.4], std=[1.0, 1.0, 1.0], to_rgb=False)
    assert pixel_overrides(older, "resnet50_msra", IMAGENET) == [
        "model.backbone.mean=[0.48, 0.45, 0.4]"
    ]


CHANNELS = {
    "caffe for a plain ResNet": (
        old(mean=MEAN, std=[1, 1, 1], to_rgb=False),
        "resnet50",
        r"BGR pixels .* set model\.backbone\.name=resnet50_msra",
    ),
    "RGB for one of caffe style": (NEW, "resnet50_msra", r"RGB .* model\.backbone\.name=resnet50$"),
    "caffe for a Swin": (
        old(mean=MEAN, std=[1, 1, 1], to_rgb=False),
        "swin_tiny_dense",
        "ResNet-50 and 101 with a deviation of 1 alone",
    ),
    "BGR with deviations": (
        old(mean=MEAN, std=STD, to_rgb=False),
        "resnet50",
        "BGR pixels of deviation .*ResNet-50 and 101",
    ),
}


@pytest.mark.parametrize("config, name, message", CHANNELS.values(), ids=CHANNELS)
def test_another_order_of_channels_is_refused(
    config: dict[str, Any], name: str, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        pixel_overrides(config, name, IMAGENET)


def test_classes_may_be_spelled_otherwise() -> None:
    here = ("bed", "traffic light", "TV")
    assert check_classes(here, here, fix="") == ""
    assert check_classes(("bed ", "traffic_light", "tv"), here, fix="") == (
        "3 classes are spelled otherwise here: 'bed ' is 'bed', 'traffic_light' is "
        "'traffic light', 'tv' is 'TV'"
    )
    assert "does not name its keypoints" in check_classes(None, here, what="keypoint", fix="")


def test_a_few_of_many_classes_may_look_alike() -> None:
    """As two of the 150 of ADE20K do; of a few classes none may."""
    here = (*(f"class {i}" for i in range(40)), "conveyor belt", "ear")
    there = (*here[:40], "conveyer belt", "ear")
    assert "1 class is spelled otherwise here: 'conveyer belt'" in check_classes(
        there, here, fix=""
    )
    with pytest.raises(ValueError, match="class 0 is 'conveyer belt'"):
        check_classes(there[-2:], here[-2:], fix="")
    with pytest.raises(ValueError, match="class 40 is 'ear' in the file"):
        check_classes((*here[:40], "ear", "conveyer belt"), here, fix="")


def test_overrides_are_what_a_project_has_not_anyway() -> None:
    project = {"eval": {"mode": "whole", "crop": [512, 512]}, "data": {"scale": None}}
    wanted = {"eval.mode": "slide", "eval.crop": (512, 512), "data.scale": (64, 32)}
    assert overrides(wanted, project) == ["eval.mode=slide", "data.scale=[64, 32]"]
    assert overrides({"data.scale": None, "eval.crop": None}, project) == ["eval.crop=null"]


CLASSES = {
    "another order": (("b", "a"), "the classes of the project in another order: b, a, and here a"),
    "another name": (("a", "c"), "class 1 is 'c' in the file and 'b' in the project"),
    "more": (("a", "b", "c"), "the file has 3 classes and the project 2; those of the file: a, b"),
}


@pytest.mark.parametrize("there, message", CLASSES.values(), ids=CLASSES)
def test_other_classes_are_refused(there: tuple[str, ...], message: str) -> None:
    with pytest.raises(ValueError, match=f"{message}.*; name a project"):
        check_classes(there, ("a", "b"), fix="name a project")
