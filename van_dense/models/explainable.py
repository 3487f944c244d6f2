"""Logits whose gradients say what a prediction rests on.

Legend: N boxes of one image, xyxy in pixels of the network's input; C classes; A anchors or
proposals; M mask resolution.
"""

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import box_iou

from van_dense.core.structures import Size

_SAME_BOX = 0.9  # fraction of the best overlap; the surest of such candidates made the box


@runtime_checkable
class Explainable(Protocol):
    """A detector that can be asked about boxes after the fact."""

    def box_logits(self, images: Tensor, boxes: Tensor, labels: Tensor) -> Tensor:
        """Differentiable logits (N,), each of one of ``labels`` (N,), for boxes (N, 4).

        The image (1, 3, H, W) is normalised, and the boxes are such as the model detects there.
        """


@runtime_checkable
class MaskExplainable(Explainable, Protocol):
    """A detector that gives masks, too."""

    def mask_logits(self, images: Tensor, boxes: Tensor, labels: Tensor) -> Tensor:
        """Differentiable contrast (N,) of the mask of each box; arguments as in ``box_logits``."""


@runtime_checkable
class SegmentExplainable(Protocol):
    """A panoptic network that can be asked about segments, of things and of stuff."""

    types: tuple[str, ...]  # what ``predict`` gives; "panoptic" are segments

    def segment_logits(self, images: Tensor, masks: Tensor, labels: Tensor) -> Tensor:
        """Differentiable logits (N,), each of one of ``labels`` (N,), for segments.

        The image (1, 3, H, W) is normalised. Masks {0, 1} (N, h, w) have a pixel each, in pixels
        of the image without its padding at the right and the bottom.
        """


def mean_inside(logits: Tensor, masks: Tensor, size: Size) -> Tensor:
    """Mean (N,) of logits (N, h, w) over masks {0, 1}, weighted where positions are cut.

    The masks (N, H, W) lie in the upper left of the image of ``size`` that the logits are of.
    """
    weight = _weights(masks, size, like=logits)
    return (logits * weight).sum(dim=(1, 2)) / weight.sum(dim=(1, 2))


def soft_iou(masks: Tensor, probabilities: Tensor, size: Size) -> Tensor:
    """IoU (N, Q) of masks {0, 1} (N, H, W), as in ``mean_inside``, and probabilities (Q, h, w)."""
    weight = _weights(masks, size, like=probabilities).flatten(1)
    other = probabilities.flatten(1)
    common = weight @ other.T
    return common / (weight.sum(dim=1)[:, None] + other.sum(dim=1) - common)


def _weights(masks: Tensor, size: Size, *, like: Tensor) -> Tensor:
    """Fraction (N, h, w) of each position that masks in an image of ``size`` cover."""
    padding = (0, size[1] - masks.shape[2], 0, size[0] - masks.shape[1])
    padded = F.pad(masks.to(like.dtype), padding)[:, None]
    return F.adaptive_avg_pool2d(padded, (like.shape[-2], like.shape[-1]))[:, 0]


def centred_logits(logits: Tensor, labels: Tensor) -> Tensor:
    """Logit of each label above the mean of all, (N,), of logits (N, C + 1).

    A softmax depends on differences alone: what moves all logits speaks for no class.
    """
    return logits.gather(1, labels[:, None])[:, 0] - logits.mean(dim=1)


def mask_contrast(logits: Tensor, labels: Tensor) -> Tensor:
    """How much the mask of each label stands out, (N,), of mask logits (N, C, M, M).

    Mean logit where it is above its own mean, less that of the rest: what makes this shape, and
    not a whole box of it.
    """
    own = logits[torch.arange(len(labels), device=labels.device), labels].flatten(1)
    inside = (own >= own.mean(dim=1, keepdim=True)).float()
    outside = 1 - inside
    mean_inside = (own * inside).sum(dim=1) / inside.sum(dim=1)
    return mean_inside - (own * outside).sum(dim=1) / outside.sum(dim=1).clamp(min=1)


def origin_logits(logits: Tensor, decoded: Tensor, boxes: Tensor, labels: Tensor) -> Tensor:
    """Logits (N,) of the anchors or proposals that boxes came from.

    Of those that decode to (nearly) the same box, the one with the highest score of the label has
    survived the suppression. Anchors have ``logits`` (A, C) and boxes ``decoded`` (A, 4), what was
    detected has ``boxes`` (N, 4) and ``labels`` (N,).
    """
    with torch.no_grad():
        overlap = box_iou(boxes, decoded)
        candidates = overlap >= _SAME_BOX * overlap.amax(dim=1, keepdim=True)
        scores = logits[:, labels].T.masked_fill(~candidates, float("-inf"))
        origin = scores.argmax(dim=1)
    return logits[origin, labels]
