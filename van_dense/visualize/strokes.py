"""Lines and hatching that grow with the canvas, and tints."""

import cv2
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from van_dense.core.dataset_info import Color
from van_dense.core.structures import Size


def line_thickness(canvas: Size, *, thin: bool = False) -> int:
    """Line width in pixels: 2 on a short side of 640, 5 on 4K; half of it for thin lines."""
    return max(1, round(min(canvas) / (800 if thin else 400)))


def stripes(size: Size, width: int) -> np.ndarray:
    """Diagonal stripes, uint8 {0, 1} of ``size``, as wide as the gaps between them."""
    diagonals = (np.arange(size[0] + size[1]) // width % 2).astype(np.uint8)
    return sliding_window_view(diagonals, size[1])[: size[0]]  # a view: 4K would take 30 ms


def stripe_width(canvas: Size) -> int:
    """Width of hatching in pixels: 8 on a short side of 640."""
    return max(3, min(canvas) // 80)


def blend(image: np.ndarray, color: Color, opacity: float) -> np.ndarray:
    """Copy of a uint8 (H, W, 3) image under a colour of an opacity in 0..1."""
    levels = np.arange(256)[:, None] * (1 - opacity) + np.array(color) * opacity
    return cv2.LUT(image, np.rint(levels).astype(np.uint8)[None])
