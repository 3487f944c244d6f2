"""What a report is made of, before it becomes a page; text is plain, and escaped by the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

Cell: TypeAlias = str | int | float | None


@dataclass(frozen=True)
class Number:
    """A headline number.

    Attributes:
        label: What it is, such as "bbox/AP".
        value: The number itself; NaN where there is nothing to measure.
        low: Lower end of its interval; None without one.
        high: Upper end of its interval; None without one.
        note: A few words on it.
    """

    label: str
    value: float
    low: float | None = None
    high: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Numbers:
    """Headline numbers beside each other."""

    numbers: Sequence[Number]


@dataclass(frozen=True)
class Text:
    """Paragraphs."""

    paragraphs: Sequence[str]


@dataclass(frozen=True)
class Table:
    """A table that sorts by any column.

    Attributes:
        columns: Heads of the columns.
        rows: Cells; floats are fractions or errors and shown with three decimals, NaN and None as
            nothing to measure, integers as counts.
        caption: A sentence on it.
        sorted_by: Index of the column that it is first sorted by, the largest first; None keeps the
            order of the rows.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    caption: str = ""
    sorted_by: int | None = None


@dataclass(frozen=True)
class Plot:
    """A drawing.

    Attributes:
        svg: What ``plots`` draws; its colours are those of the page, light or dark.
        alt: What it shows, in words, for who cannot see it.
        caption: A sentence on it.
    """

    svg: str
    alt: str
    caption: str = ""


@dataclass(frozen=True)
class Picture:
    """An image of a gallery.

    Attributes:
        image: RGB, uint8 (H, W, 3), of any size.
        alt: What it shows, in words.
        caption: A line below it.
    """

    image: np.ndarray
    alt: str
    caption: str = ""


@dataclass(frozen=True)
class Gallery:
    """Pictures that enlarge."""

    pictures: Sequence[Picture]
    caption: str = ""


Block: TypeAlias = Numbers | Text | Table | Plot | Gallery


@dataclass(frozen=True)
class Section:
    """Blocks below a heading."""

    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Finding:
    """A sentence on what costs most or what to look at next, backed by a number of the page.

    Attributes:
        text: The sentence, with its number.
        weight: What it costs, in the units of the headline metric: the largest are read first.
        section: Title of the section that shows it.
    """

    text: str
    weight: float
    section: str


@dataclass(frozen=True)
class Report:
    """Everything that one page says.

    Attributes:
        title: What the page is called, such as the name of the run.
        subtitle: What was compared with what, and how many images.
        sections: In the order of the page; the headline numbers come first.
        findings: What to do next, in any order.
        numbers: All values by flat name, as report.json holds them.
        findings_title: Heading of the findings.
    """

    title: str
    subtitle: str
    sections: Sequence[Section]
    findings: Sequence[Finding] = ()
    numbers: dict[str, float] = field(default_factory=dict)
    findings_title: str = "What costs most, and what to look at next"
