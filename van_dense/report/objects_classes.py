"""Sections of a report on classes, slices and curves."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from van_dense.core.counting import counted
from van_dense.report.blocks import Block, Cell, Plot, Section, Table, Text
from van_dense.report.evidence import Interval
from van_dense.report.objects_curves import RECALLS, precision_at
from van_dense.report.objects_evidence import BOUNDARY, ObjectsEvidence
from van_dense.report.objects_scores import best_threshold
from van_dense.report.plots import bar_plot, line_plot
from van_dense.report.wording import bounds, listed

WITHOUT_TRUTH = (
    "COCO and LVIS leave such classes out of every mean, so that these results cost no AP, right "
    "or wrong: look at a few, for these objects may be in the images without an annotation."
)
_CURVES = 6  # classes with a curve of their own
_BARS = 30  # classes in a plot
_SIZES = {"s": "small", "m": "medium", "l": "large"}


def class_section(evidence: ObjectsEvidence, intervals: Mapping[str, Interval]) -> Section:
    """A table of the classes, and bars.

    Args:
        evidence: Results and annotations.
        intervals: Intervals by flat name.
    """
    f, kind, values = evidence.found, evidence.source.kind, evidence.values()
    recall = evidence.recall
    outlines = {} if evidence.outlines is None else {"boundary AP": BOUNDARY}
    kept = f.counted()
    category, score, right = f.category[kept], f.score[kept], f.right()[kept]
    spans = np.searchsorted(category, np.arange(len(evidence.class_names) + 1)).tolist()
    annotated = _annotated(evidence).tolist()
    rows: list[list[Cell]] = []
    for position, name in enumerate(evidence.class_names):
        ap = intervals[f"{kind}/AP of {name}"]
        own, objects = slice(*spans[position : position + 2]), annotated[position]
        best = best_threshold(score[own], right[own], objects)
        others = [values[f"{kind}/{metric} of {name}"] for metric in ("AP50", recall)]
        others += [values[f"{start}/AP of {name}"] for start in outlines.values()]
        row: list[Cell] = [name, ap.value, bounds(ap), *others, objects, len(score[own])]
        rows.append([*row, best.f1, best.threshold])
    columns = ["class", "AP", "interval", "AP50", recall, *outlines]
    columns += ["objects", "results"]
    columns += ["best F1", "at a score of"]
    overlap = "OKS" if kind == "keypoints" else "IoU"
    caption = f"The best F1 is that at {overlap} 0.5; results of at least its score are best kept."
    order = np.argsort([values[f"{kind}/AP of {name}"] for name in evidence.class_names])
    rows = [rows[position] for position in order]  # NaN is the last
    blocks: list[Block] = [Table(columns, rows, f"The lowest AP first. {caption}")]
    measured = [row for row in rows if not np.isnan(row[1])]  # type: ignore[arg-type]
    if 1 < len(measured):
        lowest = sorted(measured, key=lambda row: row[1])[:_BARS]  # type: ignore[arg-type, return-value]
        bars = {str(row[0]): float(row[1]) for row in lowest}  # type: ignore[arg-type]
        ends = {name: _ends(intervals[f"{kind}/AP of {name}"]) for name in bars}
        alt = f"AP of {len(lowest)} classes, the lowest first"
        blocks.insert(0, bar_plot(bars, x="AP", alt=alt, caption=f"{alt}.", intervals=ends))
    if blank := unannotated(evidence):
        blocks.append(Text([f"{_named(blank)}. {WITHOUT_TRUTH}"]))
    return Section("Classes", blocks)


def unannotated(evidence: ObjectsEvidence) -> dict[str, int]:
    """Number of results of each class that has some, and no annotated object; the most first."""
    f = evidence.found
    num = len(evidence.class_names)
    results = np.bincount(f.category[f.rank < f.limit], minlength=num)
    objects = _annotated(evidence)
    those = np.flatnonzero((results > 0) & (objects == 0))
    counts = {evidence.class_names[i]: int(results[i]) for i in those}
    return dict(sorted(counts.items(), key=lambda pair: -pair[1]))


def _annotated(evidence: ObjectsEvidence) -> np.ndarray:
    """Number of objects of each class that are to be found, int (C,)."""
    f = evidence.found
    return np.bincount(f.truth_category[~f.ignored[0]], minlength=len(evidence.class_names))


def _named(blank: Mapping[str, int]) -> str:
    """The classes without annotation, and how many results each has."""
    each = [f"{name} ({counted(count, 'result')})" for name, count in blank.items()]
    return f"No object is annotated of {listed(each)}"


def _ends(interval: Interval) -> tuple[float, float]:
    return interval.low, interval.high


def slice_section(evidence: ObjectsEvidence, intervals: Mapping[str, Interval]) -> Section:
    """AP by size, shape and crowding.

    Args:
        evidence: Results and annotations.
        intervals: Intervals by flat name.
    """
    f, kind = evidence.found, evidence.source.kind
    rows: list[list[Cell]] = []
    ends: dict[str, tuple[float, float]] = {}
    for position, name in enumerate(f.groups):
        if name:
            key = f"{kind}/AP{name}" if name in _SIZES else f"{kind}/AP of {name} objects"
            label = f"{_SIZES.get(name, name)} objects"
            ap, count = intervals[key], int((~f.ignored[position]).sum())
            rows.append([label, ap.value, bounds(ap), count])
            ends[label] = _ends(ap)
    for name, images in evidence.among.items():
        ap = intervals[f"{kind}/AP of images with {name}"]
        count = int((images[f.truth_image] & ~f.ignored[0]).sum())
        rows.append([f"images with {name}", ap.value, bounds(ap), count])
        ends[f"images with {name}"] = _ends(ap)
    caption = (
        "Small objects have less than 32 x 32 pixels, large ones more than 96 x 96; tall ones are "
        "over twice as high as wide, wide ones over twice as wide as high."
    )
    known = {str(row[0]): row for row in rows if not np.isnan(row[1])}  # type: ignore[arg-type]
    blocks: list[Block] = []
    if known:
        bars = {name: float(row[1]) for name, row in known.items()}  # type: ignore[arg-type]
        blocks.append(bar_plot(bars, x="AP", alt="AP of parts of the objects", intervals=ends))
    table = Table(["of", "AP", "interval", "objects"], rows, caption)
    return Section("Sizes, shapes and crowding", [*blocks, table])


def curve_section(evidence: ObjectsEvidence) -> Section:
    """Precision at each recall: means over classes, and the classes with the most objects."""
    f, num = evidence.found, len(evidence.class_names)
    name = "OKS" if evidence.source.kind == "keypoints" else "IoU"
    curves = [precision_at(f, t) for t in range(f.state.shape[1])]
    known = [[curve for curve in row if curve is not None] for row in curves]
    if not known[0]:
        return Section("Precision and recall", [Table(["class"], [], "No object is annotated.")])
    means = [np.mean(row, axis=0) for row in known]
    series = {
        f"{name} 0.50": (RECALLS, means[0]),
        f"{name} 0.75": (RECALLS, means[5]),
        f"{name} 0.50 to 0.95": (RECALLS, np.mean(means, axis=0)),
    }
    alt = "precision at each recall, mean over classes"
    blocks: list[Block] = [_curves(series, alt)]
    objects = _annotated(evidence)
    most = [c for c in np.argsort(-objects, kind="stable")[:_CURVES] if objects[c]]
    if num > 1:
        named = [(evidence.class_names[c], curves[0][c]) for c in most]
        own = {name: (RECALLS, curve) for name, curve in named if curve is not None}
        alt = f"precision at each recall at {name} 0.5 of the classes with the most objects"
        blocks.append(_curves(own, alt))
    return Section("Precision and recall", blocks)


def _curves(series: Mapping[str, tuple[np.ndarray, np.ndarray]], alt: str) -> Plot:
    caption = f"{alt[0].upper()}{alt[1:]}."
    limits = (0.0, 1.0, 0.0, 1.0)
    return line_plot(series, x="recall", y="precision", alt=alt, caption=caption, limits=limits)
