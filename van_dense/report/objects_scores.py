"""What scores mean: best thresholds, and how often a result of a given confidence is right.

Calibration of detectors: Küppers, Kronenberger, Shantia and Haselhoff, "Multivariate Confidence
Calibration for Object Detection", CVPR Workshops 2020. A bin of results is calibrated when its
precision is its mean confidence; the error is the mean gap, weighted by the results in a bin. By
confidence alone this D-ECE is what hotcoco calls ECE. AP takes any finite scores, which only order
the results; those that are no probabilities have no calibration.

Legend: D results, right or wrong at IoU 0.5.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from van_dense.report.objects_evidence import ObjectsEvidence
from van_dense.report.objects_matches import result_boxes

BINS = 10  # of confidence, as in the paper and in hotcoco
_PLACES = 5  # bins of confidence and of each side of the image, where places count as well
_FEWEST = 8  # results of a bin with places; fewer give no precision


@dataclass(frozen=True)
class Best:
    """The score from which results are best kept.

    Attributes:
        threshold: Lowest score that is kept; NaN without a right result.
        f1: Harmonic mean of precision and recall there, at IoU 0.5; NaN without annotations.
        precision: Share of the kept results that are right.
        recall: Share of the annotations that they find.
    """

    threshold: float
    f1: float
    precision: float
    recall: float


@dataclass(frozen=True)
class Reliability:
    """Precision by confidence.

    Attributes:
        error: Mean gap between precision and confidence (D-ECE); NaN without results, and for
            scores outside of 0..1, which have no bins either.
        worst: Largest gap of a bin; NaN where ``error`` is.
        confidence: Mean confidence of the bins with results.
        precision: Share of right results of these bins.
        count: Number of results of these bins.
    """

    error: float
    worst: float
    confidence: np.ndarray
    precision: np.ndarray
    count: np.ndarray


def best_threshold(scores: np.ndarray, right: np.ndarray, num_truth: int) -> Best:
    """The threshold of the best F1; of equally good ones the highest.

    Args:
        scores: Confidence of the results that count, (D,).
        right: Whether each found an annotation, bool (D,).
        num_truth: Number of annotations.
    """
    if not num_truth:
        return Best(np.nan, np.nan, np.nan, np.nan)
    if not right.any():
        return Best(np.nan, 0.0, 0.0, 0.0)
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    hits, kept = np.cumsum(right[order]), np.arange(1, len(order) + 1)
    f1 = 2 * hits / (kept + num_truth)
    f1[:-1][ordered[1:] == ordered[:-1]] = -1  # a threshold keeps all results of a score
    best = int(f1.argmax())
    precision, recall = hits[best] / kept[best], hits[best] / num_truth
    return Best(float(ordered[best]), float(f1[best]), float(precision), float(recall))


def are_probabilities(scores: np.ndarray) -> bool:
    """Whether all scores (D,) lie in 0..1."""
    return bool(((scores >= 0) & (scores <= 1)).all())


def score_bins(scores: np.ndarray) -> np.ndarray:
    """Edges (21,) of the bins of a histogram: of 0..1, or of the range of scores beyond it."""
    if are_probabilities(scores):
        return np.linspace(0, 1, 21)
    low, high = float(scores.min()), float(scores.max())
    least = 0.01 * max(abs(low), abs(high))  # equal scores need a width as well
    return np.linspace(low, max(high, low + least), 21)


def reliability(scores: np.ndarray, right: np.ndarray) -> Reliability:
    """Precision of ten equal bins of confidence; a bin holds its lower edge, the last one both."""
    if not are_probabilities(scores):
        return Reliability(np.nan, np.nan, np.zeros(0), np.zeros(0), np.zeros(0, dtype=np.int64))
    bins = np.minimum((scores * BINS).astype(np.int64), BINS - 1)
    error, worst, confidence, precision, count = _gaps(bins, scores, right, fewest=1)
    return Reliability(error, worst, confidence, precision, count)


def place_error(evidence: ObjectsEvidence, kept: np.ndarray) -> float:
    """D-ECE over bins of confidence and the place of the box in its image (5 x 5 x 5).

    Bins with fewer than 8 results are left out. NaN where no image has a size, where no bin is
    left, and for scores outside of 0..1.

    Args:
        evidence: Results and images.
        kept: Results that count, bool (D,).
    """
    f = evidence.found
    images = {image["id"]: image for image in evidence.source.ground_truth["images"]}
    sizes = [images[key] for key in evidence.image_ids]
    sides = np.array([[s.get("width", 0), s.get("height", 0)] for s in sizes], dtype=np.float64)
    known = kept & (sides[f.image] > 0).all(axis=1) if len(sides) else kept
    if not known.any() or not are_probabilities(f.score[kept]):
        return np.nan
    boxes = result_boxes(f.part, f.row[known])
    middle = (boxes[:, :2] + boxes[:, 2:] / 2) / sides[f.image[known]]
    parts = np.column_stack([f.score[known], middle])
    x = np.clip((parts * _PLACES).astype(np.int64), 0, _PLACES - 1)
    code = (x[:, 0] * _PLACES + x[:, 1]) * _PLACES + x[:, 2]
    return _gaps(code, f.score[known], f.right()[known], fewest=_FEWEST)[0]


def _gaps(
    bins: np.ndarray, scores: np.ndarray, right: np.ndarray, *, fewest: int
) -> tuple[float, float, np.ndarray, np.ndarray, np.ndarray]:
    """Mean and largest gap, and confidence, precision and number of results of each bin."""
    count = np.bincount(bins)
    used = count >= fewest
    count = count[used]
    if not len(count):
        return np.nan, np.nan, np.zeros(0), np.zeros(0), np.zeros(0, dtype=np.int64)
    confidence = np.bincount(bins, weights=scores)[used] / count
    precision = np.bincount(bins, weights=right)[used] / count
    gap = np.abs(precision - confidence)
    return float(gap @ count / count.sum()), float(gap.max()), confidence, precision, count
