"""What costs a model of label maps most: mIoU as if one kind of mistake were none.

Legend: C classes; counts (6, C) have the rows of ``MapCounts.of_classes``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from van_dense.core.counting import counted
from van_dense.evaluation.evaluator import mean, ratio
from van_dense.evaluation.outlines import OUTLINE_RATIO
from van_dense.evaluation.semantic import score_classes
from van_dense.report.blocks import Finding
from van_dense.report.label_areas import Area
from van_dense.report.wording import NOTHING, listed, median, percent, points, worst_first

CLASSES = "Classes"
CONFUSIONS = "Confusions"
BOUNDARY = "Outlines and insides"
IMAGES = "Images"
SUSPECTS = "Areas that contradict the annotation"
_CANDIDATES = 200  # pairs of classes, of which the gain is computed
_TOLD = 3  # confusions, and classes, that become findings
_UNEVEN = 0.2  # share of the mistakes that the worst tenth of the images holds
_RARE = 0.01  # share of pixels
_UNFOUND = 0.005  # share of its pixels, below which a class is as good as never found


@dataclass(frozen=True)
class Totals:
    """Pixels of all images.

    Attributes:
        counts: Pixels of each class, (6, C).
        confusion: Pixels by true and predicted class, int64 (C, C + 1), the last column none.
        near: The part of ``confusion`` that is near an outline of the annotation, int64 (C, C + 1).
        displaced: The part of ``confusion`` where an outline is displaced, int64 (C, C + 1).
    """

    counts: np.ndarray
    confusion: np.ndarray
    near: np.ndarray
    displaced: np.ndarray


@dataclass(frozen=True)
class Confusion:
    """Pixels of one class that have another one in the prediction.

    Attributes:
        truth: True label.
        found: Predicted label; C is none.
        pixels: Number of pixels.
        share: Share of the pixels of the true class, 0..1.
        gain: What mIoU would rise by if they were right.
    """

    truth: int
    found: int
    pixels: int
    share: float
    gain: float


def wrong(confusion: np.ndarray) -> np.ndarray:
    """The confusion matrix (C, C + 1) without the pixels that are right."""
    left = confusion.copy()
    np.fill_diagonal(left, 0)
    return left


def places(totals: Totals) -> dict[str, np.ndarray]:
    """Wrong pixels by where they are, (C, C + 1) each, which add up to all."""
    mistakes, near = wrong(totals.confusion), wrong(totals.near)
    return {
        "outline displaced": totals.displaced,
        "near an outline, but another class altogether": near - totals.displaced,
        "inside of a region": mistakes - near,
    }


def gain_of(counts: np.ndarray, mended: np.ndarray) -> float:
    """What mIoU would rise by if some wrong pixels were right.

    Args:
        counts: Pixels of each class, (6, C).
        mended: Those pixels by true and predicted class, (C, C + 1), 0 on the diagonal.
    """
    after = np.array(counts, dtype=np.float64)
    after[0] += mended.sum(axis=1)
    after[2] += mended.sum(axis=1) - mended[:, :-1].sum(axis=0)
    return _miou(after) - _miou(counts)


def _miou(counts: np.ndarray) -> float:
    return mean(score_classes(counts)["IoU"])


def largest_confusions(totals: Totals, *, num: int) -> list[Confusion]:
    """The confusions that cost most mIoU, the worst first; none that costs nothing."""
    left = wrong(totals.confusion)
    right, truth, found = totals.counts[:3]
    # How much the IoU of either class may change; the exact gain is computed for the largest.
    union = np.maximum(truth + found - right, 1)
    estimate = left / union[:, None]
    estimate[:, :-1] += left[:, :-1] / union
    listed_pairs = np.argsort(-estimate, axis=None, kind="stable")[:_CANDIDATES]
    confusions = []
    for code in listed_pairs.tolist():
        first, second = divmod(code, left.shape[1])
        pixels = int(left[first, second])
        if pixels == 0:
            break
        mended = np.zeros_like(left)
        mended[first, second] = pixels
        gain = gain_of(totals.counts, mended)
        share = pixels / totals.confusion[first].sum()
        confusions.append(Confusion(first, second, pixels, float(share), gain))
    return sorted(confusions, key=lambda one: -one.gain)[:num]


def find(
    image_counts: np.ndarray, totals: Totals, names: Sequence[str], *, suspects: Sequence[Area]
) -> list[Finding]:
    """What to do next about label maps, each with what mIoU would rise by.

    Args:
        image_counts: Pixels of each image and class, (N, 6, C).
        totals: Pixels of all images.
        names: Names of the C classes.
        suspects: Areas that contradict the annotation.
    """
    if totals.counts[1].sum() == 0:
        return []
    findings = [*_confused(totals, names), *_weak(totals.counts, names)]
    findings += _never_found(totals.counts, names)
    findings += _at_boundary(totals)
    findings += _worst_images(image_counts, totals.counts)
    findings += _contradicting(totals, suspects)
    return [finding for finding in findings if finding.weight > NOTHING]


def _confused(totals: Totals, names: Sequence[str]) -> list[Finding]:
    known = [*names, "no class"]
    return [
        Finding(
            f"{percent(c.share)} of {names[c.truth]} is taken for {known[c.found]}: with the right "
            f"class there, mIoU would rise by {points(c.gain)}.",
            c.gain,
            CONFUSIONS,
        )
        for c in largest_confusions(totals, num=_TOLD)
    ]


def _never_found(counts: np.ndarray, names: Sequence[str]) -> list[Finding]:
    """Classes that the model has not learnt; as good as the others, they would add so much."""
    accuracy, iou = ratio(counts[0], counts[1]), score_classes(counts)["IoU"]
    lost = np.flatnonzero(accuracy < _UNFOUND)
    others = np.setdiff1d(np.flatnonzero(counts[1] > 0), lost)
    if not len(lost) or not len(others):
        return []
    usual = mean(iou[others])
    mended = iou.copy()
    mended[lost] = usual
    share = counts[1][lost].sum() / counts[1].sum()
    who = listed([names[label] for label in lost])
    which = "it is" if len(lost) == 1 else "they are"
    text = (
        f"{who}: as good as never found, though {which} {percent(share)} of the pixels. At the "
        f"mean IoU of the other classes, {percent(usual)}, mIoU would rise by "
        f"{points(mean(mended) - mean(iou))}"
    )
    fix = "train longer, or weigh or sample rare classes more" if share < 0.1 else "train longer"
    return [Finding(f"{text}: {fix}.", mean(mended) - mean(iou), CLASSES)]


def _weak(counts: np.ndarray, names: Sequence[str]) -> list[Finding]:
    """The weakest of the classes that are found at all; at the median they would add so much."""
    iou, accuracy, precision = (
        score_classes(counts)["IoU"],
        ratio(counts[0], counts[1]),
        ratio(counts[0], counts[2]),
    )
    usual, share = median(iou[accuracy >= _UNFOUND]), counts[1] / counts[1].sum()
    findings = []
    for label in worst_first(np.where(accuracy >= _UNFOUND, iou, np.nan), num=_TOLD).tolist():
        mended = iou.copy()
        mended[label] = max(usual, iou[label])
        gain = mean(mended) - mean(iou)
        if precision[label] >= accuracy[label]:
            how = f"only {percent(accuracy[label])} of its pixels are found"
        else:
            how = f"only {percent(precision[label])} of the pixels labelled so are right"
        is_rare = bool(share[label] < _RARE)
        rare = f", and it is rare, {percent(share[label])} of the pixels" if is_rare else ""
        text = (
            f"{names[label]} has an IoU of {percent(iou[label])}: {how}{rare}. At the median of "
            f"the classes that are found, {percent(usual)}, mIoU would rise by {points(gain)}."
        )
        findings.append(Finding(text, gain, CLASSES))
    return findings


def _at_boundary(totals: Totals) -> list[Finding]:
    """Whether displaced outlines cost more, or whole regions and objects."""
    mistakes = wrong(totals.confusion)
    if not mistakes.sum():
        return []
    share = totals.displaced.sum() / mistakes.sum()
    outlines = gain_of(totals.counts, totals.displaced)
    regions = gain_of(totals.counts, mistakes - totals.displaced)
    where = (
        f"{percent(share)} of the wrong pixels are outlines that are displaced by up to "
        f"{percent(OUTLINE_RATIO)} of the diagonal; mended, mIoU would rise by {points(outlines)}"
    )
    rest = f"whole regions and objects of a wrong class cost {points(regions)}"
    both = f"{where}, while {rest} (the two do not add up)"
    if outlines > regions:
        hint = f"{both}: sharper maps pay most, by a larger input or finer strides."
    else:
        hint = f"{both}: data and training matter more than sharp outlines."
    return [Finding(hint, outlines, BOUNDARY)]


def _worst_images(image_counts: np.ndarray, counts: np.ndarray) -> list[Finding]:
    """How much the worst tenth of the images costs."""
    mistakes = image_counts[:, 1].sum(axis=1) - image_counts[:, 0].sum(axis=1)
    num = len(mistakes) // 10
    worst = np.argsort(-mistakes, kind="stable")[:num]
    # Where mistakes are spread evenly there is nothing to look for in some images.
    if mistakes[worst].sum() <= _UNEVEN * mistakes.sum():
        return []
    after = counts.copy()
    # Predicted as annotated: what is right and what is predicted become what is true.
    after[0] += (image_counts[worst, 1] - image_counts[worst, 0]).sum(axis=0)
    after[2] += (image_counts[worst, 1] - image_counts[worst, 2]).sum(axis=0)
    gain, share = _miou(after) - _miou(counts), mistakes[worst].sum() / mistakes.sum()
    which = f"The {counted(num, 'image')} with most wrong pixels, a tenth of all,"
    verb = "holds" if num == 1 else "hold"
    text = f"{which} {verb} {percent(share)} of them: look for what these images share. Mended, "
    return [Finding(f"{text}mIoU would rise by {points(gain)}.", gain, IMAGES)]


def _contradicting(totals: Totals, suspects: Sequence[Area]) -> list[Finding]:
    if not suspects:
        return []
    mended = np.zeros_like(totals.confusion)
    for area in suspects:
        mended[area.truth, area.found] += area.pixels
    gain = gain_of(totals.counts, mended)
    which = counted(len(suspects), "large area contradicts", "large areas contradict")
    text = (
        f"{which} the annotation in images that are otherwise good, the largest in "
        f"{suspects[0].image_id}: look whether the annotation is wrong. If the model is right "
        f"there, mIoU is {points(gain)} higher."
    )
    return [Finding(text, gain, SUSPECTS)]
