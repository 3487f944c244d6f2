"""Object keypoint similarity (OKS), for the evaluation of poses and the suppression of doubles.

Source: COCO's keypoint evaluation, https://cocodataset.org/#keypoints-eval (pycocotools
``COCOeval.computeOks``).
"""

from collections.abc import Sequence

import numpy as np


def oks(
    keypoints_a: np.ndarray,
    keypoints_b: np.ndarray,
    *,
    areas: np.ndarray,
    sigmas: Sequence[float],
    labelled: np.ndarray | None = None,
) -> np.ndarray:
    """Similarity of each person of ``a`` with each of ``b``: mean of exp(-d^2 / (2 area (2 s)^2)).

    Joints that are not finite count as infinitely far away.

    Args:
        keypoints_a: (..., N, K, 2 or more) joints, x and y in pixels.
        keypoints_b: (..., M, K, 2 or more) joints, x and y in pixels.
        areas: Square pixels that make the scale, (M,) for persons of ``b`` or (..., N, M) for
            pairs, of which N may be 1.
        sigmas: K standard deviations in units of sqrt(area).
        labelled: bool (..., M, K), joints of ``b`` that the mean is taken over, at least one for
            each person; None takes all.

    Returns:
        float64 (..., N, M) in [0, 1].
    """
    points_a, points_b = (
        np.asarray(k, dtype=np.float64)[..., :2] for k in (keypoints_a, keypoints_b)
    )
    variances = (2 * np.asarray(sigmas, dtype=np.float64)) ** 2
    with np.errstate(invalid="ignore", over="ignore"):  # infinity minus infinity
        squared = ((points_a[..., :, None, :, :] - points_b[..., None, :, :, :]) ** 2).sum(axis=-1)
        scaled = squared / variances / (np.asarray(areas)[..., None] + np.spacing(1)) / 2
    near = np.exp(-np.nan_to_num(scaled, nan=np.inf, posinf=np.inf))
    if labelled is None:
        return near.mean(axis=-1)
    counted = labelled[..., None, :, :]
    return (near * counted).sum(axis=-1) / counted.sum(axis=-1)
