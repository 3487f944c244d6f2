"""Sections of a report on errors, confused classes, scores, images and annotations."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from van_dense.core.counting import counted
from van_dense.evaluation.ground_truth import Kind
from van_dense.report.blocks import Block, Cell, Gallery, Number, Numbers, Section, Table, Text
from van_dense.report.objects_errors import Diagnosis, ImageCounts, Split, Suspect
from van_dense.report.objects_evidence import ObjectsEvidence
from van_dense.report.objects_pictures import pictures
from van_dense.report.objects_scores import Best, Reliability, are_probabilities, score_bins
from van_dense.report.pictures import MOST
from van_dense.report.plots import bar_plot, histogram, line_plot, matrix_plot

_MOST_CLASSES = 25  # in a drawn matrix
_ROWS = 30  # of a table of the largest confusions
_LISTED = 100  # rows of a table of suspects


def costs_section(split: Split, kind: Kind) -> Section:
    """What each error costs.

    Args:
        split: Errors and their costs.
        kind: What is measured.
    """
    rows: list[list[Cell]] = [[n, cost, split.count[n]] for n, cost in split.cost.items()]
    name = "OKS" if kind == "keypoints" else "IoU"
    if np.isnan(split.base):
        text = "No object is annotated, so that no error costs anything."
        return Section("What costs most", [Text([text])])
    what = (
        f"AP at {name} 0.5 is {split.base:.3f}. Each row says how much higher it would be with one "
        "kind of error put right (TIDE, Bolya et al. 2020); the costs do not add up."
    )
    blocks: list[Block] = [
        bar_plot(split.cost, x="AP50 lost", alt="AP50 that each error costs"),
        Table(["error", "AP50 lost", "number"], rows, what, sorted_by=1),
    ]
    return Section("What costs most", blocks)


def confusion_section(
    evidence: ObjectsEvidence, diagnosis: Diagnosis, min_score: float
) -> list[Section]:
    """Which classes are taken for each other; none for one class and for poses.

    Args:
        evidence: Results and annotations.
        diagnosis: Errors.
        min_score: Lowest confidence of the results.
    """
    names = evidence.class_names
    if evidence.source.kind == "keypoints" or len(names) < 2:
        return []
    matrix = diagnosis.confusion(min_score)
    labels = [*names, "nothing"]
    off = matrix.copy()
    np.fill_diagonal(off, 0)
    off[-1] = off[:, -1] = 0  # found where nothing is, and missed: neither is a confusion
    order = np.argsort(-off, axis=None, kind="stable")[:_ROWS]
    pairs = [divmod(int(code), len(labels)) for code in order if off.flat[code]]
    total = matrix.sum(axis=1)
    rows: list[list[Cell]] = [
        [labels[i], labels[j], int(off[i, j]), float(off[i, j] / total[i])] for i, j in pairs
    ]
    caption = f"Results of a score of {min_score:.2f} and more, at IoU 0.5."
    heads = ["annotated", "predicted", "number", "share of the annotated"]
    blocks: list[Block] = [Table(heads, rows, caption)]
    if not rows:
        text = f"No object is taken for one of another class at a score of {min_score:.2f} and more"
        blocks = [Text([f"{text}, and IoU 0.5."])]
    if len(names) <= _MOST_CLASSES:
        shares = matrix[:-1] / np.maximum(total[:-1, None], 1)
        alt = "share of the objects of each class that are predicted as each class"
        blocks.insert(0, matrix_plot(shares, names, labels, alt=alt))
    return [Section("Confused classes", blocks)]


def score_section(
    evidence: ObjectsEvidence, best: Best, calibration: Reliability, place: float
) -> Section:
    """Scores of right and wrong results, the best threshold, and calibration.

    Args:
        evidence: Results and annotations.
        best: Threshold of the best F1 over all classes.
        calibration: Precision by confidence.
        place: D-ECE with places.
    """
    f = evidence.found
    kept, right = f.counted(), f.right()
    groups = {"right": f.score[kept & right], "wrong": f.score[kept & ~right]}
    note = "mean gap between confidence and precision"
    numbers = [
        Number("best F1", best.f1, note=f"at {_overlap(evidence)} 0.5, over all classes"),
        Number("at a score of", best.threshold),
        Number("precision there", best.precision),
        Number("recall there", best.recall),
        Number("ECE", calibration.error, note=note),
        Number("ECE by place", place, note=f"{note}, in bins of confidence and place"),
    ]
    bins = score_bins(f.score[kept])
    alt = "scores of right and wrong results"
    blocks: list[Block] = [Numbers(numbers), histogram(groups, bins=bins, x="score", alt=alt)]
    if not are_probabilities(f.score[kept]):
        text = "The scores are no probabilities in 0..1, so calibration is not measured."
        blocks.append(Text([text]))
    if len(calibration.count):
        series = {"results": (calibration.confidence, calibration.precision)}
        alt = "precision of results by their confidence; calibrated ones lie on the diagonal"
        limits = (0.0, 1.0, 0.0, 1.0)
        blocks.append(
            line_plot(series, x="confidence", y="precision", alt=alt, limits=limits, diagonal=True)
        )
        columns = ["confidence", "precision", "results"]
        cells = (calibration.confidence, calibration.precision, calibration.count)
        rows = [list(row) for row in zip(*(c.tolist() for c in cells), strict=True)]
        blocks.append(Table(columns, rows, "Bins of a tenth of confidence."))
    return Section("Scores", blocks)


def image_section(evidence: ObjectsEvidence, counts: ImageCounts, min_score: float) -> Section:
    """The worst and the best images.

    Args:
        evidence: Results and annotations.
        counts: Right, wrong and missed objects of each image.
        min_score: Lowest confidence of the results that were counted.
    """
    f1 = counts.f1
    known = np.flatnonzero(~np.isnan(f1))
    size = counts.right + counts.wrong + counts.missed
    worst = known[np.lexsort((-size[known], f1[known]))][:MOST]
    others = known[~np.isin(known, worst)]
    best = others[np.lexsort((-size[others], -f1[others]))][:MOST]
    blocks: list[Block] = []
    for title, images in (("Worst", worst), ("Best", best)):
        captions = [_counts(evidence, counts, int(i)) for i in images]
        shown = pictures(evidence, images.tolist(), captions, min_score=min_score)
        if shown:
            blocks.append(Gallery(shown, f"{title} images by F1: annotations, results."))
    rows: list[list[Cell]] = []
    for i in worst.tolist():
        numbers = (int(c[i]) for c in (counts.right, counts.wrong, counts.missed))
        rows.append([str(evidence.image_ids[i]), float(f1[i]), *numbers])
    caption = f"At a score of {min_score:.2f} and more, and {_overlap(evidence)} 0.5."
    table = Table(["image", "F1", "right", "wrong", "missed"], rows, f"Worst images. {caption}")
    return Section("Worst and best images", [*blocks, table])


def _overlap(evidence: ObjectsEvidence) -> str:
    """What says how well a result fits."""
    return "OKS" if evidence.source.kind == "keypoints" else "IoU"


def _counts(evidence: ObjectsEvidence, counts: ImageCounts, image: int) -> str:
    numbers = f"{counts.right[image]} right, {counts.wrong[image]} wrong"
    return f"{evidence.image_ids[image]}: {numbers}, {counts.missed[image]} missed"


def suspect_section(evidence: ObjectsEvidence, suspects: Sequence[Suspect]) -> Section:
    """Confident results that contradict the annotations.

    Args:
        evidence: Results and annotations.
        suspects: What was found, the surest first.
    """
    if not suspects:
        text = "No confident result contradicts the annotations."
        return Section("Suspected label errors", [Text([text])])
    names, ids = evidence.class_names, evidence.image_ids
    rows: list[list[Cell]] = []
    captions = []
    for s in suspects:
        annotated = "nothing" if s.annotated is None else names[s.annotated]
        rows.append([str(ids[s.image]), names[s.predicted], annotated, s.score, s.overlap])
        what = f"{names[s.predicted]} {s.score:.2f}, {annotated} annotated"
        captions.append(f"{ids[s.image]}: {what}")
    lowest = min(s.score for s in suspects)
    shown = pictures(evidence, [s.image for s in suspects], captions, min_score=lowest)
    columns = ["image", "predicted", "annotated", "score", "overlap"]
    what = counted(len(suspects), "confident result")
    listed = f"; the surest {_LISTED} are listed" if len(rows) > _LISTED else ""
    table = Table(columns, rows[:_LISTED], f"{what} against the annotations{listed}.")
    blocks: list[Block] = [Gallery(shown, "Annotations, results.")] if shown else []
    return Section("Suspected label errors", [*blocks, table])
