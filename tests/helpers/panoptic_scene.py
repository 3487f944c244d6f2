"""Panoptic FPN at its smallest, and a batch that it can learn from."""

from __future__ import annotations

from typing import Any

import torch

from van_dense.config.panoptic import PanopticFPN as Config
from van_dense.core.dataset_info import DatasetInfo
from van_dense.core.structures import Batch, Segment
from van_dense.models.panoptic.panoptic_fpn import PanopticFPN
from van_dense.tasks.detection.two_stage import panoptic_fpn

# Things and stuff take turns: no number inside the model is that of the data set.
INFO = DatasetInfo(
    "toy", ("sky", "cat", "road", "dog"), (1, 2, 3, 4), is_thing=(False, True, False, True)
)
SKY, CAT, ROAD, DOG = range(4)
SMALL = {
    "kind": "panoptic_fpn",
    "backbone": {"name": "van_b0", "weights": None},
    "fpn": {"channels": 16},
    "anchor_sizes": (8.0, 16.0, 32.0, 64.0, 128.0),
    "box_head": {"channels": 16},
    "mask_head": {"channels": 8, "convs": 1},
    "semantic_head": {"channels": 8},
    "merge": {"stuff_area": 64},
}
ALL = ("panoptic", "instance", "semantic")


def small_panoptic_fpn(info: DatasetInfo = INFO, types: Any = ALL, **changes: Any) -> PanopticFPN:
    torch.manual_seed(0)
    return panoptic_fpn(Config.model_validate({**SMALL, **changes}), info, types=types)


def segment(number: int, label: int, *, crowd: bool = False) -> Segment:
    return {"id": number, "label": label, "score": 1.0, "crowd": crowd}


def panoptic_batch() -> Batch:
    """Two noise images of 96 x 128 and 80 x 60 pixels; the second is stored twice as large.

    The first has sky, a cat, a dog, a crowd of dogs, a segment without any pixel, and void; the
    second has road alone.
    """
    maps = torch.zeros(2, 96, 128, dtype=torch.int32)
    maps[0, :40] = 11
    maps[0, 30:70, 10:50] = 70000
    maps[0, 50:90, 70:110] = 5
    maps[0, 70:90, 110:128] = 6
    maps[1, :80, :60] = 9
    segments = [
        [
            segment(70000, CAT),
            segment(5, DOG),
            segment(6, DOG, crowd=True),
            segment(11, SKY),
            segment(3, CAT),
        ],
        [segment(9, ROAD)],
    ]
    generator = torch.Generator().manual_seed(0)
    return Batch(
        torch.randint(0, 255, (2, 3, 96, 128), dtype=torch.uint8, generator=generator),
        sizes=[(96, 128), (80, 60)],
        orig_sizes=[(96, 128), (160, 120)],
        image_ids=[1, 2],
        panoptic=maps,
        segments=segments,
    )
