"""Why annotated segments are missed, by the pairs of segments that panoptic quality matches.

Legend: T and F segments of ground truth and prediction, which an index counts from 1, as 0 is void;
P pairs of them that have a pixel in common; C classes, K kinds.
"""

from __future__ import annotations

import numpy as np

from van_dense.evaluation.panoptic import Truth, pair_segments

NEVER = "never found"
OTHER_CLASS = "found with another class"
INEXACT = "found, with an IoU of 0.5 or less"
SPLIT = "split into several"
MERGED = "merged with a neighbour"
KINDS = (NEVER, OTHER_CLASS, INEXACT, SPLIT, MERGED)
_TOUCHED = 0.1  # IoU from which on a segment is found at all, as in TIDE (Bolya et al. 2020)


def count_misses(truth: Truth, found: Truth, num_classes: int) -> np.ndarray:
    """Missed segments of an image by why they are missed, int64 (K, C), kinds as in ``KINDS``.

    The first that holds: a segment of another class has an IoU above 0.5 (another class); one of
    its class holds more than half of it, and of another annotated segment as well (merged); several
    of its class lie more than half in it, and together have an IoU above 0.5 (split); one of its
    class has an IoU of 0.1 or more (inexact); nothing of these (never found).

    Args:
        truth: Segment ids (H, W) and segments of the ground truth, crowds marked.
        found: The same for the prediction.
        num_classes: Number of classes C.

    Raises:
        ValueError: For maps that do not fit their segments, as in ``match_segments``.
    """
    pairs, labels = pair_segments(truth, found)
    iou, areas, pixels = pairs.iou(), pairs.areas, pairs.pixels
    real = (pairs.truth > 0) & (pairs.found > 0) & ~labels.is_crowd[pairs.truth]
    same = real & (labels.truth[pairs.truth] == labels.found[pairs.found])
    visible = (areas[1] - pairs.void)[pairs.found]  # void of the ground truth is in no union

    def any_of(chosen: np.ndarray) -> np.ndarray:
        return np.bincount(pairs.truth[chosen], minlength=len(labels.truth)) > 0

    is_held = same & (2 * pixels > areas[0][pairs.truth])
    held_by = np.bincount(pairs.found[is_held], minlength=len(labels.found))
    is_part = same & (2 * pixels > visible)
    parts = np.bincount(pairs.truth[is_part], minlength=len(labels.truth))
    inside, whole = (
        np.bincount(pairs.truth[is_part], weights=values[is_part], minlength=len(labels.truth))
        for values in (pixels, visible)
    )
    together = inside / np.maximum(areas[0] + whole - inside, 1)
    why = np.select(
        [
            any_of(real & ~same & (iou > 0.5)),
            any_of(is_held & (held_by[pairs.found] > 1)),
            (parts > 1) & (together > 0.5),
            any_of(same & (iou >= _TOUCHED)),
        ],
        [KINDS.index(kind) for kind in (OTHER_CLASS, MERGED, SPLIT, INEXACT)],
        KINDS.index(NEVER),
    )
    missed = ~labels.is_crowd & ~any_of(same & (iou > 0.5))
    missed[0] = False
    counts = np.zeros((len(KINDS), num_classes), dtype=np.int64)
    np.add.at(counts, (why[missed], labels.truth[missed]), 1)
    return counts
