"""Mask R-CNN with FPN on any backbone, as in Table 10 of the VAN paper.

Source: He et al., "Mask R-CNN", ICCV 2017; definition of mmdet 2.x / PoolFormer
``mask_rcnn_r50_fpn`` (aligned RoIAlign, unrounded anchors, L1 boxes), built from torchvision parts.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from van_dense.core.structures import Batch, Instances
from van_dense.models.detection.fpn import FPN
from van_dense.models.detection.rcnn import RCNN
from van_dense.models.detection.roi_heads import BoxBranch, MaskBranch, RegionFeatures, RoIAlign
from van_dense.models.detection.rpn import RPN


class MaskRCNN(RCNN):
    """Two-stage detector: to the parts of ``RCNN`` comes one box and one mask branch.

    All losses have weight 1.
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
        mask_threshold: float,
    ) -> None:
        super().__init__(backbone, fpn, rpn=rpn, roi_align=roi_align, mask_threshold=mask_threshold)
        self.box = box
        self.mask = mask

    def branches(self) -> list[tuple[nn.Module, MaskBranch]]:
        """Box and mask branch of the only second stage."""
        return [(self.box, self.mask)]

    def region_losses(
        self,
        features: RegionFeatures,
        proposals: list[Tensor],
        *,
        targets: Sequence[Instances],
        batch: Batch,
    ) -> dict[str, Tensor]:
        """Losses box_class, box_box and mask."""
        regions = self.box.sample(proposals, targets, seeds=batch.seeds)
        box_losses = self.box.losses(features, regions, targets)
        return {**box_losses, **self.mask.losses(features, regions, targets)}

    def detect(
        self, features: RegionFeatures, proposals: list[Tensor], batch: Batch
    ) -> list[Instances]:
        """Boxes, scores and labels of each image."""
        logits, deltas = self.classify(self.box, features, proposals, batch)
        return self.box.detect(logits, deltas, proposals, sizes=batch.sizes)
