"""Sections of a report on classes, slices and curves."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from van_dense.report.blocks import Block, Cell, Plot, Section, Table
from van_dense.report.evidence import Interval
from van_dense.report.objects_curves import RECALLS, precision_at
from van_dense.report.objects_evidence import BOUNDARY, ObjectsEvidence
from van_dense.report.objects_scores import best_threshold
from van_dense.report.plots import bar_plot, line_plot

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
    counted, right = f.counted(), f.right()
    rows: list[list[Cell]] = []
    for position, name in enumerate(evidence.class_names):
        ap = intervals[f"{kind}/AP of {name}"]
        own = counted & (f.category == position)
        objects = int(((f.truth_category == position) & ~f.ignored[0]).sum())
        best = best_threshold(f.score[own], right[own], objects)
        others = [values[f"{kind}/{metric} of {name}"] for metric in ("AP50", recall)]
        others += [values[f"{start}/AP of {name}"] for start in outlines.values()]
        row: list[Cell] = [name, ap.value, ap.low, ap.high, *others, objects, int(own.sum())]
        rows.append([*row, best.f1, best.threshold])
    columns = ["class", "AP", "AP from", "AP to", "AP50", recall, *outlines]
    columns += ["objects", "results"]
    columns += ["best F1", "at a score of"]
    caption = "The best F1 is that at IoU 0.5; results of at least its score are best kept."
    order = np.argsort([values[f"{kind}/AP of {name}"] for name in evidence.class_names])
    rows = [rows[position] for position in order]  # NaN is the last
    blocks: list[Block] = [Table(columns, rows, f"The lowest AP first. {caption}")]
    measured = [row for row in rows if not np.isnan(row[1])]  # type: ignore[arg-type]
    if 1 < len(measured):
        lowest = sorted(measured, key=lambda row: row[1])[:_BARS]  # type: ignore[arg-type, return-value]
        bars = {str(row[0]): float(row[1]) for row in lowest}  # type: ignore[arg-type]
        ends = {str(row[0]): (float(row[2]), float(row[3])) for row in lowest}  # type: ignore[arg-type]
        alt = f"AP of {len(lowest)} classes, the lowest first"
        blocks.insert(0, bar_plot(bars, x="AP", alt=alt, caption=f"{alt}.", intervals=ends))
    return Section("Classes", blocks)


def slice_section(evidence: ObjectsEvidence, intervals: Mapping[str, Interval]) -> Section:
    """AP by size, shape and crowding.

    Args:
        evidence: Results and annotations.
        intervals: Intervals by flat name.
    """
    f, kind = evidence.found, evidence.source.kind
    rows: list[list[Cell]] = []
    for position, name in enumerate(f.groups):
        if name:
            key = f"{kind}/AP{name}" if name in _SIZES else f"{kind}/AP of {name} objects"
            label = f"{_SIZES.get(name, name)} objects"
            ap, count = intervals[key], int((~f.ignored[position]).sum())
            rows.append([label, ap.value, ap.low, ap.high, count])
    for name, images in evidence.among.items():
        ap = intervals[f"{kind}/AP of images with {name}"]
        count = int((images[f.truth_image] & ~f.ignored[0]).sum())
        rows.append([f"images with {name}", ap.value, ap.low, ap.high, count])
    caption = (
        "Small objects have less than 32 x 32 pixels, large ones more than 96 x 96; tall ones are "
        "over twice as high as wide, wide ones over twice as wide as high."
    )
    known = {str(row[0]): row for row in rows if not np.isnan(row[1])}  # type: ignore[arg-type]
    blocks: list[Block] = []
    if known:
        bars = {name: float(row[1]) for name, row in known.items()}  # type: ignore[arg-type]
        ends = {name: (float(row[2]), float(row[3])) for name, row in known.items()}  # type: ignore[arg-type]
        blocks.append(bar_plot(bars, x="AP", alt="AP of parts of the objects", intervals=ends))
    table = Table(["of", "AP", "AP from", "AP to", "objects"], rows, caption)
    return Section("Sizes, shapes and crowding", [*blocks, table])


def curve_section(evidence: ObjectsEvidence) -> Section:
    """Precision at each recall: means over classes, and the classes with the most objects."""
    f, num = evidence.found, len(evidence.class_names)
    name = "OKS" if evidence.source.kind == "keypoints" else "IoU"
    curves = [[precision_at(f, c, t) for c in range(num)] for t in range(f.state.shape[1])]
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
    objects = np.bincount(f.truth_category[~f.ignored[0]], minlength=num)
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
