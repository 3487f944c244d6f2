"""Suppression of persons with almost the same pose.

Source: ``oks_nms`` and ``soft_oks_nms`` of mmpose 0.x, where every joint counts, however unsure.
Legend: N and M persons, K keypoints.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from van_dense.core.oks import oks

SOFT_MAX = 20  # persons of an image that mmpose's soft suppression leaves


def oks_nms(
    keypoints: np.ndarray,
    scores: np.ndarray,
    *,
    areas: np.ndarray,
    sigmas: Sequence[float],
    threshold: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Greedy suppression: of persons more alike than the threshold only the best stays.

    The area of a pair is the mean of both, as in mmpose.

    Args:
        keypoints: (N, K, 2 or more), x and y in pixels.
        scores: (N,); the first of equals wins.
        areas: (N,) square pixels.
        sigmas: K standard deviations in units of sqrt(area).
        threshold: Of the similarity.

    Returns:
        int64 (M,) positions of those that stay, best first, and their scores (M,).
    """
    order = np.argsort(-scores, kind="stable")
    kept: list[int] = []
    while len(order):
        best, order = order[0], order[1:]
        kept.append(best)
        alike = _alike(keypoints, best, order, areas=areas, sigmas=sigmas)
        order = order[alike <= threshold]
    indices = np.array(kept, dtype=np.int64)
    return indices, scores[indices]


def soft_oks_nms(
    keypoints: np.ndarray,
    scores: np.ndarray,
    *,
    areas: np.ndarray,
    sigmas: Sequence[float],
    threshold: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Soft suppression: each pick multiplies the others' scores by exp(-oks^2 / threshold).

    The best 20 are picked. The lowered scores are the result, as in Soft-NMS (Bodla et al., ICCV
    2017); mmpose uses them for the order of picking and then forgets them.

    Args:
        keypoints: (N, K, 2 or more), x and y in pixels.
        scores: (N,); the first of equals wins.
        areas: (N,) square pixels.
        sigmas: K standard deviations in units of sqrt(area).
        threshold: The larger, the softer.

    Returns:
        int64 (M,) positions of those that stay, best first, and their scores (M,).
    """
    scores = scores.copy()
    order = np.arange(len(scores))
    kept: list[int] = []
    while len(order) and len(kept) < SOFT_MAX:
        best = order[np.argmax(scores[order])]
        order = order[order != best]
        kept.append(best)
        alike = _alike(keypoints, best, order, areas=areas, sigmas=sigmas)
        scores[order] *= np.exp(-(alike**2) / threshold)
    indices = np.array(kept, dtype=np.int64)
    return indices, scores[indices]


def _alike(
    keypoints: np.ndarray,
    best: int,
    others: np.ndarray,
    *,
    areas: np.ndarray,
    sigmas: Sequence[float],
) -> np.ndarray:
    """Similarity (M,) of one person with others, given by their positions."""
    means = (areas[best] + areas[others]) / 2
    return oks(keypoints[[best]], keypoints[others], areas=means, sigmas=sigmas)[0]
