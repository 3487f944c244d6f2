"""Reports with every kind of block, and as large as data sets are."""

from __future__ import annotations

import numpy as np

from van_dense.report.blocks import (
    Finding,
    Gallery,
    Number,
    Numbers,
    Picture,
    Report,
    Section,
    Table,
    Text,
)
from van_dense.report.plots import bar_plot, histogram, line_plot, matrix_plot

NAN = float("nan")
HOSTILE = "<script>alert('x')</script> & \"more\""


def picture(name: str, height: int = 48, width: int = 64) -> Picture:
    image = np.full((height, width, 3), 120, np.uint8)
    image[height // 4 : height // 2, width // 4 : width // 2] = (200, 30, 30)
    return Picture(image, f"Objects of {name}", name)


def sample_report() -> Report:
    """Every kind of block, with names of classes that could be markup."""
    x = np.linspace(0, 1, 11)
    classes = Table(
        ["class", "objects", "AP"],
        [["cat", 12, 0.5], ["dog", 1234567, NAN], [HOSTILE, 3, 0.75], ["bird", 30, None]],
        "The classes.",
        sorted_by=2,
    )
    sections = [
        Section(
            "Numbers",
            [
                Numbers([Number("AP", 0.412, 0.389, 0.431), Number("AP of small", NAN)]),
                Text(["One paragraph.", HOSTILE]),
            ],
        ),
        Section(
            "Errors & costs",
            [
                bar_plot({"missed": 0.1, HOSTILE: 0.2}, x="AP", alt="Bars", caption="Costs."),
                line_plot({"cat": (x, x)}, x="recall", y="precision", alt="A line"),
                line_plot({"cat": (x, 1 - x)}, x="recall", y="precision", alt="A line"),
                histogram({"a": x}, bins=np.linspace(0, 1, 5), x="score", alt="A histogram"),
            ],
        ),
        Section("Classes", [classes, matrix_plot(np.eye(2), ["a", "b"], ["a", "b"], alt="Two")]),
        Section("Pictures", [Gallery([picture(f"{i}.jpg") for i in range(15)], "The worst.")]),
    ]
    findings = [
        Finding("Dogs cost 0.020.", 0.02, "Classes"),
        Finding(f"{HOSTILE} costs 0.100.", 0.1, "Errors & costs"),
        Finding("Nobody knows this.", NAN, "Pictures"),
    ]
    return Report(f"run {HOSTILE}", "10 images", sections, findings, {"AP": 0.412, "none": NAN})


def large_report() -> Report:
    """5,000 images in a table and as pictures that JPEG cannot shrink."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (8, 480, 640, 3), dtype=np.uint8)
    pictures = [Picture(noise[i % 8], f"Image {i}", f"{i:012d}.jpg") for i in range(5000)]
    columns = ["image", "objects", *(f"value {i}" for i in range(6))]
    rows = [[f"{i:012d}.jpg", i, *rng.random(6).tolist()] for i in range(5000)]
    blocks = [Table(columns, rows, sorted_by=2), Gallery(pictures)]
    return Report("5,000 images", "", [Section("Images", blocks)])
