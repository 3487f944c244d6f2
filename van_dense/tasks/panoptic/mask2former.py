"""Mask2Former, from its section of the config."""

from collections.abc import Sequence

from van_dense.config import panoptic as schema
from van_dense.core.dataset_info import DatasetInfo
from van_dense.models.panoptic import mask2former
from van_dense.models.panoptic.mask2former_parts import DecoderSize
from van_dense.models.panoptic.mask_loss import MaskLoss
from van_dense.models.panoptic.query_results import QueryFilter
from van_dense.tasks.backbone import backbone_of


def mask2former_of(
    config: schema.Mask2Former, info: DatasetInfo, *, types: Sequence[schema.EvalType]
) -> mask2former.Mask2Former:
    """Build Mask2Former with random weights; ``types`` is what it predicts."""
    return mask2former.Mask2Former(
        backbone_of(config.backbone),
        size=DecoderSize(
            queries=config.queries,
            channels=config.channels,
            attention_heads=config.attention_heads,
            pixel_layers=config.pixel_decoder.layers,
            pixel_feedforward=config.pixel_decoder.feedforward,
            query_layers=config.decoder.layers,
            query_feedforward=config.decoder.feedforward,
        ),
        checkpointing=config.checkpointing,
        loss=MaskLoss(**config.loss.model_dump()),
        filters=QueryFilter(**config.filter.model_dump()),
        is_thing=info.thing_flags,
        types=types,
    )
