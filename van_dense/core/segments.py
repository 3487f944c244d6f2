"""Panoptic maps taken apart: masks, instances of things, and labels of pixels.

Legend: H, W pixels of the map; N segments that have a pixel in it.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torchvision.ops import masks_to_boxes

from van_dense.core.structures import IGNORE_LABEL, Instances, Segment

LARGEST_ID = 2**24 - 1  # R + 256 G + 65536 B of COCO's panoptic PNGs


def segment_masks(panoptic: Tensor, segments: Sequence[Segment]) -> tuple[list[Segment], Tensor]:
    """Segments that have a pixel in a map (H, W) of ids, and their masks uint8 {0, 1} (N, H, W)."""
    present = set(panoptic.unique().tolist())
    kept = [segment for segment in segments if segment["id"] in present]
    ids = torch.tensor([s["id"] for s in kept], dtype=panoptic.dtype, device=panoptic.device)
    return kept, (panoptic == ids[:, None, None]).to(torch.uint8)


def thing_instances(
    panoptic: Tensor, segments: Sequence[Segment], is_thing: Sequence[bool]
) -> Instances:
    """Things of a map (H, W) as instances with masks, and boxes around all pixels of each.

    ``is_thing`` has C flags; an empty one says that all classes are things.
    """
    things = [s for s in segments if not is_thing or is_thing[s["label"]]]
    kept, masks = segment_masks(panoptic, things)
    boxes = torch.zeros(0, 4, device=masks.device)
    if kept:
        boxes = masks_to_boxes(masks) + boxes.new_tensor([0, 0, 1, 1])  # theirs end at pixels
    labels = torch.tensor([s["label"] for s in kept], dtype=torch.int64, device=masks.device)
    crowd = torch.tensor([s.get("crowd", False) for s in kept], device=masks.device).bool()
    return Instances(boxes, labels, masks=masks, crowd=crowd)


def label_map(panoptic: np.ndarray, segments: Sequence[Segment]) -> np.ndarray:
    """Class of each pixel of a map (H, W) of ids, uint8, 255 for void; crowds have their class."""
    ids, index = np.unique(panoptic, return_inverse=True)
    label_of = {segment["id"]: segment["label"] for segment in segments}
    labels = [label_of.get(value, IGNORE_LABEL) for value in ids.tolist()]
    return np.array(labels, dtype=np.uint8)[index.reshape(panoptic.shape)]
