"""Adaptive training sample selection: each box sets its own IoU threshold for its anchors.

Source: Zhang et al., "Bridging the Gap Between Anchor-based and Anchor-free Detection via Adaptive
Training Sample Selection", CVPR 2020, Algorithm 1; details as mmdet 2.x ``ATSSAssigner``.
Legend: N ground-truth boxes, A anchors over all levels, K candidates of one box; boxes are xyxy in
pixels of the padded image.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from van_dense.core.structures import Instances, Size
from van_dense.models.detection.anchors import BoxMatcher, in_padding
from van_dense.models.detection.one_stage_losses import edge_distances, paired_iou

INSIDE = 0.01  # pixels by which the centre of a positive anchor lies within its box (mmdet)


class ATSSMatcher:
    """Assign to each anchor the box that it learns, or background.

    The anchors nearest to a box, centre to centre, are its candidates, a few of each level. Those
    whose IoU reaches the mean plus the standard deviation of the IoU of all its candidates, and
    whose centre lies in the box, are its positives; an anchor of several boxes goes to the one it
    overlaps most. So a box without any candidate centred in it, being small, is not learnt. The
    paper's k is ``num_candidates``, those of each box on each level.
    """

    def __init__(self, num_candidates: int) -> None:
        self.num_candidates = num_candidates

    def __call__(self, targets: Instances, anchors: Sequence[Tensor], *, size: Size) -> Tensor:
        """Index int64 (A,) of the assigned box; -1 background, -2 an anchor in the padding.

        Targets are N boxes without crowd. There are two levels of anchors (A_l, 4) at least: one
        candidate has no deviation. Anchors beyond the ``size`` of the image in pixels are nobody's
        candidates, so the other images of a batch change nothing (mmdet's valid flags).
        """
        every = torch.cat(list(anchors))
        outside = in_padding(every, size)
        matched = torch.full((len(every),), BoxMatcher.BELOW_LOW_THRESHOLD, device=every.device)
        if len(targets) > 0:
            candidates = self._candidates(targets.boxes, anchors, size)
            best_iou, box = _overlap_of_positives(targets.boxes, every, candidates).max(dim=1)
            matched = torch.where(best_iou >= 0, box, matched)
        return matched.masked_fill(outside, BoxMatcher.BETWEEN_THRESHOLDS)

    def _candidates(self, boxes: Tensor, anchors: Sequence[Tensor], size: Size) -> Tensor:
        """Indices (K, N) of the nearest anchors of every level, among all anchors."""
        centres = _centres(boxes)
        start, found = 0, []
        for level in anchors:
            valid = (~in_padding(level, size)).nonzero()[:, 0]
            offset = _centres(level[valid])[:, None] - centres[None]
            squared = offset[..., 0] ** 2 + offset[..., 1] ** 2
            nearest = squared.topk(min(self.num_candidates, len(valid)), dim=0, largest=False)
            found.append(valid[nearest.indices] + start)
            start += len(level)
        return torch.cat(found)


def _overlap_of_positives(boxes: Tensor, anchors: Tensor, candidates: Tensor) -> Tensor:
    """IoU (A, N) of the anchors that are positive for a box, -1 everywhere else."""
    iou = paired_iou(anchors[candidates], boxes[None])
    threshold = iou.mean(dim=0) + iou.std(dim=0)  # of a sample, N - 1, as in the authors' code
    row, box = (iou >= threshold).nonzero(as_tuple=True)
    anchor = candidates[row, box]
    inside = edge_distances(_centres(anchors[anchor]), boxes[box]).amin(dim=1) > INSIDE
    overlap = iou.new_full((len(anchors), len(boxes)), -1.0)
    overlap[anchor[inside], box[inside]] = iou[row[inside], box[inside]]
    return overlap


def _centres(boxes: Tensor) -> Tensor:
    return (boxes[:, :2] + boxes[:, 2:]) / 2
