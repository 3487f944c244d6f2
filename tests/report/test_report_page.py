"""The page of a report: what it says, that names are text, and that it asks for nothing else."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from helpers.report_page import HOSTILE, NAN, large_report, picture, sample_report

from van_dense.report.blocks import (
    Finding,
    Gallery,
    Number,
    Numbers,
    Picture,
    Report,
    Section,
    Table,
)
from van_dense.report.markup import Html, element
from van_dense.report.page import MAX_BYTES, page_html, write_numbers, write_page
from van_dense.report.tables import shown
from van_dense.report.thumbnails import thumbnails

VOID = {"meta", "link", "img"}


class Page(HTMLParser):
    """Elements with their attributes and the text inside; fails where ends do not match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[dict] = []
        self.elements: list[dict] = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.elements.append({"tag": tag, "text": "", **dict(attrs)})
        if tag not in VOID:
            self.open.append(self.elements[-1])

    def handle_startendtag(self, tag, attrs):
        self.elements.append({"tag": tag, "text": "", **dict(attrs)})

    def handle_endtag(self, tag):
        assert self.open.pop()["tag"] == tag

    def handle_data(self, data):
        for found in self.open:
            found["text"] += data

    def all(self, tag: str, **attributes: str) -> list[dict]:
        wanted = {name.rstrip("_"): value for name, value in attributes.items()}
        return [e for e in self.elements if e["tag"] == tag and wanted.items() <= e.items()]


@pytest.fixture
def report() -> Report:
    return sample_report()


@pytest.fixture
def text(report, tmp_path) -> str:
    write_page(report, tmp_path / "report.html")
    return (tmp_path / "report.html").read_text(encoding="utf-8")


@pytest.fixture
def page(text) -> Page:
    return Page(text)


def column(page: Page, index: int) -> list[str]:
    """Texts of a column of the first table."""
    cells = [e for e in page.elements if e["tag"] == "td" or e.get("scope") == "row"]
    return [cell["text"] for cell in cells][index::3]


def test_headings_are_in_order_and_landmarks_there(page):
    levels = [e["tag"] for e in page.elements if re.fullmatch("h[1-6]", e["tag"])]
    assert levels == ["h1", *["h2"] * 5]
    for landmark in ("header", "nav", "main", "footer"):
        assert len(page.all(landmark)) == 1
    assert page.all("html")[0]["lang"] == "en"


def test_links_lead_to_what_is_there(page):
    ids = [e["id"] for e in page.elements if "id" in e]
    assert len(ids) == len(set(ids))
    links = [e["href"] for e in page.all("a")]
    assert links[0] == "#main"
    assert {link.removeprefix("#") for link in links} <= set(ids)


def test_the_findings_come_first_the_largest_before_the_others(page):
    assert page.all("h2")[0]["text"] == "What costs most, and what to look at next"
    sentences = [e["text"] for e in page.all("li") if "cost" in e["text"] and "." in e["text"]]
    assert sentences == [f"{HOSTILE} costs 0.100. Errors & costs", "Dogs cost 0.020. Classes"]
    assert page.all("li")[-1]["text"].startswith("Nobody knows")
    assert page.all("a", text="Errors & costs")[-1]["href"] == "#errors-costs"


def test_a_finding_of_no_section_is_an_error(report):
    wrong = replace(report, findings=[Finding("This.", 1.0, "Nowhere")])
    with pytest.raises(ValueError, match="Nowhere"):
        page_html(wrong)


def test_a_number_is_read_with_its_interval(page):
    cards = [e["text"] for e in page.all("div") if "class" not in e and "AP" in e["text"]]
    assert "AP0.412, 0.389 to 0.431" in cards
    assert "AP of small\N{EN DASH}" in cards


def test_names_are_text_everywhere(text, page):
    assert "<script>alert" not in text
    assert text.count("<script>") == 1
    assert HOSTILE in page.all("title")[0]["text"]
    assert HOSTILE in column(page, 0)
    assert any(HOSTILE in e["text"] for e in page.all("p"))


@pytest.mark.parametrize(
    "odd", ['" onload="x', "</title>", "\ud800", "\x00", "a\u202eb", "{{ 1 }}"]
)
def test_any_text_can_be_written(odd, tmp_path):
    blocks = [Table([odd], [[odd]], odd), Gallery([picture(odd)], odd)]
    write_page(Report(odd, odd, [Section(odd, blocks)]), tmp_path / "a.html")
    page = Page((tmp_path / "a.html").read_text(encoding="utf-8"))
    assert not [e for e in page.elements if "onload" in e]
    assert len(page.all("img")) == 2  # one of the viewer


def test_text_is_escaped_by_type():
    assert (
        element("p", "<b>", Html("<i></i>"), class_='"') == '<p class="&quot;">&lt;b&gt;<i></i></p>'
    )


def test_it_asks_for_nothing(text, page):
    policy = page.all("meta")[1]["content"]
    assert "default-src 'none'" in policy and "img-src data:" in policy
    script = page.all("script")[0]["text"].encode()
    assert f"'sha256-{base64.b64encode(hashlib.sha256(script).digest()).decode()}'" in policy
    for found in page.elements:
        assert "src" not in found or found["src"].startswith("data:")
        assert "href" not in found or found["href"].startswith(("#", "data:"))
    assert not re.search(r"https?:|@import|url\((?!#)", text)


def test_a_table_is_sorted_and_says_so(page):
    assert column(page, 0) == [HOSTILE, "cat", "dog", "bird"]  # nothing to measure is last
    assert column(page, 2) == ["0.750", "0.500", "\N{EN DASH}", "\N{EN DASH}"]
    heads = page.all("th", scope="col")
    assert [e.get("aria-sort") for e in heads] == [None, None, "descending"]
    buttons = [e["text"] for e in page.all("button", type="button")]
    assert {"class", "objects", "AP"} <= set(buttons)


def test_what_sorts_a_fraction_is_exact():
    rows = [["a", 0.1234567], ["b", 1 / 3]]
    text = page_html(Report("", "", [Section("s", [Table(["n", "v"], rows)])]))
    assert 'data-v="0.1234567">0.123<' in text and 'data-v="0.3333333">0.333<' in text


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.41249, "0.412"),
        (-0.0001, "0.000"),
        (1234567, "1\u202f234\u202f567"),
        (np.int64(1000), "1\u202f000"),
        (np.float32(0.5), "0.500"),
        (1234.5, "1\u202f234.500"),
        (NAN, "\N{EN DASH}"),
        (None, "\N{EN DASH}"),
        (float("inf"), "inf"),
        ("12", "12"),
    ],
)
def test_numbers_are_written_for_people(value, expected):
    assert shown(value) == expected


def test_a_row_of_another_length_is_an_error():
    with pytest.raises(ValueError, match="2 cells"):
        page_html(Report("", "", [Section("s", [Table(["a"], [["b", 1]])])]))


def test_drawings_and_pictures_have_words(page):
    assert [e["aria-label"] for e in page.all("div", role="img")] == [
        *("Bars", "A line", "A line", "A histogram", "Two")
    ]
    images = page.all("img")
    assert [e["alt"] for e in images[:15]] == [f"Objects of {i}.jpg" for i in range(15)]
    assert (images[0]["width"], images[0]["height"]) == ("64", "48")


def test_sections_of_one_title_have_ids_of_their_own():
    sections = [Section(title, []) for title in ("A", "A", "猫", "main", "findings")]
    page = Page(page_html(Report("", "", sections)))
    assert [e["id"] for e in page.all("section")] == ["a", "a-2", "3", "main-4", "findings-5"]


def test_an_empty_report_is_a_page():
    page = Page(page_html(Report("", "", [])))
    assert not page.all("h2")


def test_a_large_report_stays_below_20_mb_and_says_what_it_leaves_out(tmp_path):
    write_page(large_report(), tmp_path / "a.html")
    size = (tmp_path / "a.html").stat().st_size
    assert size < MAX_BYTES
    page = Page((tmp_path / "a.html").read_text(encoding="utf-8"))
    assert len(page.all("tr")) == 5001
    (said,) = (e["text"] for e in page.all("p") if "left out" in e["text"])
    left_out = int(re.match(r"([\d\u202f]+) of 5\u202f000", said)[1].replace("\u202f", ""))
    assert len(page.all("img")) - 1 == 5000 - left_out > 100


def test_rows_that_no_page_holds_are_left_out():
    rows = [["x" * 1000, i] for i in range(20_000)]
    tables = [Table(["a", "b"], rows, "Rows.", sorted_by=1), Table(["a"], [["kept"]])]
    text = page_html(Report("", "", [Section("s", tables)]))
    assert len(text) < MAX_BYTES
    assert re.search(r"Rows\. [\d\u202f]+ of 20\u202f000 rows are left out\.", text)
    assert "kept" in text and "19\u202f999" in text


def test_pictures_get_smaller_before_any_is_left_out():
    noise = np.random.default_rng(0).integers(0, 256, (640, 640, 3), dtype=np.uint8)
    pictures = [Picture(noise, "", "")] * 10
    sizes = []
    for room in (10_000_000, 2_000_000, 1_000_000):
        (found,) = thumbnails([pictures], room)
        assert len(found) == 10
        assert sum(len(thumbnail.source) for thumbnail in found) < room
        sizes.append(found[0].size[0])
    assert sizes[0] == 640 and sizes == sorted(sizes, reverse=True) and sizes[2] < sizes[0]


def test_each_gallery_keeps_its_share():
    noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8)
    first, second = thumbnails(
        [[Picture(noise, "", "")] * 40, [Picture(noise, "", "")] * 20], 10**6
    )
    assert 0 < len(second) < 20 and abs(len(first) - 2 * len(second)) <= 2


def test_a_picture_keeps_its_shape_and_a_wrong_one_is_named():
    (((found,)),) = thumbnails([[picture("a", 5000, 10)]], 10**6)
    assert found.size == (640, 1)
    with pytest.raises(ValueError, match=r"uint8 \(H, W, 3\), got float64 \(4, 4\): alt"):
        thumbnails([[Picture(np.zeros((4, 4)), "alt")]], 10**6)


def test_the_numbers_are_json(report, tmp_path):
    write_numbers(replace(report, numbers={**report.numbers, "images": 10}), tmp_path / "a.json")
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert json.loads(text) == {"AP": 0.412, "none": None, "images": 10}


def test_names_may_break_behind_an_underscore_and_columns_without_a_number_are_numeric():
    numbers = Numbers([Number("semantic/boundary_IoU", 0.5)])
    table = Table(["a", "b"], [["x", NAN], ["y", None]])
    html = page_html(Report("r", "", [Section("s", [numbers, table])]))
    assert "semantic/boundary_<wbr>IoU" in html
    assert html.count('<td class="number"') == 2


def test_pictures_of_several_panels_get_more_room():
    wide, high = (Picture(np.zeros(shape, np.uint8), "a") for shape in ((10, 40, 3), (40, 30, 3)))
    for shown_one, class_ in ((wide, "pictures wide"), (high, "pictures")):
        html = page_html(Report("r", "", [Section("s", [Gallery([shown_one])])]))
        assert f'<div class="{class_}"' in html
