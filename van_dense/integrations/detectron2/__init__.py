"""VAN inside Detectron2 (importing this registers it there), and Detectron2 as an engine here."""

from van_dense.integrations.detectron2.builders import (
    StridedLevels,
    VANBackbone,
    add_van_config,
    build_retinanet_van_fpn_backbone,
    build_van_backbone,
    build_van_fpn_backbone,
    launch,
    lazy_retinanet_van_fpn,
    lazy_van_fpn,
)

__all__ = [
    "StridedLevels",
    "VANBackbone",
    "add_van_config",
    "build_retinanet_van_fpn_backbone",
    "build_van_backbone",
    "build_van_fpn_backbone",
    "launch",
    "lazy_retinanet_van_fpn",
    "lazy_van_fpn",
]
