"""What costs panoptic maps most: PQ is computed again as if one kind of mistake were none.

Legend: N images, C classes; sums (4, C) have the rows IOU, MATCHED, WRONG and MISSED.
"""

from __future__ import annotations

import numpy as np

from van_dense.core.dataset_info import DatasetInfo
from van_dense.evaluation.evaluator import mean
from van_dense.evaluation.panoptic import IOU, MATCHED, MISSED, WRONG, qualities
from van_dense.report.blocks import Finding
from van_dense.report.panoptic_misses import INEXACT, KINDS, MERGED, NEVER, OTHER_CLASS, SPLIT
from van_dense.report.wording import NOTHING, listed, median, percent, points, worst_first

CLASSES = "Classes"
COSTS = "What costs most"
MISSES = "Why segments are missed"
IMAGES = "Images"
NO_WRONG = "wrong segments"
NO_MISSED = "missed segments"
EXACT = "inexact masks of matches"
_TOLD = 3  # classes that become findings
_UNEVEN = 0.2  # share of the mistakes that the worst tenth of the images holds


def gains(sums: np.ndarray, chosen: np.ndarray) -> dict[str, float]:
    """What PQ over all classes would rise by, without one kind of mistake of some classes.

    Args:
        sums: Segments of all images, (4, C).
        chosen: Whether mistakes of a class are mended, bool (C,).
    """
    before = mean(qualities(sums)["PQ"])
    quality = qualities(sums)["SQ"]
    usual = mean(quality[sums[MATCHED] > 0])
    # A class without any match has no quality of its own to be found with.
    quality = np.where(sums[MATCHED] > 0, quality, 0.0 if np.isnan(usual) else usual)
    no_wrong, no_missed, exact = sums.copy(), sums.copy(), sums.copy()
    no_wrong[WRONG, chosen] = 0
    no_missed[IOU, chosen] += (quality * sums[MISSED])[chosen]
    no_missed[MATCHED, chosen] += sums[MISSED, chosen]
    no_missed[MISSED, chosen] = 0
    exact[IOU, chosen] = sums[MATCHED, chosen]
    after = {NO_WRONG: no_wrong, NO_MISSED: no_missed, EXACT: exact}
    return {kind: mean(qualities(one)["PQ"]) - before for kind, one in after.items()}


def find(image_sums: np.ndarray, info: DatasetInfo, *, misses: np.ndarray) -> list[Finding]:
    """What to do next about panoptic maps, each with what PQ would rise by.

    Args:
        image_sums: Segments of each image, (N, 4, C).
        info: Names of the classes, and which are things.
        misses: Missed segments by why, (K, C), see ``panoptic_misses``.
    """
    sums = image_sums.sum(axis=0)
    if not sums[MATCHED:].any():
        return []
    findings = [*_kinds(sums), *_parts(sums, info), *_weak(sums, info)]
    findings += [*_missed(sums, misses), *_worst_images(image_sums)]
    return [finding for finding in findings if finding.weight > NOTHING]


def _kinds(sums: np.ndarray) -> list[Finding]:
    """Which of the three kinds of mistake costs most."""
    by_kind = gains(sums, np.ones(sums.shape[1], dtype=np.bool_))
    truth, found = sums[MATCHED] + sums[MISSED], sums[MATCHED] + sums[WRONG]
    missed = sums[MISSED].sum() / max(truth.sum(), 1)
    wrong = sums[WRONG].sum() / max(found.sum(), 1)
    iou = sums[IOU].sum() / max(sums[MATCHED].sum(), 1)
    texts = {
        NO_MISSED: f"{percent(missed)} of the annotated segments are missed: found, they give",
        NO_WRONG: f"{percent(wrong)} of the predicted segments match nothing: without them, it is",
        EXACT: f"Matches have a mean IoU of {percent(iou)}: with exact masks, it is",
    }
    hints = {
        NO_MISSED: "see why they are missed",
        NO_WRONG: "look for doubled and split segments, and raise the score limit",
        EXACT: "finer masks pay: a larger input, or a mask head of higher resolution",
    }
    most = max(by_kind, key=by_kind.__getitem__)
    return [
        Finding(
            f"{text} {points(by_kind[kind])} of PQ{': ' + hints[kind] if kind == most else ''}.",
            by_kind[kind],
            COSTS,
        )
        for kind, text in texts.items()
    ]


_WHY = {
    NEVER: "look at missed objects by class and size; they may need more images, a larger input or "
    "a lower score limit",
    OTHER_CLASS: "look at what they are taken for, in the worst images",
    INEXACT: "finer masks find them: a larger input, or a mask head of higher resolution",
    SPLIT: "look for parts of one object; the score limit and the suppression decide on them",
    MERGED: "look at crowded images, where neighbours run into one another",
}


def _missed(sums: np.ndarray, misses: np.ndarray) -> list[Finding]:
    """Why most of the missed segments are missed."""
    counts = misses.sum(axis=1)
    if not counts.sum():
        return []
    shares = counts / counts.sum()
    order = np.argsort(-shares, kind="stable")
    first, *others = (f"{percent(float(shares[i]))} are {KINDS[i]}" for i in order if counts[i])
    more = f" ({'; '.join(others)})" if others else ""
    gain = gains(sums, np.ones(sums.shape[1], dtype=np.bool_))[NO_MISSED]
    text = f"Of the missed segments {first}{more}: {_WHY[KINDS[order[0]]]}."
    return [Finding(text, gain * float(shares[order[0]]), MISSES)]


def _parts(sums: np.ndarray, info: DatasetInfo) -> list[Finding]:
    """Whether things or stuff are worse."""
    pq, flags = qualities(sums)["PQ"], np.array(info.thing_flags)
    means = {"things": mean(pq[flags]), "stuff": mean(pq[~flags])}
    if any(np.isnan(value) for value in means.values()):
        return []
    worse, better = sorted(means, key=means.__getitem__)
    chosen = flags if worse == "things" else ~flags
    share = np.count_nonzero(~np.isnan(pq[chosen])) / np.count_nonzero(~np.isnan(pq))
    gain = (means[better] - means[worse]) * share
    text = (
        f"PQ of {worse} is {percent(means[worse])}, that of {better} {percent(means[better])}: as "
        f"good as these, PQ would rise by {points(gain)}."
    )
    return [Finding(text, gain, CLASSES)]


def _weak(sums: np.ndarray, info: DatasetInfo) -> list[Finding]:
    """The weakest classes; at the median they would add so much."""
    pq = qualities(sums)["PQ"]
    without = (pq == 0) & (sums[MISSED] > 0)
    none = [info.class_names[i] for i in np.flatnonzero(without)]
    usual = median(pq[~without])
    findings = []
    if none:
        gain = len(none) * usual / np.count_nonzero(~np.isnan(pq))
        silent = " none is predicted at all;" if not sums[WRONG, without].any() else ""
        text = (
            f"No segment is matched of {listed(none)}:{silent} at the median of the other classes, "
            f"{percent(usual)}, PQ would rise by {points(gain)}."
        )
        findings.append(Finding(text, gain, CLASSES))
    for label in worst_first(np.where(pq > 0, pq, np.nan), num=_TOLD).tolist():
        gain = max(usual - pq[label], 0) / np.count_nonzero(~np.isnan(pq))
        counts = sums[:, label].astype(int)
        text = (
            f"{info.class_names[label]} has a PQ of {percent(pq[label])}, with {counts[MATCHED]} "
            f"matched, {counts[WRONG]} wrong and {counts[MISSED]} missed: at the median of the "
            f"classes with matches, {percent(usual)}, PQ would rise by {points(gain)}."
        )
        findings.append(Finding(text, float(gain), CLASSES))
    return findings


def _worst_images(image_sums: np.ndarray) -> list[Finding]:
    """How much the worst tenth of the images costs."""
    mistakes = image_sums[:, WRONG:].sum(axis=(1, 2))
    worst = np.argsort(-mistakes, kind="stable")[: len(mistakes) // 10]
    share = mistakes[worst].sum() / max(mistakes.sum(), 1)
    if share <= _UNEVEN:
        return []
    sums, after = image_sums.sum(axis=0), image_sums.copy()
    after[worst, MATCHED] += image_sums[worst, MISSED]
    after[worst, IOU] = after[worst, MATCHED]
    after[worst, WRONG:] = 0
    gain = mean(qualities(after.sum(axis=0))["PQ"]) - mean(qualities(sums)["PQ"])
    text = (
        f"A tenth of the images holds {percent(share)} of the wrong and missed segments: look for "
        f"what they share. Perfect there, PQ would rise by {points(gain)}."
    )
    return [Finding(text, gain, IMAGES)]
