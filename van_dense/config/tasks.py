"""The config class of each task."""

from van_dense.config.classification import ClassConfig
from van_dense.config.detection import DetectionConfig
from van_dense.config.panoptic import PanopticConfig
from van_dense.config.pose import PoseConfig
from van_dense.config.segmentation import SaliencyConfig, SemanticConfig

Config = (
    DetectionConfig | SemanticConfig | SaliencyConfig | PoseConfig | ClassConfig | PanopticConfig
)
CONFIG_OF_TASK: dict[str, type[Config]] = {
    "detection": DetectionConfig,
    "semantic": SemanticConfig,
    "saliency": SaliencyConfig,
    "pose": PoseConfig,
    "classification": ClassConfig,
    "panoptic": PanopticConfig,
}
