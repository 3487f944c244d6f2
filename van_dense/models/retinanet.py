"""RetinaNet on any backbone, as in Table 9 of the VAN paper.

Source: Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017; definition of mmdet 2.x /
PoolFormer ``retinanet_r50_fpn`` (P6 from C5, no ReLU before P7, L1 boxes, losses divided by the
number of positives in the batch).
Legend: B images, A anchors over all levels, C classes; boxes xyxy pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from van_dense.models.anchors import Anchors, BoxCoder, BoxMatcher, match_anchors, without_crowd
from van_dense.models.dense_head import PRIOR, best_of_level, tower
from van_dense.models.dense_model import DenseModel
from van_dense.models.fpn import FPN, Norm
from van_dense.models.losses import focal_sum, l1_sum, synced_count
from van_dense.models.postprocess import DetectionFilter, check_finite, to_predictions
from van_dense.models.preprocess import Preprocess
from van_dense.structures import Batch, Instances, Prediction, Size

STRIDES = (8, 16, 32, 64, 128)


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
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=0.01)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        assert self.class_logits.bias is not None
        nn.init.constant_(self.class_logits.bias, -math.log((1 - PRIOR) / PRIOR))

    def forward(self, features: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Logits (B, A_l, C) and deltas (B, A_l, 4) of each level."""
        logits, deltas = [], []
        for feature in features:
            scored = self.class_logits(self.class_tower(feature))
            moved = self.box_deltas(self.box_tower(feature))
            batch = len(feature)
            logits.append(scored.permute(0, 2, 3, 1).reshape(batch, -1, self.num_classes).float())
            deltas.append(moved.permute(0, 2, 3, 1).reshape(batch, -1, 4).float())
        return logits, deltas


class RetinaNet(DenseModel):
    """One-stage detector: pyramid P3..P7, two towers, focal loss.

    Args:
        backbone: Gives maps at strides 4, 8, 16, 32; the first is not used.
        fpn: Pyramid over the last three with two more levels.
        head: Towers.
        anchors: Of every level.
        matcher: Which anchors are foreground.
        rule: Which scored boxes become detections.
    """

    def __init__(
        self,
        backbone: nn.Module,
        fpn: FPN,
        *,
        head: RetinaNetHead,
        anchors: Anchors,
        matcher: BoxMatcher,
        rule: DetectionFilter,
    ) -> None:
        super().__init__()
        self.preprocess = Preprocess()
        self.backbone = backbone
        self.fpn = fpn
        self.head = head
        self.anchors = anchors
        self.matcher = matcher
        self.rule = rule
        self.coder = BoxCoder(weights=(1.0, 1.0, 1.0, 1.0))

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Losses class (focal) and box (L1), each with weight 1."""
        targets = without_crowd(batch.targets)
        features = self.fpn(self.backbone(self.preprocess(batch))[1:])
        levels = self.head(features)
        logits, deltas = (torch.cat(level, dim=1) for level in levels)
        anchors = torch.cat(self.anchors(features))
        class_loss = box_loss = deltas.sum() * 0
        num_positive = 0
        for image, (target, size) in enumerate(zip(targets, batch.sizes, strict=True)):
            matched = match_anchors(self.matcher, target, anchors, size=size)
            positive = (matched >= 0).nonzero()[:, 0]
            labels = target.labels[matched[positive]]
            ignored = matched == BoxMatcher.BETWEEN_THRESHOLDS
            class_loss = class_loss + focal_sum(logits[image], positive, labels, ignored)
            wanted_box = self.coder.encode_single(
                target.boxes[matched[positive]], anchors[positive]
            )
            box_loss = box_loss + l1_sum(deltas[image, positive], wanted_box)
            num_positive += len(positive)
        normaliser = synced_count(num_positive, logits.device)
        return {"class": class_loss / normaliser, "box": box_loss / normaliser}

    @torch.no_grad()
    def predict(self, batch: Batch) -> list[Prediction]:
        """Boxes, scores and labels of each image.

        Raises:
            ValueError: When the network gives non-finite values.
        """
        features = self.fpn(self.backbone(self.preprocess(batch))[1:])
        logits, deltas = self.head(features)
        check_finite([*logits, *deltas], batch.image_ids)
        anchors = self.anchors(features)
        detections = [
            self._detect([lo[i] for lo in logits], [d[i] for d in deltas], anchors, size)
            for i, size in enumerate(batch.sizes)
        ]
        return to_predictions(batch, detections)

    def _detect(
        self, logits: list[Tensor], deltas: list[Tensor], anchors: list[Tensor], size: Size
    ) -> Instances:
        boxes, scores, labels = [], [], []
        for level_logits, level_deltas, level_anchors in zip(logits, deltas, anchors, strict=True):
            score, anchor, label = best_of_level(level_logits, self.rule.score_threshold)
            scores.append(score)
            labels.append(label)
            boxes.append(self.coder.decode_single(level_deltas[anchor], level_anchors[anchor]))
        return self.rule.labelled(
            torch.cat(boxes), torch.cat(scores), labels=torch.cat(labels), size=size
        )

    def flops_forward(self, size: Size) -> None:
        """Run backbone, pyramid and towers on one zero image."""
        device = next(self.parameters()).device
        images = torch.zeros(1, 3, *size, device=device)
        self.head(self.fpn(self.backbone(images)[1:]))
