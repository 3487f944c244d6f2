"""The page of a report: one HTML file that asks for nothing else, and its numbers as JSON.

Names of classes and files may hold anything, so all text is escaped (``markup``), and the page has
a policy by which browsers load nothing and run no script but its own.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from van_dense.core.writing import write_whole
from van_dense.report.blocks import (
    Block,
    Gallery,
    Numbers,
    Plot,
    Report,
    Section,
    Table,
    Text,
)
from van_dense.report.markup import Html, element, joined
from van_dense.report.tables import numbers_html, shown, table_html
from van_dense.report.thumbnails import Thumbnail, image_of, thumbnails

ASSETS = Path(__file__).parent / "assets"
MAX_BYTES = 20_000_000
_TABLE_BYTES = 6_000_000  # of all tables
_PICTURE_BYTES = 11_000_000  # of all pictures; drawings and text have the rest
_SHORT_GALLERY = 12  # pictures of a gallery that are shown at first
_WIDE = 1.75  # width by height, from which pictures of several panels get more room
_FIRST_FINDINGS = 6  # shown; the others unfold


def write_page(report: Report, path: Path) -> None:
    """Write a report as one HTML file below 20 MB, which is read without a network.

    Pictures get smaller where there are many, and the last ones are left out where there are too
    many, as are the last rows of tables; the page says how many.

    Args:
        report: What the page says.
        path: HTML file to write; its folder must be there.
    """
    write_whole(path, page_html(report))


def write_numbers(report: Report, path: Path) -> None:
    """Write the numbers of a report as a JSON object, null where there is nothing to measure."""
    numbers = {
        name: value if isinstance(value, int) else float(value) if math.isfinite(value) else None
        for name, value in report.numbers.items()
    }
    write_whole(path, json.dumps(numbers, indent=1, allow_nan=False) + "\n")


def page_html(report: Report) -> str:
    """Text of the page."""
    ids = _ids(report.sections)
    titles = [(section.title, id_) for section, id_ in zip(report.sections, ids, strict=True)]
    findings = _findings(report, dict(reversed(titles)))
    links = [*([(report.findings_title, "findings")] if report.findings else []), *titles]
    entries = [element("li", element("a", title, href=f"#{id_}")) for title, id_ in links]
    nav = element("nav", element("ul", *entries), aria_label="Sections")
    toggle = element("button", "Dark", type="button", id="theme", hidden=True, aria_pressed="false")
    body = element(
        "body",
        element("a", "Skip to the report", class_="skip", href="#main"),
        element("header", _titles(report), toggle),
        element("div", nav, element("main", findings, *_sections(report, ids), id="main")),
        element("footer", element("p", "Written by van_dense.")),
        _dialog(),
    )
    return f"<!DOCTYPE html>\n{element('html', _head(report), body, lang='en')}\n"


def _head(report: Report) -> Html:
    script = (ASSETS / "page.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
        f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    return element(
        "head",
        element("meta", charset="utf-8"),
        Html(f'<meta http-equiv="Content-Security-Policy" content="{policy}">'),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", report.title),
        element("link", rel="icon", href="data:,"),
        element("style", Html((ASSETS / "page.css").read_text(encoding="utf-8"))),
        element("script", Html(script)),
    )


def _titles(report: Report) -> Html:
    subtitle = [element("p", report.subtitle)] if report.subtitle else []
    return element("div", element("h1", report.title), *subtitle)


def _ids(sections: Sequence[Section]) -> list[str]:
    """Names of the sections in links."""
    ids: list[str] = []
    taken = {"main", "findings", "theme", "viewer", ""}
    for number, section in enumerate(sections, 1):
        words = re.sub(r"[^a-z0-9]+", "-", section.title.lower()).strip("-")
        ids.append(f"{words}-{number}".strip("-") if words in taken else words)
        taken.add(ids[-1])
    return ids


def _findings(report: Report, ids: dict[str, str]) -> Html:
    """What to do next, with links to the sections by title."""
    findings = report.findings
    if not findings:
        return Html()
    unknown = sorted({finding.section for finding in findings} - ids.keys())
    if unknown:
        raise ValueError(f"findings name sections {unknown}, and the report has {[*ids]}")
    known = sorted(findings, key=lambda f: (math.isnan(f.weight), -f.weight))
    sentences = [
        element("li", f"{f.text} ", element("a", f.section, href=f"#{ids[f.section]}"))
        for f in known
    ]
    first, others = sentences[:_FIRST_FINDINGS], sentences[_FIRST_FINDINGS:]
    parts = [element("h2", report.findings_title, id="findings-title"), element("ol", *first)]
    if others:
        rest = element("ol", *others, start=len(first) + 1)
        parts.append(element("details", element("summary", f"{len(others)} more"), rest))
    return element("section", *parts, id="findings", aria_labelledby="findings-title")


def _sections(report: Report, ids: Sequence[str]) -> list[Html]:
    """All sections; tables and drawings first, then pictures in the room that is left."""
    blocks = [block for section in report.sections for block in section.blocks]
    tables = [block for block in blocks if isinstance(block, Table)]
    galleries = [block for block in blocks if isinstance(block, Gallery)]
    html: dict[int, Html] = {}
    room, used = _TABLE_BYTES, 0
    for index, table in enumerate(sorted(tables, key=lambda table: len(table.rows))):
        html[id(table)], size = table_html(table, room // (len(tables) - index))
        room, used = room - size, used + size
    used += sum(len(block.svg) for block in blocks if isinstance(block, Plot))
    left = max(0, min(_PICTURE_BYTES, MAX_BYTES - 1_000_000 - used))
    made = thumbnails([gallery.pictures for gallery in galleries], left)
    for gallery, found in zip(galleries, made, strict=True):
        html[id(gallery)] = _gallery(gallery, found)
    return [_section(section, id_, html) for section, id_ in zip(report.sections, ids, strict=True)]


def _section(section: Section, id_: str, html: dict[int, Html]) -> Html:
    """A section; drawings that follow each other stand side by side."""
    parts: list[Html] = []
    for is_plot, group in groupby(section.blocks, lambda block: isinstance(block, Plot)):
        found = [_block(block, html) for block in group]
        parts += [element("div", *found, class_="plots")] if is_plot else found
    title = element("h2", section.title, id=f"{id_}-title")
    return element("section", title, *parts, id=id_, aria_labelledby=f"{id_}-title")


def _block(block: Block, html: dict[int, Html]) -> Html:
    if isinstance(block, Numbers):
        return numbers_html(block)
    if isinstance(block, Text):
        return joined(*(element("p", text) for text in block.paragraphs))
    if isinstance(block, Plot):
        drawing = element("div", Html(block.svg), role="img", aria_label=block.alt)
        caption = [element("figcaption", block.caption)] if block.caption else []
        box = element("div", drawing, class_="scroll", role="group", aria_label="Drawing")
        return element("figure", box, *caption, class_="plot")
    return html[id(block)]


def _gallery(gallery: Gallery, found: Sequence[Thumbnail]) -> Html:
    caption = gallery.caption
    num = len(gallery.pictures)
    if len(found) < num:
        left_out = f"{shown(num - len(found))} of {shown(num)} pictures are left out"
        caption = f"{caption} {left_out}, since the page would be too large.".strip()
    figures = [
        element(
            "figure",
            element("button", image_of(thumbnail), type="button"),
            element("figcaption", thumbnail.picture.caption),
        )
        for thumbnail in found
    ]
    note = [element("p", caption, class_="caption")] if caption else []
    widths = sorted(thumbnail.size[1] / thumbnail.size[0] for thumbnail in found)
    is_wide = bool(widths) and widths[len(widths) // 2] > _WIDE
    class_ = "pictures wide" if is_wide else "pictures"
    grid = element("div", *figures, class_=class_, data_short=_SHORT_GALLERY)
    return element("div", *note, grid, class_="gallery")


def _dialog() -> Html:
    """Where pictures enlarge."""
    buttons = [
        element("button", sign, type="button", aria_label=name, data_step=step)
        for sign, name, step in (
            ("\N{LEFTWARDS ARROW}", "Previous picture", -1),
            ("\N{RIGHTWARDS ARROW}", "Next picture", 1),
            ("\N{MULTIPLICATION SIGN}", "Close", 0),
        )
    ]
    caption = element("p", id="viewer-caption", aria_live="polite")
    bar = element("div", caption, *buttons, class_="bar")
    image = element("img", alt="")
    return element("dialog", bar, image, id="viewer", aria_label="Picture")
