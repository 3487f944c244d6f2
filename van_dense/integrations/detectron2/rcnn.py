"""Detectron2's proposals and second stages with the numbers of our own R-CNN models.

Matchers, samplers, thresholds, anchors and widths are read off the parts of a built model, so that
no number exists twice.
"""

from typing import Any, cast

from detectron2.layers import ShapeSpec
from detectron2.modeling.box_regression import Box2BoxTransform
from detectron2.modeling.poolers import ROIPooler
from detectron2.modeling.proposal_generator import StandardRPNHead
from detectron2.modeling.roi_heads import (
    FastRCNNConvFCHead,
    MaskRCNNConvUpsampleHead,
)
from detectron2.structures import Boxes
from torch import Tensor

from van_dense.integrations.detectron2.cascade import (
    CascadeHeads,
    CascadeStageHeads,
    DecodedBoxLayers,
)
from van_dense.integrations.detectron2.parts import (
    BoxLayers,
    SeededROIHeads,
    SeededRPN,
    anchor_generator,
)
from van_dense.models.conv import ConvBN
from van_dense.models.detection.cascade import ROI_ALIGN, CascadeMaskRCNN
from van_dense.models.detection.cascade_stage import CascadeBox, CascadeStage
from van_dense.models.detection.maskrcnn import MaskRCNN
from van_dense.models.detection.roi_heads import (
    BOX_POOL,
    MASK_POOL,
    BoxBranch,
    MaskBranch,
    RoIAlign,
)
from van_dense.models.detection.rpn import RPN
from van_dense.models.postprocess import DetectionFilter

POOLED = ("p2", "p3", "p4", "p5")


def seeded_rpn(ours: RPN) -> SeededRPN:
    """Proposals of one network with ``ours``."""
    train, test = ours.train_filter, ours.test_filter
    return SeededRPN(
        in_features=[*POOLED, "p6"],
        head=StandardRPNHead(
            in_channels=ours.head.cls_logits.in_channels, num_anchors=ours.anchors.num_per_position
        ),
        anchor_generator=anchor_generator(ours.anchors),
        anchor_matcher=ours.matcher,
        batch_size_per_image=ours.sampler.num,
        positive_fraction=ours.sampler.positive_fraction,
        box2box_transform=Box2BoxTransform(weights=(1.0, 1.0, 1.0, 1.0)),
        pre_nms_topk=(train.pre_nms, test.pre_nms),
        post_nms_topk=(train.post_nms, test.post_nms),
        nms_thresh=test.nms_iou,
        smooth_l1_beta=ours.smooth_l1_beta,
    )


def second_stage(model: MaskRCNN | CascadeMaskRCNN, channels: int) -> SeededROIHeads | CascadeHeads:
    """Box and mask heads of one network with ``model``, whose pyramid has ``channels``."""
    if isinstance(model, MaskRCNN):
        return _roi_heads(model, channels)
    stages = cast("list[CascadeStage]", list(model.stages))
    return CascadeHeads([_cascade_stage(stage, model.filter, channels) for stage in stages])


def _roi_heads(model: MaskRCNN, channels: int) -> SeededROIHeads:
    box, hidden = model.box, model.box.class_logits.in_features
    return SeededROIHeads(
        **_regions(box, model.roi_align),
        box_head=FastRCNNConvFCHead(
            _pooled(channels, BOX_POOL), conv_dims=[], fc_dims=[hidden, hidden]
        ),
        box_predictor=BoxLayers(ShapeSpec(channels=hidden), **_outputs(box, box.filter)),
        mask_head=_mask_head(model.mask, channels, loss_weight=1.0),
    )


def _cascade_stage(
    stage: CascadeStage, filter: DetectionFilter, channels: int
) -> CascadeStageHeads:
    box, weight = stage.box, stage.loss_weight
    convs = cast("list[ConvBN]", list(box.head.convs))
    return CascadeStageHeads(
        **_regions(box, ROI_ALIGN),
        box_head=FastRCNNConvFCHead(
            _pooled(channels, BOX_POOL),
            conv_dims=[conv.conv.out_channels for conv in convs],
            fc_dims=[box.head.channels],
            conv_norm=type(convs[0].bn),  # BatchNorm, of each process or of all
        ),
        box_predictor=DecodedBoxLayers(
            ShapeSpec(channels=box.head.channels),
            box_reg_loss_type="giou",
            loss_weight={"loss_cls": weight, "loss_box_reg": weight * box.giou_weight},
            **_outputs(box, filter),
        ),
        mask_head=_mask_head(stage.mask, channels, loss_weight=weight),
    )


def _regions(box: BoxBranch | CascadeBox, align: RoIAlign) -> dict[str, Any]:
    """Arguments of a second stage: how its regions are sampled and pooled."""
    return {
        "num_classes": box.num_classes,
        "proposal_matcher": box.matcher,
        "batch_size_per_image": box.sampler.num,
        "positive_fraction": box.sampler.positive_fraction,
        "box_in_features": list(POOLED),
        "box_pooler": _pooler(align, BOX_POOL),
        "mask_in_features": list(POOLED),
        "mask_pooler": _pooler(align, MASK_POOL),
    }


def _outputs(box: BoxBranch | CascadeBox, filter: DetectionFilter) -> dict[str, Any]:
    """Arguments of the last layers: classes, coding of boxes, thresholds."""
    return {
        "num_classes": box.num_classes,
        "box2box_transform": Box2BoxTransform(weights=box.coder.weights),
        "test_score_thresh": filter.score_threshold,
        "test_nms_thresh": filter.nms_iou,
        "test_topk_per_image": filter.max_detections,
    }


def _mask_head(mask: MaskBranch, channels: int, *, loss_weight: float) -> MaskRCNNConvUpsampleHead:
    return MaskRCNNConvUpsampleHead(
        _pooled(channels, MASK_POOL),
        num_classes=mask.predictor.mask_fcn_logits.out_channels,
        conv_dims=[mask.predictor.conv5_mask.out_channels] * (len(mask.head) + 1),
        loss_weight=loss_weight,
    )


def _pooled(channels: int, side: int) -> ShapeSpec:
    return ShapeSpec(channels=channels, height=side, width=side)


class ExactPooler(ROIPooler):
    """Detectron2's pooler that keeps boxes in float32 under autocast.

    Its ``ROIAlign`` casts boxes to the type of the maps, which moves them by up to four pixels in
    bfloat16 on an image of 1333 pixels.
    """

    def forward(self, x: list[Tensor], box_lists: list[Boxes]) -> Tensor:
        """Crops of the type of the maps ``x``."""
        pooled: Tensor = super().forward([level.float() for level in x], box_lists)
        return pooled.to(x[0].dtype)


def _pooler(align: RoIAlign, output: int) -> ExactPooler:
    return ExactPooler(
        output_size=output,
        scales=[1 / 4, 1 / 8, 1 / 16, 1 / 32],
        sampling_ratio=align.samples,
        pooler_type="ROIAlignV2" if align.aligned else "ROIAlign",
    )
