"""Backbones and whole timm models from their section of a config."""

from typing import Any

from van_dense.backbones import build
from van_dense.backbones.build import TimmBackbone, WholeModel
from van_dense.backbones.download import Normalization
from van_dense.backbones.statistics import statistics_of
from van_dense.config.schema import Backbone as BackboneConfig
from van_dense.core.structures import Size


def backbone_of(config: BackboneConfig, size: Size | None = None) -> TimmBackbone:
    """Build the backbone with random weights.

    Args:
        config: Section of the backbone.
        size: (height, width) of all images where the task has one size, None where they vary.
    """
    backbone = build.build_backbone(
        config.name,
        drop_path=config.drop_path,
        options=_options(config),
        size=size,
        **_adaptation(config),
    )
    backbone.statistics = pixel_statistics(config)
    return backbone


def classifier_of(config: BackboneConfig, num_classes: int, size: Size) -> WholeModel:
    """Build the whole timm model with random weights.

    Args:
        config: Section of the backbone.
        num_classes: Outputs of the classifier.
        size: (height, width) of all images.
    """
    model = build.build_classifier(
        config.name,
        num_classes,
        drop_path=config.drop_path,
        options=_options(config),
        size=size,
    )
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
