"""Drawings of a report: curves, bars, histograms and matrices as SVG in the colours of the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from van_dense.report.blocks import Plot
from van_dense.report.svg import ACCENT, FONT_SIZE, INK, MUTED, PAPER, RULE, SERIES, drawing, short
from van_dense.report.svg import svg_of as _svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 460.0  # CSS pixels of a plot; two stand side by side
MAX_BARS = 60
MAX_WRITTEN = 25  # classes; beyond, the cell of a matrix is too small for its number
_MAX_NAMED = 60  # classes; beyond, rows and columns of a matrix have no names
_LEAST = 320.0  # CSS pixels; at the width of a phone letters have 9 of them
_MAX_POINTS = 2000  # of a line; a screen has fewer columns
_DASHES = ("-", "--", "-.", ":")  # tell lines apart where colours do not


_FEW_POINTS = 20  # of a line, whose points are seen as such


def line_plot(
    series: Mapping[str, tuple[np.ndarray, np.ndarray]],
    *,
    x: str,
    y: str,
    alt: str,
    caption: str = "",
    limits: tuple[float, float, float, float] | None = None,
    diagonal: bool = False,
) -> Plot:
    """Draw lines; the first eight have colours and names, further ones are thin and grey.

    Args:
        series: Points (N,) and (N,) by the name of the line, NaN where it has a gap; of more than
            2000 points some are left out.
        x: Name of the horizontal axis.
        y: Name of the vertical axis.
        alt: What the drawing shows, in words.
        caption: A sentence on the drawing.
        limits: Left, right, bottom and top end of the axes; None for those of the points.
        diagonal: Whether to draw the line where both coordinates are equal.
    """
    names = [*series]
    with drawing(WIDTH, 280 + _legend_height(names)) as figure:
        axes = figure.subplots()
        for index in reversed(range(len(names))):  # the first lie on top
            points = _thinned(*series[names[index]])
            [line] = axes.plot(*points, **_line(index))
            if len(points[0]) <= _FEW_POINTS:
                line.set(marker="o", markersize=4)
        if limits is not None:
            axes.axis(limits)
        if diagonal:
            axes.axline((0, 0), slope=1, color=MUTED, linewidth=1, dashes=(2, 3), zorder=1)
        _name_axes(axes, x, y)
        _legend(figure, names)
        return Plot(_svg(figure, least=_LEAST), alt, caption)


def bar_plot(
    values: Mapping[str, float],
    *,
    x: str,
    alt: str,
    caption: str = "",
    intervals: Mapping[str, tuple[float, float]] | None = None,
) -> Plot:
    """Draw horizontal bars from top to bottom, with their values beside them.

    Args:
        values: Lengths of the bars by name; NaN for one that has nothing to measure. Of more than
            60 the caption says that they are left out.
        x: Name of the axis of the values.
        alt: What the drawing shows, in words.
        caption: A sentence on the drawing.
        intervals: Low and high end by name, for some or all of the bars.
    """
    names = [*values][:MAX_BARS]
    lengths = np.array([values[name] for name in names], dtype=np.float64)
    known = {n: i for n, i in (intervals or {}).items() if n in names and not np.isnan(i).any()}
    if len(names) < len(values):
        caption = f"{caption} The first {len(names)} of {len(values)} are drawn.".strip()
    with drawing(WIDTH, 62 + 24 * max(1, len(names))) as figure:
        axes = figure.subplots()
        places = np.arange(len(names))
        axes.barh(places, np.nan_to_num(lengths), 0.62, color=SERIES[0], alpha=0.65)
        for name, ends in known.items():
            place = names.index(name)
            axes.plot(ends, (place, place), color=INK, linewidth=1.4, solid_capstyle="butt")
            axes.plot(ends, (place, place), "|", color=INK, markersize=7, markeredgewidth=1.4)
        beside = axes.get_yaxis_transform()
        for place, length in enumerate(lengths):
            text = "\N{EN DASH}" if np.isnan(length) else f"{length:.3f}"
            axes.text(1.02, place, text, transform=beside, va="center", fontsize=FONT_SIZE - 1)
        if not np.nan_to_num([*lengths, *np.ravel([*known.values()])]).any():
            axes.set_xlim(0, 1)
        axes.axvline(0, color=MUTED, linewidth=1)
        axes.set_yticks(places, [short(name) for name in names], color=INK)
        axes.set_ylim(max(1, len(names)) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        _name_axes(axes, x, "", grid="x")
        return Plot(_svg(figure, least=_LEAST), alt, caption)


def histogram(
    groups: Mapping[str, np.ndarray], *, bins: np.ndarray, x: str, alt: str, caption: str = ""
) -> Plot:
    """Draw how many values of each group fall into each bin.

    Args:
        groups: Values (N,) by the name of their group; NaN is left out, and what lies beyond the
            bins is counted in the first or last.
        bins: Edges of the bins, finite and rising, (K + 1,); the axis is logarithmic where they
            rise by a factor.
        x: Name of the values.
        alt: What the drawing shows, in words.
        caption: A sentence on the drawing.
    """
    from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

    edges = np.asarray(bins, dtype=np.float64)
    if len(edges) < 2 or not np.isfinite(edges).all() or (np.diff(edges) <= 0).any():
        raise ValueError(f"bins must be two or more rising finite edges, got {bins}")
    names = [*groups]
    with drawing(WIDTH, 260 + _legend_height(names)) as figure:
        axes = figure.subplots()
        for index, name in enumerate(names):
            found = np.asarray(groups[name], dtype=np.float64)
            counts, _ = np.histogram(np.clip(found[~np.isnan(found)], edges[0], edges[-1]), edges)
            style = _line(index)
            axes.stairs(counts, edges, fill=True, color=style["color"], alpha=0.15)
            axes.stairs(counts, edges, **style)
        if edges[0] > 0 and len(edges) > 2 and np.ptp(np.diff(np.log(edges))) < 1e-6:
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            axes.xaxis.set_major_formatter("{x:g}")  # its own are formulas
            axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlim(edges[0], edges[-1])
        axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
        _name_axes(axes, x, "number")
        _legend(figure, names)
        return Plot(_svg(figure, least=_LEAST), alt, caption)


def matrix_plot(
    values: np.ndarray,
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    alt: str,
    caption: str = "",
) -> Plot:
    """Draw the fractions of each row in percent; up to 25 rows and columns have their numbers.

    Args:
        values: Counts, or fractions that add up to 1 or less in each row, (R, C); rows without any,
            or of NaN, are empty.
        rows: Names of the R rows.
        columns: Names of the C columns.
        alt: What the drawing shows, in words.
        caption: A sentence on the drawing.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.shape != (len(rows), len(columns)):
        names = f"{len(rows)} rows and {len(columns)} columns"
        raise ValueError(f"the matrix has {names}, but values of shape {values.shape}")
    fractions = _fractions(values)
    largest = max(values.shape, default=0)
    cell = float(np.clip(720 / max(1, largest), 34 if largest <= MAX_WRITTEN else 0.6, 46))
    named = largest <= _MAX_NAMED
    if not named:
        caption = f"{caption} Names of {len(rows)} rows are too many to be written.".strip()
    letters = FONT_SIZE - 1 if cell >= 14 else 9.5
    margin = letters * 0.62 * max((len(short(n, 18)) for n in [*rows, *columns]), default=0) + 16
    margin = margin if named else 8.0
    width, height = len(columns) * cell + margin + 8, len(rows) * cell + margin + 8
    with drawing(width, height) as figure:
        axes = figure.subplots()
        if largest <= MAX_WRITTEN:
            _write_cells(axes, fractions)
        else:
            shades = np.zeros((*fractions.shape, 4))
            shades[..., :3] = np.array((46, 134, 214)) / 255  # contrasts with white and black
            shades[..., 3] = np.where(fractions > 0, 0.15 + 0.85 * fractions**0.5, 0)
            axes.imshow(shades, interpolation="nearest", aspect="equal")
        axes.set(xlim=(-0.5, len(columns) - 0.5), ylim=(len(rows) - 0.5, -0.5), aspect="equal")
        marks = (range(len(columns)), range(len(rows))) if named else ([], [])
        axes.set_xticks(marks[0], [short(n, 18) for n in columns] if named else [], rotation=90)
        axes.set_yticks(marks[1], [short(n, 18) for n in rows] if named else [])
        axes.tick_params(length=0, labelcolor=INK, labelsize=letters)
        axes.xaxis.tick_top()
        for spine in axes.spines.values():
            spine.set(visible=largest > MAX_WRITTEN, color=RULE)
        return Plot(_svg(figure, least=min(width, 0.8 * max(width, 400))), alt, caption)


def _fractions(values: np.ndarray) -> np.ndarray:
    """Fractions of the rows, NaN in those without any."""
    totals = np.nansum(values, axis=1, keepdims=True)
    if not (totals > 1 + 1e-6).any():
        return np.where(totals > 0, values, np.nan)
    return np.divide(values, totals, out=np.full(values.shape, np.nan), where=totals > 0)


def _write_cells(axes: Axes, fractions: np.ndarray) -> None:
    """Cells with numbers.

    No shade lies between those on which the ink and those on which the paper can be read, so from
    a half on cells are much deeper.
    """
    from matplotlib.patches import Rectangle

    for (row, column), fraction in np.ndenumerate(fractions):
        corner = (column - 0.47, row - 0.47)
        if np.isnan(fraction):
            axes.add_patch(Rectangle(corner, 0.94, 0.94, facecolor=RULE, alpha=0.35))
            continue
        is_deep = bool(fraction >= 0.5)
        shade = 0.7 + 0.3 * fraction if is_deep else 0.04 + 0.46 * float(fraction * 2) ** 0.6
        axes.add_patch(Rectangle(corner, 0.94, 0.94, facecolor=ACCENT, alpha=shade))
        if fraction > 0:
            percent = f"{100 * fraction:.0f}" if fraction >= 0.005 else "<1"
            color = PAPER if is_deep else INK
            axes.text(
                column, row, percent, ha="center", va="center", color=color, fontsize=FONT_SIZE - 1
            )


def _thinned(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """At most ``_MAX_POINTS`` of the points of a line, its ends kept."""
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if len(x) > _MAX_POINTS:
        kept = np.linspace(0, len(x) - 1, _MAX_POINTS).round().astype(np.int64)
        x, y = x[kept], y[kept]
    return x, y


def _line(index: int) -> dict[str, Any]:
    """Style of the line of a position."""
    if index >= len(SERIES):
        return {"color": MUTED, "linewidth": 0.8, "alpha": 0.45}
    return {"color": SERIES[index], "linewidth": 2.0, "linestyle": _DASHES[index % 4]}


def _name_axes(axes: Axes, x: str, y: str, *, grid: Literal["both", "x"] = "both") -> None:
    axes.set_xlabel(short(x, 60))
    axes.set_ylabel(short(y, 40))
    axes.grid(axis=grid)
    axes.tick_params(length=0)


def _entries(names: Sequence[str]) -> list[str]:
    """Texts of the legend."""
    entries = [short(name, 24) for name in names[: len(SERIES)]]
    return [*entries, f"{len(names) - len(SERIES)} more"] if len(names) > len(SERIES) else entries


def _columns(entries: Sequence[str]) -> int:
    """How many entries of the legend stand beside each other."""
    widest = 0.56 * FONT_SIZE * max(map(len, entries)) + 62  # its line and gaps
    return max(1, min(4, len(entries), int((WIDTH - 16) // widest)))


def _legend_height(names: Sequence[str]) -> int:
    entries = _entries(names)
    return 20 * -(-len(entries) // _columns(entries)) if len(entries) > 1 else 0


def _legend(figure: Figure, names: Sequence[str]) -> None:
    """Names below the axes, where there are several."""
    from matplotlib.lines import Line2D

    entries = _entries(names)
    if len(entries) < 2:
        return
    lines = [Line2D([], [], **_line(index)) for index in range(len(entries))]
    placeholders = [f"{index}" for index in range(len(entries))]  # "_name" would be left out
    legend = figure.legend(
        lines, placeholders, loc="outside lower left", ncols=_columns(entries), handlelength=2.6
    )
    for text, entry in zip(legend.get_texts(), entries, strict=True):
        text.set_text(entry)
