"""Files of detectors: anchors, proposals and regions of one image, with results of fixed number.

Everything has a fixed number of rows, those that are missing have score 0: exporters know no
tensors whose size depends on their content. All scores are NaN where the network gives numbers that
are not finite.
Legend: L levels, A_l anchors of level l, P proposals, C classes, K detections, M mask resolution;
boxes are xyxy pixels of the input.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional as F

from van_dense.core.structures import Batch, Instances, Prediction
from van_dense.deploy.network import Network, Run, sizes_of
from van_dense.deploy.ops import best_boxes, pool_regions
from van_dense.models.detection.cascade import CascadeMaskRCNN, averaged
from van_dense.models.detection.cascade_stage import CascadeStage, likeliest_class
from van_dense.models.detection.maskrcnn import MaskRCNN
from van_dense.models.detection.one_stage import OneStageDetector, StridedAnchors
from van_dense.models.detection.one_stage_head import PRE_NMS
from van_dense.models.detection.rcnn import RCNN
from van_dense.models.detection.roi_heads import BOX_POOL, MASK_POOL, RoIAlign
from van_dense.models.detection.rpn import RPNOutput
from van_dense.models.postprocess import DetectionFilter, check_finite, to_predictions

NOTHING = -torch.inf  # score of what is no candidate


class DetectionNetwork(Network):
    """Boxes (K, 4), scores (K,) and labels (K,) of one image, best first; score 0 is no box."""

    outputs: tuple[str, ...] = ("boxes", "scores", "labels")
    takes_batches = False
    mask_threshold: float | None = None

    def predict(self, run: Run, batch: Batch) -> list[Prediction]:
        """Detections in original pixels, image by image."""
        return self.detections(self.outputs_of(run, batch), batch)

    def outputs_of(self, run: Run, batch: Batch) -> list[Mapping[str, Tensor]]:
        """What ``run`` gives of each image."""
        return [
            run(batch.images[index : index + 1], sizes_of([size]))
            for index, size in enumerate(batch.sizes)
        ]

    def detections(self, outputs: Sequence[Mapping[str, Tensor]], batch: Batch) -> list[Prediction]:
        """Detections in original pixels, of the outputs of each image.

        Scores and masks that are not finite are a ValueError with the image id, as in the run.
        """
        found = []
        masks: list[Tensor] = []
        for image, image_id in zip(outputs, batch.image_ids, strict=True):
            check_finite([image["scores"]], [image_id])
            kept = image["scores"] > 0
            boxes, scores, labels = (image[name][kept] for name in ("boxes", "scores", "labels"))
            found.append(Instances(boxes=boxes, labels=labels, scores=scores))
            if "masks" in image:
                masks.append(image["masks"][kept])
                check_finite(masks[-1:], [image_id])
        return to_predictions(batch, found, masks or None, mask_threshold=self.mask_threshold)


def cut_out(maps: Sequence[Tensor], boxes: Tensor, output: int, *, align: RoIAlign) -> Tensor:
    """Crops (R, channels, output, output) of boxes (R, 4) of one image from P2.., as ``align``."""
    p2, p3, p4, p5 = maps[:4]
    boxes = torch.where(boxes.isfinite(), boxes, 0.0)  # NaN has no level, and would give no crop
    levels = align.levels(boxes)
    return pool_regions(p2, p3, p4, p5, boxes, levels, output, align.samples, align.aligned)


def clip(boxes: Tensor, sizes: Tensor) -> tuple[Tensor, Tensor]:
    """Boxes (..., 4) within the image of ``sizes`` (1, 2), and which of them have an area."""
    height, width = sizes[0].to(boxes.dtype)
    limits = torch.stack([width, height, width, height])
    clipped = torch.minimum(boxes.clamp(min=0), limits)
    return clipped, ((clipped[..., 2:] - clipped[..., :2]) > 0).all(dim=-1)


def unless_broken(scores: Tensor, raw: Sequence[Tensor]) -> Tensor:
    """Scores; all are NaN where a raw output of the network is not finite.

    Within a file NaN is no candidate in any comparison, so that only detections would be missing.

    Args:
        scores: (K,).
        raw: Maps and outputs of the heads; maps too, for the ReLU of OpenVINO makes 0 of NaN.
    """
    is_sound = torch.stack([output.isfinite().all() for output in raw]).all()
    return torch.where(is_sound, scores, torch.nan)


def _top(scores: Tensor, number: int) -> tuple[Tensor, Tensor]:
    """The best ``number`` of scores (N,) and their positions; where N is less, the rest is -inf."""
    best, index = F.pad(scores, (0, number), value=NOTHING).topk(number)
    return best, index.clamp(max=scores.shape[0] - 1)


def _detections(
    boxes: Tensor, scores: Tensor, sizes: Tensor, *, filter: DetectionFilter
) -> tuple[Tensor, Tensor, Tensor]:
    """The best of boxes (G, N, 4) with scores (G, C, N), -inf for none, as ``DetectionFilter``.

    Boxes (K, 4), scores (K,) and positions int64 (K,) in the flattened scores.
    """
    boxes, solid = clip(boxes, sizes)
    scores = torch.where(solid[:, None], scores, NOTHING)
    chosen = best_boxes(boxes, scores, filter.nms_iou, filter.max_detections)
    position = chosen.clamp(min=0)
    number, classes = scores.shape[2], scores.shape[1]
    place = position // (number * classes) * number + position % number
    best = torch.where(chosen >= 0, scores.flatten()[position], torch.zeros(()))
    return boxes.reshape(-1, 4)[place], best, position


class OneStageNetwork(DetectionNetwork):
    """RetinaNet, ATSS and GFL."""

    model: OneStageDetector

    def forward(self, images: Tensor, sizes: Tensor) -> tuple[Tensor, ...]:
        """Detect, as ``OneStageDetector.predict``."""
        model = self.model
        features = model.fpn(model.backbone(self.normalised(images, sizes))[1:])
        outputs = model.head(features)
        boxes, scores, labels = [], [], []
        for (logits, *values), anchors in zip(
            zip(*outputs, strict=True), model.levels(features), strict=True
        ):
            num_classes = logits.shape[2]
            best, flat = _top(logits[0].sigmoid().flatten(), PRE_NMS)
            anchor, label = flat // num_classes, flat % num_classes
            chosen = StridedAnchors(anchors.boxes[anchor], anchors.strides[anchor])
            box, factor = model.head.decode([value[0][anchor] for value in values], chosen)
            is_candidate = best > model.filter.score_threshold
            boxes.append(box)
            scores.append(torch.where(is_candidate, best * factor, NOTHING))
            labels.append(label)
        every = torch.cat(labels)
        own_class = every[None] == torch.arange(num_classes, device=every.device)[:, None]
        by_class = torch.where(own_class, torch.cat(scores)[None], NOTHING)
        found, best, position = _detections(
            torch.cat(boxes)[None], by_class[None], sizes, filter=model.filter
        )
        raw = [*features, *(of_level for output in outputs for of_level in output)]
        return found, unless_broken(best, raw), position // len(every)


class RegionNetwork(DetectionNetwork):
    """Mask R-CNN and its cascade, with mask probabilities (K, M, M) inside the boxes."""

    outputs: tuple[str, ...] = ("boxes", "scores", "labels", "masks")
    model: RCNN

    def __init__(self, model: RCNN) -> None:
        super().__init__(model)
        self.mask_threshold = model.mask_threshold

    def forward(self, images: Tensor, sizes: Tensor) -> tuple[Tensor, ...]:
        """Detect, as ``RCNN.predict``."""
        return self.found(
            self.model.fpn(self.model.backbone(self.normalised(images, sizes))), sizes
        )

    def found(self, maps: list[Tensor], sizes: Tensor) -> tuple[Tensor, ...]:
        """Boxes, scores, labels and masks of the pyramid P2..P6 of one image."""
        output = self.model.rpn(maps)
        proposals, exists = self._proposals(output, sizes)
        raw = [*maps, *output.objectness, *output.deltas]
        boxes, scores, filter = self._classified(maps, proposals, sizes, raw)
        # (P, C, 4) and (P, C): each class has boxes of its own.
        scores = torch.where(exists[:, None] & (scores > filter.score_threshold), scores, NOTHING)
        boxes, best, position = _detections(
            boxes.transpose(0, 1), scores.t()[:, None], sizes, filter=filter
        )
        labels = position // len(proposals)
        return boxes, unless_broken(best, raw), labels, self._masks(maps, boxes, labels)

    def _proposals(self, output: RPNOutput, sizes: Tensor) -> tuple[Tensor, Tensor]:
        """Proposals (P, 4), and whether each is one: bool (P,)."""
        rpn, filter = self.model.rpn, self.model.rpn.test_filter
        boxes, scores = [], []
        for objectness, deltas, anchors in zip(
            output.objectness, output.deltas, output.anchors, strict=True
        ):
            best, index = _top(objectness[0], filter.pre_nms)
            boxes.append(rpn.coder.decode_single(deltas[0, index], anchors[index]))
            scores.append(best)
        clipped, solid = clip(torch.stack(boxes), sizes)
        joined = torch.where(solid, torch.stack(scores), NOTHING)
        kept = best_boxes(clipped, joined[:, None], filter.nms_iou, filter.post_nms)
        return clipped.reshape(-1, 4)[kept.clamp(min=0)], kept >= 0

    def _classified(
        self, maps: list[Tensor], proposals: Tensor, sizes: Tensor, raw: list[Tensor]
    ) -> tuple[Tensor, Tensor, DetectionFilter]:
        """Boxes (P, C, 4) and probabilities (P, C) of proposals (P, 4), and their filter.

        What the heads give is added to ``raw``.
        """
        if isinstance(self.model, CascadeMaskRCNN):
            return self._cascade(self.model, maps, proposals, sizes, raw)
        assert isinstance(self.model, MaskRCNN)
        box = self.model.box
        logits, deltas = box(self._pool(maps, proposals, BOX_POOL))
        raw += [logits, deltas]
        boxes = box.coder.decode_single(deltas, proposals).view(-1, box.num_classes, 4)
        return boxes, logits.softmax(dim=1)[:, :-1], box.filter

    def _cascade(
        self,
        model: CascadeMaskRCNN,
        maps: list[Tensor],
        proposals: Tensor,
        sizes: Tensor,
        raw: list[Tensor],
    ) -> tuple[Tensor, Tensor, DetectionFilter]:
        votes = []
        *refining, last = cast("list[CascadeStage]", list(model.stages))
        for stage in refining:
            logits, deltas = stage.box(self._pool(maps, proposals, BOX_POOL))
            raw += [logits, deltas]
            votes.append(logits)
            refined = stage.box.refined(deltas, likeliest_class(logits), proposals)
            proposals, _ = clip(refined, sizes)
        logits, deltas = last.box(self._pool(maps, proposals, BOX_POOL))
        raw += [logits, deltas]
        scores = averaged([*votes, logits], model.average)
        boxes = last.box.coder.decode_single(deltas.flatten(1), proposals).view_as(deltas)
        return boxes, scores, model.filter

    def _pool(self, maps: list[Tensor], boxes: Tensor, output: int) -> Tensor:
        return cut_out(maps, boxes, output, align=self.model.roi_align)

    def _masks(self, maps: list[Tensor], boxes: Tensor, labels: Tensor) -> Tensor:
        pooled = self._pool(maps, boxes, MASK_POOL)
        rows = torch.arange(len(labels), device=labels.device)
        stages = [mask(pooled)[rows, labels].sigmoid() for _, mask in self.model.branches()]
        return torch.stack(stages).mean(dim=0)
