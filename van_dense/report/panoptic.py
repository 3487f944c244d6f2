"""Report of panoptic maps: quality by class, what costs most, and which images to look at.

Legend: N images, C classes, B draws of images.
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
    ImageCounts,
    PanopticEvaluator,
    Truth,
    mean_qualities,
    qualities,
)
from van_dense.report import panoptic_findings, plots
from van_dense.report.blocks import Block, Cell, Report, Section, Table, Text
from van_dense.report.each_image import each_image, require_images
from van_dense.report.evidence import Interval, WeightedEvidence
from van_dense.report.panoptic_findings import CLASSES, COSTS, IMAGES
from van_dense.report.pictures import gallery
from van_dense.report.sources import Panoptic
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
    """

    source: Panoptic
    sums: np.ndarray
    outline_sums: np.ndarray | None
    digests: np.ndarray

    def evidence(self) -> WeightedEvidence:
        """Metrics that draws of the images give, by the functions of the evaluator."""
        info = self.source.info
        truth = fingerprint(self.digests, "maps")
        protocol: dict[str, Any] = {"kind": "panoptic", "counting rules": "PQ"}
        protocol |= {"classes": info.class_names, "things": info.thing_flags}
        if self.outline_sums is not None:
            protocol["counting rules"] = "PQ, with boundary PQ beside it"
        kinds = [sums for sums in (self.sums, self.outline_sums) if sums is not None]
        measure = partial(_measured, kinds, info.class_names, np.array(info.thing_flags))
        ids = tuple(self.source.image_ids)
        return WeightedEvidence(ids, protocol | {"ground truth": truth}, measure)


def evidence_of(source: Panoptic) -> WeightedEvidence:
    """Metrics of panoptic maps by the names of the evaluator, and each class: "panoptic/PQ of car".

    Every map is read once, and none is kept. Without images, and where maps do not fit, it is a
    ValueError.
    """
    return count_segments(source).evidence()


def count_segments(source: Panoptic) -> SegmentCounts:
    """Read all maps of a source once, in threads."""
    require_images(source.image_ids)

    digests: dict[int | str, int] = {}

    def truth(image_id: int | str) -> Truth:
        found = source.truth(image_id)
        if found.panoptic is None or found.segments is None:
            raise ValueError(
                f"the ground truth of image {image_id!r} has no panoptic map, segments"
            )
        digests[image_id] = digest(found.panoptic)
        return found.panoptic, found.segments

    evaluator = PanopticEvaluator(truth, source.image_ids, source.info, boundary=source.boundary)

    def count(image_id: int | str) -> ImageCounts:
        return evaluator.count(source.predicted(image_id))

    outcomes = each_image(count, source.image_ids)
    # Integers where none matches.
    sums = np.stack([counts.sums for counts in outcomes], axis=1).astype(np.float64)
    marks = np.array([digests[image_id] for image_id in source.image_ids])
    return SegmentCounts(source, sums[0], sums[1] if source.boundary else None, marks)


def _measured(
    kinds: Sequence[np.ndarray], names: Sequence[str], is_thing: np.ndarray, weights: np.ndarray
) -> dict[str, np.ndarray]:
    """Metrics (B,) by name, of weights (B, N), by sums (N, 4, C) of one or two kinds of IoU."""
    found: dict[str, np.ndarray] = {}
    for start, metrics, sums in zip(
        ("", "boundary_"), (METRICS, BOUNDARY_METRICS), kinds, strict=False
    ):
        drawn = (weights @ sums.reshape(len(sums), -1)).reshape(-1, *sums.shape[1:])
        scores = [qualities(one) for one in drawn]
        means = np.array([mean_qualities(one, is_thing) for one in scores])
        found |= {name: means[:, i] for i, name in enumerate(metrics)}
        for quality in scores[0]:
            table = np.stack([one[quality] for one in scores])
            of = f"panoptic/{start}{quality} of"
            found |= {f"{of} {n}": table[:, i] for i, n in enumerate(names)}
    return found


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
        Section(IMAGES, _images(found)),
    ]
    total = found.sums.sum(axis=0)
    segments = int((total[MATCHED] + total[MISSED]).sum())
    subtitle = f"Panoptic maps of {counted(num, 'image')}, {counted(segments, 'segment')}"
    findings = panoptic_findings.find(found.sums, source.info)
    return Report(title, subtitle, sections, findings, evidence.values())


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


def _images(found: SegmentCounts) -> list[Block]:
    """How PQ is spread over images, with the worst and the best of them."""
    ids, info = found.source.image_ids, found.source.info
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
    both = found.source.truth, found.source.predicted
    return [drawn, table, *gallery(captions, *both, info, read=found.source.read, caption=line)]
