"""The page of the demo in a real browser without a window."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from demo.conftest import photo
from PIL import Image

from van_dense.demo import server as serving

playwright_of = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = playwright_of.expect
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium")
SECONDS = 120_000  # milliseconds; beside other work a prediction takes long


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright_of.sync_playwright() as playwright:
        # Inside of containers, as root, Chromium has no sandbox of its own.
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser, serve) -> Iterator[Callable[..., Any]]:
    """From a kind of network to its page; errors in the console fail the test."""
    contexts, problems = [], []

    def start(kind: str, **options: Any) -> Any:
        context = browser.new_context(accept_downloads=True, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(SECONDS)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda line: problems.append(line.text) if is_problem(line) else None)
        page.asked = []
        page.on("request", lambda request: page.asked.append(request.url))
        page.goto(serve(kind).url)
        page.wait_for_selector("#example-list button")
        return page

    yield start
    for context in contexts:
        context.close()
    assert problems == []


def is_problem(line: Any) -> bool:
    """Whether a line of the console is an error, but for answers that the page shows itself."""
    return line.type == "error" and "the server responded with a status of" not in line.text


def upload(page: Any, path: Path) -> None:
    page.set_input_files("#file", path)
    expect(page.locator("#result-title")).to_have_text(path.name, timeout=SECONDS)


def move(page: Any, slider: str, value: float) -> None:
    page.locator(slider).fill(str(value))


def pixels(page: Any) -> list[int]:
    code = "c => Array.from(c.getContext('2d').getImageData(0, 0, c.width, c.height).data)"
    return page.locator("#canvas").evaluate(code)


def network(page: Any) -> list[str]:
    return [url for url in page.asked if url.startswith("http")]


def test_objects_vanish_with_the_threshold_without_asking_the_server(open_page, tmp_path):
    page = open_page("detection")
    upload(page, photo(tmp_path / "mine.png"))
    rows = page.locator("#list button")
    before, drawn, asked = rows.count(), pixels(page), network(page)
    assert before > 0
    expect(page.locator("#status")).to_contain_text("mine.png")
    move(page, "#threshold", 1)
    expect(rows).to_have_count(0)
    expect(page.locator("#list")).to_contain_text("Nothing at this threshold")
    assert pixels(page) != drawn
    move(page, "#threshold", 0)
    assert rows.count() >= before
    assert network(page) == asked


@pytest.mark.slow
def test_a_click_on_an_object_shows_what_spoke_for_it(open_page, tmp_path):
    page = open_page("detection")
    upload(page, photo(tmp_path / "mine.png"))
    page.locator("#list button").first.click()
    picture = page.locator("#evidence-picture")
    expect(picture).to_be_visible(timeout=SECONDS)
    assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") > 10
    expect(page.locator("#list button").first).to_have_attribute("aria-pressed", "true")
    page.locator("#list button").first.click()  # once more lets go
    expect(page.locator("#evidence")).to_be_hidden()
    frame = page.locator("#canvas").bounding_box()
    for x, y in np.random.default_rng(0).random((30, 2)):  # somewhere in the picture is an object
        page.locator("#canvas").click(position={"x": x * frame["width"], "y": y * frame["height"]})
        if "Nothing was found" not in page.locator("#status").inner_text():
            break
    expect(picture).to_be_visible(timeout=SECONDS)


@pytest.mark.slow
def test_the_page_works_by_keyboard(open_page, tmp_path):
    page = open_page("classification")
    page.locator("#example-list button").first.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#result-title")).to_be_focused(timeout=SECONDS)
    page.locator("#list button").first.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#evidence-picture")).to_be_visible(timeout=SECONDS)
    for name in page.locator("input, button, a, img, canvas").evaluate_all(
        "all => all.map(one => one.getAttribute('aria-label') || one.getAttribute('alt')"
        " || one.textContent.trim() || one.labels?.[0]?.textContent.trim()"
        " || one.querySelector('img')?.alt)"
    ):
        assert name


@pytest.mark.slow
def test_a_region_of_a_label_map_is_highlighted_and_explained(open_page, tmp_path):
    page = open_page("semantic")
    upload(page, photo(tmp_path / "map.png"))
    plain, asked = pixels(page), network(page)
    page.locator("#list button").last.hover()
    assert pixels(page) != plain
    page.mouse.move(1, 1)
    assert pixels(page) == plain
    move(page, "#opacity", 0)
    assert pixels(page) != plain and network(page) == asked
    page.locator("#canvas").click()
    expect(page.locator("#evidence-picture")).to_be_visible(timeout=SECONDS)


@pytest.mark.slow
def test_saliency_follows_its_threshold_and_joints_theirs(open_page, tmp_path):
    page = open_page("saliency")
    upload(page, photo(tmp_path / "a.png"))
    move(page, "#threshold", 0)
    soft, asked = pixels(page), network(page)
    move(page, "#threshold", 1)
    assert pixels(page) != soft and network(page) == asked
    expect(page.locator("#list .number")).to_have_text("0.0%")
    page = open_page("pose")
    upload(page, photo(tmp_path / "b.png"))
    move(page, "#threshold", 0)
    expect(page.locator("#list button")).to_have_count(3)
    move(page, "#threshold", 1)
    expect(page.locator("#list button")).to_have_count(0)


@pytest.mark.slow
def test_a_broken_file_and_one_that_is_too_large_are_sentences(open_page, tmp_path, monkeypatch):
    page = open_page("detection")
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    page.set_input_files("#file", broken)
    problem = page.locator("#problem")
    expect(problem).to_contain_text("broken.png: not an image", timeout=SECONDS)
    asked = network(page)
    large = tmp_path / "large.png"
    with large.open("wb") as file:
        file.truncate(serving.UPLOAD_BYTES + 1)
    page.set_input_files("#file", large)
    expect(problem).to_contain_text("this page takes at most 20 MB", timeout=SECONDS)
    assert network(page) == asked
    monkeypatch.setattr(serving, "UPLOAD_BYTES", 100)  # the server says so itself
    page.set_input_files("#file", photo(tmp_path / "small.png"))
    expect(problem).to_contain_text("at most 0.0001 MB", timeout=SECONDS)
    monkeypatch.undo()
    upload(page, tmp_path / "small.png")
    expect(problem).to_be_empty()


@pytest.mark.slow
def test_results_and_picture_are_downloaded(open_page, tmp_path):
    page = open_page("detection")
    upload(page, photo(tmp_path / "mine.png"))
    with page.expect_download() as waiting:
        page.click("#save-results")
    assert waiting.value.suggested_filename == "mine.json"
    records = json.loads(Path(waiting.value.path()).read_text())
    assert {"bbox", "score", "category_id", "segmentation"} <= records[0].keys()
    with page.expect_download() as waiting:
        page.click("#save-picture")
    assert waiting.value.suggested_filename == "mine_prediction.png"
    with Image.open(waiting.value.path()) as picture:
        assert picture.format == "PNG" and max(picture.size) == 800


@pytest.mark.slow
def test_a_dropped_file_is_predicted(open_page):
    page = open_page("classification")
    page.evaluate(
        """async () => {
          const canvas = document.createElement("canvas");
          const blob = await new Promise((done) => canvas.toBlob(done));
          const data = new DataTransfer();
          data.items.add(new File([blob], "dropped ä.png"));
          const options = { dataTransfer: data, bubbles: true, cancelable: true };
          document.getElementById("drop").dispatchEvent(new DragEvent("drop", options));
        }"""
    )
    expect(page.locator("#result-title")).to_have_text("dropped ä.png", timeout=SECONDS)


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 390, 320])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_nothing_reaches_beyond_the_screen(open_page, tmp_path, width, theme):
    options = {"viewport": {"width": width, "height": 800}, "color_scheme": theme}
    page = open_page("classification", **options)
    upload(page, photo(tmp_path / f"{'long_name_' * 7}.png"))
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.slow
def test_only_this_server_is_asked(open_page, serve, tmp_path):
    page = open_page("semantic")
    upload(page, photo(tmp_path / "a.png"))
    assert all(url.startswith((serve("semantic").url, "data:", "blob:")) for url in page.asked)
