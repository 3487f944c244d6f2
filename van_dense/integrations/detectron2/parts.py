"""Detectron2's modules with our assignment, sampling and normalisers in the places it leaves open.

Detectron2 0.6 trains otherwise than mmdet 2.x, whose recipes the VAN paper follows: a box does not
take over its best anchors, anchors in the padding are used, the sampling uses the global
generator, RetinaNet's losses are divided by a running mean that no checkpoint keeps, and
RetinaNet suppresses boxes before it clips them. Each class here overrides just that, so that both
engines give the same losses and the same detections.
Legend: B images, A anchors, R sampled regions; boxes xyxy pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, cast

import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling import Backbone, GeneralizedRCNN, RetinaNet, StandardROIHeads
from detectron2.modeling.anchor_generator import BufferList, DefaultAnchorGenerator
from detectron2.modeling.proposal_generator import RPN
from detectron2.modeling.roi_heads import FastRCNNOutputLayers
from detectron2.structures import Boxes, ImageList
from detectron2.structures import Instances as DetectronInstances
from torch import Tensor, nn

from van_dense.core.structures import Instances, Size
from van_dense.models.detection.anchors import Anchors, BoxMatcher, match_anchors
from van_dense.models.detection.roi_heads import crop_masks, sample_regions
from van_dense.models.detection.rpn import ProposalFilter, best_of_levels
from van_dense.models.detection.sampling import Sampler
from van_dense.models.losses import synced_count
from van_dense.models.postprocess import DetectionFilter

Losses = dict[str, Tensor]


class Targets(DetectronInstances):
    """Ground truth of one image as Detectron2 takes it, with our own and the seed of samples."""

    ours: Instances  # on the device of the model
    seed: int | None  # one of ``Batch.seeds``

    def __init__(self, ours: Instances, size: Size, *, seed: int | None) -> None:
        super().__init__(size, gt_boxes=Boxes(ours.boxes), gt_classes=ours.labels)
        self.set("gt_masks", TargetMasks(ours, torch.arange(len(ours), device=ours.labels.device)))
        object.__setattr__(self, "ours", ours)
        object.__setattr__(self, "seed", seed)

    def to(self, *_: Any, **__: Any) -> Targets:
        """The instances themselves: they are on the device, and a copy would lose the seed."""
        return self


class TargetMasks:
    """Masks of regions, cut out only when they are needed.

    Detectron2's ``BitMasks`` copies the bitmap of a whole image for each of 512 sampled regions.
    """

    def __init__(self, target: Instances, index: Tensor) -> None:
        self.target, self.index = target, index

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, item: Tensor | slice) -> TargetMasks:
        return TargetMasks(self.target, self.index[item])

    def crop_and_resize(self, boxes: Tensor, mask_size: int) -> Tensor:
        """Float {0, 1} (R, mask_size, mask_size) of boxes (R, 4)."""
        return crop_masks(self.target, self.index, boxes=boxes, resolution=mask_size)


class Pyramid(Backbone):
    """Our backbone and pyramid as one Detectron2 backbone, with maps "p2".. or "p3"...

    Both are held without being registered: the DenseModel around owns their parameters. The first
    level is 2 for a pyramid over c2..c5, 3 for one over c3..c5.
    """

    def __init__(
        self, backbone: nn.Module, fpn: nn.Module, *, first_level: int, channels: int
    ) -> None:
        super().__init__()
        self._parts = (backbone, fpn)  # modules inside a tuple are not registered
        self._first = first_level
        levels = range(first_level, first_level + int(cast(Any, fpn).num_levels))
        self._shapes = {f"p{i}": ShapeSpec(channels=channels, stride=2**i) for i in levels}

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Pyramid maps of normalised images (B, 3, H, W)."""
        backbone, fpn = self._parts
        maps = fpn(backbone(images)[self._first - 2 :])
        return dict(zip(self._shapes, maps, strict=True))

    def output_shape(self) -> dict[str, ShapeSpec]:
        """Channels and stride of every map."""
        return dict(self._shapes)


class SeededRPN(RPN):
    """Proposals whose anchors are matched and sampled as by our own RPN.

    Built as Detectron2's, with a BoxMatcher of ours as ``anchor_matcher``.
    """

    @torch.no_grad()
    def label_and_sample_anchors(
        self, anchors: list[Boxes], gt_instances: list[Targets]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Labels (A,) of each image, 1, 0 or -1 for "not sampled", and boxes (A, 4) to regress."""
        sampler = Sampler(self.batch_size_per_image, self.positive_fraction)
        labels, boxes = [], []
        for target, matched in _matched(self.anchor_matcher, anchors, gt_instances):
            kind = (matched >= 0).long() - (matched == BoxMatcher.BETWEEN_THRESHOLDS).long()
            positive, negative = sampler(kind, target.seed)
            label = torch.full_like(kind, -1)
            label[positive], label[negative] = 1, 0
            labels.append(label)
            boxes.append(_boxes_of(target.ours, matched))
        return labels, boxes

    def losses(self, *arguments: Any) -> Losses:
        """Detectron2's, divided by the anchors sampled instead of those asked for."""
        sampled = torch.stack(arguments[2]) >= 0  # gt_labels
        count = synced_count(sampled.sum(), sampled.device)
        factor = self.batch_size_per_image * len(sampled) / count
        return {name: loss * factor for name, loss in super().losses(*arguments).items()}

    @torch.no_grad()
    def predict_proposals(
        self,
        anchors: list[Boxes],
        pred_objectness_logits: list[Tensor],
        pred_anchor_deltas: list[Tensor],
        image_sizes: list[Size],
    ) -> list[DetectronInstances]:
        """Proposals of each image; non-finite ones are left out, not raised on.

        Detectron2 raises while it trains; our trainer reports losses that are not finite with
        their step and images. It also suppresses in float32, see ``suppress``.
        """
        decoded = self._decode_proposals(anchors, pred_anchor_deltas)
        most = self.pre_nms_topk[self.training]
        filter = ProposalFilter(most, self.post_nms_topk[self.training], self.nms_thresh)
        best = [scores.topk(min(most, scores.shape[1]), dim=1) for scores in pred_objectness_logits]
        found = []
        for image, size in enumerate(image_sizes):
            chosen = [
                level[image, top.indices[image]] for level, top in zip(decoded, best, strict=True)
            ]
            scores = [top.values[image] for top in best]
            boxes, logits = best_of_levels(chosen, scores, size, filter)
            fields = {"proposal_boxes": Boxes(boxes), "objectness_logits": logits}
            found.append(DetectronInstances(size, **fields))
        return found


class BoxLayers(FastRCNNOutputLayers):
    """Detectron2's classifier and box regression with our threshold and suppression."""

    def inference(
        self, predictions: tuple[Tensor, Tensor], proposals: list[DetectronInstances]
    ) -> tuple[list[DetectronInstances], list[Tensor]]:
        """Detections of each image, and no positions, which nobody here reads."""
        boxes = self.predict_boxes(predictions, proposals)
        return self.detections(boxes, self.predict_probs(predictions, proposals), proposals), []

    def detections(
        self,
        boxes: Sequence[Tensor],
        scores: Sequence[Tensor],
        proposals: list[DetectronInstances],
    ) -> list[DetectronInstances]:
        """Detections of boxes (P, C * 4) and scores (P, C + 1) of each image."""
        limits = self.test_score_thresh, self.test_nms_thresh, self.test_topk_per_image
        filter, found = DetectionFilter(*limits), []
        for own, probabilities, proposal in zip(boxes, scores, proposals, strict=True):
            size, by_class = proposal.image_size, own.unflatten(1, (-1, 4))
            found.append(
                _detected(filter.per_class(by_class, probabilities[:, :-1], size=size), size)
            )
        return found


class SeededROIHeads(StandardROIHeads):
    """Second stage whose regions are matched and sampled as by our own box branch.

    Built as Detectron2's, with a BoxMatcher of ours as ``proposal_matcher``.
    """

    @torch.no_grad()
    def label_and_sample_proposals(
        self, proposals: list[DetectronInstances], targets: list[Targets]
    ) -> list[DetectronInstances]:
        """Regions of each image with the fields that Detectron2's losses read.

        The field ``is_target``, of ours, marks ground-truth boxes among them.
        """
        sampled = sample_regions(
            [proposal.proposal_boxes.tensor for proposal in proposals],
            [target.ours for target in targets],
            matcher=self.proposal_matcher,
            sampler=Sampler(self.batch_size_per_image, self.positive_fraction),
            num_classes=self.num_classes,
            seeds=[target.seed for target in targets],
        )
        return [
            DetectronInstances(
                target.image_size,
                proposal_boxes=Boxes(regions.boxes),
                gt_classes=regions.labels,
                gt_boxes=Boxes(_boxes_of(target.ours, regions.matched)),
                gt_masks=TargetMasks(target.ours, regions.matched),
                is_target=regions.is_target,
            )
            for regions, target in zip(sampled, targets, strict=True)
        ]

    def forward(self, *arguments: Any, **named: Any) -> tuple[list[DetectronInstances], Losses]:
        """Detectron2's; losses are divided by the mean counts over all processes."""
        instances, losses = super().forward(*arguments, **named)
        if not losses:
            return instances, losses
        labels = torch.cat([found.gt_classes for found in instances])
        num_foreground = (labels < self.num_classes).sum()
        counts = {"loss_mask": num_foreground}
        for name, loss in losses.items():
            here = counts.get(name, torch.as_tensor(len(labels), device=labels.device))
            losses[name] = loss * here.clamp(min=1) / synced_count(here, labels.device)
        return instances, losses


class SeededRetinaNet(RetinaNet):
    """Detectron2's RetinaNet with our assignment, normaliser and order of clipping."""

    def __init__(self, *, matcher: BoxMatcher, filter: DetectionFilter, **arguments: Any) -> None:
        super().__init__(anchor_matcher=matcher, **arguments)
        self.filter = filter

    def preprocess_image(self, batched_inputs: list[dict[str, Any]]) -> ImageList:
        """Images that our model has normalised and padded."""
        return image_list(batched_inputs)

    @torch.no_grad()
    def label_anchors(
        self, anchors: list[Boxes], gt_instances: list[Targets]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Labels (A,) of each image, C for background and -1 for neither, and boxes (A, 4)."""
        labels, boxes = [], []
        for target, matched in _matched(self.anchor_matcher, anchors, gt_instances):
            label = torch.full_like(matched, self.num_classes)
            label[matched >= 0] = target.ours.labels[matched[matched >= 0]]
            label[matched == BoxMatcher.BETWEEN_THRESHOLDS] = -1
            labels.append(label)
            boxes.append(_boxes_of(target.ours, matched))
        every = torch.cat(labels)
        self._num_positive = int(((every >= 0) & (every < self.num_classes)).sum())
        return labels, boxes

    def _ema_update(
        self, name: str, value: float, initial_value: float, momentum: float = 0.9
    ) -> Tensor:
        """Normaliser of the losses: the positives of this batch, not Detectron2's running mean.

        ``value`` counts one where there is none, which would be wrong in a mean over processes.
        """
        return synced_count(self._num_positive, self.device)

    def inference_single_image(
        self, anchors: list[Boxes], box_cls: list[Tensor], box_delta: list[Tensor], image_size: Size
    ) -> DetectronInstances:
        """Detections of one image, clipped before the suppression as in mmdet."""
        limits = self.test_score_thresh, self.test_topk_candidates
        decoded = self._decode_multi_level_predictions(
            anchors, box_cls, box_delta, *limits, image_size
        )
        boxes, labels = decoded.pred_boxes.tensor, decoded.pred_classes
        found = self.filter.labelled(boxes, decoded.scores, labels=labels, size=image_size)
        return _detected(found, image_size)


def _detected(found: Instances, size: Size) -> DetectronInstances:
    fields = {"scores": found.scores, "pred_classes": found.labels}
    return DetectronInstances(size, pred_boxes=Boxes(found.boxes), **fields)


class PaddedRCNN(GeneralizedRCNN):
    """Detectron2's R-CNN on images that our model has normalised and padded."""

    def preprocess_image(self, batched_inputs: list[dict[str, Any]]) -> ImageList:
        """Join the images again."""
        return image_list(batched_inputs)


def anchor_generator(ours: Anchors) -> DefaultAnchorGenerator:
    """Detectron2's grid of our base anchors, in our order."""
    generator = DefaultAnchorGenerator(
        sizes=[[1.0]], aspect_ratios=[[1.0]], strides=list(ours.strides), offset=0.0
    )
    bases = [getattr(ours, f"base_{level}").clone() for level in range(len(ours.strides))]
    generator.cell_anchors = BufferList(bases)
    return generator


def image_list(inputs: list[dict[str, Any]]) -> ImageList:
    """Images of one padded size, each with its valid (height, width) as "size"."""
    return ImageList(torch.stack([x["image"] for x in inputs]), [x["size"] for x in inputs])


def _matched(
    matcher: BoxMatcher, anchors: list[Boxes], targets: list[Targets]
) -> Iterator[tuple[Targets, Tensor]]:
    """Each image's ground truth, and which of it every anchor is matched to, (A,)."""
    candidates = Boxes.cat(anchors).tensor
    for target in targets:
        yield target, match_anchors(matcher, target.ours, candidates, size=target.image_size)


def _boxes_of(target: Instances, matched: Tensor) -> Tensor:
    """Matched box (A, 4) of each candidate, zeros where nothing is matched."""
    boxes = target.boxes.new_zeros(len(matched), 4)
    boxes[matched >= 0] = target.boxes[matched[matched >= 0]]
    return boxes
