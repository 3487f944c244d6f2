"""Panoptic maps taken apart: masks, instances of things, and labels of pixels.

Legend: H, W pixels of the map; N segments that have a pixel in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from van_dense.core.structures import IGNORE_LABEL, Instances, Segment

if TYPE_CHECKING:
    from torch import Tensor

LARGEST_ID = 2**24 - 1  # R + 256 G + 65536 B of COCO's panoptic PNGs
MOST_SEGMENTS = 2**16 - 2  # of one map, so that their positions fit into uint16


def segment_masks(panoptic: Tensor, segments: Sequence[Segment]) -> tuple[list[Segment], Tensor]:
    """Segments that have a pixel in a map (H, W) of ids, and their masks uint8 {0, 1} (N, H, W)."""
    import torch

    present = set(panoptic.unique().tolist())
    kept = [segment for segment in segments if segment["id"] in present]
    ids = torch.tensor([s["id"] for s in kept], dtype=panoptic.dtype, device=panoptic.device)
    return kept, (panoptic == ids[:, None, None]).to(torch.uint8)


def thing_instances(
    panoptic: Tensor, segments: Sequence[Segment], is_thing: Sequence[bool]
) -> Instances:
    """Things of a map (H, W) as instances with masks, by C flags, and boxes around each."""
    import torch

    kept, masks = segment_masks(panoptic, [s for s in segments if is_thing[s["label"]]])
    labels = torch.tensor([s["label"] for s in kept], dtype=torch.int64, device=masks.device)
    crowd = torch.tensor([s.get("crowd", False) for s in kept], device=masks.device).bool()
    return Instances(boxes_around(masks), labels, masks=masks, crowd=crowd)


def boxes_around(masks: Tensor) -> Tensor:
    """Boxes float32 (N, 4) that hold all pixels of masks (N, H, W), each of one pixel at least."""
    from torchvision.ops import masks_to_boxes

    boxes = masks_to_boxes(masks)
    return boxes + boxes.new_tensor([0, 0, 1, 1])  # theirs end at the start of the last pixel


def label_map(panoptic: np.ndarray, segments: Sequence[Segment]) -> np.ndarray:
    """Class of each pixel of a map (H, W) of ids, uint8, 255 for void; crowds have their class."""
    ids, index = np.unique(panoptic, return_inverse=True)
    label_of = {segment["id"]: segment["label"] for segment in segments}
    labels = [label_of.get(value, IGNORE_LABEL) for value in ids.tolist()]
    return np.array(labels, dtype=np.uint8)[index.reshape(panoptic.shape)]


def segment_index(panoptic: np.ndarray, segments: Sequence[Segment], where: str) -> np.ndarray:
    """Position of the segment of each pixel plus one, 0 for void: uint8 or uint16 (H, W).

    Args:
        panoptic: Segment ids, integers (H, W), 0 = void.
        segments: What the ids stand for; some may have no pixel.
        where: Start of messages, such as "image 7: the panoptic map".

    Raises:
        ValueError: For ids out of range, that repeat, or that no segment has, and more than
            ``MOST_SEGMENTS`` segments.
    """
    flat = panoptic.reshape(-1)
    starts = run_starts(flat)
    positions = segment_positions(flat[starts], segments, where)
    dtype = np.uint8 if len(segments) < 256 else np.uint16
    lengths = np.diff(starts, append=flat.size)
    return np.repeat(positions.astype(dtype), lengths).reshape(panoptic.shape)


def run_starts(*maps: np.ndarray, width: int = 0) -> np.ndarray:
    """First positions (R,) of the runs in which none of some flat maps (P,) changes its value.

    Given the ``width`` of the maps in pixels, a run also ends with its row.
    A picture has some thousand runs, so that what is done for each of them costs next to nothing.
    """
    size = maps[0].size
    starts = np.ones(size, dtype=np.bool_)
    if size:
        starts[1:] = maps[0][1:] != maps[0][:-1]
        for values in maps[1:]:
            starts[1:] |= values[1:] != values[:-1]
        if width:
            starts[::width] = True
    return np.flatnonzero(starts)


def segment_positions(ids: np.ndarray, segments: Sequence[Segment], where: str) -> np.ndarray:
    """Position of the segment of each id (R,) plus one, 0 for void, int64; errors as above."""
    if len(segments) > MOST_SEGMENTS:
        raise ValueError(
            f"{where} has {len(segments)} segments; at most {MOST_SEGMENTS} can be told apart: "
            "leave out those of a few pixels"
        )
    known = np.array([segment["id"] for segment in segments], dtype=np.int64)
    low, high = int(ids.min(initial=0)), int(ids.max(initial=0))
    if low < 0 or max(high, known.max(initial=0)) > LARGEST_ID or known.min(initial=1) < 1:
        listed = np.sort(known).tolist()
        spans = f"{low} to {high}, its segments {listed[:1]} to {listed[-1:]}"
        raise ValueError(
            f"{where} holds ids from {spans}; ids are 1 to {LARGEST_ID}, and 0 is void"
        )
    # Void comes first, as no id is smaller.
    order = np.concatenate([[0], 1 + np.argsort(known)])
    ordered = np.sort(np.append(known, 0))
    if (ordered[1:] == ordered[:-1]).any():
        raise ValueError(f"{where} has segments that share an id: {np.sort(known).tolist()}")
    places = np.searchsorted(ordered, ids).clip(max=len(known))
    unknown = ordered[places] != ids
    if unknown.any():
        foreign = np.unique(ids[unknown])[:5].tolist()
        raise ValueError(f"{where} holds ids that no segment has: {foreign}")
    return order[places]
