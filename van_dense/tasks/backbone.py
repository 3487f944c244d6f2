"""Backbones and whole timm models from their section of a config."""

from typing import Any

from van_dense.backbones.build import (
    TimmBackbone,
    WholeModel,
    build_backbone,
    build_classifier,
    norm_options,
)
from van_dense.config.schema import Backbone as BackboneConfig


def backbone_of(config: BackboneConfig) -> TimmBackbone:
    """Build the backbone with random weights."""
    return build_backbone(
        config.name,
        drop_path=config.drop_path,
        norm_mode=config.norm_mode,
        freeze_stages=config.freeze_stages,
        checkpointing=config.checkpointing,
        options=_options(config),
    )


def classifier_of(config: BackboneConfig, num_classes: int) -> WholeModel:
    """Build the whole timm model with random weights."""
    model = build_classifier(
        config.name, num_classes, drop_path=config.drop_path, options=_options(config)
    )
    model.adapt(
        norm_mode=config.norm_mode,
        freeze_stages=config.freeze_stages,
        checkpointing=config.checkpointing,
    )
    return model


def _options(config: BackboneConfig) -> dict[str, Any]:
    return {**config.options, **norm_options(config.name, config.norm_eps)}
