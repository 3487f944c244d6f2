"""Panoptic FPN: Mask R-CNN and Semantic FPN over one pyramid.

Source: Kirillov et al., "Panoptic Feature Pyramid Networks", CVPR 2019; classes and loss of the
semantic head as in Detectron2's ``PanopticFPN``.
Legend: B images, C classes of the data set, T of them things, S stuff, so S + 1 of the semantic
head: 0 for all things, then stuff in the order of the data set. Inside, things are 0..T-1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from van_dense.core.dataset_info import DatasetInfo
from van_dense.core.segments import boxes_around, thing_instances
from van_dense.core.structures import IGNORE_LABEL, Batch, Instances, Prediction, Segment, Size
from van_dense.models.class_rows import BACKGROUND, Rows, rows_of, second_stage_rows
from van_dense.models.conv import classifier
from van_dense.models.detection.anchors import without_crowd
from van_dense.models.detection.fpn import FPN
from van_dense.models.detection.maskrcnn import MaskRCNN
from van_dense.models.detection.roi_heads import (
    BoxBranch,
    MaskBranch,
    RegionFeatures,
    RoIAlign,
)
from van_dense.models.detection.rpn import RPN
from van_dense.models.explainable import mean_inside
from van_dense.models.losses import synced_count
from van_dense.models.panoptic.merge import MergeRules, merge
from van_dense.models.panoptic.targets import ResultType, panoptic_truth, pixel_labels
from van_dense.models.postprocess import check_finite
from van_dense.models.segmentation.map_inference import Logits, Resized, probable_labels
from van_dense.models.segmentation.segmentation_losses import CrossEntropy
from van_dense.models.segmentation.semantic_fpn import scale_heads, sum_levels


class SemanticHead(nn.Module):
    """Stuff, and all things as one class, from P2..P5.

    Args:
        in_channels: Channels of the pyramid.
        num_classes: S + 1.
        channels: Channels of the convolutions that bring every level to stride 4.
        norm: Norm after each of them.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        *,
        channels: int,
        norm: Literal["batch", "group"],
    ) -> None:
        super().__init__()
        self.scale_heads = scale_heads(in_channels, channels, norm=norm)
        self.conv_seg = classifier(channels, num_classes)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Logits (B, S + 1, H/4, W/4) of pyramid maps from P2 on."""
        return self.conv_seg(sum_levels(self.scale_heads, maps[:4]))


class PanopticFPN(MaskRCNN):
    """Mask R-CNN for things, with a semantic head for stuff on the same pyramid.

    Args:
        backbone: Images (B, 3, H, W) to c2..c5.
        fpn: c2..c5 to P2..P6.
        is_thing: C flags, T of them true (otherwise a ValueError).
        rpn: P2..P6 to proposals.
        box: Classes and boxes of T things.
        mask: Masks of T things.
        roi_align: How regions are cut out of the pyramid.
        mask_threshold: Lowest probability of a pixel of a mask, in 0..1.
        semantic: P2..P6 to logits of S + 1 classes at stride 4, such as ``SemanticHead``.
        semantic_weight: Factor on the loss of the semantic head; those of Mask R-CNN have 1.
        rules: How both become one map.
        types: What ``predict`` gives; at least one.
    """

    def __init__(
        self,
        backbone: nn.Module,
        fpn: FPN,
        *,
        is_thing: Sequence[bool],
        rpn: RPN,
        box: BoxBranch,
        mask: MaskBranch,
        roi_align: RoIAlign,
        mask_threshold: float,
        semantic: nn.Module,
        semantic_weight: float,
        rules: MergeRules,
        types: Sequence[ResultType],
    ) -> None:
        super().__init__(
            backbone,
            fpn,
            rpn=rpn,
            box=box,
            mask=mask,
            roi_align=roi_align,
            mask_threshold=mask_threshold,
        )
        self.semantic = semantic
        self.semantic_weight = semantic_weight
        self.rules = rules
        self.types = tuple(types)
        self.is_thing = tuple(is_thing)
        things = [label for label, thing in enumerate(self.is_thing) if thing]
        if len(things) != box.num_classes:
            raise ValueError(
                f"the box branch has {box.num_classes} classes, and {len(things)} of the "
                f"{len(self.is_thing)} flags of is_thing are true; make the box and the mask "
                "branch for as many classes as there are things"
            )
        stuff = [label for label, thing in enumerate(self.is_thing) if not thing]
        thing_of, semantic_of = torch.zeros(2, len(self.is_thing), dtype=torch.int64)
        thing_of[things] = torch.arange(len(things))
        semantic_of[stuff] = torch.arange(len(stuff)) + 1
        self._buffer("thing_labels", torch.tensor(things))  # (T,), class of the data set
        self._buffer("thing_of", thing_of)  # (C,), 0..T-1, and 0 for stuff
        self._buffer("semantic_of", semantic_of)  # (C,), 0..S, 0 for things
        self.stuff_labels = np.array([IGNORE_LABEL, *stuff], dtype=np.uint8)  # (S + 1,)

    thing_labels: Tensor
    thing_of: Tensor
    semantic_of: Tensor

    def _buffer(self, name: str, values: Tensor) -> None:
        self.register_buffer(name, values, persistent=False)

    def named_rows(self, info: DatasetInfo) -> dict[str, Rows]:
        """Things of the two branches, stuff of the semantic one; see ``DenseModel``."""
        named = list(zip(info.class_names, info.thing_flags, strict=True))
        things = [name for name, thing in named if thing]
        stuff = [name for name, thing in named if not thing]
        both = second_stage_rows(self, things)
        return both | rows_of(self, "conv_seg", (BACKGROUND, *stuff))

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Losses of Mask R-CNN by their names, and "semantic".

        Crowds are things to the semantic head, and no targets of the detector. A batch without
        panoptic maps is a ValueError.
        """
        truth = panoptic_truth(batch)
        things = [self._things(panoptic, segments) for panoptic, segments in truth]
        labels = torch.stack([pixel_labels(*one, self.semantic_of) for one in truth])
        maps = self.fpn(self.backbone(self.preprocess(batch)))
        losses = self.detection_losses(maps, without_crowd(things), batch)
        losses["semantic"] = self.semantic_weight * _mean_cross_entropy(self.semantic(maps), labels)
        return losses

    def _things(self, panoptic: Tensor, segments: Sequence[Segment]) -> Instances:
        found = thing_instances(panoptic, segments, self.is_thing)
        return replace(found, labels=self.thing_of[found.labels])

    @torch.no_grad()
    def predict(self, batch: Batch) -> list[Prediction]:
        """Panoptic map and segments, instances, and label map of each image, those of ``types``."""
        return self.merged_parts(self.parts(batch))

    def merged_parts(self, parts: Sequence[tuple[Prediction, Resized | None]]) -> list[Prediction]:
        """As ``predict``, of what ``parts`` gives."""
        return [
            self.merged(found, None if logits is None else probable_labels(logits))
            for found, logits in parts
        ]

    @torch.no_grad()
    def parts(self, batch: Batch) -> list[tuple[Prediction, Resized | None]]:
        """Instances of each image, and the semantic logits in its original pixels if needed."""
        maps = self.fpn(self.backbone(self.preprocess(batch)))
        found = [
            self._with_dataset_labels(prediction) for prediction in self.instances(maps, batch)
        ]
        if not self.gives_maps:
            return [(prediction, None) for prediction in found]
        return list(zip(found, self.resized(self.semantic(maps), batch), strict=True))

    @property
    def gives_maps(self) -> bool:
        """Whether ``types`` ask for more than instances."""
        return set(self.types) != {"instance"}

    def resized(self, logits: Tensor, batch: Batch) -> list[Resized]:
        """Logits (B, S + 1, h, w) of the semantic head in the original pixels of each image."""
        scale_y, scale_x = (logits.shape[axis] / batch.images.shape[axis] for axis in (2, 3))
        semantic = []
        for i, (height, width) in enumerate(batch.sizes):
            check_finite([logits[i]], batch.image_ids[i : i + 1])
            extent = (height * scale_y, width * scale_x)
            semantic.append(Resized(Logits(logits[i]), batch.orig_sizes[i], extent=extent))
        return semantic

    def _with_dataset_labels(self, prediction: Prediction) -> Prediction:
        found = prediction.instances
        assert found is not None  # of a detector
        labels = self.thing_labels.cpu()[found.labels]
        return replace(prediction, instances=replace(found, labels=labels))

    def merged(
        self, found: Prediction, semantic: tuple[np.ndarray, np.ndarray] | None
    ) -> Prediction:
        """The types asked for, of instances and what ``probable_labels`` says of the semantic head.

        The label map is that of the panoptic map: void where that is.
        """
        instances = found.instances if "instance" in self.types else None
        result = Prediction(found.image_id, found.size, instances=instances)
        if semantic is None:
            return result
        assert found.instances is not None  # ``parts`` gives some, though they may be none
        classes, probability = semantic
        stuff = self.stuff_labels[classes]
        panoptic, segments = merge(found.instances, stuff, probability, self.rules)
        if "semantic" in self.types:
            labels = np.array([IGNORE_LABEL, *(s["label"] for s in segments)], dtype=np.uint8)
            result = replace(result, semantic=labels[panoptic])  # ids run from 1 on
        if "panoptic" in self.types:
            result = replace(result, panoptic=panoptic, segments=segments)
        return result

    def box_logits(self, images: Tensor, boxes: Tensor, labels: Tensor) -> Tensor:
        """Centred class logits of things by their labels in the data set, as in ``RCNN``."""
        return super().box_logits(images, boxes, self.thing_of[labels])

    def mask_logits(self, images: Tensor, boxes: Tensor, labels: Tensor) -> Tensor:
        """Contrast of the masks of things by their labels in the data set, as in ``RCNN``."""
        return super().mask_logits(images, boxes, self.thing_of[labels])

    def segment_logits(self, images: Tensor, masks: Tensor, labels: Tensor) -> Tensor:
        """As ``SegmentExplainable``: of things ``box_logits`` of the box around the mask.

        Of stuff the mean over the mask of the semantic logit above the mean of all its classes.
        """
        maps = self.fpn(self.backbone(images))
        is_stuff = self.semantic_of[labels] > 0
        logits = images.new_zeros(len(labels))
        if not is_stuff.all():
            things, features = ~is_stuff, RegionFeatures(maps, self.roi_align)
            boxes = boxes_around(masks[things])
            logits[things] = self.region_logits(features, boxes, self.thing_of[labels[things]])
        if is_stuff.any():
            own = self.semantic(maps)[0].float()
            own = own[self.semantic_of[labels[is_stuff]]] - own.mean(dim=0)
            size = (images.shape[-2], images.shape[-1])
            logits[is_stuff] = mean_inside(own, masks[is_stuff], size)
        return logits

    def flops_forward(self, size: Size) -> object:
        """Run on one zero image as ``RCNN`` does, and label it at its resolution."""
        maps = self.fpn(self.backbone(self.zeros(3, *size)))
        logits = self.semantic(maps)
        F.interpolate(logits, size, mode="bilinear", align_corners=False)
        return self.run_heads(maps), logits


def _mean_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean over pixels that are not void, of which large scale jitter may leave few."""
    valid = (labels != IGNORE_LABEL).sum()
    total = CrossEntropy(None)(logits, labels) * labels.numel()
    return total / synced_count(valid, logits.device)
