"""What costs saliency maps most: F at the best threshold, as if one kind of mistake were none.

Measures are those of ``SaliencyMeasures``. Legend: N images.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from van_dense.core.counting import counted
from van_dense.evaluation.saliency import BETA_SQUARED
from van_dense.report.blocks import Finding
from van_dense.report.wording import NOTHING, percent, points

THRESHOLDS = "Thresholds"
ERRORS = "Too much and too little"
SIZES = "Sizes of objects"
IMAGES = "Images"
_HALF = 128  # the usual threshold, of 255
_FAILED = 0.5  # F of an image, below which the object is not found
_THIRDS = ("small", "medium", "large")


def best_threshold(measures: Mapping[str, np.ndarray]) -> int:
    """Threshold 0..255 of the highest mean F, the first of equal ones."""
    return int(measures["F"].mean(axis=0).argmax())


def size_groups(area: np.ndarray) -> dict[str, np.ndarray]:
    """Positions of the images with small, medium and large objects: thirds by salient area (N,).

    Images without anything salient are in none.
    """
    order = np.argsort(area, kind="stable")
    order = order[area[order] > 0]
    return dict(zip(_THIRDS, np.array_split(order, 3), strict=True))


def find(measures: Mapping[str, np.ndarray]) -> list[Finding]:
    """What to do next about saliency maps, each with what F at the best threshold would rise by."""
    findings = [*_one_sided(measures), *_threshold(measures), *_soft(measures)]
    findings += [*_small(measures), *_failed(measures)]
    return [finding for finding in findings if finding.weight > NOTHING]


def _one_sided(measures: Mapping[str, np.ndarray]) -> list[Finding]:
    """Whether finding too much costs more, or missing."""
    best = best_threshold(measures)
    f, precision, recall = (measures[name][:, best] for name in ("F", "precision", "recall"))
    # F with one of the two at 1; an image where nothing is found right stays at 0.
    exact = (1 + BETA_SQUARED) * recall / (BETA_SQUARED + recall)
    whole = (1 + BETA_SQUARED) * precision / (BETA_SQUARED * precision + 1)
    gains = float((exact - f).mean()), float((whole - f).mean())
    texts = (
        f"{percent(1 - precision.mean())} of what is found at the best threshold is not salient: "
        f"without it, F would rise by {points(gains[0])}",
        f"{percent(1 - recall.mean())} of what is salient is missed at the best threshold: with "
        f"it, F would rise by {points(gains[1])}",
    )
    hints = (
        "look whether the background or a second object is taken for the salient one",
        "look whether parts of objects are missing",
    )
    return [
        Finding(f"{text}; {hint}." if gain == max(gains) else f"{text}.", gain, ERRORS)
        for text, hint, gain in zip(texts, hints, gains, strict=True)
    ]


def _threshold(measures: Mapping[str, np.ndarray]) -> list[Finding]:
    best, curve = best_threshold(measures), measures["F"].mean(axis=0)
    gain = float(curve[best] - curve[_HALF])
    text = (
        f"Cut maps at {best} of 255 of their own range, where F is {curve[best]:.3f}: at half of "
        f"it, F is {points(gain)} lower."
    )
    return [Finding(text, gain, THRESHOLDS)]


def _soft(measures: Mapping[str, np.ndarray]) -> list[Finding]:
    """Whether maps are blurred: cut at a threshold, they would have a lower MAE."""
    best = best_threshold(measures)
    error, binary = float(measures["MAE"].mean()), float(measures["binary"][:, best].mean())
    if binary >= error:
        return []
    text = (
        f"Maps are softer than they need be: cut at {best} of 255, their MAE would be "
        f"{binary:.3f} instead of {error:.3f}."
    )
    # F itself stays: of what is not measured in F, the nearest is the share of pixels mended.
    return [Finding(text, error - binary, THRESHOLDS)]


def _small(measures: Mapping[str, np.ndarray]) -> list[Finding]:
    """Whether objects of one size are worse than the others."""
    f, groups = measures["F"][:, best_threshold(measures)], size_groups(measures["area"])
    if min(map(len, groups.values())) == 0:
        return []
    means = {name: float(f[chosen].mean()) for name, chosen in groups.items()}
    worst, best = min(means, key=means.__getitem__), max(means, key=means.__getitem__)
    gain = (means[best] - means[worst]) * len(groups[worst]) / len(f)
    hint = ": a larger input may help" if worst == _THIRDS[0] else ""
    text = (
        f"Images with {worst} objects have an F of {means[worst]:.3f}, those with {best} ones "
        f"{means[best]:.3f}; as good as these, F would rise by {points(gain)}{hint}."
    )
    return [Finding(text, gain, SIZES)]


def _failed(measures: Mapping[str, np.ndarray]) -> list[Finding]:
    """How many images fail altogether."""
    f = measures["F"][:, best_threshold(measures)]
    failed = (f < _FAILED) & (measures["area"] > 0)
    if not failed.any() or failed.all():
        return []
    num, usual = int(failed.sum()), float(f[~failed].mean())
    gain = float((usual - f[failed]).sum() / len(f))
    which = counted(num, "image has", "images have")
    text = (
        f"{which} an F below {_FAILED}, {percent(num / len(f))} of all: there the object is not "
        f"found. As good as the others, F would rise by {points(gain)}: look at them first."
    )
    return [Finding(text, gain, IMAGES)]
