"""Backbones and whole timm models from their section of a config."""

from typing import Any

from van_dense.backbones import build
from van_dense.backbones.build import TimmBackbone, WholeModel
from van_dense.config.schema import Backbone as BackboneConfig


def backbone_of(config: BackboneConfig) -> TimmBackbone:
    """Build the backbone with random weights."""
    options, drop_path = _options(config), config.drop_path
    return build.build_backbone(
        config.name, drop_path=drop_path, options=options, **_adaptation(config)
    )


def classifier_of(config: BackboneConfig, num_classes: int) -> WholeModel:
    """Build the whole timm model with random weights."""
    options, drop_path = _options(config), config.drop_path
    model = build.build_classifier(config.name, num_classes, drop_path=drop_path, options=options)
    model.adapt(**_adaptation(config))
    return model


def _adaptation(config: BackboneConfig) -> dict[str, Any]:
    return config.model_dump(include={"norm_mode", "freeze_stages", "checkpointing"})


def _options(config: BackboneConfig) -> dict[str, Any]:
    return {**config.options, **build.norm_options(config.name, config.norm_eps)}
