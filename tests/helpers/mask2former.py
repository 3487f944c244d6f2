"""A tiny Mask2Former with the defaults of the config's schema, and a batch to learn from."""

from __future__ import annotations

from typing import Any

import torch
from helpers.defaults import build_backbone
from torch import nn

from van_dense.config import panoptic
from van_dense.core.structures import Batch, Segment
from van_dense.models.panoptic.mask2former import Mask2Former
from van_dense.models.panoptic.mask2former_parts import DecoderSize
from van_dense.models.panoptic.mask_loss import MaskLoss
from van_dense.models.panoptic.query_results import QueryFilter

TINY = DecoderSize(
    queries=5,
    channels=64,
    attention_heads=2,
    pixel_layers=1,
    pixel_feedforward=32,
    query_layers=3,  # one for each scale
    query_feedforward=32,
)
IS_THING = (True, True, False, False)


def mask_loss(**changes: Any) -> MaskLoss:
    return MaskLoss(**{**panoptic.MaskLoss().model_dump(), **changes})


def query_filter(**changes: Any) -> QueryFilter:
    return QueryFilter(**{**panoptic.PanopticFilter().model_dump(), **changes})


def mask2former(backbone: nn.Module | None = None, **changes: Any) -> Mask2Former:
    settings: dict[str, Any] = {
        "size": TINY,
        "checkpointing": False,
        "loss": mask_loss(points=64),
        "filters": query_filter(),
        "is_thing": IS_THING,
        "types": ("panoptic", "instance", "semantic"),
    }
    return Mask2Former(backbone or build_backbone("van_b0"), **{**settings, **changes})


def segment(identity: int, label: int, **more: Any) -> Segment:
    return Segment(id=identity, label=label, score=1.0, **more)


def panoptic_batch() -> Batch:
    """Two images of 64x96 and 96x64, padded; one has two segments and a crowd, the other none."""
    generator = torch.Generator().manual_seed(0)
    maps = torch.zeros(2, 96, 96, dtype=torch.int32)
    maps[0, :40, :96], maps[0, 10:30, 20:60], maps[0, 50:60, :20] = 7, 300, 4
    return Batch(
        images=torch.randint(0, 256, (2, 3, 96, 96), dtype=torch.uint8, generator=generator),
        sizes=[(64, 96), (96, 64)],
        orig_sizes=[(128, 192), (48, 32)],
        image_ids=["two", "none"],
        panoptic=maps,
        segments=[
            [segment(7, 2), segment(300, 0), segment(4, 1, crowd=True), segment(9, 1)],
            [],
        ],
    )
