"""Which network an exported file of a model holds."""

from __future__ import annotations

from collections.abc import Mapping

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
    made = network(model)
    if isinstance(model, Classifier):  # ViT refuses other sizes, and Swin takes minutes to export
        about = getattr(model.backbone.body, "pretrained_cfg", None) or {}
        made.takes_any_size = not about.get("fixed_input_size", False)
    elif getattr(model.backbone, "scale", 1) != 1:  # ONNX resizes smoothly to fixed sizes alone
        made.takes_any_size = False
    return made
