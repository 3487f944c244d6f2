"""What the tasks share: the backbone of a config, and the sample data of a part."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from van_dense.backbones.build import Backbone, build_backbone
from van_dense.config.schema import Backbone as BackboneConfig
from van_dense.config.schema import Data
from van_dense.data.sample_data import write_sample_data

Split = Literal["train", "val"]


def backbone_of(config: BackboneConfig) -> Backbone:
    """Build the backbone with random weights."""
    options = dict(config.options)
    if config.norm_eps is not None and config.name.startswith("van_"):
        options["norm_eps"] = config.norm_eps
    return build_backbone(
        config.name,
        drop_path=config.drop_path,
        norm_mode=config.norm_mode,
        freeze_stages=config.freeze_stages,
        checkpointing=config.checkpointing,
        options=options,
    )


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
