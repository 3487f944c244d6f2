"""The report of boxes, masks or poses: what they are worth, and what costs most."""

from __future__ import annotations

import numpy as np

from van_dense.core.counting import counted
from van_dense.report.blocks import Finding, Number, Numbers, Report, Section, Text
from van_dense.report.evidence import CONFIDENCE
from van_dense.report.objects_classes import class_section, curve_section, slice_section
from van_dense.report.objects_errors import Diagnosis, Split, count_images
from van_dense.report.objects_evidence import ObjectsEvidence, evidence_of
from van_dense.report.objects_matches import SMALL
from van_dense.report.objects_scores import (
    Best,
    Reliability,
    best_threshold,
    place_error,
    reliability,
)
from van_dense.report.objects_sections import (
    confusion_section,
    costs_section,
    image_section,
    score_section,
    suspect_section,
)
from van_dense.report.poses import joint_errors
from van_dense.report.poses_section import pose_findings, pose_numbers, pose_section
from van_dense.report.sources import Objects

__all__ = ["ObjectsEvidence", "evidence_of", "report_of"]

HEADLINE = "Headline numbers"
SURE = 0.5  # confidence from which a contradicted annotation is doubted


def report_of(source: Objects, title: str) -> Report:
    """Everything on one model; ValueError for annotations that cannot be measured.

    Args:
        source: Annotations and results.
        title: Title of the page.
    """
    evidence = evidence_of(source)
    diagnosis = Diagnosis(evidence)
    found, kind = evidence.found, source.kind
    values = evidence.values()
    names = [name for name in values if f"{kind}/AP" in name or " of " not in name]
    intervals = evidence.intervals(names)
    kept = found.counted()
    best = best_threshold(found.score[kept], found.right()[kept], int((~found.ignored[0]).sum()))
    shown = 0.0 if np.isnan(best.threshold) else best.threshold
    calibration = reliability(found.score[kept], found.right()[kept])
    place = place_error(evidence, kept)
    counts = count_images(evidence, shown)
    suspects = diagnosis.suspects(max(SURE, shown))
    joints = joint_errors(source) if kind == "keypoints" else None
    headline = [
        Number(name, values[name], intervals[name].low, intervals[name].high)
        for name in values
        if " of " not in name
    ]
    sections = [
        Section(HEADLINE, [Numbers(headline), Text([_on_intervals()])]),
        costs_section(diagnosis.split, kind),
        *([] if joints is None else [pose_section(source, joints)]),
        slice_section(evidence, intervals),
        class_section(evidence, intervals),
        curve_section(evidence),
        *confusion_section(evidence, diagnosis, shown),
        score_section(evidence, best, calibration, place),
        image_section(evidence, counts, shown),
        suspect_section(evidence, suspects),
    ]
    numbers = {
        **values,
        **_numbers(kind, diagnosis.split, best),
        f"{kind}/ECE": calibration.error,
        f"{kind}/ECE by place": place,
        f"{kind}/suspected label errors": float(len(suspects)),
    }
    findings = _findings(evidence, diagnosis.split, best, calibration, len(suspects))
    if joints is not None:
        numbers |= pose_numbers(source, joints)
        findings += pose_findings(joints)
    subtitle = ", ".join(
        [
            counted(len(evidence.image_ids), "image"),
            counted(int((~found.ignored[0]).sum()), "object"),
            counted(len(source.results), "result"),
        ]
    )
    return Report(title, subtitle, sections, findings, numbers)


def _on_intervals() -> str:
    return (
        f"Intervals hold {100 * CONFIDENCE:.0f} % of what other draws of as many images would give "
        "(bootstrap over images)."
    )


def _numbers(kind: str, split: Split, best: Best) -> dict[str, float]:
    """Numbers beside the metrics, by flat name."""
    found = {f"{kind}/AP50 lost: {name}": cost for name, cost in split.cost.items()}
    found |= {f"{kind}/count: {name}": float(count) for name, count in split.count.items()}
    return found | {
        f"{kind}/best F1": best.f1,
        f"{kind}/best threshold": best.threshold,
        f"{kind}/precision at the best threshold": best.precision,
        f"{kind}/recall at the best threshold": best.recall,
    }


def _findings(
    evidence: ObjectsEvidence,
    split: Split,
    best: Best,
    calibration: Reliability,
    num_suspects: int,
) -> list[Finding]:
    """What to look at first."""
    f, kind = evidence.found, evidence.source.kind
    real = ~f.ignored[0]
    if not real.any():
        return [Finding("No object is annotated, so that nothing can be measured.", 0.0, HEADLINE)]
    if not len(f.row):
        text = f"There is no result for any of the {counted(int(real.sum()), 'object')}."
        return [Finding(text, 1.0, HEADLINE)]
    found = [_worst_error(evidence, split)]
    values = evidence.values()
    names = {name: values[f"{kind}/AP of {name}"] for name in evidence.class_names}
    known = {name: value for name, value in names.items() if not np.isnan(value)}
    if len(known) > 1:
        worst = min(known, key=lambda name: known[name])
        gap = values[f"{kind}/AP"] - known[worst]
        text = f"{worst} is the class with the lowest AP, {known[worst]:.3f}"
        whole = f"{text}; the mean of all is {values[f'{kind}/AP']:.3f}."
        found.append(Finding(whole, gap / len(known), "Classes"))
    if not np.isnan(best.threshold):
        rates = f"{best.precision:.0%} of the results are right and {best.recall:.0%} of the"
        text = f"From a score of {best.threshold:.2f} on, {rates} objects are found (best F1"
        found.append(Finding(f"{text} {best.f1:.3f}).", 0.0, "Scores"))
    gap = calibration.precision - calibration.confidence
    mean = float(gap @ calibration.count / max(calibration.count.sum(), 1))
    if calibration.error > 0.05:
        side = "more often right than their scores say" if mean > 0 else "less often right"
        side += "" if mean > 0 else " than their scores say"
        text = f"Results are {side}: confidence and precision differ by {calibration.error:.3f}"
        found.append(Finding(f"{text} in the mean.", 0.0, "Scores"))
    if num_suspects:
        both = "confident result contradicts", "confident results contradict"
        where = counted(num_suspects, *both)
        text = f"{where} the annotations; look at them before anything else is tuned."
        found.append(Finding(text, 0.0, "Suspected label errors"))
    return found


def _worst_error(evidence: ObjectsEvidence, split: Split) -> Finding:
    f = evidence.found
    worst = max(split.cost, key=lambda name: split.cost[name])
    cost, count = split.cost[worst], split.count[worst]
    more = "more than any other error"
    if worst != "missed":
        what = counted(count, "result")
        text = f'The error "{worst}" ({what}) costs {cost:.3f} AP50, {more}.'
        return Finding(text, cost, "What costs most")
    lost = ~f.ignored[0] & ~f.found_truth()
    text = f"Missed objects cost {cost:.3f} AP50, {more}"
    if lost.any():
        small = float((f.truth_area[lost] < SMALL).mean())
        text += f"; {small:.0%} of all that no result found are smaller than 32 x 32 pixels"
    return Finding(f"{text}.", cost, "What costs most")
