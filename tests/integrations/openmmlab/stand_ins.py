"""Stand-ins for what OpenMMLab's packages import and no wheel provides.

`mmcv-lite` has the Python of `mmcv.ops` but not the compiled module `mmcv._ext` below it: RoIAlign
and non-maximum suppression are torchvision's here, and every other operator fails when it is
called. `xtcocotools`, which mmpose imports for its metrics, is a fork of `pycocotools`. The
language
models of mmpretrain need an old `transformers`, and no network here needs them.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

from torch import Tensor
from torchvision import ops


def install() -> None:
    """Put the stand-ins where OpenMMLab's packages look for them."""
    extension = CompiledOperators("mmcv._ext")
    extension.nms = nms
    extension.roi_align_forward = roi_align_forward
    sys.modules.setdefault("mmcv._ext", extension)
    for name in ("", ".coco", ".cocoeval", ".mask"):
        sys.modules.setdefault(f"xtcocotools{name}", importlib.import_module(f"pycocotools{name}"))
    multimodal = "mmpretrain.models.multimodal"
    sys.modules.setdefault(multimodal, ModuleType(multimodal))


class CompiledOperators(ModuleType):
    """A module in which every operator can be found, so that `mmcv.ops` can be imported."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("__"):
            raise AttributeError(name)

        def missing(*_: Any, **__: Any) -> None:
            raise NotImplementedError(f"the operator {name!r} of mmcv has no stand-in")

        return missing


def nms(boxes: Tensor, scores: Tensor, *, iou_threshold: float, offset: int) -> Tensor:
    """Indices of the boxes that are kept, best first."""
    if offset:
        raise NotImplementedError("boxes that hold their last pixel (offset 1)")
    return ops.nms(boxes, scores, iou_threshold)


def roi_align_forward(
    maps: Tensor, rois: Tensor, output: Tensor, argmax_y: Tensor, argmax_x: Tensor, **settings: Any
) -> None:
    """Fill `output` (K, C, h, w) with averages of the regions (K, 5): image, x1, y1, x2, y2."""
    if settings["pool_mode"] != 1:
        raise NotImplementedError("RoIAlign by maximum")
    output.copy_(
        ops.roi_align(
            maps,
            rois,
            (settings["aligned_height"], settings["aligned_width"]),
            settings["spatial_scale"],
            settings["sampling_ratio"],
            settings["aligned"],
        )
    )
