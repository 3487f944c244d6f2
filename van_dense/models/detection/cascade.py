"""Cascade Mask R-CNN with FPN on any backbone, as in Table 11 of the VAN paper.

Source: Cai and Vasconcelos, "Cascade R-CNN", CVPR 2018; definition of mmdet 2.x and Swin
Transformer's ``cascade_mask_rcnn_swin_..._giou_4conv1f_adamw_3x_coco``, where every stage samples
anew from the boxes of the one before and has its own mask head.
Legend: R regions over all images, C classes, M mask resolution; boxes xyxy pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from van_dense.core.structures import Batch, Instances, Prediction, Size
from van_dense.models.dense_model import DenseModel
from van_dense.models.detection.anchors import without_crowd
from van_dense.models.detection.cascade_stage import CascadeStage, likeliest_class
from van_dense.models.detection.fpn import FPN
from van_dense.models.detection.roi_heads import BOX_POOL, MASK_POOL, RegionFeatures
from van_dense.models.detection.rpn import RPN
from van_dense.models.evidence import shape_evidence, softmax_evidence
from van_dense.models.postprocess import DetectionFilter, check_finite, to_predictions
from van_dense.models.preprocess import Preprocess


class CascadeMaskRCNN(DenseModel):
    """Detector whose stages refine each other's boxes, each trained at a higher IoU.

    Args:
        backbone: Gives maps at strides 4, 8, 16, 32.
        fpn: Pyramid over them with one more level.
        rpn: Proposals.
        stages: Box and mask branches, in order.
        rule: Which scored boxes become detections.
        mask_threshold: Of the pasted mask probabilities.
    """

    def __init__(
        self,
        backbone: nn.Module,
        fpn: FPN,
        *,
        rpn: RPN,
        stages: Sequence[CascadeStage],
        rule: DetectionFilter,
        mask_threshold: float = 0.5,
    ) -> None:
        super().__init__()
        self.preprocess = Preprocess()
        self.backbone = backbone
        self.fpn = fpn
        self.rpn = rpn
        self.stages = nn.ModuleList(stages)
        self.rule = rule
        self.mask_threshold = mask_threshold

    def _stages(self) -> list[CascadeStage]:
        return cast("list[CascadeStage]", list(self.stages))

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Losses rpn_class, rpn_box and, for each stage, stage1_box_class, _box_box and _mask."""
        targets = without_crowd(batch.targets)
        maps = self.fpn(self.backbone(self.preprocess(batch)))
        scored, features = self.rpn(maps), RegionFeatures(maps)
        proposals = self.rpn.proposals(scored, batch.sizes, self.rpn.train_filter)
        return {
            **self.rpn.losses(scored, targets, batch),
            **self._stage_losses(features, proposals, targets=targets, batch=batch),
        }

    def _stage_losses(
        self,
        features: RegionFeatures,
        proposals: list[Tensor],
        *,
        targets: Sequence[Instances],
        batch: Batch,
    ) -> dict[str, Tensor]:
        losses: dict[str, Tensor] = {}
        for number, stage in enumerate(self._stages(), start=1):
            regions = stage.box.sample(proposals, targets, seeds=batch.seeds)
            pooled = features.pool([r.boxes for r in regions], output=BOX_POOL)
            logits, deltas = stage.box(pooled)
            parts = {
                **stage.box.losses(logits, deltas, regions=regions, targets=targets),
                **stage.mask.losses(features, regions, targets),
            }
            losses |= {f"stage{number}_{k}": stage.loss_weight * v for k, v in parts.items()}
            if number < len(self.stages):
                proposals = stage.box.next_proposals(
                    logits, deltas, regions=regions, sizes=batch.sizes
                )
        return losses

    @torch.no_grad()
    def predict(self, batch: Batch) -> list[Prediction]:
        """Boxes, scores, labels and RLE masks of each image.

        Raises:
            ValueError: When the network gives non-finite values.
        """
        maps = self.fpn(self.backbone(self.preprocess(batch)))
        scored, features = self.rpn(maps), RegionFeatures(maps)
        check_finite([*scored.objectness, *scored.deltas], batch.image_ids)
        proposals = self.rpn.proposals(scored, batch.sizes, self.rpn.test_filter)
        detections = self._detect(features, proposals, batch)
        masks = self._mask_probabilities(features, detections)
        check_finite(masks, batch.image_ids)
        return to_predictions(batch, detections, masks, mask_threshold=self.mask_threshold)

    def _detect(
        self, features: RegionFeatures, proposals: list[Tensor], batch: Batch
    ) -> list[Instances]:
        """Boxes of the last stage with class probabilities averaged over all stages.

        The average is of probabilities, as in Detectron2; mmdet averages the logits.
        """
        counts = [len(boxes) for boxes in proposals]
        *refining, last = self._stages()
        scores = []
        for stage in refining:
            logits, deltas = self._classify(stage, features, proposals, batch)
            scores.append(logits.softmax(dim=1)[:, :-1])
            proposals = stage.box.refine(
                deltas, likeliest_class(logits), boxes=proposals, sizes=batch.sizes
            )
        logits, deltas = self._classify(last, features, proposals, batch)
        scores.append(logits.softmax(dim=1)[:, :-1])
        average = torch.stack(scores).mean(dim=0).split(counts)
        # The last stage gives a box for each class and not for the likeliest one alone.
        decoded = [
            last.box.coder.decode_single(d.flatten(1), boxes).view_as(d)
            for d, boxes in zip(deltas.split(counts), proposals, strict=True)
        ]
        return [
            self.rule.per_class(boxes, s, size=size)
            for boxes, s, size in zip(decoded, average, batch.sizes, strict=True)
        ]

    def _classify(
        self, stage: CascadeStage, features: RegionFeatures, boxes: list[Tensor], batch: Batch
    ) -> tuple[Tensor, Tensor]:
        """Class logits (R, C + 1) and deltas (R, C, 4) that are known to be finite."""
        logits, deltas = stage.box(features.pool(boxes, output=BOX_POOL))
        check_finite([logits, deltas], batch.image_ids)
        return logits, deltas

    def _mask_probabilities(
        self, features: RegionFeatures, detections: Sequence[Instances]
    ) -> list[Tensor]:
        """Mask probabilities (N, M, M) of the detected class, averaged over stages, by image."""
        pooled = features.pool([d.boxes for d in detections], output=MASK_POOL)
        labels = torch.cat([d.labels for d in detections])
        rows = torch.arange(len(labels), device=labels.device)
        stages = [stage.mask(pooled)[rows, labels].sigmoid() for stage in self._stages()]
        return list(torch.stack(stages).mean(dim=0).split([len(d) for d in detections]))

    def box_evidence(self, images: Tensor, boxes: Tensor, labels: Tensor) -> Tensor:
        """What speaks for the class of each box in the mean of the stages; see ``Explainable``."""
        pooled = self._features(images).pool([boxes], output=BOX_POOL)
        parts = [softmax_evidence(stage.box(pooled)[0], labels) for stage in self._stages()]
        return torch.stack(parts).mean(dim=0)

    def mask_evidence(self, images: Tensor, boxes: Tensor, labels: Tensor) -> Tensor:
        """What speaks for the mask of each box in the mean of the stages; see ``Explainable``."""
        pooled = self._features(images).pool([boxes], output=MASK_POOL)
        parts = [shape_evidence(stage.mask(pooled), labels) for stage in self._stages()]
        return torch.stack(parts).mean(dim=0)

    def _features(self, images: Tensor) -> RegionFeatures:
        return RegionFeatures(self.fpn(self.backbone(images)))

    def flops_forward(self, size: Size) -> None:
        """Run on one zero image with 1000 box and 100 mask regions a stage, as ``get_flops``."""
        device = next(self.parameters()).device
        features = self.fpn(self.backbone(torch.zeros(1, 3, *size, device=device)))
        channels = features[0].shape[1]
        self.rpn.head(features)
        for stage in self._stages():
            stage.box(torch.zeros(1000, channels, BOX_POOL, BOX_POOL, device=device))
            stage.mask(torch.zeros(100, channels, MASK_POOL, MASK_POOL, device=device))
