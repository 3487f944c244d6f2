"""Boundary AP of masks (Cheng et al., "Boundary IoU", CVPR 2021): COCO's AP by another IoU.

The IoU of two masks is the smaller one of that of the masks and that of their outlines; in a crowd
region the share of the mask counts alone. Reference: boundary-iou-api
(https://github.com/bowenc0221/boundary-iou-api, commit 37d2558), see
``tests/evaluation/test_boundary.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from pycocotools import mask as mask_utils

from van_dense.evaluation.outlines import mask_outline

_LOWEST = 0.5  # IoU below which nothing matches


class _Outline(NamedTuple):
    """Outline of a mask in the window that holds the mask."""

    left: int
    top: int
    pixels: np.ndarray  #: bool (h, w)
    area: int

    def common(self, other: _Outline) -> int:
        """Pixels of both outlines."""
        left, top = max(self.left, other.left), max(self.top, other.top)
        ends = [(o.left + o.pixels.shape[1], o.top + o.pixels.shape[0]) for o in (self, other)]
        right, bottom = map(min, zip(*ends, strict=True))
        if right <= left or bottom <= top:
            return 0
        parts = [
            o.pixels[top - o.top : bottom - o.top, left - o.left : right - o.left]
            for o in (self, other)
        ]
        return int(np.count_nonzero(parts[0] & parts[1]))


class BoundaryIoU:
    """Takes the place of ``computeIoU`` of a ``COCOeval`` of masks.

    The outlines of one image and class are in memory at a time.

    Args:
        evaluation: pycocotools' ``COCOeval`` of masks.
    """

    def __init__(self, evaluation: Any) -> None:
        self._evaluation, self._mask_iou = evaluation, evaluation.computeIoU

    def __call__(self, image_id: int, category_id: int) -> Any:
        """IoU (D, G) of the results of an image and class, the best first, and of annotations."""
        values = self._mask_iou(image_id, category_id)
        if not len(values):
            return values
        truth = self._evaluation._gts[image_id, category_id]
        found = self._evaluation._dts[image_id, category_id]
        order = np.argsort([-result["score"] for result in found], kind="stable")[: len(values)]
        masks = [found[index]["segmentation"] for index in order]
        return boundary_iou(np.array(values), masks, truth)


def boundary_iou(
    values: np.ndarray, found: Sequence[dict[str, Any]], truth: Sequence[dict[str, Any]]
) -> np.ndarray:
    """The smaller one of the IoU of masks and that of their outlines, float64 (D, G).

    Args:
        values: IoU of D masks and G annotations of an image, float64 (D, G), which is overwritten.
            Below 0.5 it stays as it is, as what others overlap by less never matches.
        found: The masks as RLE.
        truth: The annotations, with "segmentation" as RLE and "iscrowd".
    """
    is_object = np.array([not annotation["iscrowd"] for annotation in truth])
    rows, columns = np.nonzero((values >= _LOWEST) & is_object)
    outlines = [
        {index: _outline_of(masks[index]) for index in np.unique(chosen)}
        for masks, chosen in ((found, rows), ([t["segmentation"] for t in truth], columns))
    ]
    for row, column in zip(rows, columns, strict=True):
        ours, theirs = outlines[0][row], outlines[1][column]
        common = ours.common(theirs)
        iou = common / (ours.area + theirs.area - common)
        values[row, column] = min(values[row, column], iou)
    return values


def _outline_of(rle: dict[str, Any]) -> _Outline:
    """Outline of a mask with a pixel."""
    left, top, width, height = mask_utils.toBbox(rle).astype(int).tolist()
    window = mask_utils.decode(rle)[top : top + height, left : left + width]
    pixels = mask_outline(window, tuple(rle["size"]))
    return _Outline(left, top, pixels, int(np.count_nonzero(pixels)))
