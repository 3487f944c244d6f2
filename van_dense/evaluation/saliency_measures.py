"""S-measure and weighted F-measure of one saliency map, as PySODMetrics has them, and faster.

Sources: Fan et al., "Structure-measure", ICCV 2017; Margolin et al., "How to evaluate foreground
maps?", CVPR 2014; both after PySODMetrics (https://github.com/lartpang/PySODMetrics, MIT), whose
numbers these are to 1e-12: see ``tests/evaluation/test_saliency_evaluator.py``.

Legend: H, W pixels; a map has 256 greys, and ``levels`` float64 (256,) says what each is worth.
"""

from __future__ import annotations

import math
from functools import cache
from itertools import product

import cv2
import numpy as np

_TINY = np.finfo(float).eps
_HALVES_IN = 5  # pixels from an object in which the weight of a false pixel goes half way to 2
_FARTHEST = 300**2  # squared pixels; from there on the weight is 2 in float64
_RADIUS = 3  # of the Gaussian window
_GAUSSIAN = np.exp(-(np.arange(-_RADIUS, _RADIUS + 1) ** 2) / (2 * 5.0**2))  # sigma 5
_GAUSSIAN /= _GAUSSIAN.sum()
_BORDER = 4  # pixels around a map, so that neither window nor step leaves it
# Steps to a pixel by the square of their length, up to a corner of the window; where several pixels
# are equally near, the left and upper one counts, as in SciPy's distance transform.
_STEPS: dict[int, list[tuple[int, int]]] = {}
for _right, _down in product(range(-_BORDER, _BORDER + 1), repeat=2):
    if 0 < _right**2 + _down**2 <= 2 * _RADIUS**2:
        _STEPS.setdefault(_right**2 + _down**2, []).append((_down, _right))


def s_measure(grey: np.ndarray, levels: np.ndarray, salient: np.ndarray) -> float:
    """Structural similarity of a map and a mask, in 0..1.

    Args:
        grey: Map, uint8 (H, W).
        levels: What each grey is worth.
        salient: Ground truth, bool (H, W).
    """
    codes = grey + salient * np.uint16(256)
    y, x = _centre(salient)
    parts = [codes[:y, :x], codes[:y, x:], codes[y:, :x], codes[y:, x:]]
    counts = [np.bincount(part.ravel(), minlength=512).reshape(2, 256) for part in parts]
    off, on = np.sum(counts, axis=0)
    num, num_on = grey.size, int(on.sum())
    if num_on == 0:
        return 1 - float(off @ levels) / num
    if num_on == num:
        return float(on @ levels) / num
    share = num_on / num
    objects = _s_object(on, levels) * share + _s_object(off, 1 - levels) * (1 - share)
    weights = [part.size / num for part in parts[:3]]
    weights.append(1 - sum(weights))
    region = 0.0
    for part, count, weight in zip(parts, counts, weights, strict=True):
        region += weight * _ssim(part, count, levels) if part.size else 0.0
    return max(0.0, 0.5 * objects + 0.5 * region)


def _centre(salient: np.ndarray) -> tuple[int, int]:
    """Where the four quadrants meet: one behind the rounded centre of the salient pixels."""
    centre = []
    for axis in (1, 0):
        counts = np.count_nonzero(salient, axis=axis)
        total = int(counts.sum())
        mean = counts @ np.arange(len(counts)) / total if total else len(counts) / 2
        centre.append(int(np.round(mean)) + 1)
    return centre[0], centre[1]


def _s_object(counts: np.ndarray, values: np.ndarray) -> float:
    """Similarity inside of the objects, or outside, from the number of pixels of each value."""
    num = int(counts.sum())
    mean = float(counts @ values) / num
    spread = math.sqrt(float(counts @ (values - mean) ** 2) / (num - 1)) if num > 1 else 0.0
    return 2 * mean / (mean**2 + 1 + spread + _TINY)


def _ssim(part: np.ndarray, counts: np.ndarray, levels: np.ndarray) -> float:
    """Similarity of a quadrant, from the number (2, 256) of pixels by salience and grey."""
    off, on = counts
    either = off + on
    num, num_on = part.size, int(on.sum())
    x, y = float(either @ levels) / num, num_on / num
    if num_on in (0, num) and np.count_nonzero(either) == 1:
        # Nothing varies, and what is said of it hangs on how the mean of equal numbers is rounded.
        values = levels[part & 255]
        x = float(np.mean(values))
        sigma_x = float(np.sum((values - x) ** 2))
    else:
        sigma_x = float(either @ (levels - x) ** 2)
    sigma_y = num_on * (1 - y) ** 2 + (num - num_on) * y**2
    sigma_xy = float(on @ (levels - x)) * (1 - y) - float(off @ (levels - x)) * y
    sigma_x, sigma_y, sigma_xy = (s / (num - 1 + _TINY) for s in (sigma_x, sigma_y, sigma_xy))
    alpha, beta = 4 * x * y * sigma_xy, (x**2 + y**2) * (sigma_x + sigma_y)
    if alpha != 0:
        return alpha / (beta + _TINY)
    return float(beta == 0)


def weighted_f_measure(prediction: np.ndarray, salient: np.ndarray) -> float:
    """F-measure whose errors weigh less beside right pixels, and more far from the objects.

    Args:
        prediction: Map, float64 (H, W), 0..1.
        salient: Ground truth, bool (H, W), with a salient pixel at least.
    """
    background = salient.view(np.uint8) ^ 1
    distance = cv2.distanceTransform(background, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    # Squares are whole numbers, which float32 tells apart as far as the weights do.
    squares = np.rint(np.square(distance, out=distance), out=distance)
    num, missed = np.count_nonzero(salient), _missed(prediction, salient, squares)
    weights = _weights().take(np.minimum(squares, _FARTHEST, out=squares).astype(np.intp))
    false = float(np.vdot(prediction, weights))
    true = num - missed
    recall, precision = 1 - missed / num, true / (true + false + _TINY)
    return 2 * recall * precision / (recall + precision + _TINY)


@cache
def _weights() -> np.ndarray:
    """Weight of a false pixel by the square of its distance from the objects; inside it is 0."""
    weights = 2 - np.exp(math.log(0.5) / _HALVES_IN * np.sqrt(np.arange(_FARTHEST + 1)))
    weights[0] = 0
    return weights


def _missed(prediction: np.ndarray, salient: np.ndarray, squares: np.ndarray) -> float:
    """Sum of the errors of salient pixels, each at most the Gaussian mean of those around it.

    A pixel outside of the objects takes part with the error of the salient pixel next to it;
    ``squares`` are those of its distance from it.
    """
    height, width = salient.shape
    whole = np.zeros((height + 2 * _BORDER, width + 2 * _BORDER))
    whole[_BORDER:-_BORDER, _BORDER:-_BORDER] = (1 - prediction) * salient
    is_on = np.zeros(whole.shape, dtype=bool)
    is_on[_BORDER:-_BORDER, _BORDER:-_BORDER] = salient
    own, around = whole.copy(), whole
    near = np.flatnonzero((squares > 0) & (squares <= 2 * _RADIUS**2))
    rows, columns = np.divmod(near, width)
    places = (rows + _BORDER) * whole.shape[1] + columns + _BORDER
    lengths = squares.reshape(-1)[near]
    errors, flat, found = own.reshape(-1), is_on.reshape(-1), around.reshape(-1)
    for length, steps in _STEPS.items():
        waiting = places[lengths == length]
        for down, right in steps:
            other = waiting + (down * whole.shape[1] + right)
            is_salient = flat[other]
            found[waiting[is_salient]] = errors[other[is_salient]]
            waiting = waiting[~is_salient]
    window = _window(salient)
    border, kernel = cv2.BORDER_CONSTANT, _GAUSSIAN
    smooth = cv2.sepFilter2D(around[window], cv2.CV_64F, kernel, kernel, borderType=border)
    return float(np.minimum(smooth, own[window]).sum())  # own is 0 outside of the objects


def _window(salient: np.ndarray) -> tuple[slice, slice]:
    """The part of a map with a border in which the salient pixels and those around them lie."""
    found = [np.flatnonzero(salient.any(axis=axis)) for axis in (1, 0)]
    extra = _BORDER - _RADIUS
    rows, columns = (slice(p[0] + extra, p[-1] + _BORDER + _RADIUS + 1) for p in found)
    return rows, columns
