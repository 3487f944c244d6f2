"""Metrics as tables for people and as JSON for machines."""

import json
import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from van_dense.core.plain_text import one_line

PerClass = Mapping[str, Mapping[str, Mapping[str, float]]]  # type, class name, metric

MAX_CLASSES = 30  # a longer table shows the ends only
MOST_COLUMNS = 6  # of numbers, beside each other
ENDS = 10  # best and worst classes of a long table
WIDTH = 100
MEANING = {
    "AP": "average precision, mean over IoU (keypoints: OKS) 0.50 to 0.95",
    "AP50": "at IoU 0.50",
    "AP75": "at IoU 0.75",
    "APs": "objects below 32² px",
    "APm": "objects of 32² to 96² px",
    "APl": "objects above 96² px",
    "APr": "rare classes of LVIS",
    "APc": "common classes",
    "APf": "frequent classes",
    "AR": "average recall",
    "AR50": "recall at OKS 0.50",
    "AR75": "recall at OKS 0.75",
    "AR1": "average recall with 1 detection an image",
    "AR10": "average recall with 10 detections an image",
    "AR100": "average recall with 100 detections an image",
    "AR300": "average recall with 300 detections an image, of all classes",
    "ARs": "AR of objects below 32² px",
    "ARm": "AR of objects of 32² to 96² px",
    "ARl": "AR of objects above 96² px",
    "PCK@0.2": "joints within 20 % of the longer side of the box, of those labelled",
    "PCKh@0.5": "joints within half of the head, of those labelled",
    "top1": "images whose class scores highest",
    "top5": "images whose class is among the five best",
    "mean_class": "top1 of each class, mean over classes",
    "mIoU": "intersection over union, mean over classes",
    "aAcc": "fraction of pixels labelled right",
    "mAcc": "fraction of each class's pixels labelled right, mean over classes",
    "Dice": "mean over classes, also called F1",
    "fwIoU": "IoU, mean over classes weighted by their pixels",
    "boundary_IoU": "IoU of outlines 2 % of the image diagonal wide, mean over classes",
    "PQ": "panoptic quality, SQ times RQ of each class, mean over classes",
    "SQ": "segmentation quality: mean IoU of matched segments",
    "RQ": "recognition quality: F1 of finding segments at IoU 0.5",
    "PQ_th": "PQ of things",
    "SQ_th": "SQ of things",
    "RQ_th": "RQ of things",
    "PQ_st": "PQ of stuff",
    "SQ_st": "SQ of stuff",
    "RQ_st": "RQ of stuff",
    "boundary_PQ": "PQ whose IoU is the smaller one of masks and of outlines",
    "boundary_SQ": "its SQ",
    "boundary_RQ": "its RQ",
    "boundary_PQ_th": "boundary_PQ of things",
    "boundary_SQ_th": "boundary_SQ of things",
    "boundary_RQ_th": "boundary_RQ of things",
    "boundary_PQ_st": "boundary_PQ of stuff",
    "boundary_SQ_st": "boundary_SQ of stuff",
    "boundary_RQ_st": "boundary_RQ of stuff",
    "MAE": "mean absolute error, less is better",
    "Fmax": "F-measure (beta² 0.3), maximum over thresholds",
    "Fmean": "F-measure, mean over thresholds",
    "Fadp": "F-measure at twice the mean of each map",
    "wF": "weighted F-measure",
    "Sm": "S-measure, of structure",
    "Emax": "E-measure, of alignment, maximum over thresholds",
    "Emean": "E-measure, mean over thresholds",
    "Eadp": "E-measure at twice the mean of each map",
}
FRACTIONS = ("pysod", "edn")  # types that papers print as 0.912, not as 91.2 %
COUNT = "count"  # a column of whole numbers
ROWS = {"pck": "joint"}  # what the rows of a type are, if not classes


def format_metrics(metrics: Mapping[str, float]) -> str:
    """Lay out flat metrics ("bbox/AP") as papers print them: a row for each, types as columns.

    Types without a common metric have tables of their own, one below the other.
    """
    tables: list[list[str]] = []
    for kind in dict.fromkeys(name.split("/")[0] for name in metrics):
        names = _metric_names(metrics, [kind])
        table = next((t for t in tables if names & _metric_names(metrics, t)), None)
        if table is None:
            tables.append([kind])
        else:
            table.append(kind)
    return "".join(_metrics_table(metrics, kinds) for kinds in tables)


def _metrics_table(metrics: Mapping[str, float], kinds: Sequence[str]) -> str:
    names = _metric_names(metrics, kinds)
    unit = "metric" if any(kind in FRACTIONS for kind in kinds) else "metric, %"
    rows = [
        [name, *(_number(metrics.get(f"{k}/{name}", math.nan), k) for k in kinds), MEANING[name]]
        for name in filter(names.__contains__, MEANING)
    ]
    return _render([unit, *kinds, "meaning"], rows, numbers=len(kinds))


def _metric_names(metrics: Mapping[str, float], kinds: Collection[str]) -> set[str]:
    return {name.split("/")[1] for name in metrics if name.split("/")[0] in kinds}


def format_per_class(per_class: PerClass) -> str:
    """Lay out the metrics of each class in percent, sorted by the first of them, best class first.

    Types with other rows, such as joints, have tables of their own, one below the other, and so has
    every type where all columns beside each other would be too narrow to read. Classes
    with nothing to measure, such as no object in the annotations, have no value and come last. Of
    more than 30 classes the ten best and the ten worst are shown, and those without a value are
    counted. Without any class the text is empty.
    """
    tables: dict[frozenset[str], list[str]] = {}
    for kind, classes in per_class.items():
        tables.setdefault(frozenset(classes), []).append(kind)
    texts = []
    for kinds in tables.values():
        if len(_columns(per_class, kinds)) <= MOST_COLUMNS:
            texts.append(_class_table(per_class, kinds, ROWS.get(kinds[0], "class")))
        else:
            texts += [_class_table(per_class, [kind], f"{kind}, class") for kind in kinds]
    return "".join(texts)


def _columns(per_class: PerClass, kinds: Sequence[str]) -> list[tuple[str, str]]:
    """Kind and metric of each column."""
    return [(k, metric) for k in kinds for metric in next(iter(per_class[k].values()), {})]


def _class_table(per_class: PerClass, kinds: Sequence[str], head: str) -> str:
    """One table whose first column has ``head``; empty without any column."""
    columns = _columns(per_class, kinds)
    if not columns:
        return ""
    first_kind, first_metric = columns[0]

    def rank(name: str) -> float:
        value = per_class[first_kind][name][first_metric]
        return math.inf if math.isnan(value) else -value

    ordered = sorted(per_class[first_kind], key=rank)
    measured = [name for name in ordered if rank(name) < math.inf]
    is_long = len(ordered) > MAX_CLASSES
    left_out = max(0, len(measured) - 2 * ENDS) if is_long else 0
    rows = [
        [one_line(name), *(_number(per_class[kind][name][m], kind, m) for kind, m in columns)]
        for name in (measured if is_long else ordered)
    ]
    if left_out:
        rows[ENDS : ENDS + left_out] = [[f"... {left_out} more ..."]]
    if is_long and len(measured) < len(ordered):
        rows.append([f"... {len(ordered) - len(measured)} without a value ..."])
    heads = [metric if len(kinds) == 1 else f"{kind} {metric}" for kind, metric in columns]
    return _render([head, *heads], rows, numbers=len(columns))


def save_metrics(path: str | Path, metrics: Mapping[str, float], per_class: PerClass) -> None:
    """Write metrics as JSON ``{"metrics": {...}, "per_class": {...}}``; NaN becomes null."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    content: Any = {"metrics": dict(metrics), "per_class": per_class}
    content = _map_leaves(content, lambda value: None if math.isnan(value) else value)
    Path(path).write_text(json.dumps(content, indent=1) + "\n")


def load_metrics(path: str | Path) -> tuple[dict[str, float], PerClass]:
    """Read what ``save_metrics`` wrote: metrics and metrics of each class."""
    content = json.loads(Path(path).read_text())
    content = _map_leaves(content, lambda value: math.nan if value is None else value)
    return content["metrics"], content["per_class"]


def _number(value: float, kind: str, metric: str = "") -> str:
    if math.isnan(value):
        return "-"
    if metric == COUNT:
        return f"{value:.0f}"
    return f"{value:.3f}" if kind in FRACTIONS else f"{100 * value:.1f}"


def _render(heads: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: int) -> str:
    """Table of text whose first column is followed by ``numbers`` columns of numbers."""
    table = Table(*heads)
    for column in table.columns[1 : 1 + numbers]:
        column.justify = "right"
    for row in rows:
        table.add_row(*row)
    console = Console(width=WIDTH, color_system=None, markup=False, emoji=False)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def _map_leaves(value: Any, change: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _map_leaves(entry, change) for key, entry in value.items()}
    return change(value)
