"""Two operators that exporters lack: suppression of boxes, and crops of a pyramid.

Their results have fixed shapes, so that ``torch.export`` has nothing to ask about them;
``onnx_ops.py`` makes them of the standard operators of ONNX.
Legend: G groups, C classes, N boxes of a group, R regions, M crop size; boxes are float32, xyxy
pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.ops import roi_align

from van_dense.models.postprocess import suppress


@torch.library.custom_op("van_dense::best_boxes", mutates_args=())
def best_boxes(boxes: Tensor, scores: Tensor, iou: float, keep: int) -> Tensor:
    """Suppress boxes within each group and class, and take the best of all.

    Args:
        boxes: (G, N, 4), which the classes of a group share.
        scores: (G, C, N); -inf for what is no candidate.
        iou: Boxes with a better one of their group and class above this IoU go.
        keep: Number of boxes that are kept at most, over all groups.

    Returns:
        int64 (keep,): positions in the flattened scores (G * C * N), best first, then -1.
    """
    num_boxes, num_classes = boxes.shape[1], scores.shape[1]
    flat = scores.reshape(-1)
    found = flat.new_full((keep,), -1, dtype=torch.int64)
    candidates = (flat > -torch.inf).nonzero()[:, 0]
    part = candidates // num_boxes  # number of the group and class
    chosen = boxes[part // num_classes, candidates % num_boxes]
    if len(candidates) == 0:
        return found
    size = int(chosen.abs().max().ceil()) + 1
    kept = suppress(chosen + size, flat[candidates], part, iou=iou, size=(2 * size, 2 * size))
    kept = candidates[kept[:keep]]
    found[: len(kept)] = kept
    return found


@best_boxes.register_fake
def _(boxes: Tensor, scores: Tensor, iou: float, keep: int) -> Tensor:
    return boxes.new_empty((keep,), dtype=torch.int64)


@torch.library.custom_op("van_dense::pool_regions", mutates_args=())
def pool_regions(
    p2: Tensor,
    p3: Tensor,
    p4: Tensor,
    p5: Tensor,
    boxes: Tensor,
    levels: Tensor,
    output: int,
    samples: int,
    aligned: bool,
) -> Tensor:
    """Cut regions out of the pyramid of one image by RoIAlign.

    Args:
        p2: (1, C, H / 4, W / 4).
        p3: (1, C, H / 8, W / 8).
        p4: (1, C, H / 16, W / 16).
        p5: (1, C, H / 32, W / 32).
        boxes: (R, 4).
        levels: int64 (R,): 0 for P2 to 3 for P5.
        output: M.
        samples: Sampling points of an output pixel on each axis; 0 = as many as it covers pixels.
        aligned: Whether pixels have their centres at half coordinates.

    Returns:
        (R, C, M, M).
    """
    pooled = p2.new_zeros(len(boxes), p2.shape[1], output, output)
    for level, feature in enumerate((p2, p3, p4, p5)):
        here = (levels == level).nonzero()[:, 0]
        rois = torch.cat([boxes.new_zeros(len(here), 1), boxes[here]], dim=1)
        scale = 0.25 / 2**level
        pooled[here] = roi_align(feature, rois, output, scale, samples, aligned=aligned)
    return pooled


@pool_regions.register_fake
def _(
    p2: Tensor,
    p3: Tensor,
    p4: Tensor,
    p5: Tensor,
    boxes: Tensor,
    levels: Tensor,
    output: int,
    samples: int,
    aligned: bool,
) -> Tensor:
    return p2.new_empty(boxes.shape[0], p2.shape[1], output, output)
