"""Networks with region proposals, from their sections of the config."""

from collections.abc import Sequence
from typing import Any

from van_dense.backbones.build import sync_norms
from van_dense.config import detection as schema
from van_dense.config.panoptic import EvalType, PanopticFPN
from van_dense.core.dataset_info import DatasetInfo
from van_dense.models.detection import cascade, maskrcnn
from van_dense.models.detection.anchors import Anchors, BoxCoder, BoxMatcher
from van_dense.models.detection.cascade_stage import CascadeBox, CascadeStage, ConvBoxHead
from van_dense.models.detection.fpn import FPN
from van_dense.models.detection.rcnn import STRIDES
from van_dense.models.detection.roi_heads import BoxBranch, MaskBranch, RoIAlign
from van_dense.models.detection.rpn import RPN, ProposalFilter, ProposalFilters
from van_dense.models.detection.sampling import Sampler
from van_dense.models.panoptic import panoptic_fpn as panoptic
from van_dense.models.panoptic.merge import MergeRules
from van_dense.models.postprocess import DetectionFilter
from van_dense.tasks.backbone import backbone_of


def mask_rcnn(config: schema.MaskRCNN, num_classes: int) -> maskrcnn.MaskRCNN:
    """Build Mask R-CNN with random weights."""
    return maskrcnn.MaskRCNN(**_mask_rcnn_parts(config, num_classes))


def panoptic_fpn(
    config: PanopticFPN, info: DatasetInfo, *, types: Sequence[EvalType]
) -> panoptic.PanopticFPN:
    """Build Panoptic FPN with random weights; ``types`` is what it predicts.

    A data set without things is a ValueError.
    """
    num_things = sum(info.thing_flags)
    if num_things == 0:
        fix = "train a semantic model, or mark the classes that can be counted as things"
        raise ValueError(f"{config.kind} finds things, and {info.name!r} has none; {fix}")
    head, channels = config.semantic_head, config.fpn.channels
    parts = _mask_rcnn_parts(config, num_things)
    semantic = panoptic.SemanticHead(
        channels, info.num_classes - num_things + 1, channels=head.channels, norm=head.norm
    )
    return panoptic.PanopticFPN(
        **parts,
        is_thing=info.thing_flags,
        semantic=sync_norms(semantic, config.backbone.norm_mode),
        semantic_weight=head.weight,
        rules=MergeRules(**config.merge.model_dump()),
        types=types,
    )


def _mask_rcnn_parts(config: schema.MaskRCNN, num_classes: int) -> dict[str, Any]:
    """Arguments of ``MaskRCNN`` by their names."""
    backbone = backbone_of(config.backbone)
    channels, box = config.fpn.channels, config.box_head
    return {
        "backbone": backbone,
        "fpn": FPN(backbone.channels, channels, norm=config.fpn.norm, extra="maxpool"),
        "rpn": _rpn(config, rounded=config.round_anchors),
        "box": BoxBranch(
            channels,
            num_classes,
            channels=box.channels,
            matcher=BoxMatcher(box.positive_iou, box.positive_iou),
            sampler=Sampler(box.samples, box.positive_fraction),
            filter=_filter(box),
        ),
        "mask": _mask(config, num_classes),
        "roi_align": RoIAlign(config.roi_align.aligned, config.roi_align.samples),
        "mask_threshold": config.mask_head.threshold,
    }


def cascade_mask_rcnn(config: schema.CascadeMaskRCNN, num_classes: int) -> cascade.CascadeMaskRCNN:
    """Build Cascade Mask R-CNN with random weights."""
    backbone = backbone_of(config.backbone)
    return cascade.CascadeMaskRCNN(
        backbone,
        FPN(backbone.channels, config.fpn.channels, norm=config.fpn.norm, extra="maxpool"),
        rpn=_rpn(config, rounded=False),
        stages=[_stage(config, stage, num_classes) for stage in config.stages],
        filter=_filter(config.box_head),
        average=config.average,
        mask_threshold=config.mask_head.threshold,
    )


def _stage(
    config: schema.CascadeMaskRCNN, stage: schema.CascadeStage, num_classes: int
) -> CascadeStage:
    box, channels = config.box_head, config.fpn.channels
    head = ConvBoxHead(
        channels,
        box.channels,
        convs=box.convs,
        conv_channels=box.conv_channels,
        layers=box.layers,
    )
    dx, dy, dw, dh = (1 / std for std in stage.box_stds)
    branch = CascadeBox(
        head,
        num_classes,
        coder=BoxCoder((dx, dy, dw, dh)),
        matcher=BoxMatcher(stage.positive_iou, stage.positive_iou),
        sampler=Sampler(box.samples, box.positive_fraction),
        giou_weight=box.giou_weight,
        one_box=box.one_box,
    )
    synced = sync_norms(branch, config.backbone.norm_mode)
    assert isinstance(synced, CascadeBox)  # the norms inside are replaced and nothing else
    return CascadeStage(synced, _mask(config, num_classes), loss_weight=stage.loss_weight)


def _rpn(config: schema.MaskRCNN | schema.CascadeMaskRCNN, *, rounded: bool) -> RPN:
    rpn, least = config.rpn, config.rpn.min_positive_iou
    matcher = BoxMatcher(rpn.positive_iou, rpn.negative_iou, min_positive_iou=least)
    return RPN(
        config.fpn.channels,
        Anchors(config.anchor_sizes, STRIDES, rounded=rounded),
        matcher=matcher,
        sampler=Sampler(rpn.samples, rpn.positive_fraction),
        filters=ProposalFilters(
            train=ProposalFilter(rpn.train_pre_nms, rpn.train_post_nms, rpn.nms_iou),
            test=ProposalFilter(rpn.test_pre_nms, rpn.test_post_nms, rpn.nms_iou),
        ),
        smooth_l1_beta=rpn.smooth_l1_beta,
    )


def _mask(config: schema.MaskRCNN | schema.CascadeMaskRCNN, num_classes: int) -> MaskBranch:
    mask = config.mask_head
    return MaskBranch(config.fpn.channels, num_classes, channels=mask.channels, convs=mask.convs)


def _filter(box: schema.BoxHead | schema.CascadeBoxHead) -> DetectionFilter:
    return DetectionFilter(box.score_threshold, box.nms_iou, box.max_detections)
