"""Builders and settings of models with the defaults of the config's schema, for tests."""

from __future__ import annotations

from typing import Any

from torch import nn

from van_dense.backbones import build
from van_dense.config import classification, segmentation
from van_dense.config.schema import Backbone
from van_dense.models.classifier import Regularisation
from van_dense.models.detection.roi_heads import RoIAlign
from van_dense.models.segmentation import segmentation_losses
from van_dense.models.segmentation.light_ham import LightHam
from van_dense.models.segmentation.map_inference import MapInference
from van_dense.models.segmentation.semantic_fpn import SemanticFPN
from van_dense.models.segmentation.upernet import AuxiliaryFCN, UperNet

ALIGN = RoIAlign(aligned=True, samples=0)


def build_backbone(name: str, **changes: Any) -> build.TimmBackbone:
    names = {"drop_path", "norm_mode", "freeze_stages", "checkpointing", "options"}
    settings = Backbone(name=name).model_dump(include=names)
    return build.build_backbone(name, **{**settings, **changes})


def build_classifier(name: str, num_classes: int, **changes: Any) -> build.WholeModel:
    return build.build_classifier(name, num_classes, **{"drop_path": 0.0, "options": {}, **changes})


def build_loss(name: str, **changes: Any) -> nn.Module:
    settings = segmentation.SemanticLoss(name="ohem").model_dump(exclude={"name", "weight"})
    return segmentation_losses.build_loss(name, **{**settings, **changes})


def semantic_fpn(in_channels: list[int], num_classes: int, **changes: Any) -> SemanticFPN:
    settings = segmentation.SemanticFPN(name="semantic_fpn").model_dump(exclude={"name"})
    return SemanticFPN(in_channels, num_classes, **{**settings, **changes})


def upernet(in_channels: list[int], num_classes: int, **changes: Any) -> UperNet:
    settings = segmentation.UperNet(name="upernet").model_dump(exclude={"name"})
    return UperNet(in_channels, num_classes, **{**settings, **changes})


def light_ham(in_channels: list[int], num_classes: int, **changes: Any) -> LightHam:
    settings = segmentation.LightHam(name="light_ham").model_dump(exclude={"name"})
    return LightHam(in_channels, num_classes, **{**settings, **changes})


def auxiliary_fcn(in_channels: int, num_classes: int, **changes: Any) -> AuxiliaryFCN:
    settings = segmentation.Auxiliary().model_dump(exclude={"weight"})
    return AuxiliaryFCN(in_channels, num_classes, **{**settings, **changes})


def inference(mode: str = "whole", *window: tuple[int, int], **changes: Any) -> MapInference:
    """``window`` is empty, or crop and stride."""
    settings = segmentation.Inference().model_dump() | {"multiple": 32, "rounding": 1, "mode": mode}
    if window:
        settings["crop"], settings["stride"] = window
    return MapInference(**{**settings, **changes})


def regularisation(**changes: Any) -> Regularisation:
    """Nothing but what ``changes`` switch on."""
    settings = classification.Regularisation(smoothing=0.0).model_dump()
    return Regularisation(**{**settings, **changes})
