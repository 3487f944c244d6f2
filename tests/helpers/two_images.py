"""A batch for detectors: two images of different sizes, with three objects and with one."""

from __future__ import annotations

import torch

from van_dense.core.structures import Batch, Instances


def two_images() -> Batch:
    """Noise of 96 x 128 and 80 x 60 pixels; the second image is stored twice as large."""
    boxes = torch.tensor([[10.0, 10, 60, 50], [70, 50, 120, 90], [60, 0, 100, 30]])
    masks = torch.zeros(3, 96, 128, dtype=torch.uint8)
    masks[0, 10:50, 10:40] = 1
    masks[1, 50:90, 70:120] = 1
    masks[2, 0:30, 60:100] = 1
    target = Instances(boxes, torch.tensor([0, 3, 7]), masks=masks)
    generator = torch.Generator().manual_seed(0)
    return Batch(
        torch.randint(0, 255, (2, 3, 96, 128), dtype=torch.uint8, generator=generator),
        sizes=[(96, 128), (80, 60)],
        orig_sizes=[(96, 128), (160, 120)],
        image_ids=[1, 2],
        targets=[target, target[torch.tensor([0])]],
    )
