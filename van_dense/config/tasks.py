"""The config class of each task."""

from __future__ import annotations

from van_dense.config.detection import DetectionConfig
from van_dense.config.segmentation import SaliencyConfig, SemanticConfig

Config = DetectionConfig | SemanticConfig | SaliencyConfig
CONFIG_OF_TASK: dict[str, type[DetectionConfig | SemanticConfig | SaliencyConfig]] = {
    "detection": DetectionConfig,
    "semantic": SemanticConfig,
    "saliency": SaliencyConfig,
}
