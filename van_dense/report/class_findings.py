"""What costs a model of image classes most: top-1 accuracy, as if one kind of mistake were none.

Legend: N images, C classes.
"""

from __future__ import annotations

import numpy as np

from van_dense.core.counting import counted
from van_dense.evaluation.evaluator import ratio
from van_dense.report.blocks import Finding
from van_dense.report.calibration import calibration_error, risk_coverage
from van_dense.report.sources import Images
from van_dense.report.wording import NOTHING, listed, median, percent, points, worst_first

CONFUSIONS = "Confusions"
CLASSES = "Classes"
CALIBRATION = "Calibration"
SCORES = "Scores of right and wrong images"
COVERAGE = "Taking only sure predictions"
SUSPECTS = "Sure and wrong"
CONFIDENT = 0.9  # score of images that may be labelled wrongly
LIMITS = (0.5, 0.7, 0.8, 0.9, 0.95, 0.99)  # of scores, for the table of coverage
_TOLD = 3  # confusions that become findings
_WEAK = 5  # classes that are named as the weakest
_GOALS = (0.99, 0.95, 0.9)  # accuracies that a limit on scores may reach
_WORTH = 0.3  # share of the images that must remain
_LARGE_ERROR = 0.03  # calibration errors below are of no consequence


def confusions(source: Images) -> list[tuple[int, int, int, float]]:
    """True and predicted label, number of images and share of the true class, the largest first."""
    first, num = source.best[:, 0].astype(np.int64), source.info.num_classes
    wrong = first != source.labels
    codes, counts = np.unique(source.labels[wrong] * num + first[wrong], return_counts=True)
    of_class = np.bincount(source.labels, minlength=num)
    order = np.argsort(-counts, kind="stable")
    pairs = ((*divmod(int(codes[i]), num), int(counts[i])) for i in order)
    return [(truth, found, count, count / of_class[truth]) for truth, found, count in pairs]


def suspects(source: Images) -> np.ndarray:
    """Positions of the images that are wrong with a score of 0.9 or more, the surest first."""
    wrong = source.best[:, 0] != source.labels
    sure = np.flatnonzero(wrong & (source.scores[:, 0] >= CONFIDENT))
    return sure[np.argsort(-source.scores[sure, 0], kind="stable")]


def find(source: Images) -> list[Finding]:
    """What to do next about image classes, each with what top-1 accuracy would rise by."""
    findings = [*_confused(source), *_second(source), *_weak(source), *_suspects(source)]
    findings = [finding for finding in findings if finding.weight > NOTHING]
    return [*findings, *_calibrated(source), *_coverage(source)]


def _confused(source: Images) -> list[Finding]:
    names, num = source.info.class_names, len(source.labels)
    findings = []
    for truth, found, count, share in confusions(source)[:_TOLD]:
        back = int(((source.labels == found) & (source.best[:, 0] == truth)).sum())
        text = f"{percent(share)} of {names[truth]}, {counted(count, 'image')}, is taken for "
        text += names[found]
        text += f", and {back} the other way round" if back else ""
        gain = count / num
        hint = f"told apart, top-1 would rise by {points(gain)} for the former"
        if not back:
            hint = f"told apart, top-1 would rise by {points(gain)}"
        findings.append(Finding(f"{text}: {hint}.", gain, CONFUSIONS))
    return findings


def _second(source: Images) -> list[Finding]:
    """Whether the right class is close: the second best."""
    wrong = source.best[:, 0] != source.labels
    if source.best.shape[1] < 2 or source.info.num_classes < 3 or not wrong.any():
        return []
    second = wrong & (source.best[:, 1] == source.labels)
    gain, share = float(second.mean()), float(second.sum() / wrong.sum())
    text = (
        f"Of the wrong images {percent(share)} have the right class in second place: deciding "
        f"between the best two rightly, top-1 would rise by {points(gain)}"
    )
    if share > 0.5:
        hint = "similar classes need finer detail, such as a larger input"
    else:
        hint = "most mistakes are not close, so look at them before tuning"
    return [Finding(f"{text}; {hint}.", gain, CONFUSIONS)]


def _weak(source: Images) -> list[Finding]:
    """The classes that cost most against the median accuracy."""
    num = source.info.num_classes
    right = source.labels[source.best[:, 0] == source.labels]
    count = np.bincount(source.labels, minlength=num)
    accuracy = ratio(np.bincount(right, minlength=num), count)
    usual = median(accuracy)
    gains = np.nan_to_num(np.maximum(usual - accuracy, 0)) * count / len(source.labels)
    worst = worst_first(-gains, num=_WEAK)
    worst = worst[gains[worst] > 0]
    gain = float(gains[worst].sum())
    names = [f"{source.info.class_names[i]} ({percent(accuracy[i])})" for i in worst]
    if not names:
        return []
    text = (
        f"The classes that cost most are {listed(names)}: at the median of the classes, "
        f"{percent(usual)}, top-1 would rise by {points(gain)}."
    )
    return [Finding(text, gain, CLASSES)]


def _suspects(source: Images) -> list[Finding]:
    sure, num = suspects(source), len(source.labels)
    if not len(sure):
        return []
    gain = len(sure) / num
    which = counted(len(sure), "image is", "images are")
    text = (
        f"{which} wrong with a score of {CONFIDENT} or more, the surest "
        f"{source.image_ids[sure[0]]}: look whether the labels are wrong. If all are, top-1 is "
        f"{points(gain)} higher."
    )
    return [Finding(text, gain, SUSPECTS)]


def _calibrated(source: Images) -> list[Finding]:
    """Whether scores promise too much or too little; the order of classes would stay."""
    confidence, right = source.scores[:, 0], source.best[:, 0] == source.labels
    error = calibration_error(confidence, right, np.ones(len(right)))
    if error < _LARGE_ERROR:
        return []
    how = "too much" if confidence.mean() > right.mean() else "too little"
    text = (
        f"Scores promise {how}: {percent(confidence.mean())} on average, where "
        f"{percent(right.mean())} are right (ECE {percent(error)}). Top-1 does not suffer; who "
        "reads the scores should scale them, by a temperature fitted on other images."
    )
    return [Finding(text, 0.0, CALIBRATION)]


def _coverage(source: Images) -> list[Finding]:
    """The highest accuracy that a limit on scores gives to a fair share of the images."""
    right = source.best[:, 0] == source.labels
    curve, top1 = risk_coverage(source.scores[:, 0], right), float(right.mean())
    for goal in _GOALS:
        reached = np.flatnonzero((curve.accuracy >= goal) & (curve.coverage >= _WORTH))
        if len(reached) and top1 < goal:
            last = reached[-1]
            text = (
                f"Taking only scores of {curve.limit[last]:.2f} and above, "
                f"{percent(curve.accuracy[last])} are right, of {percent(curve.coverage[last])} "
                f"of the images, instead of {percent(top1)} of all."
            )
            # Nothing is mended: the others still need an answer.
            return [Finding(text, 0.0, COVERAGE)]
    return []
