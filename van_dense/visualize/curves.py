"""Curves of a run: losses, metrics and learning rate over steps, as one PNG."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

_PER_KIND = 2  # metrics of bbox, semantic, pysod ... that are drawn; the others are in the log
_SMOOTH_REACH = 0.02  # of the running mean to both sides, as a fraction of the points


def plot_curves(
    entries: Sequence[Mapping[str, Any]], path: Path, *, is_error: Callable[[str], bool]
) -> None:
    """Draw the entries of ``log.jsonl`` into one figure of three panels.

    Left: the total loss and its parts, on a logarithmic scale, pale as logged and strong as a
    running mean. Middle: the first two metrics of each kind (AP and AP50 of bbox), the last value
    in the legend. Right: the learning rate. Non-finite values leave gaps.

    Args:
        entries: Entries of ``read_log`` in any order, of which "train" and "eval" are drawn.
        path: PNG file to write.
        is_error: Function that says of which metrics less is better; they have their own scale.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    entries = sorted(entries, key=lambda entry: entry.get("step", 0))
    train = [entry for entry in entries if entry["kind"] == "train"]
    evals = [entry for entry in entries if entry["kind"] == "eval"]

    figure = Figure(figsize=(15, 4.6), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, 3, width_ratios=(1.2, 1.2, 0.9))
    loss_axes, metric_axes, rate_axes = panels
    _plot_losses(loss_axes, train)
    _plot_metrics(metric_axes, evals, is_error)
    _plot_rate(rate_axes, train)
    last = max((entry["step"] for entry in (*train, *evals)), default=0)
    for axes in panels:
        axes.set_xlim(0, max(last, 1) * 1.02)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def smooth(values: np.ndarray, reach: int) -> np.ndarray:
    """Mean of each value and up to ``reach`` before and after it, leaving non-finite ones out."""
    if len(values) == 0:
        return values
    valid = np.isfinite(values)
    window = np.ones(2 * reach + 1)
    here = slice(reach, reach + len(values))
    total = np.convolve(np.where(valid, values, 0.0), window)[here]
    count = np.convolve(valid, window)[here]
    return np.where(valid, total / np.maximum(count, 1), np.nan)


def _plot_losses(axes: Axes, train: Sequence[Mapping[str, Any]]) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter

    style_panel(axes, "loss")
    steps = [entry["step"] for entry in train]
    names = sorted({name for entry in train for name in entry.get("losses", {})})
    series = {name: [entry.get("losses", {}).get(name) for entry in train] for name in names}
    if len(names) == 1:  # one part is the total itself
        series = {}
    reach, style = round(len(train) * _SMOOTH_REACH), "o" if len(train) == 1 else "-"
    lines = []
    for name, logged in {"total": [entry["loss"] for entry in train], **series}.items():
        values = np.array(logged, dtype=np.float64)  # None becomes NaN
        values[~(values > 0) | np.isinf(values)] = np.nan  # has no place on a logarithmic scale
        if np.isnan(values).all():
            continue
        color, width = ("black", 2.0) if name == "total" else (_color(names.index(name)), 1.4)
        axes.plot(steps, values, color=color, alpha=0.2, linewidth=0.8)
        means = smooth(values, reach)
        lines += axes.plot(steps, means, style, color=color, linewidth=width, label=name)
    if not lines:
        _say(axes, "no finite loss logged yet")
        return
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())
    list_below(axes, lines)


def _plot_metrics(
    axes: Axes, evals: Sequence[Mapping[str, Any]], is_error: Callable[[str], bool]
) -> None:
    style_panel(axes, "metrics")
    shown = headline_metrics(evals)
    if not shown:
        _say(axes, "no evaluation yet")
        return
    errors = axes
    of_errors = dict.fromkeys(name.rpartition("/")[2] for name in shown if is_error(name))
    if of_errors:  # 0.03 beside 0.9 would be a line at the bottom
        errors = axes.twinx()
        errors.set_ylabel(f"{', '.join(of_errors)}, less is better", fontsize=11)
        errors.tick_params(labelsize=10)
        errors.spines["top"].set_visible(False)
    kinds: list[str] = []
    lines: list[Line2D] = []
    for name in shown:
        kind, _, metric = name.rpartition("/")
        points = [(e["step"], e["metrics"][name]) for e in evals if name in e["metrics"]]
        steps, values = zip(*points, strict=True)
        style = "o--" if kind in kinds else "o-"
        kinds += [kind] if kind not in kinds else []
        panel, color = errors if is_error(name) else axes, _color(len(lines))
        label = f"{kind} {metric}: {values[-1]:.3f}".strip()
        lines += panel.plot(steps, values, style, color=color, ms=4, lw=1.6, label=label)
    for panel in {axes, errors}:
        panel.set_ylim(bottom=0)
    list_below(axes, lines)


def headline_metrics(evals: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names of the first two metrics of every kind, in the order that the evaluators give them."""
    names = dict.fromkeys(name for entry in evals for name in entry["metrics"])
    of_kind: dict[str, list[str]] = {}
    for name in names:
        of_kind.setdefault(name.rpartition("/")[0], []).append(name)
    return [name for kind in of_kind.values() for name in kind[:_PER_KIND]]


def _color(number: int) -> Any:
    """Colour of a curve: ten strong ones, then their ten pale ones, then again."""
    from matplotlib import colormaps

    row, column = divmod(number % 20, 10)
    return colormaps["tab20"](2 * column + row)


def _plot_rate(axes: Axes, train: Sequence[Mapping[str, Any]]) -> None:
    from matplotlib.ticker import MaxNLocator

    style_panel(axes, "learning rate")
    if not train:
        _say(axes, "no training step logged yet")
        return
    marker = "o-" if len(train) == 1 else "-"
    axes.plot([e["step"] for e in train], [e["lr"] for e in train], marker, color="C0")
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.1e}")


def style_panel(axes: Axes, title: str) -> None:
    """Title, grid and an axis of steps, as all panels of curves have them."""
    from matplotlib.ticker import MaxNLocator

    axes.set_title(title, loc="left", fontsize=13, fontweight="bold")
    axes.set_xlabel("step", fontsize=11)
    axes.tick_params(labelsize=10)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.grid(color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def list_below(axes: Axes, lines: Sequence[Line2D]) -> None:
    """List the curves below the panel, where the list hides none of them."""
    style: Any = {"fontsize": 10, "frameon": False, "ncols": min(3, (len(lines) + 1) // 2)}
    axes.legend(handles=lines, loc="upper center", bbox_to_anchor=(0.5, -0.13), **style)


def _say(axes: Axes, text: str) -> None:
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", color="0.5", fontsize=12)
    axes.set_axis_off()
