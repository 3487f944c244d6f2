"""Anchors, their matching with ground truth, and what Mask R-CNN and RetinaNet share around them.

Written anew where torchvision's own parts differ from mmdet and Detectron2: its base anchors are
rounded to integers, and it derives strides as image size // map size, which gives 61 instead of 64
on P6 of an 800 px image.
Legend: N ground-truth boxes, A anchors; boxes are xyxy in pixels of the padded image.
"""

import math
from collections.abc import Sequence
from itertools import product

import torch
from torch import Tensor, nn
from torchvision.models.detection._utils import BoxCoder, Matcher
from torchvision.ops import box_iou

from van_dense.core.structures import Instances, Size

OCTAVE_SCALES = (1.0, 2 ** (1 / 3), 2 ** (2 / 3))
ASPECT_RATIOS = (0.5, 1.0, 2.0)  # height / width
IOU_CHUNK = 16  # boxes at once: intermediate results of 1000 boxes and 270k anchors take 5 GB
PADDING = 32  # mmdet's ``Pad(size_divisor=32)``

__all__ = [
    "ASPECT_RATIOS",
    "OCTAVE_SCALES",
    "Anchors",
    "BoxCoder",
    "BoxMatcher",
    "in_padding",
    "match_anchors",
    "match_boxes",
    "without_crowd",
]


class Anchors(nn.Module):
    """Anchor boxes of every pyramid level.

    Args:
        sizes: sqrt(area) in pixels of the anchors, one for each level.
        strides: Pixels between two positions of each level.
        scales: Factors on ``sizes``: (1,) for the RPN, three octave scales for RetinaNet.
        ratios: Aspect ratios, height / width.
        rounded: Whether corners are whole pixels, as in torchvision's detectors.
    """

    def __init__(
        self,
        sizes: Sequence[float],
        strides: Sequence[int],
        *,
        scales: Sequence[float] = (1.0,),
        ratios: Sequence[float] = ASPECT_RATIOS,
        rounded: bool,
    ) -> None:
        super().__init__()
        if len(sizes) != len(strides):
            counts = f"{len(sizes)} entries for {len(strides)} pyramid levels"
            raise ValueError(f"anchor_sizes has {counts}; give one size in pixels for each level")
        self.strides = tuple(strides)
        self.num_per_position = len(scales) * len(ratios)
        for level, size in enumerate(sizes):
            sides = [size * scale for scale in scales]
            base = _base_anchors([int(s) for s in sides] if rounded else sides, ratios)
            base = base.round() if rounded else base
            self.register_buffer(f"base_{level}", base, persistent=False)

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Anchors (H * W * num_per_position, 4) of each level, by position in row order."""
        anchors = []
        for level, (stride, feature) in enumerate(zip(self.strides, features, strict=True)):
            base: Tensor = getattr(self, f"base_{level}")
            height, width = feature.shape[-2:]
            y, x = torch.meshgrid(
                torch.arange(height, device=feature.device, dtype=torch.float32) * stride,
                torch.arange(width, device=feature.device, dtype=torch.float32) * stride,
                indexing="ij",
            )
            shifts = torch.stack([x, y, x, y], dim=-1).view(-1, 1, 4)
            anchors.append((shifts + base).view(-1, 4))
        return anchors


def _base_anchors(sizes: Sequence[float], ratios: Sequence[float]) -> Tensor:
    """Anchors (len(ratios) * len(sizes), 4) around the origin, ratio by ratio."""
    rows = []
    for ratio, size in product(ratios, sizes):
        width, height = size / math.sqrt(ratio), size * math.sqrt(ratio)
        rows.append([-width / 2, -height / 2, width / 2, height / 2])
    return torch.tensor(rows)


class BoxMatcher(Matcher):
    """Assign to each candidate the ground-truth box of highest IoU, or background, or nothing.

    Args:
        positive_iou: Lowest IoU of foreground, in 0..1.
        negative_iou: Candidates below this IoU are background; those between are left out.
        min_positive_iou: A box also takes its best candidates if their IoU reaches this (mmdet's
            ``min_pos_iou``), even from a box they overlap more; None switches that off.
    """

    def __init__(
        self, positive_iou: float, negative_iou: float, *, min_positive_iou: float | None = None
    ) -> None:
        takes_best = min_positive_iou is not None
        super().__init__(positive_iou, negative_iou, allow_low_quality_matches=takes_best)
        self.min_positive_iou = min_positive_iou or 0.0

    def set_low_quality_matches_(
        self, matches: Tensor, all_matches: Tensor, match_quality_matrix: Tensor
    ) -> None:
        """Give every box its best candidates; a box that touches none takes none.

        As mmdet's ``gt_max_assign_all`` and unlike Detectron2, the candidate changes to this box;
        where several boxes share a best candidate, the last one has it.
        """
        best = match_quality_matrix.max(dim=1, keepdim=True).values
        is_best = (match_quality_matrix == best) & (best >= self.min_positive_iou) & (best > 0)
        chosen = is_best.any(dim=0)
        last = len(best) - 1 - is_best.flip(0).to(torch.uint8).argmax(dim=0)
        matches[chosen] = last[chosen]


def match_boxes(matcher: BoxMatcher, targets: Instances, candidates: Tensor) -> Tensor:
    """Index int64 (A,) of the matched box; -1 background, -2 neither."""
    if len(targets) == 0:
        return torch.full((len(candidates),), Matcher.BELOW_LOW_THRESHOLD, device=candidates.device)
    iou = candidates.new_empty(len(targets), len(candidates))
    for start in range(0, len(targets), IOU_CHUNK):
        rows = slice(start, start + IOU_CHUNK)
        iou[rows] = box_iou(targets.boxes[rows], candidates)
    return matcher(iou)


def match_anchors(
    matcher: BoxMatcher, targets: Instances, anchors: Tensor, *, size: Size
) -> Tensor:
    """``match_boxes`` that leaves out anchors in the padding of a batch, as mmdet's valid flags.

    Each image alone is padded to a multiple of 32; anchors centred beyond that belong to no image.
    """
    matched = match_boxes(matcher, targets, anchors)
    return matched.masked_fill(in_padding(anchors, size), Matcher.BETWEEN_THRESHOLDS)


def in_padding(anchors: Tensor, size: Size) -> Tensor:
    """Bool (A,): centred beyond what an image of ``size`` alone is padded to."""
    height, width = (-(-side // PADDING) * PADDING for side in size)
    centre = (anchors[:, :2] + anchors[:, 2:]) / 2
    return (centre[:, 0] >= width) | (centre[:, 1] >= height)


def without_crowd(targets: list[Instances] | None) -> list[Instances]:
    """Targets that can be learnt, or ValueError where a batch has none; a crowd is no object."""
    if targets is None:
        raise ValueError("the batch has no targets; losses need ground-truth boxes")
    return [t if t.crowd is None else t[~t.crowd] for t in targets]
