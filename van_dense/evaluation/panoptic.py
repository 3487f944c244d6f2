"""Panoptic quality (Kirillov et al., CVPR 2019), and boundary PQ (Cheng et al., CVPR 2021).

A predicted and a true segment of one class match when their IoU is above 0.5, which no segment can
have with two others. Per class, over all images, SQ is the mean IoU of matches, RQ is TP / (TP +
FP / 2 + FN / 2), and PQ their product; metrics are means over classes that occur on either side.
What the ground truth leaves open is treated as in panopticapi (``pq_compute_single_core``):

- Pixels that are void in the ground truth count in no union.
- A crowd matches nothing and is never missed.
- An unmatched prediction of which more than half is void, or crowd of its class, is no mistake.

Boundary PQ takes the smaller one of the IoU of masks and that of outlines, as boundary-iou-api
does. Legend: C classes; T and F segments of ground truth and prediction, which an index counts from
1, as 0 is void; P pairs of such numbers that have a pixel in common.
"""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from van_dense.core.counting import counted
from van_dense.core.dataset_info import DatasetInfo
from van_dense.core.segments import run_starts, segment_positions
from van_dense.core.structures import Prediction, Segment
from van_dense.evaluation.evaluator import by_name, check_image, check_size, mean, write_csv
from van_dense.evaluation.outlines import is_outline
from van_dense.evaluation.table import PerClass

logger = logging.getLogger(__name__)

_QUALITIES = ("PQ", "SQ", "RQ")
_NAMES = tuple(f"{quality}{part}" for part in ("", "_th", "_st") for quality in _QUALITIES)
METRICS = tuple(f"panoptic/{name}" for name in _NAMES)
BOUNDARY_METRICS = tuple(f"panoptic/boundary_{name}" for name in _NAMES)
#: Rows of what is summed over images: IoU of matches, and how many there are of each kind.
IOU, MATCHED, WRONG, MISSED = range(4)

Truth = tuple[np.ndarray, list[Segment]]
_SIDES = "the panoptic map of the ground truth", "the panoptic map of the prediction"


class ImageCounts(NamedTuple):
    """What one image adds to the metrics."""

    #: float64 (K, 4, C): K is 1 for PQ, 2 for PQ and boundary PQ; rows are IOU, MATCHED, ...
    sums: np.ndarray
    split_stuff: tuple[int, ...]  #: labels of stuff that several predicted segments share


class PanopticEvaluator:
    """Matches segments image by image; no image is kept.

    Its test compares it with masks of each segment.

    Args:
        truth: Function from an image id to the map of segment ids, integers (H, W) with 0 = void,
            and its segments.
        image_ids: Ids of all images to evaluate.
        info: Names of the C classes, and which are things; all are where it does not say so.
        boundary: Whether to compute boundary PQ as well, which takes longer.

    Attributes:
        sums: What the images added up to so far, float64 (K, 4, C), as in ``ImageCounts``.
    """

    def __init__(
        self,
        truth: Callable[[int | str], Truth],
        image_ids: Sequence[int | str],
        info: DatasetInfo,
        *,
        boundary: bool,
    ) -> None:
        self.info = info
        self.sums = np.zeros((1 + boundary, 4, info.num_classes))
        self._truth = truth
        self._boundary = boundary
        self._is_thing = np.array(info.thing_flags, dtype=np.bool_)
        self._known = dict.fromkeys(image_ids)
        self._predicted: set[int | str] = set()
        self._first_split: str | None = None
        self._num_split = 0

    @property
    def num_images(self) -> int:
        """Images that were compared so far; the metrics are those of these."""
        return len(self._predicted)

    def update(self, predictions: Sequence[Prediction]) -> None:
        """Match the segments of some images."""
        for prediction in predictions:
            self.add(prediction.image_id, self.count(prediction))

    def count(self, prediction: Prediction) -> ImageCounts:
        """Match the segments of one image and change nothing, so that threads may share this.

        What does not fit the ground truth is a ValueError, as are an unknown image and one that
        ``add`` has seen.
        """
        image_id, found, segments = prediction.image_id, prediction.panoptic, prediction.segments
        check_image(image_id, self._known, self._predicted)
        if found is None or segments is None:
            raise ValueError(f"the prediction of image {image_id!r} has no panoptic map, segments")
        truth, true_segments = self._truth(image_id)
        check_size(found, truth, image_id)
        where = f"image {image_id!r}: the"
        self._check(truth, true_segments, f"{where} ground truth")
        self._check(found, segments, f"{where} prediction")
        pair = ((truth, true_segments), (found, segments))
        try:
            sums = match_segments(*pair, self.info.num_classes, boundary=self._boundary)
        except ValueError as error:
            raise ValueError(f"image {image_id!r}: {error}") from None
        stuff = [s["label"] for s in segments if not self._is_thing[s["label"]]]
        split = sorted({label for label in stuff if stuff.count(label) > 1})
        return ImageCounts(sums, tuple(split))

    def add(self, image_id: int | str, counts: ImageCounts) -> None:
        """Take what ``count`` found in an image, once for each of them."""
        self.sums += counts.sums
        self._predicted.add(image_id)
        if counts.split_stuff:
            self._num_split += 1
            if self._first_split is None:
                names = [self.info.class_names[label] for label in counts.split_stuff]
                self._first_split = f"{', '.join(names)} of image {image_id!r}"

    def _check(self, panoptic: np.ndarray, segments: Sequence[Segment], where: str) -> None:
        if panoptic.dtype.kind not in "iu" or panoptic.ndim != 2:
            kind = f"{panoptic.dtype} {panoptic.shape}"
            raise ValueError(f"{where} is {kind}; a panoptic map holds integers (H, W)")
        classes = self.info.num_classes
        for segment in segments:
            if not 0 <= segment["label"] < classes:
                what = f"segment {segment['id']} has the label {segment['label']}"
                known = f"there are {classes} classes, 0..{classes - 1}"
                raise ValueError(f"{where}: {what}, but {known}")

    def compute(self) -> dict[str, float]:
        """Means over classes by the names of ``METRICS``, and of ``BOUNDARY_METRICS`` if asked for.

        NaN where no class of a kind occurs; a value outside 0..1 is a ValueError.
        """
        if self._first_split is not None:
            what = counted(self._num_split, "prediction has", "predictions have")
            what += f" several segments of one class of stuff, the first {self._first_split}"
            logger.warning("%s; each counts, and at most one can match: merge them", what)
        metrics: dict[str, float] = {}
        for names, scores in zip((METRICS, BOUNDARY_METRICS), self._scores(), strict=False):
            metrics |= dict(zip(names, mean_qualities(scores, self._is_thing), strict=True))
        return metrics

    def per_class(self) -> PerClass:
        """PQ, SQ and RQ of each class, and boundary_PQ, ...; NaN for classes that do not occur."""
        columns: dict[str, np.ndarray] = {}
        for prefix, scores in zip(("", "boundary_"), self._scores(), strict=False):
            columns |= {f"{prefix}{quality}": values for quality, values in scores.items()}
        return {"panoptic": by_name(self.info.class_names, columns)}

    def _scores(self) -> list[dict[str, np.ndarray]]:
        """PQ, SQ and RQ, (C,) each, for each kind of IoU."""
        scores = [qualities(sums) for sums in self.sums]
        for kind, table in zip(("", "boundary "), scores, strict=False):
            for quality, values in table.items():
                for label in np.flatnonzero((values < 0) | (values > 1) | np.isinf(values)):
                    what = f"{kind}{quality} of class {self.info.class_names[label]!r}"
                    raise ValueError(f"{what} is {values[label]:g}, outside 0..1: the sums are bad")
        return scores

    def save(self, folder: Path) -> None:
        """Write how many segments of each class were matched, wrong and missed, as segments.csv."""
        counts = self.sums[0, MATCHED:].T.astype(np.int64).tolist()
        rows = ([name, *row] for name, row in zip(self.info.class_names, counts, strict=True))
        write_csv(folder / "segments.csv", ["class", "matched", "wrong", "missed"], rows)


def qualities(sums: np.ndarray) -> dict[str, np.ndarray]:
    """PQ, SQ and RQ of each class, float64 (C,), from sums (4, C); NaN where nothing occurs."""
    iou, matched, wrong, missed = sums
    half = matched + 0.5 * wrong + 0.5 * missed
    occurs = half > 0
    nothing = np.where(occurs, 0.0, math.nan)  # a class without any match has SQ 0
    return {
        "PQ": np.divide(iou, half, out=nothing.copy(), where=occurs),
        "SQ": np.divide(iou, matched, out=nothing.copy(), where=matched > 0),
        "RQ": np.divide(matched, half, out=nothing.copy(), where=occurs),
    }


def mean_qualities(scores: Mapping[str, np.ndarray], is_thing: np.ndarray) -> list[float]:
    """Means of ``qualities`` in the order of ``METRICS``, by flags of things, bool (C,)."""
    parts = (np.ones_like(is_thing), is_thing, ~is_thing)
    return [mean(scores[quality][part]) for part in parts for quality in _QUALITIES]


def match_segments(truth: Truth, found: Truth, num_classes: int, *, boundary: bool) -> np.ndarray:
    """Match the segments of two maps of one size, with the sums of ``ImageCounts``, (K, 4, C).

    Args:
        truth: Segment ids (H, W) and segments; those with ``crowd`` are crowds.
        found: The same for the prediction; labels of both are below ``num_classes``.
        num_classes: Number of classes C.
        boundary: Whether to match by boundary PQ as well (K = 2).

    Raises:
        ValueError: For ids out of range, repeated or without a segment, segments without a pixel,
            and more than ``MOST_SEGMENTS`` of them.
    """
    starts, runs = _runs(truth, found)
    lengths = np.diff(starts, append=truth[0].size)
    pairs, labels = _paired(runs, lengths, truth, found)
    sums = [_sum_up(pairs, labels, pairs.iou(), num_classes)]
    if boundary:
        maps = [np.repeat(run.astype(np.uint16), lengths).reshape(truth[0].shape) for run in runs]
        iou = np.minimum(pairs.iou(), _outline_iou(pairs, maps[0], maps[1]))
        sums.append(_sum_up(pairs, labels, iou, num_classes))
    return np.stack(sums)


def pair_segments(truth: Truth, found: Truth) -> tuple["Pairs", "Labels"]:
    """Segments of two maps that have a pixel in common; arguments and errors as above."""
    starts, runs = _runs(truth, found)
    return _paired(runs, np.diff(starts, append=truth[0].size), truth, found)


def _runs(truth: Truth, found: Truth) -> tuple[np.ndarray, list[np.ndarray]]:
    """Where runs of equal pixels start (R,), and their indices in both maps, (R,) each."""
    flat = truth[0].reshape(-1), found[0].reshape(-1)
    starts = run_starts(*flat)
    sides = zip(flat, (truth[1], found[1]), _SIDES, strict=True)
    runs = [segment_positions(ids[starts], segments, name) for ids, segments, name in sides]
    return starts, runs


def _paired(
    runs: Sequence[np.ndarray], lengths: np.ndarray, truth: Truth, found: Truth
) -> tuple["Pairs", "Labels"]:
    pairs = _count_pairs(runs[0], runs[1], lengths, len(truth[1]), len(found[1]))
    for areas, (_, segments), name in zip(pairs.areas, (truth, found), _SIDES, strict=True):
        empty = [segments[i]["id"] for i in np.flatnonzero(areas[1:] == 0)]
        if empty:
            raise ValueError(f"{name} has no pixel of the segments {empty[:5]}; leave them out")
    return pairs, Labels(truth[1], found[1])


class Labels:
    """Labels and crowds by the index of a segment; void has the labels -1 and -2."""

    def __init__(self, truth: Sequence[Segment], found: Sequence[Segment]) -> None:
        self.truth = np.array([-1, *(s["label"] for s in truth)])
        self.found = np.array([-2, *(s["label"] for s in found)])
        self.is_crowd = np.array([False, *(s.get("crowd", False) for s in truth)])


class Pairs(NamedTuple):
    """Pixels that segments of two maps have in common; 0 is the index of void."""

    truth: np.ndarray  #: int64 (P,), 0..T
    found: np.ndarray  #: int64 (P,), 0..F
    pixels: np.ndarray  #: int64 (P,)
    areas: tuple[np.ndarray, np.ndarray]  #: int64 (T + 1,) and (F + 1,)
    void: np.ndarray  #: pixels of each prediction that are void in the ground truth, (F + 1,)

    def iou(self) -> np.ndarray:
        """IoU of each pair, float64 (P,); void pixels of the ground truth are in no union."""
        both = self.areas[0][self.truth] + self.areas[1][self.found] - self.pixels
        # Only of pairs with void, which never match, a union may be empty.
        return np.divide(self.pixels, np.maximum(both - self.void[self.found], 1))


def _count_pairs(
    truth: np.ndarray, found: np.ndarray, pixels: np.ndarray, num_truth: int, num_found: int
) -> Pairs:
    """Add up pixels (R,) of runs by the indices 0..T and 0..F that they have in both maps."""
    keys, position = np.unique(truth * (num_found + 1) + found, return_inverse=True)
    counts = _sum_by(position, pixels, len(keys))
    first, second = np.divmod(keys, num_found + 1)
    areas = _sum_by(first, counts, num_truth + 1), _sum_by(second, counts, num_found + 1)
    void = _sum_by(second[first == 0], counts[first == 0], num_found + 1)
    return Pairs(first, second, counts, areas, void)


def _outline_iou(pairs: Pairs, truth: np.ndarray, found: np.ndarray) -> np.ndarray:
    """IoU of the outlines of each pair, float64 (P,), from maps of indices, uint16 (H, W).

    Void of the ground truth stays whole, outline or not.
    """
    inside = len(pairs.areas[0]), len(pairs.areas[1])  # index of what is in no outline
    truth = np.where(is_outline(truth) | (truth == 0), truth, inside[0]).reshape(-1)
    found = np.where(is_outline(found), found, inside[1]).reshape(-1)
    starts = run_starts(truth, found)
    lengths = np.diff(starts, append=truth.size)
    runs = truth[starts].astype(np.int64), found[starts].astype(np.int64)
    outlines = _count_pairs(*runs, lengths, *inside)
    iou = outlines.iou()
    width = inside[1] + 1
    known, wanted = (side.truth * width + side.found for side in (outlines, pairs))
    places = np.searchsorted(known, wanted).clip(max=len(known) - 1)
    return np.where(known[places] == wanted, iou[places], 0.0)


def _sum_up(pairs: Pairs, labels: Labels, iou: np.ndarray, num_classes: int) -> np.ndarray:
    """Sums (4, C) of one image, by the IoU (P,) of its pairs."""
    same = labels.truth[pairs.truth] == labels.found[pairs.found]
    crowd = labels.is_crowd[pairs.truth]
    is_match = same & ~crowd & (iou > 0.5)
    missed, wrong = ~labels.is_crowd, np.ones(len(labels.found), dtype=np.bool_)
    missed[pairs.truth[is_match]] = wrong[pairs.found[is_match]] = False
    in_crowd = _sum_by(pairs.found[same & crowd], pairs.pixels[same & crowd], len(wrong))
    wrong &= 2 * (pairs.void + in_crowd) <= pairs.areas[1]
    missed[0] = wrong[0] = False
    matched = labels.truth[pairs.truth[is_match]]
    return np.stack(
        [
            np.bincount(matched, weights=iou[is_match], minlength=num_classes),
            np.bincount(matched, minlength=num_classes),
            np.bincount(labels.found[wrong], minlength=num_classes),
            np.bincount(labels.truth[missed], minlength=num_classes),
        ]
    )


def _sum_by(index: np.ndarray, values: np.ndarray, length: int) -> np.ndarray:
    """Sums of integers by an index 0..length-1, int64; float64 holds every count of pixels."""
    return np.bincount(index, weights=values, minlength=length).astype(np.int64)
