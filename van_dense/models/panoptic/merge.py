"""Instances and a map of stuff made into one panoptic map, by rules without learning.

Source: Kirillov et al., "Panoptic Segmentation", CVPR 2019, section 6, with the thresholds and the
order of steps of Detectron2's ``combine_semantic_and_instance_outputs``.
Legend: N instances, H, W pixels of the original image.
"""

from dataclasses import dataclass

import numpy as np

from van_dense.core.rle import decode_crop
from van_dense.core.structures import IGNORE_LABEL, Instances, Segment


@dataclass(frozen=True)
class MergeRules:
    """Which instances and regions of stuff become segments."""

    score_threshold: float  #: instances below are dropped
    #: Instances of whose mask a larger fraction is covered by better ones are dropped.
    overlap_threshold: float
    stuff_area: int  #: pixels of the original image; smaller regions of stuff become void


def merge(
    things: Instances, stuff: np.ndarray, probability: np.ndarray, rules: MergeRules
) -> tuple[np.ndarray, list[Segment]]:
    """Lay instances over each other, best first, and stuff below them.

    Each class of stuff is one segment, whatever its pieces are.

    Args:
        things: N instances with scores and RLE masks in original pixels.
        stuff: uint8 (H, W) class of each pixel, 255 where there is no stuff.
        probability: float32 (H, W) in 0..1, of the class that ``stuff`` names.
        rules: Thresholds.

    Returns:
        int32 (H, W) of ids from 1 on, 0 = void, and the segments, each with at least one pixel.
        The score of a thing is that of its instance, that of stuff the mean probability over its
        segment.
    """
    assert things.scores is not None and isinstance(things.masks, list)  # of predictions
    panoptic = np.zeros(stuff.shape, dtype=np.int32)
    segments: list[Segment] = []
    for index in things.scores.argsort(descending=True, stable=True).tolist():
        score = float(things.scores[index])
        if score < rules.score_threshold:
            break
        x, y, mask = decode_crop(things.masks[index])
        window = panoptic[y : y + mask.shape[0], x : x + mask.shape[1]]
        free = mask.view(bool) & (window == 0)
        area, num_free = np.count_nonzero(mask), np.count_nonzero(free)
        if num_free == 0 or area - num_free > rules.overlap_threshold * area:
            continue
        segments.append(_segment(segments, int(things.labels[index]), score))
        window[free] = segments[-1]["id"]
    return panoptic, segments + _lay_stuff(panoptic, stuff, probability, rules, segments)


def _lay_stuff(
    panoptic: np.ndarray,
    stuff: np.ndarray,
    probability: np.ndarray,
    rules: MergeRules,
    things: list[Segment],
) -> list[Segment]:
    """Write the stuff that is large enough where the map is still void; return its segments."""
    left = np.where(panoptic == 0, stuff, IGNORE_LABEL).reshape(-1)
    area = np.bincount(left, minlength=IGNORE_LABEL + 1)[:IGNORE_LABEL]
    total = np.bincount(left, weights=probability.reshape(-1), minlength=IGNORE_LABEL + 1)
    segments: list[Segment] = []
    id_of = np.zeros(IGNORE_LABEL + 1, dtype=np.int32)
    for label in np.flatnonzero(area >= max(rules.stuff_area, 1)).tolist():
        score = min(float(total[label] / area[label]), 1.0)  # a sum of rounded numbers
        segments.append(_segment(things + segments, label, score))
        id_of[label] = segments[-1]["id"]
    panoptic += id_of[left].reshape(panoptic.shape)
    return segments


def _segment(before: list[Segment], label: int, score: float) -> Segment:
    return {"id": len(before) + 1, "label": label, "score": score}
