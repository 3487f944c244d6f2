"""Numbers in words, and the blocks that every report of maps and classes begins with."""

from __future__ import annotations

import hashlib
import math
import zlib
from collections.abc import Mapping, Sequence

import numpy as np

from van_dense.core.counting import counted
from van_dense.evaluation.table import MEANING
from van_dense.report.blocks import Number, Numbers, Text
from van_dense.report.evidence import CONFIDENCE, Interval

_MEANING = MEANING | {"ECE": "mean gap between score and accuracy"}
NOTHING = 1e-6  # what is won below is rounding, and no finding
_FIRM = "\N{NO-BREAK SPACE}"  # an interval stays on one line
_LISTED = 5  # names in a sentence
FEW = 30  # images, below which intervals of resampling are too narrow


def percent(fraction: float) -> str:
    """Such as "12 %", with a decimal below 10 %; "-" for NaN."""
    if math.isnan(fraction):
        return "-"
    value = 100 * fraction
    return f"{value:.0f} %" if abs(value) >= 9.95 else f"{value:.1f} %"


def points(difference: float) -> str:
    """A difference of fractions in hundredths: 0.012 is "1.2 points"."""
    value = 100 * difference
    return f"{value:.2f} points" if abs(value) < 0.95 else f"{value:.1f} points"


def listed(names: Sequence[str]) -> str:
    """Up to five names, and how many there are beyond."""
    if len(names) > _LISTED:
        return f"{', '.join(names[: _LISTED - 1])} and {len(names) - _LISTED + 1} more"
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def headline(intervals: Mapping[str, Interval], num_images: int) -> list[Numbers | Text]:
    """Numbers with their intervals, and what an interval is; a single image has none.

    Args:
        intervals: Metrics by flat name, in the order of the page.
        num_images: Number of images that were drawn from.
    """
    numbers = []
    for name, found in intervals.items():
        note = _MEANING.get(name.split("/")[-1], "")
        if num_images < 2 or math.isnan(found.value):
            numbers.append(Number(name, found.value, note=note))
        else:
            numbers.append(Number(name, found.value, found.low, found.high, note=note))
    return [Numbers(numbers), Text([_meaning(num_images)])]


def _meaning(num_images: int) -> str:
    if num_images < 2:
        return "One image says nothing about how the numbers vary: there are no intervals."
    text = (
        f"Intervals hold {CONFIDENCE:.0%} of the values that other draws of "
        f"{counted(num_images, 'image')} would give. A difference to another model within them may "
        "be chance; compare the two on the same images to see smaller ones. Images count as "
        "independent: of frames of one video the intervals are too narrow."
    )
    if num_images < FEW:
        text += f" Of only {num_images} images, they are rather too narrow as well."
    return text


def bounds(interval: Interval) -> str:
    """Ends of an interval as a cell of a table, or why there are none, if anything is measured."""
    if math.isnan(interval.low):
        return interval.why
    return f"{interval.low:.3f}{_FIRM}to{_FIRM}{interval.high:.3f}"


def fingerprint(counts: np.ndarray, what: str) -> str:
    """Short text that differs where ground truths do.

    Args:
        counts: Numbers of each image that follow from its ground truth, any shape.
        what: What they are, such as "labelled pixels".
    """
    numbers = np.ascontiguousarray(counts, dtype=np.float64)
    return f"{what} {hashlib.sha256(numbers.tobytes()).hexdigest()[:8]}"


def digest(truth: np.ndarray) -> int:
    """Number (CRC-32) that differs where ground truths of an image do, (H, W) of one dtype."""
    return zlib.crc32(truth.tobytes(), zlib.crc32(repr(truth.shape).encode()))


def median(values: np.ndarray) -> float:
    """Median of the values that are not NaN; NaN without any."""
    known = values[~np.isnan(values)]
    return float(np.median(known)) if len(known) else math.nan


def known(values: np.ndarray) -> np.ndarray:
    """The values (N,) that are not NaN."""
    return values[~np.isnan(values)]


def worst_first(values: np.ndarray, *, num: int) -> np.ndarray:
    """Positions of the ``num`` lowest values (N,), NaN left out, the first of equal ones first."""
    order = np.argsort(values, kind="stable")
    return order[~np.isnan(values[order])][:num]


def best_first(values: np.ndarray, *, num: int) -> np.ndarray:
    """Positions of the ``num`` highest values (N,), NaN left out, the first of equal ones first."""
    return worst_first(-values, num=num)
