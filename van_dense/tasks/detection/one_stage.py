"""ATSS and GFL from their sections of the config."""

from __future__ import annotations

from van_dense.config.detection import ATSS, GFL
from van_dense.models.detection.anchors import Anchors
from van_dense.models.detection.atss import ATSSHead
from van_dense.models.detection.atss_matcher import ATSSMatcher
from van_dense.models.detection.fpn import FPN
from van_dense.models.detection.gfl import GFLHead
from van_dense.models.detection.one_stage import STRIDES, OneStageDetector, OneStageHead
from van_dense.models.detection.one_stage_head import ScaledTowers
from van_dense.models.postprocess import DetectionFilter
from van_dense.tasks.common import backbone_of


def build_atss(config: ATSS, num_classes: int) -> OneStageDetector:
    """ATSS with random weights."""
    head = ATSSHead(_towers(config, num_classes, 4), config.fpn.channels)
    return _detector(config, head)


def build_gfl(config: GFL, num_classes: int) -> OneStageDetector:
    """GFL with random weights."""
    return _detector(config, GFLHead(_towers(config, num_classes, 4 * (config.max_distance + 1))))


def _towers(config: ATSS | GFL, num_classes: int, num_values: int) -> ScaledTowers:
    return ScaledTowers(
        config.fpn.channels,
        num_classes,
        num_values=num_values,
        num_levels=len(STRIDES),
        convs=config.head.convs,
        norm=config.head.norm,
    )


def _detector(config: ATSS | GFL, head: OneStageHead) -> OneStageDetector:
    backbone = backbone_of(config.backbone)
    section = config.head
    return OneStageDetector(
        backbone,
        FPN(
            backbone.channels[1:],
            config.fpn.channels,
            norm=config.fpn.norm,
            extra="p5",
        ),
        head=head,
        anchors=Anchors(config.anchor_sizes, STRIDES, ratios=(1.0,), rounded=False),
        matcher=ATSSMatcher(section.num_candidates),
        filter=DetectionFilter(section.score_threshold, section.nms_iou, section.max_detections),
    )
