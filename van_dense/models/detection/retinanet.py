"""RetinaNet's head and assignment, as in Table 9 of the VAN paper: several anchors a position.

Source: Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017; definition of mmdet 2.x /
PoolFormer ``retinanet_r50_fpn`` (P6 from C5, no ReLU before P7, L1 boxes, losses divided by the
number of positives in the batch).
Legend: B images, A anchors over all levels, A_l of level l, C classes; boxes xyxy pixels.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from van_dense.core.structures import Instances, Size
from van_dense.models.detection.anchors import BoxCoder, BoxMatcher, match_anchors
from van_dense.models.detection.fpn import Norm
from van_dense.models.detection.one_stage import (
    Assignment,
    StridedAnchors,
    class_focal_sum,
    positives_of,
)
from van_dense.models.detection.one_stage_head import flatten_maps, start_rare, start_small, tower
from van_dense.models.losses import l1_sum, synced_count


class RetinaNetHead(nn.Module):
    """Two towers shared by all levels: class logits and box deltas of every anchor."""

    def __init__(
        self, channels: int, num_classes: int, *, num_anchors: int, convs: int, norm: Norm
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.class_tower = tower(channels, convs, norm)
        self.box_tower = tower(channels, convs, norm)
        self.class_logits = nn.Conv2d(channels, num_anchors * num_classes, 3, padding=1)
        self.box_deltas = nn.Conv2d(channels, num_anchors * 4, 3, padding=1)
        start_small(self)
        start_rare(self.class_logits)
        self.coder = BoxCoder(weights=(1.0, 1.0, 1.0, 1.0))

    def forward(self, features: Sequence[Tensor]) -> tuple[list[Tensor], ...]:
        """Logits (B, A_l, C) and deltas (B, A_l, 4) of each level."""
        logits, deltas = [], []
        for feature in features:
            scored = flatten_maps(self.class_logits(self.class_tower(feature)))
            moved = flatten_maps(self.box_deltas(self.box_tower(feature)))
            logits.append(scored.reshape(len(feature), -1, self.num_classes))
            deltas.append(moved.reshape(len(feature), -1, 4))
        return logits, deltas

    def losses(
        self, outputs: Sequence[Tensor], assignments: Sequence[Assignment], anchors: StridedAnchors
    ) -> dict[str, Tensor]:
        """Losses class (focal) and box (L1), each with weight 1.

        Both are divided by the number of positives of the batch, a mean over processes.
        """
        logits, deltas = outputs
        chosen, at, target_boxes = positives_of(deltas, assignments, anchors)
        target_deltas = self.coder.encode_single(target_boxes, at.boxes)
        nothing = deltas.sum() * 0  # so that every parameter has a gradient without positives
        normaliser = synced_count(len(chosen), logits.device)
        return {
            "class": class_focal_sum(logits, assignments) / normaliser,
            "box": (l1_sum(chosen, target_deltas) + nothing) / normaliser,
        }

    def decode(self, values: Sequence[Tensor], anchors: StridedAnchors) -> tuple[Tensor, Tensor]:
        """Boxes (K, 4) of deltas (K, 4), and factors 1."""
        (deltas,) = values
        return self.coder.decode_single(deltas, anchors.boxes), torch.ones_like(deltas[:, 0])


class IoUMatcher:
    """Assign to each anchor the box that it overlaps most, by the fixed thresholds of a matcher."""

    def __init__(self, matcher: BoxMatcher) -> None:
        self.matcher = matcher

    def __call__(self, targets: Instances, anchors: Sequence[Tensor], *, size: Size) -> Tensor:
        """Index int64 (A,) of the box; -1 background, -2 neither (``match_anchors``)."""
        return match_anchors(self.matcher, targets, torch.cat(list(anchors)), size=size)
