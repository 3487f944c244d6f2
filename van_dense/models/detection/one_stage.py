"""One-stage detectors: everything RetinaNet, ATSS and GFL have in common.

Source: mmdet 2.x ``retinanet_r50_fpn_1x_coco``, ``atss_r50_fpn_1x_coco`` and
``gfl_r50_fpn_1x_coco``.
Legend: B images, A anchors over all levels, A_l of level l, P foreground anchors of one image,
C classes; boxes xyxy pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from van_dense.core.dataset_info import DatasetInfo
from van_dense.core.structures import Batch, Instances, Prediction, Size
from van_dense.models.class_rows import Rows, anchor_rows
from van_dense.models.dense_model import DenseModel
from van_dense.models.detection.anchors import Anchors, BoxMatcher, without_crowd
from van_dense.models.detection.fpn import FPN
from van_dense.models.detection.one_stage_head import best_of_level
from van_dense.models.explainable import origin_logits
from van_dense.models.losses import focal_sum
from van_dense.models.postprocess import DetectionFilter, check_finite, to_predictions

STRIDES = (8, 16, 32, 64, 128)


@dataclass(frozen=True)
class StridedAnchors:
    """Anchors: boxes (A, 4) in pixels and the strides (A,) of their levels."""

    boxes: Tensor
    strides: Tensor

    @property
    def centres(self) -> Tensor:
        """(A, 2) x, y in pixels."""
        return (self.boxes[:, :2] + self.boxes[:, 2:]) / 2

    def __getitem__(self, index: Tensor) -> StridedAnchors:
        return StridedAnchors(self.boxes[index], self.strides[index])

    @staticmethod
    def cat(parts: Sequence[StridedAnchors]) -> StridedAnchors:
        """Join levels or images."""
        boxes = torch.cat([part.boxes for part in parts])
        return StridedAnchors(boxes, torch.cat([part.strides for part in parts]))


@dataclass(frozen=True)
class Assignment:
    """What the anchors of one image learn."""

    positive: Tensor  #: int64 (P,) indices of foreground anchors
    labels: Tensor  #: int64 (P,) classes of the foreground anchors
    boxes: Tensor  #: float32 (P, 4) ground truth of the foreground anchors
    ignored: Tensor  #: bool (A,) anchors that are neither foreground nor background


class OneStageHead(Protocol):
    """What ``OneStageDetector`` asks of a head."""

    def __call__(self, features: Sequence[Tensor]) -> tuple[list[Tensor], ...]:
        """Outputs (B, A_l, ·) of each level: class logits first, then the head's own."""

    def losses(
        self, outputs: Sequence[Tensor], assignments: Sequence[Assignment], anchors: StridedAnchors
    ) -> dict[str, Tensor]:
        """Weighted losses of outputs (B, A, ·)."""

    def decode(self, values: Sequence[Tensor], anchors: StridedAnchors) -> tuple[Tensor, Tensor]:
        """Boxes (K, 4) and factors (K,) on the class scores of the head's own outputs (K, ·)."""


class AnchorMatcher(Protocol):
    """Which box each anchor of an image learns."""

    def __call__(self, targets: Instances, anchors: Sequence[Tensor], *, size: Size) -> Tensor:
        """Index int64 (A,) of the box; -1 background, -2 neither.

        Targets have no crowd, anchors are (A_l, 4) of each level, the size is without padding.
        """


class OneStageDetector(DenseModel):
    """Pyramid P3..P7 and one head over all of it.

    Args:
        backbone: Images (B, 3, H, W) to c2..c5, of which c2 is not used.
        fpn: c3..c5 to P3..P7.
        head: A module that is an ``OneStageHead``.
        anchors: Anchors of every level; as many at a position as the head expects.
        matcher: Which box each anchor learns.
        filter: Which scored boxes become detections.
    """

    def __init__(
        self,
        backbone: nn.Module,
        fpn: FPN,
        *,
        head: OneStageHead,
        anchors: Anchors,
        matcher: AnchorMatcher,
        filter: DetectionFilter,
    ) -> None:
        super().__init__(backbone)
        self.fpn = fpn
        self.head = head
        self.anchors = anchors
        self.matcher = matcher
        self.filter = filter

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Losses of the head."""
        targets = without_crowd(batch.targets)
        features = self.fpn(self.backbone(self.preprocess(batch))[1:])
        outputs = [torch.cat(levels, dim=1) for levels in self.head(features)]
        levels = self.levels(features)
        assignments = [
            self._assign(target, levels, size)
            for target, size in zip(targets, batch.sizes, strict=True)
        ]
        return self.head.losses(outputs, assignments, StridedAnchors.cat(levels))

    def named_rows(self, info: DatasetInfo) -> dict[str, Rows]:
        """Classes of every anchor; see ``DenseModel``."""
        return anchor_rows(self, info.class_names, self.anchors.num_per_position)

    def levels(self, features: Sequence[Tensor]) -> list[StridedAnchors]:
        """Anchors of each level of the pyramid."""
        return [
            # Not len(boxes), which an exporter takes for a number that never changes.
            StridedAnchors(boxes, boxes.new_full(boxes.shape[:1], stride))
            for boxes, stride in zip(self.anchors(features), self.anchors.strides, strict=True)
        ]

    def _assign(self, target: Instances, levels: list[StridedAnchors], size: Size) -> Assignment:
        matched = self.matcher(target, [level.boxes for level in levels], size=size)
        positive = (matched >= 0).nonzero()[:, 0]
        of_box = matched[positive]
        ignored = matched == BoxMatcher.BETWEEN_THRESHOLDS
        return Assignment(positive, target.labels[of_box], target.boxes[of_box], ignored)

    @torch.no_grad()
    def predict(self, batch: Batch) -> list[Prediction]:
        """Boxes, scores and labels of each image."""
        features = self.fpn(self.backbone(self.preprocess(batch))[1:])
        outputs = self.head(features)
        check_finite([of_level for output in outputs for of_level in output], batch.image_ids)
        levels = self.levels(features)
        detections = [
            self._detect([[of_level[i] for of_level in o] for o in outputs], levels, size)
            for i, size in enumerate(batch.sizes)
        ]
        return to_predictions(batch, detections)

    def _detect(
        self, outputs: list[list[Tensor]], levels: list[StridedAnchors], size: Size
    ) -> Instances:
        """Detections of one image from outputs (A_l, ·) of each level."""
        boxes, scores, labels = [], [], []
        for (logits, *values), level in zip(zip(*outputs, strict=True), levels, strict=True):
            # As in mmdet the threshold is on class scores alone, before any factor on them.
            score, anchor, label = best_of_level(logits, self.filter.score_threshold)
            box, factor = self.head.decode([value[anchor] for value in values], level[anchor])
            boxes.append(box)
            scores.append(score * factor)
            labels.append(label)
        return self.filter.labelled(
            torch.cat(boxes), torch.cat(scores), labels=torch.cat(labels), size=size
        )

    def box_logits(self, images: Tensor, boxes: Tensor, labels: Tensor) -> Tensor:
        """Class logits of the anchors that the boxes came from, as ``Explainable.box_logits``."""
        features = self.fpn(self.backbone(images)[1:])
        logits, *values = (torch.cat(levels, dim=1)[0] for levels in self.head(features))
        decoded, _ = self.head.decode(values, StridedAnchors.cat(self.levels(features)))
        return origin_logits(logits, decoded, boxes, labels)

    def flops_forward(self, size: Size) -> object:
        """Run backbone, pyramid and head on one zero image."""
        return self.head(self.fpn(self.backbone(self.zeros(3, *size))[1:]))


def positives_of(
    values: Tensor, assignments: Sequence[Assignment], anchors: StridedAnchors
) -> tuple[Tensor, StridedAnchors, Tensor]:
    """Values (P, ·), anchors and ground-truth boxes (P, 4) of the positives of all images.

    Values are outputs (B, A, ·) of a head; the anchors are the A of one image.
    """
    chosen = [a.positive for a in assignments]
    positive = torch.cat([values[i, index] for i, index in enumerate(chosen)])
    return positive, anchors[torch.cat(chosen)], torch.cat([a.boxes for a in assignments])


def class_focal_sum(logits: Tensor, assignments: Sequence[Assignment]) -> Tensor:
    """Summed focal loss (``focal_sum``) of class logits (B, A, C) of B images."""
    losses = [
        focal_sum(one, a.positive, a.labels, a.ignored)
        for one, a in zip(logits, assignments, strict=True)
    ]
    return torch.stack(losses).sum()
