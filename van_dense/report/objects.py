"""The report of boxes, masks or poses: what they are worth, and what costs most."""

from __future__ import annotations

import numpy as np

from van_dense.core.counting import counted
from van_dense.report.blocks import Report, Section, Text
from van_dense.report.objects_classes import class_section, curve_section, slice_section
from van_dense.report.objects_errors import Diagnosis, Split, count_images
from van_dense.report.objects_evidence import ObjectsEvidence, evidence_of
from van_dense.report.objects_findings import HEADLINE, find
from van_dense.report.objects_scores import Best, best_threshold, place_error, reliability
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
from van_dense.report.wording import headline

__all__ = ["ObjectsEvidence", "evidence_of", "report_of"]

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
    shared = {name: intervals[name] for name in values if " of " not in name}
    sections = [
        Section(HEADLINE, [*headline(shared, len(evidence.image_ids)), *_protocol(evidence)]),
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
    findings = find(
        evidence,
        diagnosis.split,
        best=best,
        calibration=calibration,
        num_suspects=len(suspects),
    )
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


def _protocol(evidence: ObjectsEvidence) -> list[Text]:
    """By which rules the report counts, where they are not those of COCO alone."""
    if evidence.outlines is not None:
        text = (
            "Boundary AP stands here and in the table of classes; all else is by the IoU of masks."
        )
        return [Text([text])]
    if not evidence.source.federated:
        return []
    out = len(evidence.source.results) - int(evidence.found.counted().sum())
    text = (
        "Counted by the rules of LVIS, here and in everything below: results beyond the best 300 "
        "of an image, those of classes that nobody looked for in it, and those that find nothing "
        "of a class of which not every object is annotated do not count. "
        f"That leaves out {out} of {counted(len(evidence.source.results), 'result')}."
    )
    return [Text([text])]


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
