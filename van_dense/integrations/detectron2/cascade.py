"""The cascade of mmdet 2.x on Detectron2: a second stage of Detectron2's own for each stage.

Source: Cai and Vasconcelos, "Cascade R-CNN", CVPR 2018; mmdet 2.x ``CascadeRoIHead`` and Detectron2
0.6 ``cascade_rcnn.py``. Detectron2's ``CascadeROIHeads`` is another network: it samples regions
once, for all stages, has one mask head, boxes that do not depend on the class, and thirds of the
gradients of pooled features. In mmdet every stage samples regions anew and has its own mask head,
so that it is a whole ``StandardROIHeads``; here several of them stand in a row, and what is left to
write is where the boxes of one go to the next, and what the stages are averaged to.
Legend: R regions over all images, P regions of one image, C classes; boxes xyxy pixels.
"""

from collections.abc import Sequence
from typing import Any, cast

import torch
from detectron2.structures import Boxes, ImageList
from detectron2.structures import Instances as DetectronInstances
from torch import Tensor, nn
from torchvision.ops import clip_boxes_to_image

from van_dense.core.structures import Size
from van_dense.integrations.detectron2.parts import BoxLayers, Losses, SeededROIHeads, Targets
from van_dense.models.detection.cascade_stage import likeliest_class

Predictions = tuple[Tensor, Tensor]  # class logits (R, C + 1) and deltas (R, C * 4)


class DecodedBoxLayers(BoxLayers):
    """Detectron2's classifier and box regression, trained on the decoded boxes by their GIoU."""

    def box_reg_loss(
        self, proposal_boxes: Tensor, gt_boxes: Tensor, pred_deltas: Tensor, gt_classes: Tensor
    ) -> Tensor:
        """Detectron2's loss; NaN where deltas are not finite.

        fvcore's GIoU raises there; our trainer reports losses that are not finite with their step
        and images.
        """
        if not pred_deltas.isfinite().all():
            return pred_deltas.sum() * float("nan")
        return super().box_reg_loss(proposal_boxes, gt_boxes, pred_deltas, gt_classes)


class CascadeStageHeads(SeededROIHeads):
    """One stage: Detectron2's second stage that also tells where its regions went."""

    def classify(
        self, features: dict[str, Tensor], proposals: list[DetectronInstances]
    ) -> Predictions:
        """Class logits (R, C + 1) and deltas (R, C * 4) of all proposals."""
        maps = [features[name] for name in self.box_in_features]
        pooled = self.box_pooler(maps, [proposal.proposal_boxes for proposal in proposals])
        return cast(Predictions, self.box_predictor(self.box_head(pooled)))

    def _forward_box(
        self, features: dict[str, Tensor], proposals: list[DetectronInstances]
    ) -> Losses:
        """Losses of the sampled ``proposals``, which get the field ``refined``: boxes (P, 4).

        Detectron2's ``train_on_pred_boxes`` leaves its boxes in the same way.
        """
        predictions = self.classify(features, proposals)
        losses: Losses = self.box_predictor.losses(predictions, proposals)
        for proposal, boxes in zip(proposals, self.refine(predictions, proposals), strict=True):
            proposal.refined = boxes
        return losses

    @torch.no_grad()
    def refine(self, predictions: Predictions, proposals: list[DetectronInstances]) -> list[Tensor]:
        """Boxes (P, 4) of each image for the next stage, clipped to the image.

        Labelled foreground moves with the deltas of its true class, everything else with those of
        its likeliest class, as in mmdet's ``refine_bboxes`` and ``simple_test``.
        """
        likeliest = likeliest_class(predictions[0]).split([len(p) for p in proposals])
        chosen = []
        for proposal, labels in zip(proposals, likeliest, strict=True):
            if proposal.has("gt_classes"):
                known = proposal.gt_classes
                labels = torch.where(known == self.num_classes, labels, known)
            boxes = proposal.proposal_boxes
            one = DetectronInstances(proposal.image_size, proposal_boxes=boxes, gt_classes=labels)
            chosen.append(one)
        moved = self.box_predictor.predict_boxes_for_gt_classes(predictions, chosen)
        # Detectron2's own clipping raises on boxes that are not finite.
        return [
            clip_boxes_to_image(boxes, proposal.image_size)
            for boxes, proposal in zip(moved, proposals, strict=True)
        ]


class CascadeHeads(nn.Module):
    """Stages in a row, each with weighted losses, in the place of Detectron2's ``roi_heads``."""

    def __init__(self, stages: Sequence[CascadeStageHeads]) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)

    def forward(
        self,
        images: ImageList,
        features: dict[str, Tensor],
        proposals: list[DetectronInstances],
        targets: list[Targets] | None = None,
    ) -> tuple[list[DetectronInstances], Losses]:
        """Detections or losses, as ``ROIHeads``; losses are called stage1_loss_cls and so on."""
        if not self.training:
            return self._masks(features, self._detect(features, proposals)), {}
        losses: Losses = {}
        for number, stage in enumerate(self.stages, start=1):
            regions, parts = stage(images, features, proposals, targets)
            losses |= {f"stage{number}_{name}": loss for name, loss in parts.items()}
            # The next stage adds the ground truth itself; boxes of diverged weights belong to no
            # pyramid level, and the loss is not finite already.
            proposals = [
                _proposals(r.refined[~r.is_target & r.refined.isfinite().all(dim=1)], r.image_size)
                for r in regions
            ]
        return proposals, losses

    def _detect(
        self, features: dict[str, Tensor], proposals: list[DetectronInstances]
    ) -> list[DetectronInstances]:
        """Boxes of the last stage with class probabilities averaged over all stages."""
        scores: list[Sequence[Tensor]] = []
        *refining, last = cast("list[CascadeStageHeads]", list(self.stages))
        for stage in refining:
            predictions = stage.classify(features, proposals)
            scores.append(stage.box_predictor.predict_probs(predictions, proposals))
            refined = stage.refine(predictions, proposals)
            proposals = [
                _proposals(boxes, proposal.image_size)
                for boxes, proposal in zip(refined, proposals, strict=True)
            ]
        predictions, predictor = last.classify(features, proposals), last.box_predictor
        scores.append(predictor.predict_probs(predictions, proposals))
        averaged = [torch.stack(stages).mean(dim=0) for stages in zip(*scores, strict=True)]
        boxes = predictor.predict_boxes(predictions, proposals)
        return cast(BoxLayers, predictor).detections(boxes, averaged, proposals)

    def _masks(
        self, features: dict[str, Tensor], found: list[DetectronInstances]
    ) -> list[DetectronInstances]:
        """Detections with the field ``pred_masks``, (P, 1, M, M), averaged over all stages."""
        masks: list[list[Any]] = []
        for stage in cast("list[CascadeStageHeads]", list(self.stages)):
            found = stage.forward_with_given_boxes(features, found)
            masks.append([instances.pred_masks for instances in found])
        for instances, stages in zip(found, zip(*masks, strict=True), strict=True):
            instances.pred_masks = torch.stack(stages).mean(dim=0)
        return found


def _proposals(boxes: Tensor, size: Size) -> DetectronInstances:
    return DetectronInstances(size, proposal_boxes=Boxes(boxes))
