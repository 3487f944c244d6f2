"""Cascade Mask R-CNN with FPN on any backbone, as in Table 11 of the VAN paper.

Source: Cai and Vasconcelos, "Cascade R-CNN", CVPR 2018; definition of mmdet 2.x and Swin
Transformer's ``cascade_mask_rcnn_swin_..._giou_4conv1f_adamw_3x_coco``, where every stage samples
anew from the boxes of the one before and has its own mask head.
"""

from collections.abc import Sequence
from typing import Literal, cast

import torch
from torch import Tensor, nn

from van_dense.core.dataset_info import DatasetInfo
from van_dense.core.structures import Batch, Instances
from van_dense.models.class_rows import Rows
from van_dense.models.detection.cascade_stage import CascadeStage, likeliest_class
from van_dense.models.detection.fpn import FPN
from van_dense.models.detection.rcnn import RCNN
from van_dense.models.detection.roi_heads import BOX_POOL, MaskBranch, RegionFeatures, RoIAlign
from van_dense.models.detection.rpn import RPN
from van_dense.models.postprocess import DetectionFilter

Average = Literal["probabilities", "logits"]
ROI_ALIGN = RoIAlign(aligned=True, samples=0)  # mmdet's


class CascadeMaskRCNN(RCNN):
    """Detector whose stages refine each other's boxes, each trained at a higher IoU.

    To the parts of ``RCNN`` come the stages, box and mask branches, in their order, what of their
    classifiers is averaged, and the filter by which scored boxes become detections.
    """

    def __init__(
        self,
        backbone: nn.Module,
        fpn: FPN,
        *,
        rpn: RPN,
        stages: Sequence[CascadeStage],
        filter: DetectionFilter,
        average: Average,
        mask_threshold: float,
    ) -> None:
        super().__init__(backbone, fpn, rpn=rpn, roi_align=ROI_ALIGN, mask_threshold=mask_threshold)
        self.stages = nn.ModuleList(stages)
        self.filter = filter
        self.average = average

    def named_rows(self, info: DatasetInfo) -> dict[str, Rows]:
        """Classes of the last layers; a box for all classes has no rows of theirs."""
        one_box = self._stages()[0].box.one_box
        rows = super().named_rows(info)
        return {n: r for n, r in rows.items() if not (one_box and n.endswith("box_deltas"))}

    def _stages(self) -> list[CascadeStage]:
        return cast("list[CascadeStage]", list(self.stages))

    def branches(self) -> list[tuple[nn.Module, MaskBranch]]:
        """Box and mask branch of every stage."""
        return [(stage.box, stage.mask) for stage in self._stages()]

    def region_losses(
        self,
        features: RegionFeatures,
        proposals: list[Tensor],
        *,
        targets: Sequence[Instances],
        batch: Batch,
    ) -> dict[str, Tensor]:
        """Losses stage1_box_class, stage1_box_box, stage1_mask, and so on for each stage."""
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

    def detect(
        self, features: RegionFeatures, proposals: list[Tensor], batch: Batch
    ) -> list[Instances]:
        """Boxes of the last stage with class probabilities of all stages, as ``averaged``."""
        counts = [len(boxes) for boxes in proposals]
        *refining, last = self._stages()
        votes = []
        for stage in refining:
            logits, deltas = self.classify(stage.box, features, proposals, batch)
            votes.append(logits)
            likeliest = likeliest_class(logits)
            proposals = stage.box.refine(deltas, likeliest, boxes=proposals, sizes=batch.sizes)
        logits, deltas = self.classify(last.box, features, proposals, batch)
        scores = averaged([*votes, logits], self.average).split(counts)
        # The last stage gives a box for each class and not for the likeliest one alone.
        decoded = [
            last.box.coder.decode_single(d.flatten(1), boxes).view_as(d)
            for d, boxes in zip(deltas.split(counts), proposals, strict=True)
        ]
        return [
            self.filter.per_class(boxes, s, size=size)
            for boxes, s, size in zip(decoded, scores, batch.sizes, strict=True)
        ]


def averaged(logits: Sequence[Tensor], average: Average) -> Tensor:
    """Class probabilities (R, C) of the logits (R, C + 1) of all stages, background last.

    Detectron2 averages the probabilities of the stages, mmdet's ``CascadeRoIHead`` their logits.
    """
    stages = torch.stack(list(logits))
    if average == "logits":
        return stages.mean(dim=0).softmax(dim=1)[:, :-1]
    return stages.softmax(dim=2).mean(dim=0)[:, :-1]
