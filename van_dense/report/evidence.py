"""Intervals and differences of metrics, by resampling images.

The images of a validation part are a sample: another draw gives other numbers. A bootstrap draws as
many of them with replacement, measures again, and takes quantiles (Efron and Tibshirani, "An
Introduction to the Bootstrap", 1993, chapter 13). Two models are measured on the same draws, so
that what is hard for both does not count as a difference.

A metric that is no mean can be larger or smaller on draws, which hold 63 % of the images, than on
all of them: AP of few objects is too high, as the best precision from a recall on is taken, and the
quantiles can lie beside the value. So the draws of a metric are moved until their mean is the value
(the bias that a bootstrap estimates, chapter 10, taken off). Those of a difference stay as they
are: the bias of two models is much the same, and draws without the few images that differ must
count as no difference.

Legend: N images, B resamples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np

ONE_IMAGE = "one image"  # why a metric has no interval
RESAMPLES = 1000
OF = " of "  # between a metric and its class or slice
CONFIDENCE = 0.9  # of the interval of a metric
# Of the interval of a difference: two equal models are called different in 5 % of all cases.
DIFFERENCE_CONFIDENCE = 0.95
_AT_ONCE = 64  # resamples, whose weights and sums are in memory together


@dataclass(frozen=True)
class Interval:
    """A metric and where it may lie; NaN where there is nothing to measure.

    The ends are NaN as well where one image alone shows what is measured, since that says nothing
    about other images.
    """

    value: float
    low: float
    high: float
    why: str = ""  # it has no ends, where it has a value


@dataclass(frozen=True)
class Difference:
    """A metric of two models on the same images.

    Attributes:
        first: Value of the first model.
        second: Value of the second model.
        low: Lower end of the interval of second minus first.
        high: Upper end of it.
        share: Share of the resamples where the second model has the larger value, ties half.
    """

    first: float
    second: float
    low: float
    high: float
    share: float

    @property
    def value(self) -> float:
        """Second minus first."""
        return self.second - self.first

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.low > 0 or self.high < 0


class Evidence(Protocol):
    """The metrics of one model on some images, which can be drawn again."""

    @property
    def image_ids(self) -> Sequence[int | str]:
        """Ids of the images."""

    @property
    def protocol(self) -> Mapping[str, Any]:
        """What another evidence must share to be compared: kind, classes, limits ..., by name."""

    def values(self) -> dict[str, float]:
        """The metrics by flat name, those of classes as "bbox/AP of cat"."""

    def intervals(self, names: Sequence[str], *, seed: int = 0) -> dict[str, Interval]:
        """Intervals of some metrics."""

    def differences(
        self, other: Evidence, names: Sequence[str], *, seed: int = 0
    ) -> dict[str, Difference]:
        """Differences of some metrics, ``other`` minus this one, on the same draws."""

    def drawn(self, names: Sequence[str], seed: int) -> dict[str, np.ndarray]:
        """Values of some metrics on the draws of a seed, (B,) by name."""

    def images_with(self, name: str) -> int:
        """Number of images whose annotation shows what a metric is of, such as its class."""


Measure = Callable[[np.ndarray], Mapping[str, np.ndarray]]


@dataclass(frozen=True)
class WeightedEvidence:
    """Evidence of metrics that weighted sums over images give.

    Attributes:
        image_ids: Ids of the N images.
        protocol: What must be equal for a comparison.
        measure: Function from weights of images, float64 (B, N), to the metrics by name, (B,) each.
        occurs: Number of images whose annotation shows a class, by its name; of classes that are
            not here, and for metrics of no class, it is all of them.
    """

    image_ids: Sequence[int | str]
    protocol: Mapping[str, Any]
    measure: Measure
    occurs: Mapping[str, int] = field(default_factory=dict)

    def images_with(self, name: str) -> int:
        """Number of images whose annotation shows the class of a metric."""
        return self.occurs.get(name.partition(OF)[2], len(self.image_ids))

    def values(self) -> dict[str, float]:
        """The metrics, each image once."""
        found = self.measure(np.ones((1, len(self.image_ids))))
        return {name: float(value[0]) for name, value in found.items()}

    def intervals(self, names: Sequence[str], *, seed: int = 0) -> dict[str, Interval]:
        """Quantiles over the resamples."""
        return intervals_of(self, names, seed)

    def differences(
        self, other: Evidence, names: Sequence[str], *, seed: int = 0
    ) -> dict[str, Difference]:
        """Quantiles of the differences over the same resamples; see ``comparable`` first."""
        return differences_of(self, other, names, seed)

    def drawn(self, names: Sequence[str], seed: int) -> dict[str, np.ndarray]:
        """Values of the resamples by name, (B,)."""
        parts = [self.measure(weights) for weights in resampled(len(self.image_ids), seed=seed)]
        return {name: np.concatenate([part[name] for part in parts]) for name in names}


def resampled(num_images: int, *, seed: int = 0) -> list[np.ndarray]:
    """How often each image is drawn, float64 (up to 64, N) for some resamples at a time."""
    rng = np.random.default_rng(seed)
    chances = np.full(num_images, 1 / num_images)
    sizes = [min(_AT_ONCE, RESAMPLES - start) for start in range(0, RESAMPLES, _AT_ONCE)]
    return [rng.multinomial(num_images, chances, size).astype(np.float64) for size in sizes]


def intervals_of(evidence: Evidence, names: Sequence[str], seed: int) -> dict[str, Interval]:
    """Intervals of some metrics over the draws of a seed."""
    values, drawn = evidence.values(), evidence.drawn(names, seed)
    found = {name: interval_of(values[name], drawn[name]) for name in names}
    for name in (one for one in names if evidence.images_with(one) < 2):
        why = "" if math.isnan(values[name]) or not evidence.images_with(name) else ONE_IMAGE
        found[name] = Interval(values[name], math.nan, math.nan, why)
    return found


def differences_of(
    first: Evidence, second: Evidence, names: Sequence[str], seed: int
) -> dict[str, Difference]:
    """Differences of some metrics, the second minus the first, over the draws of a seed.

    Args:
        first: Metrics of one model.
        second: Metrics of another model on the same images, else it is a ValueError.
        names: Metrics to compare.
        seed: Seed of the draws.
    """
    if list(first.image_ids) != list(second.image_ids):
        raise ValueError("the images are others, or in another order")
    values, others = first.values(), second.values()
    drawn, drawn_of_other = first.drawn(names, seed), second.drawn(names, seed)
    found = {
        name: difference_of((values[name], others[name]), (drawn[name], drawn_of_other[name]))
        for name in names
    }
    few = {
        name: replace(found[name], low=math.nan, high=math.nan, share=math.nan)
        for name in names
        if first.images_with(name) < 2
    }
    return found | few


def interval_of(value: float, drawn: np.ndarray) -> Interval:
    """The central ``CONFIDENCE`` of a metric over its draws, within 0..1 as all metrics are.

    Args:
        value: The metric of all images.
        drawn: Those of the resamples, (B,); NaN is left out.
    """
    known = drawn[~np.isnan(drawn)]
    if len(known):
        known = known - known.mean() + value
    low, high = _ends(known, CONFIDENCE)
    return Interval(value, float(np.clip(low, 0, 1)), float(np.clip(high, 0, 1)))


def difference_of(values: tuple[float, float], drawn: tuple[np.ndarray, np.ndarray]) -> Difference:
    """A metric of two models, with the central ``DIFFERENCE_CONFIDENCE`` of their difference.

    Args:
        values: That of the first and of the second model on all images.
        drawn: Those of the same resamples, (B,) each; NaN is left out.
    """
    first, second = values
    apart = drawn[1] - drawn[0]
    apart = apart[~np.isnan(apart)]
    share = float(np.mean((apart > 0) + 0.5 * (apart == 0))) if len(apart) else np.nan
    return Difference(first, second, *_ends(apart, DIFFERENCE_CONFIDENCE), share)


def _ends(known: np.ndarray, confidence: float) -> tuple[float, float]:
    if not len(known):
        return np.nan, np.nan
    low, high = np.quantile(known, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def comparable(first: Evidence, second: Evidence, names: Sequence[str]) -> None:
    """ValueError, naming what differs, where two evidences cannot be compared.

    Args:
        first: One model.
        second: Another model.
        names: Names of the two, for the message.
    """
    ids = {"images": first.image_ids}, {"images": second.image_ids}
    same_protocol({**first.protocol, **ids[0]}, {**second.protocol, **ids[1]}, names)


def same_protocol(
    first: Mapping[str, Any], second: Mapping[str, Any], names: Sequence[str]
) -> None:
    """ValueError, naming what differs, where two protocols are not equal; arguments as above.

    The value of "images" is ids, of which those that differ are counted.
    """
    both = f"{names[0]} and {names[1]} cannot be compared"
    for key in [*first, *(key for key in second if key not in first)]:
        one, other = first.get(key), second.get(key)
        if key == "images" and one is not None and other is not None:
            if list(one) == list(other):
                continue
            ids, others = set(one), set(other)
            alone = f"{len(ids - others)} images of the first alone, {len(others - ids)} of the"
            raise ValueError(f"{both}: {alone} other; evaluate both on the same images")
        if one != other:
            raise ValueError(f"{both}: they differ in {key}: {_short(one)} and {_short(other)}")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
