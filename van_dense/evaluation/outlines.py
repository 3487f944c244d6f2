"""Outlines of all regions of a map, after Cheng et al., "Boundary IoU", CVPR 2021.

The outline of a region has the pixels of its mask that lie at most 2 % of the image diagonal from
the rest of the image, or from its border.
"""

import math

import cv2
import numpy as np

from van_dense.core.structures import Size

OUTLINE_RATIO = 0.02  # of the image diagonal


def is_outline(labels: np.ndarray) -> np.ndarray:
    """Where another label, or the border of the image, is near: bool, from uint8 or uint16 (H, W).

    The published code erodes the mask of each region several times with a square of 3 pixels, and
    takes what that removes. Here a first step finds for all regions at once the pixels that one
    erosion would remove; each further erosion removes the pixels around those before.
    """
    is_edge = _is_edge(labels)
    is_edge[[0, -1]] = is_edge[:, [0, -1]] = True
    return _is_near(is_edge)


def mask_outline(mask: np.ndarray, size: Size) -> np.ndarray:
    """Outline of one mask, bool (h, w).

    Args:
        mask: Window of the image that holds the mask, uint8 (h, w) of 0 and 1.
        size: (height, width) of the image.
    """
    reach = 2 * _distance(size) + 1
    square = np.ones((reach, reach), np.uint8)
    inside = cv2.erode(mask, square, borderType=cv2.BORDER_CONSTANT, borderValue=(0,))
    is_removed: np.ndarray = mask != inside
    return is_removed


def is_boundary(labels: np.ndarray) -> np.ndarray:
    """Where another label is near, but not where the border of the image is; see ``is_outline``."""
    return _is_near(_is_edge(labels))


def is_displaced(truth: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Where two label maps differ because an outline is displaced: bool (H, W), from uint8.

    There the truth has the predicted label near, and the prediction the true one: a shift of
    outlines by up to 2 % of the image diagonal explains the difference. An object that is missed as
    a whole, however thin, is no such place.
    """
    differs = truth != found
    explained = differs.copy()
    for here, there in ((truth, found), (found, truth)):
        is_there = np.zeros_like(differs)
        for label in np.flatnonzero(np.bincount(here[differs], minlength=256)):
            is_there |= (here == label) & _is_near(there == label, reach=1)
        explained &= is_there
    return explained


def _is_edge(labels: np.ndarray) -> np.ndarray:
    square = np.ones((3, 3), np.uint8)
    is_edge: np.ndarray = cv2.dilate(labels, square) != cv2.erode(labels, square)
    return is_edge


def _is_near(mask: np.ndarray, *, reach: int = 0) -> np.ndarray:
    """What lies less than the width of outlines, and ``reach`` pixels, away from a mask."""
    distance = _distance(mask.shape) + reach
    around = np.ones((2 * distance - 1, 2 * distance - 1), np.uint8)
    return cv2.dilate(mask.view(np.uint8), around).view(np.bool_)


def _distance(size: tuple[int, ...]) -> int:
    """Width of outlines in an image of (height, width), in pixels."""
    return max(1, round(OUTLINE_RATIO * math.hypot(*size)))
