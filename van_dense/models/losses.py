"""Normalisers and small losses that detectors share."""

from __future__ import annotations

import torch
from torch import Tensor, distributed
from torch.nn import functional as F


def synced_count(count: Tensor | int | float, device: torch.device) -> Tensor:
    """Mean of ``count`` over all processes, at least 1: the normaliser of a summed loss.

    DistributedDataParallel averages gradients over processes; dividing by the mean count makes the
    result equal to one process that holds the whole batch. (DETR and Detectron2 do the same.)
    """
    total = torch.as_tensor(count, dtype=torch.float32, device=device)
    if distributed.is_available() and distributed.is_initialized():
        total = total.clone()
        distributed.all_reduce(total)
        total = total / distributed.get_world_size()
    return total.clamp(min=1.0)


def l1_sum(prediction: Tensor, target: Tensor) -> Tensor:
    """Summed absolute difference in float32; mmdet trains boxes with L1, not smooth L1."""
    return F.l1_loss(prediction.float(), target, reduction="sum")
