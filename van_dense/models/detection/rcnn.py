"""What Mask R-CNN and Cascade Mask R-CNN share: pyramid, proposals, and the order of steps.

Legend: B images, R regions over all images, C classes, M mask resolution; boxes xyxy pixels.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from van_dense.core.dataset_info import DatasetInfo
from van_dense.core.structures import Batch, Instances, Prediction, Size
from van_dense.models.class_rows import Rows, second_stage_rows
from van_dense.models.dense_model import DenseModel
from van_dense.models.detection.anchors import without_crowd
from van_dense.models.detection.fpn import FPN
from van_dense.models.detection.roi_heads import (
    BOX_POOL,
    MASK_POOL,
    MaskBranch,
    RegionFeatures,
    RoIAlign,
)
from van_dense.models.detection.rpn import RPN
from van_dense.models.explainable import centred_logits, mask_contrast
from van_dense.models.postprocess import check_finite, to_predictions

STRIDES = (4, 8, 16, 32, 64)


class RCNN(DenseModel):
    """Detector with proposals and one or more second stages of a box and a mask branch.

    Args:
        backbone: Images (B, 3, H, W) to c2..c5.
        fpn: c2..c5 to P2..P6.
        rpn: P2..P6 to proposals.
        roi_align: How regions are cut out of the pyramid.
        mask_threshold: Lowest probability of a pixel of a mask, in 0..1.
    """

    def __init__(
        self, backbone: nn.Module, fpn: FPN, *, rpn: RPN, roi_align: RoIAlign, mask_threshold: float
    ) -> None:
        super().__init__(backbone)
        self.fpn = fpn
        self.rpn = rpn
        self.roi_align = roi_align
        self.mask_threshold = mask_threshold

    def branches(self) -> list[tuple[nn.Module, MaskBranch]]:
        """Box and mask branch of every second stage; the former gives class logits and deltas."""
        raise NotImplementedError

    def region_losses(
        self,
        features: RegionFeatures,
        proposals: list[Tensor],
        *,
        targets: Sequence[Instances],
        batch: Batch,
    ) -> dict[str, Tensor]:
        """Losses of the second stages on proposals (P, 4) of each image."""
        raise NotImplementedError

    def detect(
        self, features: RegionFeatures, proposals: list[Tensor], batch: Batch
    ) -> list[Instances]:
        """Boxes, scores and labels of each image, from proposals (P, 4) of each image."""
        raise NotImplementedError

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Losses rpn_class, rpn_box, and those of ``region_losses``."""
        maps = self.fpn(self.backbone(self.preprocess(batch)))
        return self.detection_losses(maps, without_crowd(batch.targets), batch)

    def named_rows(self, info: DatasetInfo) -> dict[str, Rows]:
        """Classes of the box and mask branches; see ``DenseModel``."""
        return second_stage_rows(self, info.class_names)

    @torch.no_grad()
    def predict(self, batch: Batch) -> list[Prediction]:
        """Boxes, scores, labels and RLE masks of each image."""
        return self.instances(self.fpn(self.backbone(self.preprocess(batch))), batch)

    def detection_losses(
        self, maps: Sequence[Tensor], targets: Sequence[Instances], batch: Batch
    ) -> dict[str, Tensor]:
        """Losses of P2..P6 with targets that hold no crowd, as ``forward``."""
        scored, features = self.rpn(maps), RegionFeatures(maps, self.roi_align)
        proposals = self.rpn.proposals(scored, batch.sizes, self.rpn.train_filter)
        region_losses = self.region_losses(features, proposals, targets=targets, batch=batch)
        return {**self.rpn.losses(scored, targets, batch), **region_losses}

    def instances(self, maps: Sequence[Tensor], batch: Batch) -> list[Prediction]:
        """What P2..P6 show in each image, as ``predict``."""
        scored, features = self.rpn(maps), RegionFeatures(maps, self.roi_align)
        check_finite([*scored.objectness, *scored.deltas], batch.image_ids)
        proposals = self.rpn.proposals(scored, batch.sizes, self.rpn.test_filter)
        detections = self.detect(features, proposals, batch)
        masks = self._mask_probabilities(features, detections)
        check_finite(masks, batch.image_ids)
        return to_predictions(batch, detections, masks, mask_threshold=self.mask_threshold)

    def classify(
        self, box: nn.Module, features: RegionFeatures, boxes: list[Tensor], batch: Batch
    ) -> tuple[Tensor, Tensor]:
        """Class logits (R, C + 1) and deltas of a box branch that are known to be finite."""
        logits, deltas = box(features.pool(boxes, output=BOX_POOL))
        check_finite([logits, deltas], batch.image_ids)
        return logits, deltas

    def _mask_probabilities(
        self, features: RegionFeatures, detections: Sequence[Instances]
    ) -> list[Tensor]:
        """Mask probabilities (N, M, M) of the detected class, averaged over stages, by image."""
        pooled = features.pool([d.boxes for d in detections], output=MASK_POOL)
        labels = torch.cat([d.labels for d in detections])
        rows = torch.arange(len(labels), device=labels.device)
        stages = [mask(pooled)[rows, labels].sigmoid() for _, mask in self.branches()]
        return list(torch.stack(stages).mean(dim=0).split([len(d) for d in detections]))

    def box_logits(self, images: Tensor, boxes: Tensor, labels: Tensor) -> Tensor:
        """Centred class logits in the mean of the stages, as ``Explainable.box_logits``."""
        return self.region_logits(self._features(images), boxes, labels)

    def region_logits(self, features: RegionFeatures, boxes: Tensor, labels: Tensor) -> Tensor:
        """``box_logits`` of pyramid maps."""
        pooled = features.pool([boxes], output=BOX_POOL)
        stages = [centred_logits(box(pooled)[0], labels) for box, _ in self.branches()]
        return torch.stack(stages).mean(dim=0)

    def mask_logits(self, images: Tensor, boxes: Tensor, labels: Tensor) -> Tensor:
        """Contrast of the mask logits in the mean of the stages (``MaskExplainable``)."""
        pooled = self._features(images).pool([boxes], output=MASK_POOL)
        stages = [mask_contrast(mask(pooled), labels) for _, mask in self.branches()]
        return torch.stack(stages).mean(dim=0)

    def _features(self, images: Tensor) -> RegionFeatures:
        return RegionFeatures(self.fpn(self.backbone(images)), self.roi_align)

    def flops_forward(self, size: Size) -> object:
        """Run on one zero image with 1000 box and 100 mask regions a stage, as ``get_flops``."""
        return self.run_heads(self.fpn(self.backbone(self.zeros(3, *size))))

    def run_heads(self, maps: Sequence[Tensor]) -> object:
        """Run all heads on P2..P6 of one image, and return all outputs."""
        channels = maps[0].shape[1]
        outputs = [maps, self.rpn.head(list(maps))]
        for box, mask in self.branches():
            boxes = box(self.zeros(channels, BOX_POOL, BOX_POOL).expand(1000, -1, -1, -1))
            masks = mask(self.zeros(channels, MASK_POOL, MASK_POOL).expand(100, -1, -1, -1))
            outputs += [boxes, masks]
        return outputs
