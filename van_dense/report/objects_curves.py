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

import numpy as np

from van_dense.report.objects_matches import THRESHOLDS, Found

RECALLS = np.linspace(0, 1, 101)


@dataclass(frozen=True)
class Asked:
    """One metric.

    Attributes:
        is_recall: Whether it is an AR, else an AP.
        group: Position of a group of objects.
        thresholds: Positions of the IoU thresholds that it is the mean of.
        limit: Results of an image and category that count.
        category: Position of one category; None for the mean of all.
        among: bool (N,), images that count, by a name of theirs; "" counts all.
    """

    is_recall: bool
    group: int
    thresholds: tuple[int, ...]
    limit: int
    category: int | None = None
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

    def measure(self, weights: np.ndarray, asked: dict[str, Asked]) -> dict[str, np.ndarray]:
        """Metrics (B,) by name, NaN where there is nothing to measure.

        Args:
            weights: How often each image counts, float64 (B, N).
            asked: What to measure, by name.
        """
        found: dict[str, list[np.ndarray]] = {name: [] for name in asked}
        for category in range(len(self._truth)):
            kept = {n: a for n, a in asked.items() if a.category in (None, category)}
            for among in sorted({a.among for a in kept.values()}):
                shown = weights * self._among[among] if among else weights
                here = {n: a for n, a in kept.items() if a.among == among}
                for name, value in self._of_category(shown, category, here).items():
                    found[name].append(value)
        return {name: _mean(values, len(weights)) for name, values in found.items()}

    def _of_category(
        self, weights: np.ndarray, category: int, asked: dict[str, Asked]
    ) -> dict[str, np.ndarray]:
        """Metrics (B,) of one category."""
        own = self._truth[category]
        values: dict[str, np.ndarray] = {}
        for group in sorted({a.group for a in asked.values()}):
            here = {n: a for n, a in asked.items() if a.group == group}
            targets = self._found.truth_image[own[~self._found.ignored[group, own]]]
            total = weights @ np.bincount(targets, minlength=weights.shape[1])
            if not total.any():
                continue
            with np.errstate(invalid="ignore", divide="ignore"):
                for limit in {a.limit for a in here.values() if a.is_recall}:
                    recall = self._recall(weights, category, group, limit) / total[:, None]
                    for name, a in here.items():
                        if a.is_recall and a.limit == limit:
                            values[name] = recall[:, list(a.thresholds)].mean(axis=1)
            precise = {n: a for n, a in here.items() if not a.is_recall}
            needed = sorted({t for a in precise.values() for t in a.thresholds})
            if needed:
                means = self._precision(weights, total, (category, group), needed)
                for name, a in precise.items():
                    chosen = [needed.index(t) for t in a.thresholds]
                    values[name] = means[:, chosen].mean(axis=1)
        return values

    def _recall(self, weights: np.ndarray, category: int, group: int, limit: int) -> np.ndarray:
        """Weight of the annotations found at each threshold (B, T)."""
        f, span = self._found, slice(*self._near[category : category + 2])
        near = f.near[span]
        hits = (f.state[group, :, span] == 1) & (f.rank[near] < limit)
        num = weights.shape[1]
        images = f.image[near]
        counts = [np.bincount(images, weights=row, minlength=num) for row in hits]
        return weights @ np.stack(counts, axis=1)

    def _precision(
        self,
        weights: np.ndarray,
        total: np.ndarray,
        where: tuple[int, int],
        thresholds: list[int],
    ) -> np.ndarray:
        """AP (B, thresholds) of a category and group; NaN for weightings without annotations."""
        f, (category, group) = self._found, where
        span = slice(*self._spans[category : category + 2])
        near = slice(*self._near[category : category + 2])
        place = f.near[near] - span.start
        inside = f.inside[group, span] & (f.rank[span] < f.limit)
        counts = f.rank[f.near[near]] < f.limit
        # Weight of all results of the group up to each that is near an annotation.
        before = np.concatenate([[0], np.cumsum(inside)])
        chosen = f.image[span][inside]
        sums = np.zeros((len(weights), len(chosen) + 1))
        np.cumsum(weights[:, chosen], axis=1, out=sums[:, 1:])
        reached = sums[:, before[place + 1]]
        of_near = weights[:, f.image[f.near[near]]]
        aps = np.zeros((len(weights), len(thresholds)))
        for k, threshold in enumerate(thresholds):
            state = f.state[group, threshold, near] * counts
            # Those found elsewhere count where what they found does.
            change = (state == 1).astype(np.float64) - inside[place] * (state > 0)
            counted = reached
            if change.any():
                counted = reached + np.cumsum(of_near * change, axis=1)
            hit = state == 1
            aps[:, k] = _average(np.cumsum(of_near[:, hit], axis=1), counted[:, hit], total)
        aps[total == 0] = np.nan
        return aps


def _average(hits: np.ndarray, counted: np.ndarray, total: np.ndarray) -> np.ndarray:
    """Mean precision over the 101 levels of recall (B,).

    Args:
        hits: Weight of the right results up to each right one, (B, E).
        counted: Weight of the right and wrong results up to each right one, (B, E).
        total: Weight of the annotations, (B,).
    """
    if not hits.shape[1]:
        return np.zeros(len(hits))
    precision = np.divide(hits, counted, out=np.zeros_like(hits), where=counted > 0)
    best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    recall = hits / np.where(total > 0, total, 1)[:, None]
    # Levels that each recall reaches: those of ``RECALLS`` up to it, which are not all k / 100.
    level = np.floor(recall * 100 + 1e-9).astype(np.int64)
    level -= RECALLS[np.minimum(level, 100)] > recall
    return (np.diff(level, axis=1, prepend=-1) * best).sum(axis=1) / len(RECALLS)


def _mean(values: list[np.ndarray], num: int) -> np.ndarray:
    """Mean over categories (B,), NaN left out."""
    if not values:
        return np.full(num, np.nan)
    stacked = np.stack(values)
    known = ~np.isnan(stacked)
    sums = np.where(known, stacked, 0).sum(axis=0)
    return np.divide(sums, known.sum(axis=0), out=np.full(num, np.nan), where=known.any(axis=0))


ALL_THRESHOLDS = tuple(range(len(THRESHOLDS)))


def precision_at(found: Found, category: int, threshold: int) -> np.ndarray | None:
    """Precision at the 101 levels of ``RECALLS``; None for a category without annotations."""
    own = (found.truth_category == category) & ~found.ignored[0]
    if not own.any():
        return None
    of_category = found.category == category
    kept = found.counted(threshold)[of_category]
    right = found.right(threshold)[of_category][kept]
    hits = np.cumsum(right)
    precision = hits / np.arange(1, len(hits) + 1)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    place = np.searchsorted(hits / own.sum(), RECALLS)
    return np.append(best, 0.0)[np.minimum(place, len(best))]
