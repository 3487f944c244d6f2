"""Geometry of top-down pose: from the box of an instance to the region that the network sees.

Coordinates are continuous pixels, the centre of the first one at 0.5, so maps flip exactly. mmpose
counts pixels: its regions are the same, its maps differ by less than half a pixel of the crop.
Source: mmpose 0.x ``TopDownGetBboxCenterScale`` (SimpleBaseline, ECCV 2018).
"""

import numpy as np

from van_dense.core.structures import Size

MIN_SIDE = 1e-3  # pixels; a degenerate box still has a map


def regions_of_boxes(boxes: np.ndarray, size: Size, padding: float) -> np.ndarray:
    """Regions float64 (N, 4) around xyxy boxes (N, 4), of the crop's aspect and with ``padding``.

    They are x and y of the centre, width and height in pixels, and may reach beyond the image.
    ``size`` is (height, width) of the crop; both sides grow by the factor ``padding``.
    """
    boxes = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], MIN_SIDE)
    centers = (boxes[:, :2] + boxes[:, 2:]) / 2
    return np.concatenate([centers, fit_aspect(sides, size) * padding], axis=1)


def fit_aspect(sides: np.ndarray, size: Size) -> np.ndarray:
    """Enlarge (..., 2) widths and heights to the aspect of (height, width) ``size``."""
    aspect = size[1] / size[0]
    width = np.maximum(sides[..., 0], sides[..., 1] * aspect)
    return np.stack([width, width / aspect], axis=-1)


def to_crop(regions: np.ndarray, size: Size, degrees: float = 0.0) -> np.ndarray:
    """Affine maps float64 (N, 2, 3) from image pixels to those of a (height, width) crop.

    Args:
        regions: (N, 4) x and y of the centre, width and height, in pixels.
        size: (height, width) of the crop.
        degrees: Angle that a region is turned by about its centre, clockwise on the screen (x
            right, y down), so its content turns counter-clockwise in the crop.
    """
    regions = np.asarray(regions, dtype=np.float64).reshape(-1, 4)
    scale = np.array(size[::-1]) / regions[:, 2:]
    cos, sin = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    linear = scale[:, :, None] * np.array([[cos, sin], [-sin, cos]])
    offset = np.array(size[::-1]) / 2 - np.einsum("nij,nj->ni", linear, regions[:, :2])
    return np.concatenate([linear, offset[:, :, None]], axis=2)


def invert(maps: np.ndarray) -> np.ndarray:
    """Invert affine maps (N, 2, 3)."""
    linear = np.linalg.inv(maps[:, :, :2])
    return np.concatenate([linear, -linear @ maps[:, :, 2:]], axis=2)


def apply(maps: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Map points (N, K, 2), those of each row by its own map (N, 2, 3)."""
    return np.einsum("nij,nkj->nki", maps[:, :, :2], points) + maps[:, None, :, 2]
