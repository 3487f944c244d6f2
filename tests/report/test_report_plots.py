"""Drawings: their colours are those of the page, and names are text."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from van_dense.report.page import ASSETS
from van_dense.report.plots import MAX_BARS, bar_plot, histogram, line_plot, matrix_plot

X = np.linspace(0, 1, 101)


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(svg).iter("text")]


def plots():
    yield line_plot(
        {f"class {i}": (X, X**i) for i in range(12)}, x="x", y="y", alt="", diagonal=True
    )
    yield bar_plot({"a": 0.1, "b": -0.2}, x="x", alt="", intervals={"a": (0.0, 0.2)})
    yield histogram({"a": X, "b": X}, bins=np.linspace(0, 1, 5), x="x", alt="")
    yield matrix_plot(np.eye(3), "abc", "abc", alt="")


@pytest.mark.parametrize("plot", [*plots()])
def test_all_colours_are_variables_of_the_page(plot):
    colors = re.findall(r"(?:fill|stroke):([^;\"]+)", plot.svg)
    css = (ASSETS / "page.css").read_text(encoding="utf-8")
    for color in set(colors) - {"none"}:
        name = re.fullmatch(r"var\((--[\w-]+), #\w{6}\)", color)
        assert name and f"{name[1]}: light-dark(" in css, color


@pytest.mark.parametrize("plot", [*plots()])
def test_there_is_no_date_no_style_sheet_no_font_and_no_background(plot):
    root = ElementTree.fromstring(plot.svg)
    assert not [*root.iter("metadata"), *root.iter("style")]
    assert "font-family" not in plot.svg and "DejaVu" not in plot.svg
    background = next(root.iter("path"))
    assert "fill:none" in background.attrib["style"].replace(" ", "")


def test_two_drawings_of_a_page_share_no_ids():
    first, second = (line_plot({"a": (X, y)}, x="x", y="y", alt="") for y in (X, 1 - X))
    found = [set(re.findall(r'\bid="([^"]+)"', plot.svg)) for plot in (first, second)]
    assert found[0] and found[1] and not found[0] & found[1]
    for plot, ids in zip((first, second), found, strict=True):
        assert set(re.findall(r"url\(#([\w-]+)\)", plot.svg)) == ids


def test_a_drawing_is_the_same_twice():
    first, second = (bar_plot({"a": 0.1}, x="x", alt="") for _ in range(2))
    assert first == second


@pytest.mark.parametrize("name", ["$x^2$", "price in $", "_hidden", "<b>&amp;", "猫", "#010203"])
def test_a_name_is_shown_as_it_is(name):
    lines = line_plot({name: (X, X), "other": (X, X)}, x="x", y="y", alt="")
    assert name in texts(lines.svg)
    assert name in texts(bar_plot({name: 0.5}, x=name, alt="").svg)
    assert name in texts(matrix_plot(np.eye(1), [name], [name], alt="").svg)


def test_a_control_character_does_not_break_the_drawing():
    assert r"a\x00b" in texts(bar_plot({"a\x00b": 0.5}, x="x", alt="").svg)


def test_a_long_name_is_cut():
    shown = texts(bar_plot({"n" * 500: 0.5}, x="x", alt="").svg)
    assert max(map(len, shown)) <= 28 and any(text.endswith("n…") for text in shown)


def test_bars_have_their_values_and_nothing_to_measure_has_none():
    shown = texts(bar_plot({"a": 0.1234, "b": float("nan")}, x="x", alt="").svg)
    assert "0.123" in shown and "\N{EN DASH}" in shown


def test_bars_beyond_sixty_are_counted():
    plot = bar_plot({f"{i}": 0.5 for i in range(100)}, x="x", alt="", caption="Bars.")
    assert plot.caption == f"Bars. The first {MAX_BARS} of 100 are drawn."


def test_no_bars_and_no_lines_are_empty_drawings():
    for plot in (bar_plot({}, x="x", alt=""), line_plot({}, x="x", y="y", alt="")):
        assert plot.svg.startswith("<svg")


@pytest.mark.parametrize("values", [[[1, 3], [0, 0]], [[0.25, 0.75], [np.nan, np.nan]]])
def test_a_matrix_shows_fractions_of_rows_in_percent(values):
    shown = texts(matrix_plot(np.array(values), ["r", "s"], ["c", "d"], alt="").svg)
    assert sorted(shown) == ["25", "75", "c", "d", "r", "s"]


@pytest.mark.parametrize("num", [26, 61, 1000])
def test_a_large_matrix_has_no_numbers_and_stays_small(num):
    names = [f"class {i}" for i in range(num)]
    plot = matrix_plot(np.eye(num), names, names, alt="")
    assert len(texts(plot.svg)) == (2 * num if num <= 60 else 0)
    assert len(plot.svg) < 100_000


def test_a_long_line_is_thinned():
    x = np.arange(1_000_000.0)
    rng = np.random.default_rng(0)
    assert len(line_plot({"a": (x, rng.random(len(x)))}, x="x", y="y", alt="").svg) < 60_000


def test_values_beyond_the_bins_are_counted_and_bad_bins_refused():
    histogram({"a": np.array([-1, np.inf, np.nan])}, bins=np.array([1, 2, 4]), x="x", alt="")
    with pytest.raises(ValueError, match="finite edges"):
        histogram({"a": X}, bins=np.array([0, 1, np.inf]), x="x", alt="")


def luminance(color: str) -> float:
    parts = (int(color[i : i + 2], 16) / 255 for i in (1, 3, 5))
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_lines_and_text_can_be_told_from_the_paper(theme):
    css = (ASSETS / "page.css").read_text(encoding="utf-8")
    pairs = re.findall(r"--([\w-]+): light-dark\((#\w{6}), (#\w{6})\)", css)
    colors = {name: values[theme] for name, *values in pairs}
    for name, color in colors.items():
        for ground in (colors["paper"], colors["card"]):
            if name in ("ink", "muted", "accent"):
                assert contrast(color, ground) >= 4.5, name
            elif name.startswith("series"):
                assert contrast(color, ground) >= 3, name
