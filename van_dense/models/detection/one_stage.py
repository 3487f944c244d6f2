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

from van_dense.core.structures import Batch, Instances, Prediction, Size
from van_dense.models.dense_model import DenseModel
from van_dense.models.detection.anchors import Anchors, BoxMatcher, without_crowd
from van_dense.models.detection.fpn import FPN
from van_dense.models.detection.one_stage_head import best_of_level
from van_dense.models.evidence import origin_evidence
from van_dense.models.losses import focal_sum
from van_dense.models.postprocess import DetectionFilter, check_finite, to_predictions
from van_dense.models.preprocess import Preprocess

STRIDES = (8, 16, 32, 64, 128)


@dataclass(frozen=True)
class Cells:
    """Where box values live: anchors (A, 4) in pixels and the strides (A,) of their levels."""

    anchors: Tensor
    strides: Tensor

    @property
    def centres(self) -> Tensor:
        """(A, 2) x, y in pixels."""
        return (self.anchors[:, :2] + self.anchors[:, 2:]) / 2

    def __getitem__(self, index: Tensor) -> Cells:
        return Cells(self.anchors[index], self.strides[index])

    @staticmethod
    def cat(parts: Sequence[Cells]) -> Cells:
        """Join levels or images."""
        return Cells(
            torch.cat([part.anchors for part in parts]), torch.cat([part.strides for part in parts])
        )


@dataclass(frozen=True)
class Assignment:
    """What the anchors of one image learn.

    Attributes:
        positive: int64 (P,) indices of foreground anchors.
        labels: int64 (P,) their classes.
        boxes: float32 (P, 4) their ground truth.
        ignored: bool (A,) neither foreground nor background.
    """

    positive: Tensor
    labels: Tensor
    boxes: Tensor
    ignored: Tensor


class OneStageHead(Protocol):
    """What ``DenseDetector`` asks of a head."""

    def __call__(self, features: Sequence[Tensor]) -> tuple[list[Tensor], ...]:
        """Outputs (B, A_l, ·) of each level: class logits first, then the head's own."""

    def losses(
        self, outputs: Sequence[Tensor], assignments: Sequence[Assignment], cells: Cells
    ) -> dict[str, Tensor]:
        """Weighted losses of outputs (B, A, ·)."""

    def decode(self, values: Sequence[Tensor], cells: Cells) -> tuple[Tensor, Tensor]:
        """Boxes (K, 4) and factors (K,) on the class scores of the head's own outputs (K, ·)."""


class AnchorMatcher(Protocol):
    """Which box each anchor of an image learns."""

    def __call__(self, targets: Instances, anchors: Sequence[Tensor], *, size: Size) -> Tensor:
        """Index int64 (A,) of the box; -1 background, -2 neither.

        Args:
            targets: Boxes to learn, without crowd.
            anchors: (A_l, 4) of each level.
            size: (height, width) of the image.
        """


class DenseDetector(DenseModel):
    """Pyramid P3..P7 and one head over all of it.

    Args:
        backbone: Gives maps at strides 4, 8, 16, 32; the first is not used.
        fpn: Pyramid over the last three with two more levels.
        head: A module that is an ``OneStageHead``.
        anchors: Of every level; as many in a cell as the head expects.
        matcher: Which anchors are foreground.
        rule: Which scored boxes become detections.
    """

    def __init__(
        self,
        backbone: nn.Module,
        fpn: FPN,
        *,
        head: OneStageHead,
        anchors: Anchors,
        matcher: AnchorMatcher,
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

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Losses of the head."""
        targets = without_crowd(batch.targets)
        features = self.fpn(self.backbone(self.preprocess(batch))[1:])
        outputs = [torch.cat(levels, dim=1) for levels in self.head(features)]
        cells = self._cells(features)
        assignments = [
            self._assign(target, cells, size)
            for target, size in zip(targets, batch.sizes, strict=True)
        ]
        return self.head.losses(outputs, assignments, Cells.cat(cells))

    def _cells(self, features: Sequence[Tensor]) -> list[Cells]:
        return [
            Cells(anchors, anchors.new_full((len(anchors),), stride))
            for anchors, stride in zip(self.anchors(features), self.anchors.strides, strict=True)
        ]

    def _assign(self, target: Instances, cells: list[Cells], size: Size) -> Assignment:
        matched = self.matcher(target, [level.anchors for level in cells], size=size)
        positive = (matched >= 0).nonzero()[:, 0]
        return Assignment(
            positive=positive,
            labels=target.labels[matched[positive]],
            boxes=target.boxes[matched[positive]],
            ignored=matched == BoxMatcher.BETWEEN_THRESHOLDS,
        )

    @torch.no_grad()
    def predict(self, batch: Batch) -> list[Prediction]:
        """Boxes, scores and labels of each image.

        Raises:
            ValueError: When the network gives non-finite values.
        """
        features = self.fpn(self.backbone(self.preprocess(batch))[1:])
        outputs = self.head(features)
        check_finite([level for levels in outputs for level in levels], batch.image_ids)
        cells = self._cells(features)
        detections = [
            self._detect([[level[i] for level in levels] for levels in outputs], cells, size)
            for i, size in enumerate(batch.sizes)
        ]
        return to_predictions(batch, detections)

    def _detect(self, outputs: list[list[Tensor]], cells: list[Cells], size: Size) -> Instances:
        """Detections of one image from outputs (A_l, ·) of each level."""
        boxes, scores, labels = [], [], []
        for (logits, *values), level in zip(zip(*outputs, strict=True), cells, strict=True):
            # As in mmdet the threshold looks at class scores alone, before any factor on them.
            score, anchor, label = best_of_level(logits, self.rule.score_threshold)
            box, factor = self.head.decode([value[anchor] for value in values], level[anchor])
            boxes.append(box)
            scores.append(score * factor)
            labels.append(label)
        return self.rule.labelled(
            torch.cat(boxes), torch.cat(scores), labels=torch.cat(labels), size=size
        )

    def box_evidence(self, images: Tensor, boxes: Tensor, labels: Tensor) -> Tensor:
        """Class logits of the anchors that the boxes came from; see ``Explainable``."""
        features = self.fpn(self.backbone(images)[1:])
        logits, *values = (torch.cat(levels, dim=1)[0] for levels in self.head(features))
        decoded, _ = self.head.decode(values, Cells.cat(self._cells(features)))
        return origin_evidence(logits, decoded, boxes, labels)

    def flops_forward(self, size: Size) -> None:
        """Run backbone, pyramid and head on one zero image."""
        device = next(self.parameters()).device
        images = torch.zeros(1, 3, *size, device=device)
        self.head(self.fpn(self.backbone(images)[1:]))


def positives_of(
    values: Tensor, assignments: Sequence[Assignment], cells: Cells
) -> tuple[Tensor, Cells, Tensor]:
    """Values (P, ·), cells and ground-truth boxes (P, 4) of the positives of all images.

    Args:
        values: (B, A, ·).
        assignments: Of the B images.
        cells: Of the A anchors.
    """
    chosen = [a.positive for a in assignments]
    return (
        torch.cat([values[i, index] for i, index in enumerate(chosen)]),
        cells[torch.cat(chosen)],
        torch.cat([a.boxes for a in assignments]),
    )


def class_focal_sum(logits: Tensor, assignments: Sequence[Assignment]) -> Tensor:
    """Summed focal loss of class logits (B, A, C), see ``focal_sum``."""
    losses = [
        focal_sum(one, a.positive, a.labels, a.ignored)
        for one, a in zip(logits, assignments, strict=True)
    ]
    return torch.stack(losses).sum()
