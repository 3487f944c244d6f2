"""Backbones and whole timm models from their section of a config."""

from typing import Any

from van_dense.backbones import build
from van_dense.backbones.build import TimmBackbone, WholeModel
from van_dense.backbones.download import Normalization
from van_dense.backbones.statistics import statistics_of
from van_dense.config.schema import Backbone as BackboneConfig


def backbone_of(config: BackboneConfig) -> TimmBackbone:
    """Build the backbone with random weights."""
    options, drop_path = _options(config), config.drop_path
    backbone = build.build_backbone(
        config.name, drop_path=drop_path, options=options, **_adaptation(config)
    )
    backbone.statistics = pixel_statistics(config)
    return backbone


def classifier_of(config: BackboneConfig, num_classes: int) -> WholeModel:
    """Build the whole timm model with random weights."""
    options, drop_path = _options(config), config.drop_path
    model = build.build_classifier(config.name, num_classes, drop_path=drop_path, options=options)
    model.adapt(**_adaptation(config))
    model.statistics = pixel_statistics(config)
    return model


def pixel_statistics(config: BackboneConfig) -> Normalization:
    """Mean and standard deviation of the pixels, in 0..1, that images are normalised with."""
    return statistics_of(config.name, config.mean, config.std)


def _adaptation(config: BackboneConfig) -> dict[str, Any]:
    return config.model_dump(include={"norm_mode", "freeze_stages", "checkpointing"})


def _options(config: BackboneConfig) -> dict[str, Any]:
    return {**config.options, **build.norm_options(config.name, config.norm_eps)}
