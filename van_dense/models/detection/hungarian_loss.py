"""One-to-one matching of predictions with ground truth, and the losses of the matched pairs.

Source: Carion et al., "End-to-End Object Detection with Transformers", ECCV 2020, eq. 1-2, with the
focal classification term of Sparse R-CNN; mmdet 2.x ``HungarianAssigner`` (``FocalLossCost``,
``BBoxL1Cost``, ``IoUCost``) and ``DIIHead.loss``.
Legend: P predictions and N ground-truth boxes of one image, C classes; boxes xyxy pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import generalized_box_iou, generalized_box_iou_loss

from van_dense.core.structures import Instances, Size
from van_dense.models.losses import FOCAL_ALPHA, FOCAL_GAMMA, focal_sum, l1_sum

NEVER = 1e6  # cost of a pair that cannot be compared, far above any other


@dataclass(frozen=True)
class Match:
    """Pairs of one image: positions int64 (M,) of predictions and of their targets, M <= N."""

    prediction: Tensor
    target: Tensor


@dataclass(frozen=True)
class HungarianLoss:
    """Match predictions with targets by the very terms that are then minimised."""

    focal: float  #: weight of the sigmoid focal loss over all predictions
    l1: float  #: weight of the corners' distance, relative to the image
    giou: float  #: weight of 1 - generalised IoU

    def cost(self, logits: Tensor, boxes: Tensor, *, target: Instances, size: Size) -> Tensor:
        """What it costs (P, N) to match each prediction with each target of one image.

        Logits are (P, C) and boxes (P, 4); the size is that of the image without padding.
        """
        z = logits[:, target.labels]
        probability = z.sigmoid()
        as_foreground = FOCAL_ALPHA * (1 - probability) ** FOCAL_GAMMA * F.softplus(-z)
        as_background = (1 - FOCAL_ALPHA) * probability**FOCAL_GAMMA * F.softplus(z)
        scale = _scale_of(size, boxes)
        return (
            self.focal * (as_foreground - as_background)
            + self.l1 * torch.cdist(boxes / scale, target.boxes / scale, p=1)
            - self.giou * generalized_box_iou(boxes, target.boxes)
        )

    @torch.no_grad()
    def match(
        self, logits: Tensor, boxes: Tensor, *, targets: Sequence[Instances], sizes: Sequence[Size]
    ) -> list[Match]:
        """Pair predictions and targets of each image at the smallest total cost.

        Every target has one prediction, and where there are more targets than predictions every
        prediction has one target. The search runs on the CPU; the costs of the batch go there in
        one transfer. Arguments are those of ``losses``.
        """
        from scipy.optimize import linear_sum_assignment

        images = zip(logits, boxes, targets, sizes, strict=True)
        costs = torch.cat([self.cost(z, b, target=t, size=s) for z, b, t, s in images], dim=1)
        # NaN is refused by SciPy; the losses that follow are NaN too, and the trainer reports them.
        costs = costs.nan_to_num(NEVER, NEVER, NEVER).cpu()
        matches = []
        for cost in costs.split([len(target) for target in targets], dim=1):
            pairs = [torch.from_numpy(p).to(logits.device) for p in linear_sum_assignment(cost)]
            matches.append(Match(*pairs))
        return matches

    def losses(
        self, logits: Tensor, boxes: Tensor, *, targets: Sequence[Instances], sizes: Sequence[Size]
    ) -> dict[str, Tensor]:
        """Weighted sums class, box and iou over the batch, not yet divided by the matches.

        Args:
            logits: float32 (B, P, C) class logits.
            boxes: float32 (B, P, 4) xyxy pixels.
            targets: Ground truth of each image, without crowds.
            sizes: (height, width) of each image without padding, in pixels.
        """
        matches = self.match(logits, boxes, targets=targets, sizes=sizes)
        class_loss, iou_loss = logits.sum() * 0, boxes.sum() * 0
        box_loss = iou_loss
        for image, (match, target, size) in enumerate(zip(matches, targets, sizes, strict=True)):
            labels = target.labels[match.target]
            nothing_ignored = logits.new_zeros(logits.shape[1], dtype=torch.bool)
            found = match.prediction
            class_loss = class_loss + focal_sum(logits[image], found, labels, nothing_ignored)
            predicted, true = boxes[image, found], target.boxes[match.target]
            scale = _scale_of(size, boxes)
            box_loss = box_loss + l1_sum(predicted / scale, true / scale)
            iou_loss = iou_loss + generalized_box_iou_loss(predicted, true, reduction="sum")
        box, iou = self.l1 * box_loss, self.giou * iou_loss
        return {"class": self.focal * class_loss, "box": box, "iou": iou}


def _scale_of(size: Size, like: Tensor) -> Tensor:
    """(width, height, width, height) of an image."""
    height, width = size
    return like.new_tensor([width, height, width, height])
