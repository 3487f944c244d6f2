"""What panoptic maps teach: class and mask of each segment, or the class of each pixel."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from van_dense.core.segments import segment_masks
from van_dense.core.structures import IGNORE_LABEL, Batch, Segment

ResultType = Literal["panoptic", "instance", "semantic"]  # what ``predict`` may be asked for


@dataclass(frozen=True)
class MaskTargets:
    """N segments of one image.

    Attributes:
        labels: int64 (N,), 0-based classes.
        masks: uint8 {0, 1} (N, H, W) in the pixels of the padded batch, 0 in its padding.
    """

    labels: Tensor
    masks: Tensor

    def __len__(self) -> int:
        return len(self.labels)


def mask_targets(batch: Batch) -> list[MaskTargets]:
    """Segments of each image that have a pixel and are no crowd.

    A batch without panoptic maps is a ValueError.
    """
    targets = []
    for panoptic, segments in panoptic_truth(batch):
        learned = [segment for segment in segments if not segment.get("crowd", False)]
        kept, masks = segment_masks(panoptic, learned)
        labels = torch.tensor([s["label"] for s in kept], dtype=torch.int64, device=masks.device)
        targets.append(MaskTargets(labels, masks))
    return targets


def panoptic_truth(batch: Batch) -> list[tuple[Tensor, list[Segment]]]:
    """Map int32 (H, W) and segments of each image, or a ValueError where there are none."""
    if batch.panoptic is None or batch.segments is None:
        missing = f"the images {batch.image_ids} have no panoptic maps to learn from"
        raise ValueError(f"{missing}; check the annotations of the data set")
    return list(zip(batch.panoptic, batch.segments, strict=True))


def pixel_labels(panoptic: Tensor, segments: Sequence[Segment], label_of: Tensor) -> Tensor:
    """Label int64 (H, W) of each pixel of a map of ids, 255 for void; crowds have their class.

    ``label_of`` int64 (C,) says which label a class has. Nothing is sorted but the ids of the
    segments, unlike in ``core.segments.label_map``, which serves the CPU.
    """
    by_id = sorted((s["id"], s["label"]) for s in segments)
    ids = torch.tensor([0, *(i for i, _ in by_id)], dtype=panoptic.dtype, device=panoptic.device)
    classes = torch.tensor([label for _, label in by_id], dtype=torch.int64, device=panoptic.device)
    labels = F.pad(label_of[classes], (1, 0), value=IGNORE_LABEL)
    place = torch.searchsorted(ids, panoptic).clamp(max=len(ids) - 1)
    return labels[place].masked_fill(ids[place] != panoptic, IGNORE_LABEL)
