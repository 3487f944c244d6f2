"""Object keypoint similarity (OKS), and suppression of persons with almost the same pose.

Source: COCO's keypoint evaluation (pycocotools ``COCOeval.computeOks``), and ``oks_nms`` and
``soft_oks_nms`` of mmpose 0.x, where every joint counts, however unsure.
Legend: N and M persons, K keypoints.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

SOFT_MAX = 20  # persons of an image that mmpose's soft suppression leaves


def oks(
    keypoints_a: np.ndarray, keypoints_b: np.ndarray, *, areas: np.ndarray, sigmas: Sequence[float]
) -> np.ndarray:
    """Similarity of each person of ``a`` with each of ``b``: mean of exp(-d^2 / (2 area (2 s)^2)).

    Joints that are not finite count as infinitely far away.

    Args:
        keypoints_a: (N, K, 2 or more), x and y in pixels.
        keypoints_b: (M, K, 2 or more).
        areas: Square pixels that make the scale, (M,) of the persons of ``b`` or (N, M) of pairs.
        sigmas: K standard deviations in units of sqrt(area).

    Returns:
        float64 (N, M) in [0, 1].
    """
    points_a, points_b = (
        np.asarray(k, dtype=np.float64)[..., :2] for k in (keypoints_a, keypoints_b)
    )
    variances = (2 * np.asarray(sigmas, dtype=np.float64)) ** 2
    with np.errstate(invalid="ignore", over="ignore"):  # infinity minus infinity
        squared = ((points_a[:, None] - points_b[None]) ** 2).sum(axis=-1)
        scaled = squared / variances / (np.asarray(areas)[..., None] + np.spacing(1)) / 2
    return np.exp(-np.nan_to_num(scaled, nan=np.inf, posinf=np.inf)).mean(axis=-1)


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
