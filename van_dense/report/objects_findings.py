"""What costs a model of boxes, masks or poses most: AP, as if one kind of error were none."""

from __future__ import annotations

import numpy as np

from van_dense.core.counting import counted
from van_dense.report.blocks import Finding
from van_dense.report.objects_classes import unannotated
from van_dense.report.objects_errors import Split
from van_dense.report.objects_evidence import ObjectsEvidence
from van_dense.report.objects_matches import SMALL
from van_dense.report.objects_scores import Best, Reliability
from van_dense.report.wording import NOTHING, listed, percent

HEADLINE = "Headline numbers"
COSTS = "What costs most"
CLASSES = "Classes"
SCORES = "Scores"
SUSPECTS = "Suspected label errors"
_TOLD = 3  # kinds of errors that become findings
_LEAST = 0.005  # AP50 that an error costs, below which it is no finding
_LARGE_ERROR = 0.05  # calibration errors below are of no consequence
_HINTS = {
    "wrong class": "look at the confused classes, which may need more images or a larger input",
    "badly placed": "look where their borders lie; a higher resolution, or more weight of the "
    "regression loss, places them better",
    "wrong class and badly placed": "look at the worst images, where they are",
    "found twice": "lower the IoU from which one result suppresses another (NMS)",
    "nothing there": "raise the threshold of the scores, and look at the suspected label errors, "
    "as objects may lack their annotation",
}
_HINTS_OF_POSES = {
    "wrong class": "look at the worst images, where they are",
    "badly placed": "look at the joints, which say how they go wrong",
}


def find(
    evidence: ObjectsEvidence,
    split: Split,
    *,
    best: Best,
    calibration: Reliability,
    num_suspects: int,
) -> list[Finding]:
    """What to do next about objects, each with the AP that it costs; nothing for perfect results.

    Args:
        evidence: Results and annotations.
        split: Errors and their costs.
        best: Threshold of the best F1 over all classes.
        calibration: Precision by confidence.
        num_suspects: Number of confident results that contradict the annotations.
    """
    f = evidence.found
    num_objects = int((~f.ignored[0]).sum())
    if not num_objects:
        return [Finding("No object is annotated, so that nothing can be measured.", 0.0, HEADLINE)]
    if not len(f.row):
        text = f"There is no result for any of the {counted(num_objects, 'object')}."
        return [Finding(text, 1.0, HEADLINE)]
    findings = [*_errors(evidence, split), *_weakest(evidence)]
    findings = [finding for finding in findings if finding.weight > NOTHING]
    findings += [*_threshold(best), *_calibrated(calibration), *_suspects(num_suspects)]
    return [*findings, *_unannotated(evidence)]


def _unannotated(evidence: ObjectsEvidence) -> list[Finding]:
    """Classes that have results, and no annotation."""
    blank = unannotated(evidence)
    if not blank:
        return []
    results = counted(sum(blank.values()), "result is", "results are")
    text = f"{results} of classes without an annotation ({listed([*blank])}), which are left out"
    return [Finding(f"{text}: they cost no AP, right or wrong.", 0.0, CLASSES)]


def _errors(evidence: ObjectsEvidence, split: Split) -> list[Finding]:
    """The errors that cost most, the worst first."""
    is_pose = evidence.source.kind == "keypoints"
    hints = _HINTS | (_HINTS_OF_POSES if is_pose else {})
    worst = sorted(split.cost, key=lambda name: -split.cost[name])[:_TOLD]
    findings = []
    for name in worst:
        cost = split.cost[name]
        more = ", more than any other error" if name == worst[0] else ""
        if not cost > _LEAST:
            continue
        if name == "missed":
            text = f"Missed objects cost {cost:.3f} AP50{more}{_missed(evidence)}"
        else:
            what = counted(split.count[name], "result")
            text = f'The error "{name}" ({what}) costs {cost:.3f} AP50{more}: {hints[name]}'
        findings.append(Finding(f"{text}.", cost, COSTS))
    return findings


def _missed(evidence: ObjectsEvidence) -> str:
    """How many of the objects without a right result are small, and what helps."""
    f = evidence.found
    lost = ~f.ignored[0] & ~f.found_truth()
    if not lost.any():
        return ""
    small = float((f.truth_area[lost] < SMALL).mean())
    share = percent(small) if small else "none"
    text = f"; {share} of the {counted(int(lost.sum()), 'object')} without a right result "
    text += "are smaller than 32 x 32 pixels: "
    if small >= 0.5:
        return f"{text}a larger input, or tiles, would show more of them"
    return f"{text}look at the worst images and classes, which may need more training images"


def _weakest(evidence: ObjectsEvidence) -> list[Finding]:
    """The class with the lowest AP, against the mean."""
    values, kind = evidence.values(), evidence.source.kind
    of_class = {name: values[f"{kind}/AP of {name}"] for name in evidence.class_names}
    known = {name: value for name, value in of_class.items() if not np.isnan(value)}
    if len(known) < 2:
        return []
    worst, mean = min(known, key=lambda name: known[name]), values[f"{kind}/AP"]
    text = f"{worst} is the class with the lowest AP, {known[worst]:.3f}; the mean of all is"
    return [Finding(f"{text} {mean:.3f}.", (mean - known[worst]) / len(known), CLASSES)]


def _threshold(best: Best) -> list[Finding]:
    """The score from which results are best kept."""
    if np.isnan(best.threshold) or best.f1 > 1 - NOTHING:
        return []
    text = (
        f"From a score of {best.threshold:.3f} on, {percent(best.precision)} of the results are "
        f"right and {percent(best.recall)} of the objects are found (best F1 {best.f1:.3f})."
    )
    return [Finding(text, 0.0, SCORES)]


def _calibrated(calibration: Reliability) -> list[Finding]:
    """Whether scores promise too much or too little; AP does not suffer."""
    if not calibration.error > _LARGE_ERROR:  # NaN is none
        return []
    gap = calibration.precision - calibration.confidence
    side = "more often" if float(gap @ calibration.count) > 0 else "less often"
    text = f"Results are {side} right than their scores say: confidence and precision differ by"
    return [Finding(f"{text} {calibration.error:.3f} in the mean.", 0.0, SCORES)]


def _suspects(num_suspects: int) -> list[Finding]:
    """Whether annotations are in doubt."""
    if not num_suspects:
        return []
    both = "confident result contradicts", "confident results contradict"
    them = "it" if num_suspects == 1 else "them"
    text = f"{counted(num_suspects, *both)} the annotations; look at {them} before anything else"
    return [Finding(f"{text} is tuned.", 0.0, SUSPECTS)]
