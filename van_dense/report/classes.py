"""Report of image classes: accuracy, calibration, confusions, and which images to look at.

Legend: N images, C classes, K best classes of an image, B draws of images.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from van_dense.core.counting import counted
from van_dense.evaluation.classification import METRICS
from van_dense.evaluation.evaluator import mean, ratio
from van_dense.report import class_findings, plots
from van_dense.report.blocks import Block, Cell, Report, Section, Table, Text
from van_dense.report.calibration import calibration_error, reliability, risk_coverage
from van_dense.report.class_findings import (
    CALIBRATION,
    CLASSES,
    CONFUSIONS,
    COVERAGE,
    LIMITS,
    SCORES,
    SUSPECTS,
    confusions,
)
from van_dense.report.each_image import require_images
from van_dense.report.evidence import Interval, WeightedEvidence
from van_dense.report.pictures import MOST, gallery
from van_dense.report.sources import Images
from van_dense.report.wording import bounds, fingerprint, headline, percent

HEADLINE = "classification/top1"
ECE = "classification/ECE"  # expected calibration error, which the evaluator does not give
_DRAWN = 25  # classes of the largest confusion matrix that is drawn
_ROWS = 20  # of a table of confusions or images


def evidence_of(source: Images) -> WeightedEvidence:
    """Accuracies by the names of the evaluator, "classification/ECE", and those of each class.

    These are "classification/accuracy of cat" and "classification/precision of cat". Without
    images it is a ValueError.
    """
    require_images(source.image_ids)
    truth = fingerprint(source.labels, "labels")
    protocol = {"kind": "classification", "classes": source.info.class_names, "ground truth": truth}
    names = source.info.class_names
    occurs = dict(zip(names, np.bincount(source.labels, minlength=len(names)), strict=True))
    ids, measure = tuple(source.image_ids), partial(_measured, source)
    return WeightedEvidence(ids, protocol, measure, occurs)


def _measured(source: Images, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Metrics (B,) by name, of weights (B, N)."""
    names, first = source.info.class_names, source.best[:, 0]
    hits = source.best == source.labels[:, None]
    total = weights.sum(axis=1)
    top1, top5 = weights @ hits[:, 0] / total, weights @ hits.any(axis=1) / total
    confidence = source.scores[:, 0]
    errors = [calibration_error(confidence, hits[:, 0], row) for row in weights]

    def count(labels: np.ndarray, row: np.ndarray) -> np.ndarray:
        return np.bincount(labels, weights=row, minlength=len(names))

    right = np.stack([count(first, row * hits[:, 0]) for row in weights])
    accuracy = ratio(right, np.stack([count(source.labels, row) for row in weights]))
    precision = ratio(right, np.stack([count(first, row) for row in weights]))
    balanced = np.array([mean(row) for row in accuracy])
    found = dict(zip(METRICS, (top1, top5, balanced), strict=True)) | {ECE: np.array(errors)}
    for metric, table in (("accuracy", accuracy), ("precision", precision)):
        found |= {f"classification/{metric} of {n}": table[:, i] for i, n in enumerate(names)}
    return found


def report_of(source: Images, title: str) -> Report:
    """Report of image classes; see ``evidence_of`` for errors.

    Args:
        source: Classes of images.
        title: Title of the page.
    """
    evidence, num = evidence_of(source), len(source.image_ids)
    per_class = [f"classification/accuracy of {name}" for name in source.info.class_names]
    intervals = evidence.intervals([*METRICS, ECE, *per_class])
    head = headline({name: intervals[name] for name in (*METRICS, ECE)}, num)
    right = source.best[:, 0] == source.labels
    sections = [
        Section("Metrics", head),
        Section(CONFUSIONS, _confusions(source)),
        Section(CLASSES, [_class_table(source, [intervals[name] for name in per_class])]),
        Section(CALIBRATION, _calibration(source.scores[:, 0], right)),
        Section(SCORES, [_scores(source.scores[:, 0], right)]),
        Section(COVERAGE, _coverage(source.scores[:, 0], right)),
        Section(SUSPECTS, _suspects(source)),
    ]
    subtitle = f"Classes of {counted(num, 'image')}, {counted(source.info.num_classes, 'class')}"
    findings = class_findings.find(source)
    return Report(title, subtitle, sections, findings, evidence.values())


def _confusions(source: Images) -> list[Block]:
    names = source.info.class_names
    blocks: list[Block] = []
    if len(names) <= _DRAWN:
        counts = np.zeros((len(names), len(names)))
        np.add.at(counts, (source.labels, source.best[:, 0]), 1)
        whole = counts.sum(axis=1, keepdims=True)
        fractions = np.divide(counts, whole, out=np.full(counts.shape, np.nan), where=whole > 0)
        alt = "Confusion matrix: rows are true classes, columns predicted ones."
        caption = "Share of the images of each true class (row) by predicted class (column)."
        blocks.append(plots.matrix_plot(fractions, names, names, alt=alt, caption=caption))
    rows: list[list[Cell]] = [
        [names[truth], names[found], count, share, count / len(source.labels)]
        for truth, found, count, share in confusions(source)[:_ROWS]
    ]
    heads = ["class", "taken for", "images", "share of the class", "top-1 gain"]
    if not rows:
        return [*blocks, Text(["Every image has its right class."])]
    return [*blocks, Table(heads, rows, "The gain is what top-1 would rise by without it.")]


def _class_table(source: Images, intervals: Sequence[Interval]) -> Table:
    names, first = source.info.class_names, source.best[:, 0]
    right = first == source.labels
    count, found, hits = (
        np.bincount(labels, minlength=len(names))
        for labels in (source.labels, first, source.labels[right])
    )
    sums = np.bincount(source.labels, weights=source.scores[:, 0], minlength=len(names))
    accuracy, precision, confidence = ratio(hits, count), ratio(hits, found), ratio(sums, count)
    rows: list[list[Cell]] = []
    for label, name in enumerate(names):
        values = [float(column[label]) for column in (precision, confidence)]
        interval = bounds(intervals[label])
        rows.append([name, float(accuracy[label]), interval, *values, int(count[label])])
    heads = ["class", "accuracy", "interval", "precision", "mean confidence", "images"]
    caption = (
        "Accuracy is the share of a class's images that are right, precision that of the images "
        "taken for it; mean confidence is the score of the best class of its images."
    )
    return Table(heads, rows, caption)


def _calibration(confidence: np.ndarray, right: np.ndarray) -> list[Block]:
    bins = reliability(confidence, right, np.ones(len(right)))
    kept = bins.weight > 0
    numbers = (bins.weight, bins.confidence, bins.accuracy)
    rows: list[list[Cell]] = [
        [f"{low:.2f} to {high:.2f}", int(weight), float(score), float(accuracy)]
        for low, high, weight, score, accuracy in zip(*bins.ends, *numbers, strict=True)
        if weight
    ]
    error = calibration_error(confidence, right, np.ones(len(right)))
    text = (
        f"The expected calibration error is {percent(error)}: over {len(bins.weight)} bins of the "
        "best class's score, the mean difference between score and accuracy (Guo et al., ICML "
        "2017). A score that is calibrated says how often it is right."
    )
    drawn = plots.line_plot(
        {"accuracy": (bins.confidence[kept], bins.accuracy[kept])},
        x="mean score",
        y="accuracy",
        alt="Accuracy over the score of the best class, beside the diagonal.",
        caption="Below the diagonal scores promise too much.",
        limits=(0.0, 1.0, 0.0, 1.0),
        diagonal=True,
    )
    heads = ["score", "images", "mean score", "accuracy"]
    return [Text([text]), drawn, Table(heads, rows)]


def _scores(confidence: np.ndarray, right: np.ndarray) -> Block:
    groups = {"right": confidence[right], "wrong": confidence[~right]}
    alt = "Histogram of the score of the best class, of right and wrong images."
    caption = "The further apart the two, the better a limit on the score tells mistakes."
    bins = np.linspace(0, 1, 21)
    return plots.histogram(groups, bins=bins, x="score of the best class", alt=alt, caption=caption)


def _coverage(confidence: np.ndarray, right: np.ndarray) -> list[Block]:
    """Accuracy where only scores above a limit are taken."""
    curve = risk_coverage(confidence, right)
    drawn = plots.line_plot(
        {"accuracy": (curve.coverage, curve.accuracy)},
        x="share of images that are taken",
        y="accuracy of these",
        alt="Accuracy over the share of images whose score is above a limit.",
    )
    rows: list[list[Cell]] = []
    for limit in LIMITS:
        index = int(np.searchsorted(-curve.limit, -limit, side="right")) - 1
        taken = float(curve.coverage[index]) if index >= 0 else 0.0
        rows.append([limit, taken, float(curve.accuracy[index]) if index >= 0 else None])
    heads = ["lowest score taken", "share of images", "accuracy of these"]
    return [drawn, Table(heads, rows, "What is not taken goes to a person, or another model.")]


def _suspects(source: Images) -> list[Block]:
    """Images that are wrong with a high score."""
    names, suspects = source.info.class_names, class_findings.suspects(source)
    if not len(suspects):
        return [Text([f"No image is wrong with a score of {class_findings.CONFIDENT} or more."])]
    ids = source.image_ids
    texts = [(names[source.labels[i]], names[source.best[i, 0]]) for i in suspects[:_ROWS]]
    rows: list[list[Cell]] = [
        [str(ids[i]), *both, float(source.scores[i, 0])]
        for i, both in zip(suspects[:_ROWS], texts, strict=True)
    ]
    table = Table(
        ["image", "labelled as", "predicted as", "score"],
        rows,
        "Wrong, and sure of it, the surest first: either the model or the label is wrong.",
    )
    captions = {
        ids[i]: f"{ids[i]}: labelled as {truth}, predicted as {found}"
        for i, (truth, found) in zip(suspects[:MOST], texts, strict=False)
    }
    line = "Look at them first: a wrong label is mended in a minute."
    return [table, *gallery(source, captions, caption=line)]
