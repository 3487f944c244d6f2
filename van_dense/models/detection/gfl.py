"""The head of GFL: scores that mean IoU, and box edges as distributions over distances.

Source: Li et al., "Generalized Focal Loss: Learning Qualified and Distributed Bounding Boxes for
Dense Object Detection", NeurIPS 2020; definition of mmdet 2.x ``GFLHead``.
Legend: B images, A anchors over all levels, A_l of level l, P foreground anchors, C classes,
D = max_distance + 1 distances 0, 1, 2, ... of an edge from the anchor's centre, in strides.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchvision.ops import generalized_box_iou_loss

from van_dense.models.detection.one_stage import Assignment, StridedAnchors, positives_of
from van_dense.models.detection.one_stage_head import ScaledTowers
from van_dense.models.detection.one_stage_losses import (
    distribution_focal,
    edge_distances,
    paired_iou,
    quality_focal_sum,
)
from van_dense.models.losses import synced_count

GIOU_WEIGHT = 2.0  # mmdet
DISTRIBUTION_WEIGHT = 0.25  # mmdet; the quality focal loss has weight 1


class GFLHead(nn.Module):
    """Class logits that estimate IoU, and D logits an edge: towers give 4 * D values an anchor."""

    def __init__(self, towers: ScaledTowers) -> None:
        super().__init__()
        self.towers = towers

    def forward(self, features: Sequence[Tensor]) -> tuple[list[Tensor], ...]:
        """Class logits (B, A_l, C) and edge logits (B, A_l, 4 * D)."""
        logits, edges, _ = self.towers(features)
        return logits, edges

    def losses(
        self, outputs: Sequence[Tensor], assignments: Sequence[Assignment], anchors: StridedAnchors
    ) -> dict[str, Tensor]:
        """Losses class (quality focal), box (GIoU) and edge (distribution focal).

        As in mmdet, the class loss is divided by the number of positives of the batch; the other
        two weigh each positive with its best class score and are divided by the sum of these.
        Both sums are means over processes.
        """
        logits, edges = outputs
        chosen, at, target_boxes = positives_of(edges, assignments, anchors)
        boxes, _ = self.decode([chosen], at)
        quality = paired_iou(boxes.detach(), target_boxes)
        class_loss = self._class_loss(logits, quality, assignments)
        best_scores = [
            one[a.positive].detach().amax(dim=1).sigmoid()
            for one, a in zip(logits, assignments, strict=True)
        ]
        weight = torch.cat(best_scores)
        box_loss = (generalized_box_iou_loss(boxes, target_boxes) * weight).sum()
        distances = edge_distances(at.centres, target_boxes) / at.strides[:, None]
        edge_loss = distribution_focal(chosen.unflatten(1, (4, -1)), distances).mean(dim=1) * weight
        num_positive = synced_count(len(chosen), logits.device)
        total_weight = synced_count(weight.sum(), logits.device)
        nothing = edges.sum() * 0  # so that every parameter has a gradient without positives
        return {
            "class": class_loss / num_positive,
            "box": GIOU_WEIGHT * box_loss / total_weight + nothing,
            "edge": DISTRIBUTION_WEIGHT * edge_loss.sum() / total_weight,
        }

    def _class_loss(
        self, logits: Tensor, quality: Tensor, assignments: Sequence[Assignment]
    ) -> Tensor:
        parts = quality.split([len(a.positive) for a in assignments])
        losses = [
            quality_focal_sum(one, part, positive=a.positive, labels=a.labels, ignored=a.ignored)
            for one, part, a in zip(logits, parts, assignments, strict=True)
        ]
        return torch.stack(losses).sum()

    def decode(self, values: Sequence[Tensor], anchors: StridedAnchors) -> tuple[Tensor, Tensor]:
        """Boxes (K, 4) of edge logits (K, 4 * D), each edge at its mean, and factors 1."""
        (edges,) = values
        probability = edges.unflatten(1, (4, -1)).softmax(dim=-1)
        values_of_edge = torch.arange(probability.shape[-1], device=edges.device)
        # A product and a sum: autocast would run a matrix product in half precision.
        distance = (probability * values_of_edge).sum(dim=-1) * anchors.strides[:, None]
        left_top, right_bottom = distance.split(2, dim=1)
        boxes = torch.cat([anchors.centres - left_top, anchors.centres + right_bottom], dim=1)
        return boxes, torch.ones_like(boxes[:, 0])
