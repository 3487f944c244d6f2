"""Suppression of persons with almost the same pose.

Source: ``oks_nms`` and ``soft_oks_nms`` of mmpose 0.x, where every joint counts, however unsure.
Legend: N and M persons, K keypoints.
"""

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
    soft: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """Greedy suppression, hard or soft, of persons by object keypoint similarity (OKS).

    Hard: of persons more alike than the threshold only the best stays. Soft: each pick multiplies
    the others' scores by exp(-oks^2 / threshold), and the best 20 are picked; the lowered scores
    are the result, as in Soft-NMS (Bodla et al., ICCV 2017), where mmpose uses them for the order
    of picking and then forgets them. The area of a pair is the mean of both, as in mmpose.

    Args:
        keypoints: float (N, K, 2 or more), x and y in pixels.
        scores: float (N,); the first of equals wins.
        areas: float (N,) square pixels of the persons.
        sigmas: K standard deviations in units of sqrt(area).
        threshold: Hard: highest OKS of two persons that both stay. Soft: the larger, the softer.
        soft: Whether scores are lowered instead of persons left out.

    Returns:
        int64 (M,) positions of those that stay, best first, and their scores (M,).
    """
    scores = scores.copy()
    order = np.arange(len(scores))
    kept: list[int] = []
    while len(order) and not (soft and len(kept) == SOFT_MAX):
        best = order[np.argmax(scores[order])]
        order = order[order != best]
        kept.append(best)
        means = (areas[best] + areas[order]) / 2
        alike = oks(keypoints[[best]], keypoints[order], areas=means, sigmas=sigmas)[0]
        if soft:
            scores[order] *= np.exp(-(alike**2) / threshold)
        else:
            order = order[alike <= threshold]
    indices = np.array(kept, dtype=np.int64)
    return indices, scores[indices]
