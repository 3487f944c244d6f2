"""Report of panoptic maps: quality by class, what costs most, and which images to look at.

Legend: N images, C classes, K kinds of missed segments.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from van_dense.core.counting import counted
from van_dense.evaluation.evaluator import mean
from van_dense.evaluation.panoptic import (
    BOUNDARY_METRICS,
    IOU,
    MATCHED,
    METRICS,
    MISSED,
    WRONG,
    PanopticEvaluator,
    Truth,
    mean_qualities,
    qualities,
)
from van_dense.report import panoptic_findings, plots
from van_dense.report.blocks import Block, Cell, Report, Section, Table, Text
from van_dense.report.each_image import each_image, require_images
from van_dense.report.evidence import Interval, WeightedEvidence
from van_dense.report.panoptic_findings import CLASSES, COSTS, IMAGES, MISSES
from van_dense.report.panoptic_misses import KINDS, count_misses
from van_dense.report.pictures import gallery
from van_dense.report.sources import Panoptic
from van_dense.report.weighted import Score, SummedMetrics
from van_dense.report.wording import (
    best_first,
    bounds,
    digest,
    fingerprint,
    headline,
    known,
    listed,
    percent,
    worst_first,
)

HEADLINE = "panoptic/PQ"
_WORST, _BEST = 8, 4  # pictures
_ROWS = 20  # images of the table of the worst


@dataclass(frozen=True)
class SegmentCounts:
    """What a report keeps of panoptic maps; no map is kept.

    Attributes:
        source: The maps.
        sums: Segments of each image and class, float64 (N, 4, C), rows IOU, MATCHED, WRONG and
            MISSED of the evaluator.
        outline_sums: The same by boundary IoU, where the source asks for it.
        digests: Number of each image that tells its ground truth from another one, (N,).
        misses: Missed segments of all images, int64 (K, C), by the ``KINDS`` of why.
    """

    source: Panoptic
    sums: np.ndarray
    outline_sums: np.ndarray | None
    digests: np.ndarray
    misses: np.ndarray

    def evidence(self) -> WeightedEvidence:
        """Metrics that draws of the images give, by the functions of the evaluator."""
        info = self.source.info
        truth = fingerprint(self.digests, "maps")
        protocol: dict[str, Any] = {"kind": "panoptic", "counting rules": "PQ"}
        protocol |= {"classes": info.class_names, "things": info.thing_flags}
        if self.outline_sums is not None:
            protocol["counting rules"] = "PQ, with boundary PQ beside it"
        ids = tuple(self.source.image_ids)
        annotated = self.sums[:, MATCHED] + self.sums[:, MISSED]
        occurs = dict(zip(info.class_names, (annotated > 0).sum(axis=0), strict=True))
        return WeightedEvidence(ids, protocol | {"ground truth": truth}, self._measure, occurs)

    def _measure(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Metrics (B,) by name, of weights (B, N), by one or two kinds of IoU."""
        names, is_thing = self.source.info.class_names, np.array(self.source.info.thing_flags)

        def measured(
            sums: np.ndarray, metrics: Sequence[str], score: Score
        ) -> dict[str, np.ndarray]:
            summarize = partial(_summarize, metrics, is_thing)
            return SummedMetrics(sums, names, "panoptic", summarize, score).measure(weights)

        found = measured(self.sums, METRICS, qualities)
        if self.outline_sums is not None:
            found |= measured(self.outline_sums, BOUNDARY_METRICS, _outline_qualities)
        return found


def evidence_of(source: Panoptic) -> WeightedEvidence:
    """Metrics of panoptic maps by the names of the evaluator, and each class: "panoptic/PQ of car".

    Every map is read once, and none is kept. Without images, and where maps do not fit, it is a
    ValueError.
    """
    return count_segments(source).evidence()


def count_segments(source: Panoptic) -> SegmentCounts:
    """Read all maps of a source once, in threads."""
    require_images(source.image_ids)

    compared: dict[int | str, Truth] = {}  # what threads are at

    def truth(image_id: int | str) -> Truth:
        found = source.truth(image_id)
        if found.panoptic is None or found.segments is None:
            raise ValueError(
                f"the ground truth of image {image_id!r} has no panoptic map, segments"
            )
        compared[image_id] = found.panoptic, found.segments
        return compared[image_id]

    info = source.info
    evaluator = PanopticEvaluator(truth, source.image_ids, info, boundary=source.boundary)

    def count(image_id: int | str) -> tuple[np.ndarray, int, np.ndarray]:
        found = source.predicted(image_id)
        sums = evaluator.count(found).sums
        expected = compared.pop(image_id)
        assert found.panoptic is not None and found.segments is not None  # or it was an error
        misses = count_misses(expected, (found.panoptic, found.segments), info.num_classes)
        return sums, digest(expected[0]), misses

    sums, digests, misses = zip(*each_image(count, source.image_ids), strict=True)
    both = np.stack(sums, axis=1).astype(np.float64)  # integers where none matches
    outlines = both[1] if source.boundary else None
    every = np.sum(misses, axis=0)
    return SegmentCounts(source, both[0], outlines, np.array(digests), every)


def _summarize(names: Sequence[str], is_thing: np.ndarray, sums: np.ndarray) -> dict[str, float]:
    return dict(zip(names, mean_qualities(qualities(sums), is_thing), strict=True))


def _outline_qualities(sums: np.ndarray) -> dict[str, np.ndarray]:
    return {f"boundary_{quality}": values for quality, values in qualities(sums).items()}


def report_of(source: Panoptic, title: str) -> Report:
    """Report of panoptic maps; see ``evidence_of`` for errors.

    Args:
        source: Panoptic maps.
        title: Title of the page.
    """
    found = count_segments(source)
    evidence, names, num = found.evidence(), source.info.class_names, len(source.image_ids)
    per_class = [f"panoptic/PQ of {name}" for name in names]
    metrics = [*METRICS, *(BOUNDARY_METRICS if source.boundary else ())]
    intervals = evidence.intervals([*metrics, *per_class])
    head: list[Block] = [*headline({name: intervals[name] for name in metrics}, num)]
    if source.boundary:
        head.append(
            Text(["Boundary PQ stands here and in the table of classes; all else is by PQ."])
        )
    sections = [
        Section("Metrics", head),
        Section(CLASSES, [_class_table(found, [intervals[name] for name in per_class])]),
        Section(COSTS, _costs(found)),
        Section(MISSES, _misses(found)),
        Section(IMAGES, _images(found)),
    ]
    total = found.sums.sum(axis=0)
    segments = int((total[MATCHED] + total[MISSED]).sum())
    subtitle = f"Panoptic maps of {counted(num, 'image')}, {counted(segments, 'segment')}"
    findings = panoptic_findings.find(found.sums, source.info, misses=found.misses)
    missed = zip(KINDS, found.misses.sum(axis=1).tolist(), strict=True)
    numbers = evidence.values() | {f"panoptic/missed: {kind}": num for kind, num in missed}
    return Report(title, subtitle, sections, findings, numbers)


def _class_table(found: SegmentCounts, intervals: Sequence[Interval]) -> Table:
    info, total = found.source.info, found.sums.sum(axis=0)
    scores = qualities(total)
    outlines: dict[str, np.ndarray] = {}
    if found.outline_sums is not None:
        outlines["boundary PQ"] = qualities(found.outline_sums.sum(axis=0))["PQ"]
    rows: list[list[Cell]] = []
    for label, name in enumerate(info.class_names):
        kind = "thing" if info.thing_flags[label] else "stuff"
        pq, sq, rq = (float(scores[quality][label]) for quality in scores)
        counts = [int(total[row, label]) for row in (MATCHED, WRONG, MISSED)]
        row: list[Cell] = [name, kind, pq, bounds(intervals[label]), sq, rq]
        rows.append([*row, *(float(values[label]) for values in outlines.values()), *counts])
    heads = ["class", "kind", "PQ", "interval", "SQ", "RQ", *outlines]
    heads += ["matched", "wrong", "missed"]
    caption = (
        "PQ is SQ, the mean IoU of matched segments, times RQ, which counts wrong and missed ones."
    )
    return Table(heads, rows, caption, sorted_by=2)


def _costs(found: SegmentCounts) -> list[Block]:
    """What PQ would rise by, without one kind of mistake."""
    sums, flags = found.sums.sum(axis=0), np.array(found.source.info.thing_flags)
    parts = {"all classes": np.ones_like(flags), "things": flags, "stuff": ~flags}
    rows: list[list[Cell]] = []
    for part, chosen in parts.items():
        gains = panoptic_findings.gains(sums, chosen)
        rows += [[part, kind, gain] for kind, gain in gains.items()]
    heads = ["of", "without", "PQ gain"]
    caption = (
        "Gains of PQ over all classes, each as if the other mistakes stayed; missed segments are "
        "found with the SQ of their class. They do not add up."
    )
    drawn = plots.bar_plot(
        panoptic_findings.gains(sums, parts["all classes"]),
        x="PQ gain",
        alt="What PQ would rise by without each kind of mistake.",
    )
    return [drawn, Table(heads, rows, caption)]


def _misses(found: SegmentCounts) -> list[Block]:
    """Why annotated segments have no match."""
    flags, misses = np.array(found.source.info.thing_flags), found.misses
    if not misses.sum():
        return [Text(["No segment is missed."])]
    columns = misses.sum(axis=1), misses[:, flags].sum(axis=1), misses[:, ~flags].sum(axis=1)
    rows: list[list[Cell]] = [
        [kind, int(every), float(every / misses.sum()), int(things), int(stuff)]
        for kind, every, things, stuff in zip(KINDS, *columns, strict=True)
    ]
    heads = ["missed segments", "number", "share of them", "things", "stuff"]
    caption = (
        "Another class: a segment of it has an IoU above 0.5. Merged: one segment of the class "
        "holds more than half of it and of a neighbour. Split: several of the class lie in it, and "
        "together have an IoU above 0.5. An IoU below 0.1 counts as never found."
    )
    by_class: list[list[Cell]] = [
        [name, *misses[:, label].tolist()]
        for label, name in enumerate(found.source.info.class_names)
        if misses[:, label].any()
    ]
    by_class.sort(key=lambda row: -sum(row[1:]))  # type: ignore[arg-type]
    short = ["class", "never", "another class", "inexact", "split", "merged"]  # as in KINDS
    each = Table(short, by_class, "The classes with the most missed segments first.")
    return [Table(heads, rows, caption, sorted_by=1), each]


def _images(found: SegmentCounts) -> list[Block]:
    """How PQ is spread over images, with the worst and the best of them."""
    ids = found.source.image_ids
    pq = np.array([mean(qualities(one)["PQ"]) for one in found.sums])
    if not len(known(pq)):
        return [Text(["No image has a segment."])]
    blank = [str(ids[i]) for i in np.flatnonzero(np.isnan(pq))]
    caption = "The PQ of single images, over the classes that each shows or predicts."
    if blank:
        caption += f" {counted(len(blank), 'image')} without any segment: {listed(blank)}."
    bins, alt = np.linspace(0, 1, 21), "Histogram of the PQ of images."
    groups = {"images": known(pq)}
    drawn = plots.histogram(groups, bins=bins, x="PQ of an image", alt=alt, caption=caption)
    rows: list[list[Cell]] = []
    for i in worst_first(pq, num=_ROWS):
        counts = [int(found.sums[i, row].sum()) for row in (MATCHED, WRONG, MISSED)]
        iou = float(found.sums[i, IOU].sum() / counts[0]) if counts[0] else None
        rows.append([str(ids[i]), float(pq[i]), *counts, iou])
    heads = ["image", "PQ", "matched", "wrong", "missed", "mean IoU of matches"]
    table = Table(heads, rows, "The images with the lowest PQ, worst first.")
    worst = worst_first(pq, num=_WORST)
    chosen = [*worst, *(i for i in best_first(pq, num=_BEST) if i not in worst)]
    captions = {ids[i]: f"{ids[i]}: PQ {percent(pq[i])}" for i in chosen}
    line = f"The {len(worst)} worst images, then the best."
    return [drawn, table, *gallery(found.source, captions, caption=line)]
