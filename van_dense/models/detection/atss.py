"""The head of ATSS: box deltas of one anchor a position, and how central it lies in its box.

Source: Zhang et al., CVPR 2020 (see ``atss_matcher.py``); definition of mmdet 2.x ``ATSSHead``.
Legend: B images, A anchors over all levels, A_l of level l, P foreground anchors, C classes.
"""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import generalized_box_iou_loss

from van_dense.models.detection.anchors import BoxCoder
from van_dense.models.detection.one_stage import (
    Assignment,
    StridedAnchors,
    class_focal_sum,
    positives_of,
)
from van_dense.models.detection.one_stage_head import ScaledTowers, flatten_maps, start_small
from van_dense.models.detection.one_stage_losses import centerness
from van_dense.models.losses import synced_count

GIOU_WEIGHT = 2.0  # mmdet; class and centerness losses have weight 1


class ATSSHead(nn.Module):
    """Class logits, box deltas and centerness, of towers of ``channels`` with 4 values an anchor.

    Centerness comes from the box tower.
    """

    def __init__(self, towers: ScaledTowers, channels: int) -> None:
        super().__init__()
        self.towers = towers
        self.centerness = nn.Conv2d(channels, 1, 3, padding=1)
        start_small(self.centerness)
        self.coder = BoxCoder(weights=(10.0, 10.0, 5.0, 5.0))  # deviations 0.1 and 0.2 of mmdet

    def forward(self, features: Sequence[Tensor]) -> tuple[list[Tensor], ...]:
        """Class logits (B, A_l, C), deltas (B, A_l, 4) and centerness logits (B, A_l, 1)."""
        logits, deltas, towers = self.towers(features)
        return logits, deltas, [flatten_maps(self.centerness(tower)) for tower in towers]

    def losses(
        self, outputs: Sequence[Tensor], assignments: Sequence[Assignment], anchors: StridedAnchors
    ) -> dict[str, Tensor]:
        """Losses class (focal), box (GIoU, central anchors count more) and centerness.

        As in mmdet, class and centerness are divided by the number of positives of the batch, the
        box loss by the sum of their centerness; both are means over processes.
        """
        logits, deltas, central = outputs
        values = torch.cat([deltas, central], dim=-1)
        chosen, at, target_boxes = positives_of(values, assignments, anchors)
        boxes = self.coder.decode_single(chosen[:, :4], at.boxes)
        target_central = centerness(at.centres, target_boxes)
        box_loss = (generalized_box_iou_loss(boxes, target_boxes) * target_central).sum()
        cross_entropy = partial(F.binary_cross_entropy_with_logits, reduction="sum")
        num_positive = synced_count(len(chosen), logits.device)
        total_central = synced_count(target_central.sum(), logits.device)
        nothing = values.sum() * 0  # so that every parameter has a gradient without positives
        return {
            "class": class_focal_sum(logits, assignments) / num_positive,
            "box": GIOU_WEIGHT * box_loss / total_central + nothing,
            "centerness": cross_entropy(chosen[:, 4], target_central) / num_positive,
        }

    def decode(self, values: Sequence[Tensor], anchors: StridedAnchors) -> tuple[Tensor, Tensor]:
        """Boxes (K, 4) and centerness (K,) of deltas (K, 4) and centerness logits (K, 1)."""
        deltas, central = values
        return self.coder.decode_single(deltas, anchors.boxes), central[:, 0].sigmoid()
