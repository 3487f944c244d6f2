"""Losses of ATSS and GFL on the anchors of a batch.

Legend: A anchors of one image, P foreground anchors, C classes, D values of a discrete distance;
boxes are xyxy, distances (left, top, right, bottom).
"""

import torch
from torch import Tensor
from torch.nn import functional as F

QUALITY_BETA = 2.0  # GFL, section 4: the best of their Table 1
CLAMP = 0.1  # distances stay this far below the last value, so that both neighbours exist (mmdet)


def paired_iou(boxes: Tensor, others: Tensor) -> Tensor:
    """IoU (...,) of boxes (..., 4) and others (..., 4), one by one; empty boxes have IoU 0."""
    top_left = torch.maximum(boxes[..., :2], others[..., :2])
    bottom_right = torch.minimum(boxes[..., 2:], others[..., 2:])
    overlap = (bottom_right - top_left).clamp(min=0).prod(dim=-1)
    areas = [(b[..., 2:] - b[..., :2]).prod(dim=-1) for b in (boxes, others)]
    union = areas[0] + areas[1] - overlap
    return overlap / union.clamp(min=1e-6)


def edge_distances(centres: Tensor, boxes: Tensor) -> Tensor:
    """Distances (P, 4) from points (P, 2) to the left, top, right and bottom edge of their box."""
    return torch.cat([centres - boxes[:, :2], boxes[:, 2:] - centres], dim=1)


def centerness(centres: Tensor, boxes: Tensor) -> Tensor:
    """How central a point (P, 2) lies in its box (P, 4): 1 in the middle, towards 0 at an edge.

    Tian et al., "FCOS", ICCV 2019, eq. 3; every point must lie inside its box.
    """
    left, top, right, bottom = edge_distances(centres, boxes).unbind(1)
    horizontal = torch.minimum(left, right) / torch.maximum(left, right)
    vertical = torch.minimum(top, bottom) / torch.maximum(top, bottom)
    return (horizontal * vertical).sqrt()


def quality_focal_sum(
    logits: Tensor, quality: Tensor, *, positive: Tensor, labels: Tensor, ignored: Tensor
) -> Tensor:
    """Summed quality focal loss of one image: the score shall be the IoU of the predicted box.

    Li et al., "Generalized Focal Loss", NeurIPS 2020, eq. 3: |quality - score|^beta times the
    binary cross entropy. As in ``losses.focal_sum``, every entry is first background (quality 0).

    Args:
        logits: float32 (A, C) class logits.
        quality: float32 (P,) IoU of the predicted boxes in [0, 1], without gradient.
        positive: int64 (P,) indices of foreground anchors.
        labels: int64 (P,) classes of the foreground anchors.
        ignored: bool (A,) anchors that are neither foreground nor background.
    """

    def background(z: Tensor) -> Tensor:
        return z.sigmoid() ** QUALITY_BETA * F.softplus(z)

    chosen = logits[positive, labels]
    cross_entropy = F.binary_cross_entropy_with_logits(chosen, quality, reduction="none")
    foreground = (quality - chosen.sigmoid()).abs() ** QUALITY_BETA * cross_entropy
    everywhere = background(logits).masked_fill(ignored[:, None], 0.0)
    return everywhere.sum() + (foreground - background(chosen)).sum()


def distribution_focal(logits: Tensor, distances: Tensor) -> Tensor:
    """Distribution focal loss (P, 4): the two values around a distance share the probability.

    Li et al. 2020, eq. 6: cross entropy with both neighbours, weighted by nearness.
    Logits (P, 4, D) are over the distances 0..D-1; distances (P, 4), in strides, are clamped to
    [0, D - 1.1].
    """
    distances = distances.clamp(0, logits.shape[-1] - 1 - CLAMP)
    lower = distances.floor()
    fraction = distances - lower
    index = lower.long()[..., None]
    log_likelihood = logits.log_softmax(dim=-1)
    below = log_likelihood.gather(-1, index)[..., 0]
    above = log_likelihood.gather(-1, index + 1)[..., 0]
    return -(1 - fraction) * below - fraction * above
