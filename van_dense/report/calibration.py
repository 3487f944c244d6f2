"""How far scores can be trusted: reliability, expected calibration error, risk and coverage.

Source of the error: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, section 2.
Risk and coverage: El-Yaniv and Wiener, "On the Foundations of Noise-free Selective Classification",
JMLR 2010. Legend: N images, M = 15 bins.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from van_dense.evaluation.evaluator import ratio

BINS = 15  # as in Guo et al.


class Reliability(NamedTuple):
    """Accuracy by the score of the best class; NaN for bins without images."""

    ends: tuple[np.ndarray, np.ndarray]  #: lower and upper ends, float64 (M,); the upper is inside
    weight: np.ndarray  #: images, or their weight, float64 (M,)
    confidence: np.ndarray  #: mean score, float64 (M,)
    accuracy: np.ndarray  #: share that is right, float64 (M,)


class Coverage(NamedTuple):
    """Accuracy of the images whose scores are at least a limit, by falling limit."""

    limit: np.ndarray  #: each score that occurs, the highest first, float64 (L,)
    coverage: np.ndarray  #: share of the images, float64 (L,)
    accuracy: np.ndarray  #: share of these that is right, float64 (L,)


def reliability(confidence: np.ndarray, right: np.ndarray, weights: np.ndarray) -> Reliability:
    """Accuracy in 15 bins of equal width.

    Args:
        confidence: Score of the best class of each image, in 0..1, float64 (N,).
        right: Whether that class is the true one, bool (N,).
        weights: How often each image counts, float64 (N,).
    """
    edges = np.linspace(0, 1, BINS + 1)
    # The first edge that is not smaller than the score is the upper end of its bin.
    bins = np.searchsorted(edges[1:], confidence, side="left").clip(max=BINS - 1)
    weight = np.bincount(bins, weights=weights, minlength=BINS)
    scores = np.bincount(bins, weights=weights * confidence, minlength=BINS)
    hits = np.bincount(bins, weights=weights * right, minlength=BINS)
    return Reliability((edges[:-1], edges[1:]), weight, ratio(scores, weight), ratio(hits, weight))


def calibration_error(confidence: np.ndarray, right: np.ndarray, weights: np.ndarray) -> float:
    """Expected calibration error; arguments as of ``reliability``.

    Each bin counts by its images: the mean of the differences between accuracy and mean score.
    """
    found = reliability(confidence, right, weights)
    gaps = np.abs(found.accuracy - found.confidence)
    kept = found.weight > 0
    return float((found.weight[kept] * gaps[kept]).sum() / found.weight.sum())


def risk_coverage(confidence: np.ndarray, right: np.ndarray) -> Coverage:
    """Accuracy of what remains where only scores of a limit and above are taken.

    Images of one score are taken together, so that the order of the images changes nothing.

    Args:
        confidence: Score of the best class of each image, float64 (N,).
        right: Whether that class is the true one, bool (N,).
    """
    limits, position = np.unique(-confidence, return_inverse=True)
    taken = np.cumsum(np.bincount(position))
    hits = np.cumsum(np.bincount(position, weights=right))
    return Coverage(-limits, taken / len(confidence), hits / taken)
