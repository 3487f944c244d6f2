"""Numbers and tables of a page."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from numbers import Integral, Real

from van_dense.report.blocks import Cell, Number, Numbers, Table
from van_dense.report.markup import Html, element, joined

SHORT = 20  # rows of a table that are shown at first
_THIN = "\N{NARROW NO-BREAK SPACE}"
_NOTHING = element("span", "\N{EN DASH}", class_="nothing", title="nothing to measure")


def shown(value: Cell) -> str:
    """Text of a cell: fractions with three decimals, counts in groups of three digits."""
    if is_empty(value):
        return "\N{EN DASH}"
    if isinstance(value, Integral):  # of NumPy as well
        return f"{int(value):,}".replace(",", _THIN)
    if isinstance(value, Real):
        if math.isinf(value):
            return f"{value}"
        return f"{round(float(value), 3) + 0.0:,.3f}".replace(",", _THIN)  # never -0.000
    return str(value)


def is_empty(value: Cell) -> bool:
    """Whether a cell has nothing to show."""
    return value is None or value == "" or (isinstance(value, Real) and math.isnan(value))


def numbers_html(block: Numbers) -> Html:
    """Cards of headline numbers."""
    return element("dl", *map(_card, block.numbers), class_="numbers")


def table_html(table: Table, room: int) -> tuple[Html, int]:
    """A table, and the bytes that it takes.

    Args:
        table: What it holds.
        room: Bytes that its rows may take; the last ones are left out, with a sentence.
    """
    rows = [*table.rows]
    for row in rows:
        if len(row) != len(table.columns):
            raise ValueError(f"a row of {len(row)} cells in a table of columns {table.columns}")
    if table.sorted_by is not None:
        rows = _sorted(rows, table.sorted_by)
    are_numbers = [_is_numeric(row[i] for row in rows) for i in range(len(table.columns))]
    lines: list[str] = []
    size = 0
    for row in rows:
        line = element("tr", *map(_cell, row, range(len(row)), are_numbers))
        size += len(line.encode(errors="replace"))
        if size > room:
            break
        lines.append(line)
    heads = [
        _head(name, is_number, index == table.sorted_by)
        for index, (name, is_number) in enumerate(zip(table.columns, are_numbers, strict=True))
    ]
    caption = table.caption
    if len(lines) < len(rows):
        left_out = f"{shown(len(rows) - len(lines))} of {shown(len(rows))} rows are left out."
        caption = f"{caption} {left_out}".strip()
    html = element(
        "table",
        element("thead", element("tr", *heads)),
        element("tbody", Html("\n".join(lines)), data_short=SHORT),
    )
    label = caption or f"Table of {', '.join(table.columns)}"
    box = element("div", html, class_="scroll", role="group", aria_label=label)
    words = element("p", caption, class_="caption") if caption else Html()
    return element("div", words, box, class_="table"), size  # words wrap at the page, not the table


def _sorted(rows: Sequence[Sequence[Cell]], column: int) -> list[Sequence[Cell]]:
    """Rows with the largest cell of a column first, numbers before text, and nothing last."""
    full = [row for row in rows if not is_empty(row[column])]
    numbers = [row for row in full if isinstance(row[column], Real)]
    texts = [row for row in full if not isinstance(row[column], Real)]
    numbers.sort(key=lambda row: float(row[column] or 0), reverse=True)
    texts.sort(key=lambda row: str(row[column]).casefold(), reverse=True)
    return [*numbers, *texts, *(row for row in rows if is_empty(row[column]))]


def _is_numeric(cells: Iterable[Cell]) -> bool:
    found = [*cells]
    full = [cell for cell in found if not is_empty(cell)]
    return bool(found) and "" not in found and all(isinstance(cell, Real) for cell in full)


def _head(name: str, is_number: bool, is_sorted: bool) -> Html:
    direction = "descending" if is_sorted else None
    button = element("button", name, type="button")
    class_ = "number" if is_number else None
    return element("th", button, scope="col", aria_sort=direction, class_=class_)


def _cell(value: Cell, column: int, is_number: bool) -> Html:
    """A cell; what sorts it is its text, or ``data-v`` where digits are not shown."""
    class_ = "number" if is_number else None
    if is_empty(value):
        return element("td", _NOTHING, class_=class_)
    exact = isinstance(value, Real) and not isinstance(value, Integral)
    key = f"{float(value or 0):.7g}" if exact else None
    if column == 0 and not is_number:
        return element("th", shown(value), scope="row")
    return element("td", shown(value), class_=class_, data_v=key)


def _breakable(name: str) -> list[Html]:
    """A name that may go on in the next line behind each underscore."""
    first, *others = name.split("_")
    return [joined(first), *(joined("_", Html("<wbr>"), part) for part in others)]


def _card(number: Number) -> Html:
    value = _NOTHING if is_empty(number.value) else shown(number.value)
    parts: list[Html] = []
    if number.low is not None and number.high is not None and not is_empty(number.low):
        interval = f"{shown(number.low)} to {shown(number.high)}"
        hidden = element("span", ", ", class_="hidden")  # reads "0.412, 0.389 to 0.431"
        parts.append(joined(hidden, element("span", interval, class_="interval")))
    note = [element("dd", number.note, class_="note")] if number.note else []
    return element(
        "div",
        element("dt", joined(*_breakable(number.label))),
        element("dd", element("span", value, class_="value"), *parts),
        *note,
    )
