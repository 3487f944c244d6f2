"""What the tasks share: the backbone of a config, its weights, and the sample data of a part."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, Literal

from van_dense.backbones.build import (
    TimmBackbone,
    WholeModel,
    build_backbone,
    build_classifier,
    norm_options,
)
from van_dense.backbones.weights import LoadReport, load_pretrained
from van_dense.config import Config
from van_dense.config.schema import Backbone as BackboneConfig
from van_dense.config.schema import Data
from van_dense.data.sample.sample_data import write_sample_data
from van_dense.engine.checkpoint import choose_checkpoint
from van_dense.models.dense_model import DenseModel

log = logging.getLogger(__name__)

Split = Literal["train", "val"]


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


def load_weights(model: DenseModel, config: Config) -> LoadReport | None:
    """Load the weights that the config names, if it names some, and report every key.

    A classifier that normalises its images otherwise than the weights expect loses accuracy
    without any error, so that is a warning.

    Raises:
        ValueError: When the weights cannot be had, cannot be read, or do not fit.
    """
    source = config.model.backbone.weights
    if source is None:
        return None
    if Path(source).is_dir():
        source = str(choose_checkpoint(source))
    report = load_pretrained(model.backbone, source)
    if config.task == "classification":
        if mismatch := report.mismatch(config.model.mean, config.model.std):
            log.warning("%s: %s", config.model.backbone.weights, mismatch)
    return report


def prepare_sample(data: Data, part: str) -> None:
    """Write one part of the sample data set if the config asks for it and it is not there."""
    sample = data.sample
    if sample is not None:
        write_sample_data(
            Path(sample.root),
            train_images=sample.train_images,
            val_images=sample.val_images,
            size=sample.size,
            seed=sample.seed,
            parts=(part,),
        )
