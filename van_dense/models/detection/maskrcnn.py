"""Mask R-CNN with FPN on any backbone, as in Table 10 of the VAN paper.

Source: He et al., "Mask R-CNN", ICCV 2017; definition of mmdet 2.x / PoolFormer
``mask_rcnn_r50_fpn`` (aligned RoIAlign, unrounded anchors, L1 boxes), built from torchvision parts.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from van_dense.core.structures import Batch, Prediction, Size
from van_dense.models.dense_model import DenseModel
from van_dense.models.detection.anchors import without_crowd
from van_dense.models.detection.fpn import FPN
from van_dense.models.detection.roi_heads import (
    BOX_POOL,
    MASK_POOL,
    BoxBranch,
    MaskBranch,
    RegionFeatures,
    RoIAlign,
)
from van_dense.models.detection.rpn import RPN
from van_dense.models.evidence import shape_evidence, softmax_evidence
from van_dense.models.postprocess import check_finite, to_predictions
from van_dense.models.preprocess import Preprocess

STRIDES = (4, 8, 16, 32, 64)


class MaskRCNN(DenseModel):
    """Two-stage detector: pyramid, proposals, box branch, mask branch.

    Args:
        backbone: Gives maps at strides 4, 8, 16, 32.
        fpn: Pyramid over them with one more level.
        rpn: Proposals.
        box: Classes and boxes.
        mask: Masks.
        roi_align: How both cut regions out of the pyramid.
        mask_threshold: Of the pasted mask probabilities.
    """

    def __init__(
        self,
        backbone: nn.Module,
        fpn: FPN,
        *,
        rpn: RPN,
        box: BoxBranch,
        mask: MaskBranch,
        roi_align: RoIAlign,
        mask_threshold: float = 0.5,
    ) -> None:
        super().__init__()
        self.preprocess = Preprocess()
        self.backbone = backbone
        self.fpn = fpn
        self.rpn = rpn
        self.box = box
        self.mask = mask
        self.roi_align = roi_align
        self.mask_threshold = mask_threshold

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Losses rpn_class, rpn_box, box_class, box_box and mask, each with weight 1."""
        targets = without_crowd(batch.targets)
        maps = self.fpn(self.backbone(self.preprocess(batch)))
        scored, features = self.rpn(maps), RegionFeatures(maps, self.roi_align)
        proposals = self.rpn.proposals(scored, batch.sizes, self.rpn.train_filter)
        regions = self.box.sample(proposals, targets, seeds=batch.seeds)
        return {
            **self.rpn.losses(scored, targets, batch),
            **self.box.losses(features, regions, targets),
            **self.mask.losses(features, regions, targets),
        }

    @torch.no_grad()
    def predict(self, batch: Batch) -> list[Prediction]:
        """Boxes, scores, labels and RLE masks of each image.

        Raises:
            ValueError: When the network gives non-finite values.
        """
        maps = self.fpn(self.backbone(self.preprocess(batch)))
        scored, features = self.rpn(maps), RegionFeatures(maps, self.roi_align)
        check_finite([*scored.objectness, *scored.deltas], batch.image_ids)
        proposals = self.rpn.proposals(scored, batch.sizes, self.rpn.test_filter)
        logits, deltas = self.box(features.pool(proposals, output=BOX_POOL))
        check_finite([logits, deltas], batch.image_ids)
        detections = self.box.detect(logits, deltas, proposals, sizes=batch.sizes)
        masks = self.mask.probabilities(features, detections)
        check_finite(masks, batch.image_ids)
        return to_predictions(batch, detections, masks, mask_threshold=self.mask_threshold)

    def box_evidence(self, images: Tensor, boxes: Tensor, labels: Tensor) -> Tensor:
        """What speaks for the class of each box; see ``Explainable``."""
        features = self._features(images)
        logits, _ = self.box(features.pool([boxes], output=BOX_POOL))
        return softmax_evidence(logits, labels)

    def mask_evidence(self, images: Tensor, boxes: Tensor, labels: Tensor) -> Tensor:
        """What speaks for the mask of each box; see ``Explainable``."""
        pooled = self._features(images).pool([boxes], output=MASK_POOL)
        return shape_evidence(self.mask(pooled), labels)

    def _features(self, images: Tensor) -> RegionFeatures:
        return RegionFeatures(self.fpn(self.backbone(images)), self.roi_align)

    def flops_forward(self, size: Size) -> None:
        """Run on one zero image with 1000 box and 100 mask regions, as mmdet's ``get_flops``."""
        device = next(self.parameters()).device
        features = self.fpn(self.backbone(torch.zeros(1, 3, *size, device=device)))
        channels = features[0].shape[1]
        self.rpn.head(features)
        self.box(torch.zeros(1000, channels, BOX_POOL, BOX_POOL, device=device))
        self.mask(torch.zeros(100, channels, MASK_POOL, MASK_POOL, device=device))
