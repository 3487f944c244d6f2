"""Sizes of the boxes of a part as one PNG, beside the anchors of the config.

Legend: N boxes; sizes are in pixels of the resized images.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from van_dense.core.counting import counted
from van_dense.data.doctor.box_report import BoxStatistics
from van_dense.data.doctor.boxes import LIMITS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MAX_POINTS = 20_000  # more only blacken the picture, and are drawn as an even sample
_BINS = 60
_ANCHOR, _MISSED = "C1", "C3"  # colours


def plot_boxes(statistics: BoxStatistics, path: Path) -> None:
    """Draw widths and heights, sizes, aspect ratios, and the objects of each image.

    Boxes that no anchor reaches, at any size of their own part, are red. Grey lines stand for 8,
    16 and 32 pixels, orange ones for anchors.

    Args:
        statistics: Boxes of a part, at least one.
        path: PNG file to write.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(15, 9), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(2, 2, width_ratios=(1.1, 1))
    _plot_points(panels[0, 0], statistics)
    _plot_sides(panels[0, 1], statistics)
    _plot_ratios(panels[1, 0], statistics)
    _plot_counts(panels[1, 1], statistics)
    for axes in panels.flat:
        axes.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def _anchor_sides(statistics: BoxStatistics) -> tuple[np.ndarray, np.ndarray]:
    """Widths and heights of all anchor shapes, empty without anchors."""
    rule = statistics.setting.rule
    if rule is None:
        return np.zeros(0), np.zeros(0)
    shapes = np.concatenate([level.shapes for level in rule.levels])
    width, height = (shapes[:, 2:] - shapes[:, :2]).T
    return width, height


def _title(axes: Axes, text: str) -> None:
    axes.set_title(text, loc="left", fontsize=12, fontweight="bold")


def _plot_points(axes: Axes, statistics: BoxStatistics) -> None:
    from matplotlib.patheffects import withStroke

    seen = statistics.largest
    step = -(-len(seen.boxes) // _MAX_POINTS)
    width, height = (seen.boxes[::step, 2:] - seen.boxes[::step, :2]).T
    missed = np.zeros(len(width), dtype=bool)
    if statistics.unreached is not None:
        missed = statistics.unreached[::step]
    style: dict[str, Any] = {"linewidths": 0, "rasterized": True}
    axes.scatter(
        width[~missed], height[~missed], color="C0", s=8, alpha=0.4, label="boxes", **style
    )
    if missed.any():
        label = f"reached by no anchor, {statistics.unreached.mean():.1%}"  # type: ignore[union-attr]
        axes.scatter(
            width[missed], height[missed], color=_MISSED, s=14, alpha=0.8, label=label, **style
        )
    anchors = _anchor_sides(statistics)
    if len(anchors[0]):
        axes.scatter(*anchors, marker="+", color=_ANCHOR, s=70, label="anchors")
    low, high = float(min(width.min(), height.min())), float(max(width.max(), height.max()))
    line = np.geomspace(low, high, 50)
    halo = [withStroke(linewidth=3, foreground="white")]
    for limit in LIMITS:
        axes.plot(line, limit**2 / line, color="0.6", linewidth=0.8, linestyle=":")
        if low < limit < high:
            bold: dict[str, Any] = {
                "fontsize": 11,
                "fontweight": "bold",
                "path_effects": halo,
                "zorder": 5,
            }
            axes.text(limit, limit, f"{limit} px", ha="center", va="center", **bold)
    axes.set(xscale="log", yscale="log", xlabel="width, px", ylabel="height, px")
    axes.set_xlim(low * 0.9, high * 1.1)
    axes.set_ylim(low * 0.9, high * 1.1)
    _plain_ticks(axes, "both")
    _title(axes, f"{counted(len(seen.boxes), 'box')}, {seen.view.name} px")
    for handle in axes.legend(loc="upper left", fontsize=10).legend_handles:
        handle.set_alpha(1)  # type: ignore[union-attr]


def _plot_sides(axes: Axes, statistics: BoxStatistics) -> None:
    found = [seen.sides for seen in statistics.seen]
    low, high = min(map(np.min, found)), max(map(np.max, found))
    bins = np.geomspace(float(low) * 0.99, float(high) * 1.01, _BINS)
    for seen in statistics.seen:
        share = f"{np.mean(seen.sides < LIMITS[-1]):.0%} below {LIMITS[-1]} px"
        label = f"{seen.view.name}: {share}"
        axes.hist(seen.sides, bins=bins.tolist(), histtype="step", linewidth=1.6, label=label)
    for limit in LIMITS:
        axes.axvline(limit, color="0.6", linewidth=0.8, linestyle=":")
    width, height = _anchor_sides(statistics)
    for side in np.unique(np.round(np.sqrt(width * height))):
        axes.axvline(side, color=_ANCHOR, linewidth=0.8, alpha=0.7)
    axes.set(xscale="log", xlabel="square root of the area, px", ylabel="boxes")
    axes.set_xlim(bins[0], bins[-1])
    axes.set_ylim(top=axes.get_ylim()[1] * 1.3)  # room for the legend
    _plain_ticks(axes, "x")
    _title(axes, "sizes, with those of the anchors")
    axes.legend(fontsize=10, loc="upper left")


def _plot_ratios(axes: Axes, statistics: BoxStatistics) -> None:
    ratios = statistics.table.ratios
    bins = np.geomspace(float(ratios.min()) * 0.99, float(ratios.max()) * 1.01, _BINS)
    axes.hist(ratios, bins=bins.tolist(), color="C0", alpha=0.5, label="boxes")
    if statistics.unreached is not None and statistics.unreached.any():
        missed = ratios[statistics.unreached]
        axes.hist(missed, bins=bins.tolist(), color=_MISSED, label="reached by no anchor")
    width, height = _anchor_sides(statistics)
    for ratio in np.unique(np.round(height / np.maximum(width, 1e-9), 2)):
        axes.axvline(ratio, color=_ANCHOR, linewidth=0.8, alpha=0.7)
    axes.set(xscale="log", xlabel="height / width", ylabel="boxes")
    _plain_ticks(axes, "x")
    _title(axes, "aspect ratios, with those of the anchors")
    axes.legend(fontsize=10)


def _plot_counts(axes: Axes, statistics: BoxStatistics) -> None:
    counts = statistics.table.per_image
    top = int(counts.max())
    bins = np.arange(-0.5, top + 1.5, max(1, -(-top // _BINS)))
    axes.hist(counts, bins=bins.tolist(), color="C0", alpha=0.5)
    axes.axvline(float(np.median(counts)), color="0.3", linewidth=1.2)
    axes.set(xlabel="objects of an image", ylabel="images")
    _title(axes, f"objects of an image: median {np.median(counts):g}, at most {top}")


def _plain_ticks(axes: Axes, which: str) -> None:
    """Numbers such as 20 and 500 on a logarithmic axis, and no powers of ten."""
    from matplotlib.ticker import LogLocator, NullFormatter

    for name, axis in (("x", axes.xaxis), ("y", axes.yaxis)):
        if which in (name, "both"):
            axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.set_major_formatter(lambda value, _: f"{value:g}")
            axis.set_minor_formatter(NullFormatter())
