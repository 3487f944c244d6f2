"""RetinaNet, ATSS and GFL from their sections of the config."""

from van_dense.config.detection import ATSS, GFL, RetinaNet
from van_dense.models.detection import retinanet
from van_dense.models.detection.anchors import OCTAVE_SCALES, Anchors, BoxMatcher
from van_dense.models.detection.atss import ATSSHead
from van_dense.models.detection.atss_matcher import ATSSMatcher
from van_dense.models.detection.fpn import FPN
from van_dense.models.detection.gfl import GFLHead
from van_dense.models.detection.one_stage import STRIDES, OneStageDetector, OneStageHead
from van_dense.models.detection.one_stage_head import ScaledTowers
from van_dense.models.postprocess import DetectionFilter
from van_dense.tasks.backbone import backbone_of


def build_retinanet(config: RetinaNet, num_classes: int) -> OneStageDetector:
    """RetinaNet with random weights."""
    backbone = backbone_of(config.backbone)
    backbone.leave_out(1)  # anchors begin at stride 8
    head, channels, rounded = config.head, config.fpn.channels, config.round_anchors
    anchors = Anchors(config.anchor_sizes, STRIDES, scales=OCTAVE_SCALES, rounded=rounded)
    num = anchors.num_per_position
    return OneStageDetector(
        backbone,
        FPN(backbone.channels[1:], channels, norm=config.fpn.norm, extra=config.extra_levels),
        head=retinanet.RetinaNetHead(
            channels, num_classes, num_anchors=num, convs=head.convs, norm=head.norm
        ),
        anchors=anchors,
        matcher=retinanet.IoUMatcher(
            BoxMatcher(head.positive_iou, head.negative_iou, min_positive_iou=0.0)
        ),
        filter=DetectionFilter(head.score_threshold, head.nms_iou, head.max_detections),
    )


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
    backbone.leave_out(1)  # anchors begin at stride 8
    section = config.head
    return OneStageDetector(
        backbone,
        FPN(backbone.channels[1:], config.fpn.channels, norm=config.fpn.norm, extra="p5"),
        head=head,
        anchors=Anchors(config.anchor_sizes, STRIDES, ratios=(1.0,), rounded=False),
        matcher=ATSSMatcher(section.num_candidates),
        filter=DetectionFilter(section.score_threshold, section.nms_iou, section.max_detections),
    )
