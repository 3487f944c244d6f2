"""What queries learn from: class and mask of each segment of a panoptic map."""

from dataclasses import dataclass

import torch
from torch import Tensor

from van_dense.core.segments import segment_masks
from van_dense.core.structures import Batch


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
    if batch.panoptic is None or batch.segments is None:
        missing = f"the images {batch.image_ids} have no panoptic maps to learn from"
        raise ValueError(f"{missing}; check the annotations of the data set")
    targets = []
    for panoptic, segments in zip(batch.panoptic, batch.segments, strict=True):
        learned = [segment for segment in segments if not segment.get("crowd", False)]
        kept, masks = segment_masks(panoptic, learned)
        labels = torch.tensor([s["label"] for s in kept], dtype=torch.int64, device=masks.device)
        targets.append(MaskTargets(labels, masks))
    return targets
