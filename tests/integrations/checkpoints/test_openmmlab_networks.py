"""Backbones that configs of OpenMMLab describe, by their names here."""

from __future__ import annotations

from typing import Any

import pytest

from van_dense.integrations.checkpoints.openmmlab_networks import backbone_name, check_backbone

SWIN = {"type": "SwinTransformer", "embed_dims": 96, "depths": [2, 2, 6, 2], "window_size": 7}
NAMES: dict[str, dict[str, Any]] = {
    "resnet50": {"type": "ResNet", "depth": 50},
    "resnet101_msra": {"type": "mmdet.ResNet", "depth": 101, "style": "caffe"},
    "resnet50c": {"type": "ResNetV1c", "depth": 50, "style": "pytorch", "strides": [1, 2, 2, 2]},
    "swin_tiny_dense": {"type": "SwinTransformer"},
    "swin_small_dense": {**SWIN, "depths": (2, 2, 18, 2)},
    "swin_base_dense": {"type": "SwinTransformer", "embed_dim": 128, "depths": [2, 2, 18, 2]},
    "convnext_tiny_dense": {
        "type": "ConvNeXt",
        "dims": [96, 192, 384, 768],
        "depths": [3, 3, 9, 3],
    },
    "convnext_base_dense": {"type": "mmpretrain.ConvNeXt", "arch": "base"},
}


@pytest.mark.parametrize("name, section", NAMES.items())
def test_a_backbone_has_a_name_here(name: str, section: dict[str, Any]) -> None:
    assert backbone_name(section) == name
    check_backbone({"model": {"backbone": section}}, name)
    with pytest.raises(ValueError, match=rf"is {name}, .* set model\.backbone\.name={name}$"):
        check_backbone({"model": {"backbone": section}}, "resnet18")


OTHERS: dict[str, tuple[dict[str, Any], str]] = {
    "HRNet": ({"type": "HRNet"}, r"model\.backbone\.type HRNet .* no counterpart here"),
    "window 12": ({**SWIN, "window_size": 12}, r"model\.backbone\.window_size of the file is 12"),
    "dilated": (
        {"type": "ResNetV1c", "depth": 50, "strides": (1, 2, 1, 1)},
        r"model\.backbone\.strides of the file is \(1, 2, 1, 1\)",
    ),
    "GroupNorm": (
        {"type": "ResNet", "depth": 50, "norm_cfg": {"type": "GN"}},
        r"norm_cfg\.type of the file is GN",
    ),
    "large": ({"type": "ConvNeXt", "arch": "large"}, "a size that is not known here: arch large"),
    "odd": ({"type": "SwinTransformer", "depths": [[1]]}, "a size that is not known here"),
}


@pytest.mark.parametrize("section, message", OTHERS.values(), ids=OTHERS)
def test_another_network_is_refused(section: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_backbone({"model": {"backbone": section}}, "resnet50")


def test_van_is_known_by_its_weights_and_nothing_by_none() -> None:
    check_backbone({"model": {"backbone": {"type": "van_b2"}}}, "van_b2")
    check_backbone({"model": {}}, "resnet50")
    check_backbone(None, "resnet50")
