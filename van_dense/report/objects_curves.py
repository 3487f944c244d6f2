"""AP and AR of weighted images: the accumulation of COCO, over many weightings at once.

Source: ``COCOeval.accumulate`` of pycocotools (https://github.com/cocodataset/cocoapi); with each
image once the numbers are its own. hotcoco's ``compare`` draws images too, but it knows neither
classes nor other limits than COCO's, takes 26 s for 100 images (1000 resamples, two cores) and
minutes for a validation part, and calls a tie a loss in ``prob_positive``.

Precision rises only where an annotation is found, so sums are needed at those results alone.
Legend: B weightings, N images, C categories, E results that found an annotation, T IoU thresholds.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from van_dense.report.objects_matches import THRESHOLDS, Found

RECALLS = np.linspace(0, 1, 101)
_NARROW = np.uint16  # of sums that cannot become larger


@dataclass(frozen=True)
class Asked:
    """One metric.

    Attributes:
        is_recall: Whether it is an AR, else an AP.
        group: Position of a group of objects.
        thresholds: Positions of the IoU thresholds that it is the mean of.
        limit: Results of an image and category that count.
        categories: Positions of the categories that it is the mean of; None for all.
        among: bool (N,), images that count, by a name of theirs; "" counts all.
    """

    is_recall: bool
    group: int
    thresholds: tuple[int, ...]
    limit: int
    categories: tuple[int, ...] | None = None
    among: str = ""


class Curves:
    """Accumulates the matches of one model.

    Args:
        found: Matches.
        among: Images that count, bool (N,), by the name of each slice.
    """

    def __init__(self, found: Found, among: dict[str, np.ndarray]) -> None:
        self._found = found
        self._among = among
        num = len(found.part.categories)
        self._spans = np.searchsorted(found.category, np.arange(num + 1))
        self._near = np.searchsorted(found.near, self._spans)
        self._truth = [np.flatnonzero(found.truth_category == c) for c in range(num)]

    @property
    def most_truth(self) -> int:
        """Number of annotations of the category with the most of them."""
        return max(map(len, self._truth), default=0)

    def measure(self, weights: np.ndarray, asked: dict[str, Asked]) -> dict[str, np.ndarray]:
        """Metrics (B,) by name, NaN where there is nothing to measure.

        Args:
            weights: How often each image counts, whole numbers (B, N).
            asked: What to measure, by name.
        """
        narrow, wide = (np.ascontiguousarray(weights.T, dtype=d) for d in (_NARROW, np.int32))
        most = np.iinfo(_NARROW).max // max(int(weights.max(initial=1)), 1)
        found: dict[str, list[np.ndarray]] = {name: [] for name in asked}
        num = len(self._truth)
        groups: list[dict[tuple[int, str], dict[str, Asked]]] = [{} for _ in range(num)]
        for name, one in asked.items():
            for category in range(num) if one.categories is None else one.categories:
                groups[category].setdefault((one.group, one.among), {})[name] = one
        for category, of_category in enumerate(groups):
            size = self._spans[category + 1] - self._spans[category] + len(self._truth[category])
            fitting = narrow if size <= most else wide
            for (group, among), here in of_category.items():
                drawn = _Drawn(fitting, self._matches(category, group, among), self._found.limit)
                for name, value in drawn.measure(here).items():
                    found[name].append(value)
        return {name: _mean(values, len(weights)) for name, values in found.items()}

    def _matches(self, category: int, group: int, among: str) -> _Matches:
        f, own = self._found, self._truth[category]
        truth = f.truth_image[own[~f.ignored[group, own]]]
        span, close = (slice(*s[category : category + 2]) for s in (self._spans, self._near))
        inside = f.inside[group, span] & (f.rank[span] < f.limit)
        near, state = f.near[close], f.state[group, :, close]
        if among:
            shown = self._among[among]
            truth, kept = truth[shown[truth]], shown[f.image[near]]
            inside &= shown[f.image[span]]
            near, state = near[kept], state[:, kept]
        place = near - span.start
        return _Matches(
            truth=truth,
            counted=f.image[span][inside],
            image=f.image[near],
            rank=f.rank[near],
            state=state,
            inside=inside[place],
            before=np.cumsum(inside)[place],
        )


@dataclass(frozen=True)
class _Matches:
    """Matches of one category, and of one group of objects, in some images.

    Attributes:
        truth: Position of the image of each annotation that is to be found.
        counted: The same of each result that counts as right or wrong unless it is matched.
        image: The same of each of the Q results near an annotation, in falling order of scores.
        rank: Position of each of them among those of its image, (Q,).
        state: ``Found.state`` of each of them, int8 (T, Q).
        inside: Which of them are among ``counted``, bool (Q,).
        before: How many of ``counted`` there are up to each of them, and with it, (Q,).
    """

    truth: np.ndarray
    counted: np.ndarray
    image: np.ndarray
    rank: np.ndarray
    state: np.ndarray
    inside: np.ndarray
    before: np.ndarray


class _Drawn:
    """Matches in images that are weighted in B ways.

    Weights are whole numbers, so that sums are exact. All arrays have the weightings as columns,
    and are accumulated row by row: NumPy's ``accumulate`` takes twice (sums) to ten times (maxima)
    as long.

    Args:
        weights: Weights of each image, of a type of integers that holds all sums, (N, B).
        matches: What was matched.
        limit: Results of an image that precision counts.
    """

    def __init__(self, weights: np.ndarray, matches: _Matches, limit: int) -> None:
        self._weights, self._matches, self._limit = weights, matches, limit

    def measure(self, asked: dict[str, Asked]) -> dict[str, np.ndarray]:
        """Metrics (B,) by name; none without an annotation."""
        values: dict[str, np.ndarray] = {}
        if not len(self._matches.truth):
            return values
        limits = sorted({a.limit for a in asked.values() if a.is_recall})
        total, found = self._totals(limits)
        with np.errstate(invalid="ignore", divide="ignore"):
            recall = found / total
        for name, a in asked.items():
            if a.is_recall:
                values[name] = recall[limits.index(a.limit), list(a.thresholds)].mean(axis=0)
        precise = {name: a for name, a in asked.items() if not a.is_recall}
        needed = sorted({t for a in precise.values() for t in a.thresholds})
        if needed:
            means = self._precision(total, needed)
            for name, a in precise.items():
                values[name] = means[[needed.index(t) for t in a.thresholds]].mean(axis=0)
        return values

    def _totals(self, limits: list[int]) -> tuple[np.ndarray, np.ndarray]:
        """Weight of the annotations (B,), and of those found up to each limit (L, T, B)."""
        m = self._matches
        images, where = np.unique(np.concatenate([m.truth, m.image]), return_inverse=True)
        num, split = len(images), len(m.truth)
        counts = [np.bincount(where[:split], minlength=num)]
        for limit in limits:
            hits = (m.state == 1) & (m.rank < limit)
            counts += [np.bincount(where[split:], weights=row, minlength=num) for row in hits]
        sums = np.stack(counts).astype(np.float64) @ self._weights[images].astype(np.float64)
        return sums[0].astype(np.int64), sums[1:].reshape(len(limits), len(m.state), sums.shape[1])

    def _precision(self, total: np.ndarray, thresholds: list[int]) -> np.ndarray:
        """AP (thresholds, B); NaN for weightings without annotations."""
        m = self._matches
        states = m.state * (m.rank < self._limit)
        any_hit = (states == 1).any(axis=0)
        reached = self._sums_at(m.before[any_hit])
        place = np.cumsum(any_hit) - 1
        levels = _levels(total)
        aps = np.zeros((len(thresholds), len(total)))
        for ap, state in zip(aps, states[thresholds], strict=True):
            hit = np.flatnonzero(state == 1)
            if not len(hit):
                continue
            counted = reached[place[hit]]
            # Those found elsewhere count where what they found does.
            change = (state == 1).astype(np.int8) - m.inside * (state > 0)
            moved = np.flatnonzero(change)
            if len(moved):
                signs = change[moved, None].astype(self._weights.dtype)  # -1 wraps around, and back
                shift = self._weights[m.image[moved]] * signs
                after = np.searchsorted(moved, hit, side="right")
                counted[after > 0] += _accumulated(np.add, shift)[after[after > 0] - 1]
            hits = _accumulated(np.add, self._weights[m.image[hit]])
            ap[:] = _average(hits, counted, levels)
        aps[:, total == 0] = np.nan
        return aps

    def _sums_at(self, ends: np.ndarray) -> np.ndarray:
        """Weight of the first results that count, up to ascending ends, (len(ends), B)."""
        counted, weights = self._matches.counted, self._weights
        sums = np.zeros((len(ends), weights.shape[1]), dtype=weights.dtype)
        for row, (start, end) in zip(sums, pairwise([0, *ends.tolist()]), strict=True):
            np.add.reduce(weights[counted[start:end]], axis=0, out=row)
        return _accumulated(np.add, sums)


def _accumulated(operation: np.ufunc, values: np.ndarray) -> np.ndarray:
    """``operation.accumulate(values)`` in place."""
    for before, row in pairwise(values):
        operation(before, row, out=row)
    return values


def _levels(total: np.ndarray) -> np.ndarray:
    """How many of ``RECALLS`` are reached by each weight of right results, int16 (weight, B).

    Args:
        total: Weight of the annotations, int (B,).
    """
    recall = np.arange(total.max() + 1)[:, None] / np.where(total > 0, total, 1)
    # Levels up to each recall, which are not all k / 100.
    level = np.minimum(np.floor(recall * 100 + 1e-9), 100).astype(np.int16)
    return level + (RECALLS[level] <= recall)


def _average(hits: np.ndarray, counted: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Mean precision over the 101 levels of recall (B,).

    Args:
        hits: Weight of the right results up to each right one, int (E, B).
        counted: Weight of the right and wrong results up to each right one, int (E, B);
            it is overwritten.
        levels: Levels that each weight of right results reaches, (weight, B).
    """
    np.maximum(counted, 1, out=counted)
    best = hits / counted
    _accumulated(np.maximum, best[::-1])
    places = np.multiply(hits, levels.shape[1], dtype=np.intp)
    places += np.arange(levels.shape[1])
    reached = levels.take(places)
    best[1:] *= np.diff(reached, axis=0)
    best[0] *= reached[0]
    return best.sum(axis=0) / len(RECALLS)


def _mean(values: list[np.ndarray], num: int) -> np.ndarray:
    """Mean over categories (B,), NaN left out."""
    if not values:
        return np.full(num, np.nan)
    stacked = np.stack(values)
    known = ~np.isnan(stacked)
    sums = np.where(known, stacked, 0).sum(axis=0)
    return np.divide(sums, known.sum(axis=0), out=np.full(num, np.nan), where=known.any(axis=0))


ALL_THRESHOLDS = tuple(range(len(THRESHOLDS)))


def precision_at(found: Found, threshold: int) -> list[np.ndarray | None]:
    """Precision at the 101 levels of ``RECALLS`` of each category; None without annotations."""
    num = len(found.part.categories)
    objects = np.bincount(found.truth_category[~found.ignored[0]], minlength=num)
    kept = found.counted(threshold)
    right = found.right(threshold)[kept]
    spans = np.searchsorted(found.category[kept], np.arange(num + 1)).tolist()
    curves: list[np.ndarray | None] = []
    for total, (start, end) in zip(objects.tolist(), pairwise(spans), strict=True):
        if not total:
            curves.append(None)
            continue
        hits = np.cumsum(right[start:end])
        precision = hits / np.arange(1, len(hits) + 1)
        best = np.maximum.accumulate(precision[::-1])[::-1]
        place = np.searchsorted(hits / total, RECALLS)
        curves.append(np.append(best, 0.0)[np.minimum(place, len(best))])
    return curves
