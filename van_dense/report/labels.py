"""Report of label maps: how good they are, what costs most, and which images to look at.

Legend: N images, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import numpy as np

from van_dense.core.counting import counted
from van_dense.core.structures import IGNORE_LABEL
from van_dense.evaluation.evaluator import MapTruth, mean, ratio
from van_dense.evaluation.outlines import OUTLINE_RATIO, is_boundary, is_displaced
from van_dense.evaluation.semantic import (
    METRICS,
    MapCounts,
    confusion_of,
    count_maps,
    count_pairs,
    score_classes,
    summarize,
)
from van_dense.report import label_findings, plots
from van_dense.report.blocks import Block, Cell, Report, Section, Table, Text
from van_dense.report.each_image import each_image, require_images
from van_dense.report.evidence import Interval, WeightedEvidence
from van_dense.report.label_areas import LARGEST, Area, find_areas, most_suspect
from van_dense.report.label_findings import BOUNDARY, CLASSES, CONFUSIONS, IMAGES, SUSPECTS, Totals
from van_dense.report.pictures import gallery, mark
from van_dense.report.sources import Maps
from van_dense.report.weighted import SummedMetrics
from van_dense.report.wording import (
    best_first,
    bounds,
    digest,
    fingerprint,
    headline,
    known,
    listed,
    median,
    percent,
    worst_first,
)

HEADLINE = "semantic/mIoU"
_DRAWN = 25  # classes of the largest confusion matrix that is drawn
_CONFUSIONS = 20  # rows of the table
_WORST, _BEST = 8, 4  # pictures
_ROWS = 20  # images of the table of the worst


@dataclass(frozen=True)
class LabelCounts:
    """What a report keeps of label maps; no map is kept.

    Attributes:
        source: The maps.
        counts: Pixels of each image and class, float64 (N, 6, C), rows as in
            ``MapCounts.of_classes``.
        digests: Number of each image that tells its ground truth from another one, (N,).
        totals: Pixels of all images.
        areas: Large areas that contradict the annotation, up to two of each image.
    """

    source: Maps
    counts: np.ndarray
    digests: np.ndarray
    totals: Totals
    areas: Sequence[Area]

    def evidence(self) -> WeightedEvidence:
        """Metrics that draws of the images give, by the functions of the evaluator."""
        info = self.source.info
        protocol = {"kind": "semantic", "classes": info.class_names}
        protocol["ground truth"] = fingerprint(self.digests, "label maps")
        names, kind = info.class_names, "semantic"
        measure = SummedMetrics(self.counts, names, kind, summarize, score_classes).measure
        occurs = dict(zip(info.class_names, (self.counts[:, 1] > 0).sum(axis=0), strict=True))
        return WeightedEvidence(tuple(self.source.image_ids), protocol, measure, occurs)


def evidence_of(source: Maps) -> WeightedEvidence:
    """Metrics of label maps by the names of the evaluator, and each class as "semantic/IoU of car".

    Every map is read once, and none is kept. Without images, and where maps do not fit, it is a
    ValueError.
    """
    return count_labels(source).evidence()


def count_labels(source: Maps) -> LabelCounts:
    """Read all maps of a source once, in threads."""
    require_images(source.image_ids)
    pairs = MapTruth(source.truth, source.image_ids)
    count = partial(_count_image, source, pairs)
    outcomes = each_image(count, source.image_ids)
    classes = source.info.num_classes
    counts, digests = np.zeros((len(source.image_ids), 6, classes)), np.zeros(len(source.image_ids))
    confusion = np.zeros((classes, classes + 1), dtype=np.int64)
    near, displaced = np.zeros_like(confusion), np.zeros_like(confusion)
    areas: list[Area] = []
    for index, image in enumerate(outcomes):
        counts[index], digests[index] = image.counts.of_classes(), image.digest
        confusion += image.counts.confusion
        near += image.near
        displaced += image.displaced
        areas += image.areas
    totals = Totals(counts.sum(axis=0), confusion, near, displaced)
    return LabelCounts(source, counts, digests, totals, areas)


class _Image(NamedTuple):
    """What one image adds; ``near`` and ``displaced`` are as in ``Totals``."""

    counts: MapCounts
    near: np.ndarray
    displaced: np.ndarray
    areas: list[Area]
    digest: int


def _count_image(source: Maps, pairs: MapTruth, image_id: int | str) -> _Image:
    classes, ignored = source.info.num_classes, np.uint8(IGNORE_LABEL)
    found, truth = pairs.pair(source.predicted(image_id), "semantic")
    counts = count_maps(truth, found, classes, image_id)
    found = found.astype(np.uint8, copy=False)
    near = is_boundary(truth)
    displaced = is_displaced(truth, np.where(truth == ignored, ignored, found))

    def part(mask: np.ndarray) -> np.ndarray:
        return confusion_of(count_pairs(np.where(mask, truth, ignored), found), classes)

    areas = find_areas(truth, found, near, image_id)
    return _Image(counts, part(near), part(displaced), areas, digest(truth))


def report_of(source: Maps, title: str) -> Report:
    """Report of label maps; see ``evidence_of`` for errors.

    Args:
        source: Label maps.
        title: Title of the page.
    """
    found = count_labels(source)
    evidence, names = found.evidence(), source.info.class_names
    per_class = [f"semantic/IoU of {name}" for name in names]
    intervals = evidence.intervals([*METRICS, *per_class])
    usual = median(image_scores(found.counts)[1])
    suspects = most_suspect(found.areas, found.totals.confusion, usual_accuracy=usual)
    num = len(source.image_ids)
    sections = [
        Section("Metrics", headline({name: intervals[name] for name in METRICS}, num)),
        Section(CLASSES, [_class_table(found, [intervals[name] for name in per_class])]),
        Section(CONFUSIONS, _confusions(found)),
        Section(BOUNDARY, _boundary(found)),
        Section(IMAGES, _images(found)),
        Section(SUSPECTS, _suspects(source, suspects)),
    ]
    findings = label_findings.find(found.counts, found.totals, names, suspects=suspects)
    pixels = int(found.totals.counts[1].sum())
    subtitle = f"Label maps of {counted(num, 'image')}, {pixels:,} labelled pixels"
    return Report(title, subtitle, sections, findings, evidence.values())


def _class_table(found: LabelCounts, intervals: Sequence[Interval]) -> Table:
    """A row for each class."""
    counts = found.totals.counts
    scores = score_classes(counts)
    precision, share = ratio(counts[0], counts[2]), counts[1] / max(counts[1].sum(), 1)
    occurs = (found.counts[:, 1] > 0).sum(axis=0)
    rows: list[list[Cell]] = []
    for label, name in enumerate(found.source.info.class_names):
        numbers = [precision, scores["boundary_IoU"], share]
        rest = [float(column[label]) for column in numbers]
        iou, accuracy = float(scores["IoU"][label]), float(scores["Acc"][label])
        rows.append([name, iou, bounds(intervals[label]), accuracy, *rest, int(occurs[label])])
    heads = ["class", "IoU", "interval", "accuracy", "precision", "boundary IoU"]
    heads += ["share of pixels", "images"]
    caption = (
        "Accuracy is the share of a class's pixels that are found, precision that of the pixels "
        "labelled so that are right. A class with high accuracy and low precision is labelled too "
        "often."
    )
    return Table(heads, rows, caption, sorted_by=1)


def _confusions(found: LabelCounts) -> list[Block]:
    """The matrix of few classes, and the largest confusions of any number."""
    names, totals = found.source.info.class_names, found.totals
    blocks: list[Block] = []
    if totals.counts[1].sum() == 0:
        return [Text(["No pixel is labelled."])]
    if len(names) <= _DRAWN:
        whole = totals.confusion.sum(axis=1, keepdims=True)
        fractions = np.divide(
            totals.confusion, whole, out=np.full(totals.confusion.shape, np.nan), where=whole > 0
        )
        has_none = bool(totals.confusion[:, -1].any())
        columns = [*names, "no class"] if has_none else [*names]
        alt = "Confusion matrix: rows are true classes, columns predicted ones."
        caption = "Share of the pixels of each true class (row) by predicted class (column)."
        values = fractions[:, : len(columns)]
        blocks.append(plots.matrix_plot(values, names, columns, alt=alt, caption=caption))
    rows: list[list[Cell]] = [
        [names[c.truth], [*names, "no class"][c.found], c.share, c.pixels, c.gain]
        for c in label_findings.largest_confusions(totals, num=_CONFUSIONS)
    ]
    heads = ["class", "taken for", "share of the class", "pixels", "mIoU gain"]
    caption = "The gain is what mIoU would rise by if these pixels had their right class."
    blocks.append(Table(heads, rows, caption, sorted_by=4))
    return blocks


def _boundary(found: LabelCounts) -> list[Block]:
    """Errors by where they are: outlines that are displaced, thin things, insides of regions."""
    totals = found.totals
    mistakes = label_findings.wrong(totals.confusion)
    num, pixels = max(int(mistakes.sum()), 1), max(int(totals.confusion.sum()), 1)
    rows: list[list[Cell]] = [
        [name, part.sum() / num, part.sum() / pixels, label_findings.gain_of(totals.counts, part)]
        for name, part in label_findings.places(totals).items()
    ]
    heads = ["wrong pixels", "share of them", "share of all pixels", "mIoU gain"]
    reach = f"{percent(OUTLINE_RATIO)} of the image diagonal"
    near = label_findings.wrong(totals.near).sum()
    scores = score_classes(totals.counts)
    area, share = totals.near.sum() / pixels, near / num
    error = near / max(int(totals.near.sum()), 1)
    text = (
        f"Boundary IoU compares the outlines of classes, {reach} wide (Cheng et al., CVPR 2021): "
        f"{mean(scores['boundary_IoU']):.3f}, beside an mIoU of {mean(scores['IoU']):.3f}. Of all "
        f"pixels {percent(area)} lie within that reach of another class in the annotation, and "
        f"{percent(share)} of the wrong ones; {percent(error)} of the pixels there are wrong, of "
        f"the others {percent((mistakes.sum() - near) / max(pixels - totals.near.sum(), 1))}."
    )
    caption = (
        "An outline is displaced where a shift by the reach explains the mistake: the predicted "
        "class is annotated near, and the annotated one predicted near. The gain is what mIoU "
        "would rise by if these pixels were right."
    )
    return [Text([text]), Table(heads, rows, caption)]


def image_scores(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mIoU of each image over the classes that it shows or predicts, and accuracy, (N,).

    NaN for images without any labelled pixel. ``counts`` is (N, 6, C), as in ``LabelCounts``.
    """
    miou = np.array([mean(score_classes(one)["IoU"]) for one in counts])
    return miou, ratio(counts[:, 0].sum(axis=1), counts[:, 1].sum(axis=1))


def _images(found: LabelCounts) -> list[Block]:
    """How mIoU is spread over images, with the worst and the best of them."""
    miou, accuracy = image_scores(found.counts)
    ids = found.source.image_ids
    if not len(known(miou)):
        return [Text(["No image has a labelled pixel."])]
    blank = [str(ids[i]) for i in np.flatnonzero(np.isnan(miou))]
    caption = "The mIoU of single images, over the classes that each shows or predicts."
    if blank:
        caption += f" {counted(len(blank), 'image')} without any labelled pixel: {listed(blank)}."
    alt = "Histogram of the mIoU of images."
    bins = np.linspace(0, 1, 21)
    groups = {"images": known(miou)}
    drawn = plots.histogram(groups, bins=bins, x="mIoU of an image", alt=alt, caption=caption)
    rows: list[list[Cell]] = []
    for i in worst_first(miou, num=_ROWS):
        costs = found.counts[i, 1] - found.counts[i, 0]
        missed = found.source.info.class_names[int(costs.argmax())] if costs.max() > 0 else ""
        rows.append([str(ids[i]), float(miou[i]), float(accuracy[i]), missed])
    heads = ["image", "mIoU", "accuracy", "most pixels missed of"]
    table = Table(heads, rows, "The images with the lowest mIoU, worst first.")
    worst = worst_first(miou, num=_WORST)
    best = [i for i in best_first(miou, num=_BEST) if i not in worst]
    captions = {ids[i]: f"{ids[i]}: mIoU {percent(miou[i])}" for i in [*worst, *best]}
    line = f"The {len(worst)} worst images, then the {len(best)} best."
    return [drawn, table, *gallery(found.source, captions, caption=line)]


def _suspects(source: Maps, suspects: Sequence[Area]) -> list[Block]:
    """Large areas that contradict the annotation."""
    names = source.info.class_names
    if not suspects:
        what = f"No area of at least {percent(LARGEST)} of an image contradicts its annotation in"
        return [Text([f"{what} an image that is otherwise good, but for usual confusions."])]
    rows: list[list[Cell]] = [
        [str(a.image_id), names[a.truth], names[a.found], a.share, a.accuracy] for a in suspects
    ]
    heads = ["image", "annotated as", "predicted as", "share of the image", "accuracy elsewhere"]
    caption = (
        "Connected areas of one other class, away from outlines, in images that are otherwise as "
        "good as most, of classes that the model knows and seldom takes for each other. Either "
        "the model or the annotation is wrong: only a look tells."
    )
    boxes = {a.image_id: a for a in reversed(suspects)}
    captions = {
        a.image_id: f"{a.image_id}: annotated as {names[a.truth]}, predicted as {names[a.found]}"
        for a in suspects
    }

    def read(image_id: int | str) -> np.ndarray | None:
        image = source.read(image_id)
        return None if image is None else mark(image, boxes[image_id].box)

    shown = gallery(replace(source, read=read), captions, caption="The areas are framed in yellow.")
    return [Table(heads, rows, caption), *shown]
