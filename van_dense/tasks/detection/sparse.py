"""Sparse R-CNN from its section of the config."""

from van_dense.config.detection import SparseRCNN
from van_dense.models.detection import sparsercnn
from van_dense.models.detection.dynamic_head import DynamicHead
from van_dense.models.detection.fpn import FPN
from van_dense.models.detection.hungarian_loss import HungarianLoss
from van_dense.tasks.backbone import backbone_of


def sparse_rcnn(config: SparseRCNN, num_classes: int) -> sparsercnn.SparseRCNN:
    """Sparse R-CNN with random weights."""
    backbone = backbone_of(config.backbone)
    channels, head, weights = config.fpn.channels, config.head, config.weights
    return sparsercnn.SparseRCNN(
        backbone,
        FPN(backbone.channels, channels, norm=config.fpn.norm, extra="none"),
        proposals=sparsercnn.LearnedProposals(config.proposals, channels),
        heads=[
            DynamicHead(
                channels,
                num_classes,
                attention_heads=head.attention_heads,
                feedforward=head.feedforward,
                dynamic_channels=head.dynamic_channels,
            )
            for _ in range(config.stages)
        ],
        loss=HungarianLoss(weights.focal, weights.l1, weights.giou),
        max_detections=config.max_detections,
    )
