"""The confusion matrix of an evaluation as one PNG.

Legend: C classes; rows are the truth, columns the prediction.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from van_dense.data.readers.class_words import readable_name
from van_dense.visualize.legend import short_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MAX_WRITTEN = 25  # classes; beyond, a cell is too small for its number
_MAX_NAMED = 200  # classes; beyond, rows and columns have no names either
_UNNAMED_SIDE = 12.0  # inches of such a matrix
_LISTED = (20, 45)  # confusions that are listed beside such a matrix, by its height
_LINE = 0.25  # inches of one
_BARS, _LIST = 2.5, 5.4  # inches of the bars and of the list
_CELL = (0.55, 0.17)  # inches of a cell with and without a number
_GAMMA = (0.5, 0.25)  # deepens small fractions, as confusions are; more so in cells of a pixel


def plot_confusion(
    confusion: np.ndarray,
    class_names: Sequence[str],
    path: Path,
    *,
    counted: Literal["pixels", "images"] = "pixels",
) -> None:
    """Draw how the pixels or images of each class are divided among the predictions.

    Rows add up to 100 %. Beyond 25 classes the largest confusions are listed instead of written
    into the matrix, and beyond 200 rows and columns have no names. Bars beside the rows give the
    IoU of pixels, or the accuracy of images. Classes without any pixel or image have a grey row,
    and no accuracy; no IoU either, unless they were predicted.

    Args:
        confusion: Pixels or images by true and predicted class, integers (C, C + 1); the last
            column counts those predicted as no class, and is drawn where there are any.
        class_names: Names of the C classes.
        path: PNG file to write.
        counted: Unit of the numbers.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    num = len(class_names)
    if confusion.shape != (num, num + 1):
        last = f"the last column for {counted} without a predicted class"
        shapes = f"must be {(num, num + 1)}, {last}, got {confusion.shape}"
        raise ValueError(f"the confusion matrix of {num} classes {shapes}")
    # Dollars would begin a formula.
    names = [short_name(readable_name(name)).replace("$", r"\$") for name in class_names]
    columns = [*names, "none"] if confusion[:, -1].any() else names
    truth = confusion.sum(axis=1, keepdims=True)
    fractions = np.divide(confusion, truth, out=np.full(confusion.shape, np.nan), where=truth > 0)
    fractions = fractions[:, : len(columns)]

    written = num <= _MAX_WRITTEN
    side = max(3.0, num * _CELL[0 if written else 1]) if num <= _MAX_NAMED else _UNNAMED_SIDE
    widths = [side * len(columns) / num, _BARS, *([] if written else [_LIST])]
    figure = Figure(figsize=(sum(widths) + 2.6, side + 2.4), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(widths), width_ratios=widths)
    _plot_fractions(panels[0], fractions, names, columns)
    _title(panels[0], f"fraction of the true {counted}, %")
    if counted == "pixels":
        _plot_bars(panels[1], _iou(confusion), "IoU")
    else:
        _plot_bars(panels[1], np.diagonal(fractions), "accuracy")
    if not written:
        listed = largest_confusions(fractions, int(np.clip(side / _LINE, *_LISTED)))
        _list_confusions(panels[2], listed, names, columns)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def _title(axes: Axes, text: str) -> None:
    axes.set_title(text, loc="left", fontsize=13, fontweight="bold")


def largest_confusions(fractions: np.ndarray, num: int) -> list[tuple[int, int, float]]:
    """Find up to ``num`` wrong predictions that take the largest fractions of their true class.

    Fractions by true and predicted class, (C, C or more), rows of NaN left out -> (row, column,
    fraction), the largest first; those of zero are left out.
    """
    wrong = np.nan_to_num(fractions, nan=0.0)
    np.fill_diagonal(wrong, 0.0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:num]
    pairs = [(int(i), int(j)) for i, j in zip(*np.unravel_index(order, wrong.shape), strict=True)]
    return [(i, j, float(wrong[i, j])) for i, j in pairs if wrong[i, j] > 0]


def _plot_fractions(
    axes: Axes, fractions: np.ndarray, names: Sequence[str], columns: Sequence[str]
) -> None:
    from matplotlib.colors import PowerNorm

    written = len(names) <= _MAX_WRITTEN
    size = 10 if written else 7
    named = len(names) <= _MAX_NAMED
    norm = PowerNorm(_GAMMA[0 if named else 1], 0, 1)
    # Smoothed, cells of a pixel would vanish.
    axes.imshow(fractions, cmap="Blues", norm=norm, aspect="auto", interpolation="nearest")
    axes.set_facecolor("0.93")  # rows without pixels or images
    axes.set_xlabel("predicted", fontsize=11)
    axes.set_ylabel("true", fontsize=11)
    axes.spines[:].set_visible(False)
    if not named:
        axes.set_xticks([])
        axes.set_yticks([])
        return
    axes.set_xticks(range(len(columns)), columns, rotation=90, fontsize=size)
    axes.set_yticks(range(len(names)), names, fontsize=size)
    axes.set_xticks(np.arange(len(columns) + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(names) + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1.0 if written else 0.4)
    axes.tick_params(which="both", length=0)
    if not written:
        return
    for (row, column), value in np.ndenumerate(fractions):
        if value >= 0.0005:  # NaN and what would read 0.0 stay empty
            text = f"{100 * value:.0f}" if value >= 0.995 else f"{100 * value:.1f}"
            color = "white" if value > 0.4 else "black"
            axes.text(column, row, text, ha="center", va="center", fontsize=9, color=color)


def _iou(confusion: np.ndarray) -> np.ndarray:
    """IoU of each class, float64 (C,); NaN for those that neither occur nor were predicted."""
    right = np.diagonal(confusion)
    union = confusion.sum(axis=1) + confusion[:, :-1].sum(axis=0) - right
    return np.divide(right, union, out=np.full(len(right), np.nan), where=union > 0)


def _plot_bars(axes: Axes, values: np.ndarray, metric: str) -> None:
    """Bars of a metric of each class in [0, 1] or NaN, in line with the rows of the matrix."""
    named = len(values) <= _MAX_NAMED
    size = 10 if len(values) <= _MAX_WRITTEN else 7
    axes.barh(range(len(values)), np.nan_to_num(values), height=0.7 if named else 1.0, color="C0")
    for row, value in enumerate(values if named else ()):
        text = "none" if np.isnan(value) else f"{100 * value:.1f}"
        axes.text(np.nan_to_num(value) + 0.03, row, text, va="center", fontsize=size)
    mean = "none" if np.isnan(values).all() else f"{100 * np.nanmean(values):.1f}"
    _title(axes, f"{metric}, %, mean {mean}")
    axes.set_xlim(0, 1.3)
    axes.set_ylim(len(values) - 0.5, -0.5)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[["top", "right", "bottom"]].set_visible(False)


def _list_confusions(
    axes: Axes,
    confusions: Sequence[tuple[int, int, float]],
    names: Sequence[str],
    columns: Sequence[str],
) -> None:
    lines = [f"{100 * value:5.1f} %  {names[i]} → {columns[j]}" for i, j, value in confusions]
    text = "\n".join(lines) or "none"
    _title(axes, "largest confusions")
    axes.text(0, 1, text, transform=axes.transAxes, va="top", fontsize=11, linespacing=1.6)
    axes.set_axis_off()
