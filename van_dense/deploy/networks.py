"""Which network an exported file of a model holds."""

from __future__ import annotations

from collections.abc import Mapping

from van_dense.backbones.build import DIVISOR
from van_dense.deploy.detectors import OneStageNetwork, RegionNetwork
from van_dense.deploy.maps import ClassificationNetwork, SaliencyNetwork, SemanticNetwork
from van_dense.deploy.network import Network
from van_dense.deploy.panoptic import PanopticFPNNetwork
from van_dense.deploy.pose import PoseNetwork
from van_dense.deploy.queries import Mask2FormerNetwork, SparseRCNNNetwork
from van_dense.models.classifier import Classifier
from van_dense.models.dense_model import DenseModel
from van_dense.models.detection.cascade import CascadeMaskRCNN
from van_dense.models.detection.maskrcnn import MaskRCNN
from van_dense.models.detection.one_stage import OneStageDetector
from van_dense.models.detection.sparsercnn import SparseRCNN
from van_dense.models.panoptic.mask2former import Mask2Former
from van_dense.models.panoptic.panoptic_fpn import PanopticFPN
from van_dense.models.pose.top_down import TopDownPose
from van_dense.models.segmentation.saliency import SaliencyModel
from van_dense.models.segmentation.semantic import SemanticSegmenter

NETWORKS: Mapping[type[DenseModel], type[Network]] = {
    CascadeMaskRCNN: RegionNetwork,
    Classifier: ClassificationNetwork,
    Mask2Former: Mask2FormerNetwork,
    MaskRCNN: RegionNetwork,
    OneStageDetector: OneStageNetwork,
    PanopticFPN: PanopticFPNNetwork,
    SaliencyModel: SaliencyNetwork,
    SemanticSegmenter: SemanticNetwork,
    SparseRCNN: SparseRCNNNetwork,
    TopDownPose: PoseNetwork,
}


def network_of(model: DenseModel) -> Network:
    """What a file of the model holds, or ValueError for one that cannot be exported."""
    network = NETWORKS.get(type(model))
    if network is None:
        known = ", ".join(sorted(kind.__name__ for kind in NETWORKS))
        raise ValueError(f"{type(model).__name__} cannot be exported; these can: {known}")
    if isinstance(model, SemanticSegmenter):
        _check_multiple(model)
    made = network(model)
    if isinstance(model, Classifier):  # ViT refuses other sizes, and Swin takes minutes to export
        about = getattr(model.backbone.body, "pretrained_cfg", None) or {}
        made.takes_any_size = not about.get("fixed_input_size", False)
    elif getattr(model.backbone, "scale", 1) != 1:  # ONNX resizes smoothly to fixed sizes alone
        made.takes_any_size = False
    return made


def _check_multiple(model: SemanticSegmenter) -> None:
    """A file holds no "if" about sizes, and so no padding of a backbone that needs some."""
    backbone, inference = model.backbone, model.inference
    is_free = getattr(backbone, "any_size", True) or inference.mode != "whole"
    if not is_free and inference.multiple % DIVISOR:
        body = type(getattr(backbone, "body", backbone)).__name__
        raise ValueError(
            f"eval.inference.multiple={inference.multiple}: files with {body} take images whose "
            f"sides are multiples of {DIVISOR}; set eval.inference.multiple={DIVISOR}, which "
            "changes labels near the right and lower border"
        )
