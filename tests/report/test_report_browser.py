"""The page of a report in Chromium, driven by the package playwright, where both are here."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.report_page import HOSTILE, sample_report

from van_dense.report.page import write_page

sync_api = pytest.importorskip("playwright.sync_api", reason="the package playwright is missing")
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
NOTHING = "\N{EN DASH}"


@pytest.fixture(scope="module")
def browser() -> Iterator:
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip(f"there is none of the browsers {', '.join(BROWSERS)}")
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    write_page(sample_report(), path)
    return path


@pytest.fixture
def page(browser, file) -> Iterator:
    """The page; whatever a test does, it asks for no other file, and has no errors."""
    page = browser.new_page(viewport={"width": 1280, "height": 900}, color_scheme="light")
    page.set_default_timeout(10_000)
    asked: list[str] = []
    errors: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: errors.append(message.text))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(file.as_uri())
    yield page
    page.close()
    assert {url for url in asked if not url.startswith("data:")} == {file.as_uri()}
    assert not errors


def column(page, index: int) -> list[str]:
    return page.locator("tbody tr").evaluate_all(
        f"rows => rows.map(r => r.cells[{index}].innerText)"
    )


def head(page, name: str):
    return page.locator("thead th", has=page.get_by_role("button", name=name, exact=True))


def test_a_click_sorts_and_another_turns_the_order(page):
    head(page, "objects").get_by_role("button").click()
    assert column(page, 1) == ["1\u202f234\u202f567", "30", "12", "3"]
    assert head(page, "objects").get_attribute("aria-sort") == "descending"
    assert head(page, "AP").get_attribute("aria-sort") is None
    head(page, "objects").get_by_role("button").click()
    assert column(page, 1) == ["3", "12", "30", "1\u202f234\u202f567"]
    assert head(page, "objects").get_attribute("aria-sort") == "ascending"


def test_keys_sort_and_nothing_to_measure_stays_last(page):
    head(page, "AP").get_by_role("button").focus()
    page.keyboard.press("Enter")
    assert column(page, 2) == ["0.500", "0.750", NOTHING, NOTHING]
    page.keyboard.press("Space")
    assert column(page, 2) == ["0.750", "0.500", NOTHING, NOTHING]
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    assert column(page, 0) == [HOSTILE, "bird", "cat", "dog"]


def test_a_picture_enlarges_and_escape_gives_the_focus_back(page):
    button = page.locator(".pictures button").nth(1)
    button.focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    assert dialog.is_visible()
    assert dialog.locator("img").get_attribute("alt") == "Objects of 1.jpg"
    assert dialog.locator("p").inner_text() == "2 of 15: 1.jpg"
    assert dialog.locator("img").bounding_box()["width"] > 600
    page.keyboard.press("Escape")
    assert not dialog.is_visible()
    assert button.evaluate("button => document.activeElement === button")


def test_arrows_go_through_the_pictures_of_a_gallery(page):
    page.locator(".pictures button").first.click()
    caption = page.get_by_role("dialog").locator("p")
    page.keyboard.press("ArrowLeft")
    assert caption.inner_text() == "1 of 15: 0.jpg"
    for _ in range(20):  # beyond the last, and beyond those that are shown at first
        page.keyboard.press("ArrowRight")
    assert caption.inner_text() == "15 of 15: 14.jpg"
    page.get_by_role("button", name="Previous picture").click()
    page.get_by_role("button", name="Previous picture").click()
    assert caption.inner_text() == "13 of 15: 12.jpg"
    page.get_by_role("button", name="Close").click()
    assert not page.get_by_role("dialog").is_visible()


def test_long_galleries_unfold(page):
    pictures = page.locator(".pictures figure")
    assert [pictures.nth(i).is_visible() for i in (11, 12)] == [True, False]
    more = page.get_by_role("button", name="Show all 15 pictures")
    assert more.get_attribute("aria-expanded") == "false"
    more.click()
    assert pictures.nth(14).is_visible()
    page.get_by_role("button", name="Show fewer pictures").click()
    assert not pictures.nth(12).is_visible()


def colors(page) -> tuple[str, str]:
    """Of the page, and of the text in a drawing."""
    style = "element => getComputedStyle(element)"
    background = page.locator("body").evaluate(f"{style}.backgroundColor")
    return background, page.locator("svg text").first.evaluate(f"{style}.fill")


def test_the_colours_follow_the_system_and_the_button(page):
    light = colors(page)
    assert light[0] == "rgb(255, 255, 255)"
    page.emulate_media(color_scheme="dark")
    dark = colors(page)
    assert dark[0] == "rgb(20, 24, 29)" and dark[1] != light[1]
    # The page hears of another system a moment after its colours have changed.
    button = page.locator("button[aria-pressed=true]", has_text="Dark")
    button.wait_for()
    button.click()
    page.locator("button[aria-pressed=false]", has_text="Dark").wait_for()
    assert colors(page) == light
    page.reload()
    assert colors(page) == light  # as chosen, in a dark system
    page.emulate_media(media="print", color_scheme="dark")
    assert colors(page) == light and not page.locator("nav").is_visible()


@pytest.mark.parametrize("width", [360, 390, 768, 1280, 1920])
def test_the_page_never_scrolls_sideways(page, width):
    page.set_viewport_size({"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    wide = page.locator(".scroll").evaluate_all(
        "boxes => boxes.filter(b => b.scrollWidth > b.clientWidth + 1).map(b => b.tabIndex)"
    )
    assert all(index == 0 for index in wide)  # reached by keyboard


def test_everything_to_press_has_a_name(page):
    page.locator(".pictures button").first.click()
    names = page.locator("button").evaluate_all(
        "all => all.map(b => b.ariaLabel || b.innerText || b.querySelector('img')?.alt || '')"
    )
    assert len(names) >= 20 and all(name.strip() for name in names)
    page.keyboard.press("Escape")
    tree = page.locator("body").aria_snapshot()
    assert 'button "Objects of 0.jpg"' in tree and 'img "A histogram"' in tree
    assert 'button ""' not in tree and "- button\n" not in tree


def test_the_first_stop_skips_to_the_report(page):
    page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="Skip to the report")
    assert skip.evaluate("link => document.activeElement === link")
    assert skip.bounding_box()["y"] >= 0
    page.keyboard.press("Enter")
    assert page.url.endswith("#main")


def test_motion_is_reduced_where_that_is_asked(page):
    get = "getComputedStyle(document.documentElement).scrollBehavior"
    assert page.evaluate(get) == "smooth"
    page.emulate_media(reduced_motion="reduce")
    assert page.evaluate(get) == "auto"


def test_everything_is_shown_without_scripts(browser, file):
    page = browser.new_context(java_script_enabled=False).new_page()
    page.goto(file.as_uri())
    assert page.locator(".pictures figure").nth(14).is_visible()
    assert not page.locator("#theme").is_visible()
    page.close()
