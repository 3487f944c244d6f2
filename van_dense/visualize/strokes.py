"""Lines and hatching that grow with the canvas."""

from __future__ import annotations

import numpy as np

from van_dense.structures import Size


def line_thickness(canvas: Size, *, thin: bool = False) -> int:
    """Line width in pixels: 2 on a short side of 640, 5 on 4K; half of it for thin lines."""
    return max(1, round(min(canvas) / (800 if thin else 400)))


def stripes(size: Size, width: int) -> np.ndarray:
    """Diagonal stripes, uint8 {0, 1} of ``size``, as wide as the gaps between them."""
    rows, columns = np.ogrid[: size[0], : size[1]]
    return ((rows + columns) // width % 2).astype(np.uint8)


def stripe_width(canvas: Size) -> int:
    """Width of hatching in pixels: 8 on a short side of 640."""
    return max(3, min(canvas) // 80)
