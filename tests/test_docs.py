"""What the documents name exists: files, modules, names, keys and imports."""

import ast
import importlib
import json
import re
import sys
from glob import glob
from html import unescape
from pathlib import Path
from types import UnionType
from typing import Annotated, Union, get_args, get_origin

import pytest
from pydantic import BaseModel

from van_dense.config.tasks import CONFIG_OF_TASK

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(
    page
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *ROOT.glob("*/README.md")]
    if "_build" not in page.parts
)
NEW = re.compile("sum_head|NAME")  # files that a reader adds
FOLDERS = "benchmarks|configs|docs|findings|projects|tests|tools|van_dense"


def by_name(pages):
    return pytest.mark.parametrize("page", pages, ids=lambda p: str(p.relative_to(ROOT)))


def alternatives(path: str) -> list[str]:
    """Paths that braces stand for, as in a shell."""
    if (found := re.search(r"\{([^{}]*,[^{}]*)\}", path)) is None:
        return [path]
    before, after = path[: found.start()], path[found.end() :]
    return [one for word in found[1].split(",") for one in alternatives(before + word + after)]


@by_name(PAGES)
def test_paths_in_the_text_exist(page):
    text = page.read_text(encoding="utf-8")
    named = re.findall(rf"(?<![\w/.])(?:{FOLDERS})/[\w/.*,{{}}-]*[\w*}}/]", text)
    made = re.compile(rf"{NEW.pattern}|^docs/_build/")  # not there before ``make docs``
    for path in (path for path in named if not made.search(path)):
        for one in alternatives(path):
            assert glob(str(ROOT / one)), f"{one} does not exist; correct {page.name}"


@by_name(PAGES)
def test_links_lead_somewhere(page):
    """Sphinx checks the pages of docs/; this one also those that only the repository shows."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.S)
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
        if "://" not in target and page.relative_to(ROOT).as_posix() != "docs/projects.md":
            assert (page.parent / target).exists(), f"{target} does not exist"


def file_of(dotted: str) -> tuple[Path, list[str]]:
    """File of a dotted name, and what it must hold."""
    words = dotted.split(".")
    for end in range(len(words), 0, -1):
        path = ROOT.joinpath(*words[:end])
        if path.is_dir():
            return path / "__init__.py", words[end:]
        if (path := path.with_suffix(".py")).is_file():
            return path, words[end:]
    raise AssertionError(dotted)


@by_name(PAGES)
def test_dotted_names_in_the_text_exist(page):
    for dotted in re.findall(r"(?<![\w/])van_dense(?:\.[A-Za-z_]\w*)+", page.read_text("utf-8")):
        if dotted.endswith(".py") or NEW.search(dotted):
            continue
        path, rest = file_of(dotted)
        for name in rest:
            text = path.read_text(encoding="utf-8")
            assert re.search(rf"\b{name}\b", text), f"{dotted} does not exist; correct {page.name}"


@by_name([page for page in PAGES if "```python" in page.read_text("utf-8")])
def test_examples_are_python_and_import_what_exists(page):
    for block in re.findall(r"```python\n(.*?)```", page.read_text("utf-8"), flags=re.S):
        if page.name == "design.md":  # signatures side by side, no program
            continue
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("van_dense"):
                module = importlib.import_module(node.module or "")
                for alias in node.names:
                    assert hasattr(module, alias.name), f"{node.module} has no {alias.name}"


def keys_of(schema: object, prefix: str = "") -> set[str]:
    """All keys of a section, of all its alternatives where there are some."""
    if isinstance(schema, type) and issubclass(schema, BaseModel):
        keys = set()
        for name, field in schema.model_fields.items():
            keys |= {f"{prefix}{name}"} | keys_of(field.annotation, f"{prefix}{name}.")
        return keys
    if get_origin(schema) in (Union, UnionType, Annotated, tuple):
        return set().union(*(keys_of(part, prefix) for part in get_args(schema)))
    return set()


@pytest.mark.parametrize("task", sorted(CONFIG_OF_TASK))
def test_settings_of_a_task_page_exist(task):
    text = (ROOT / f"docs/tasks/{task}.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:data|model|train|eval)\.[\w.]+)", text))
    assert len(named) > 5
    assert named <= keys_of(CONFIG_OF_TASK[task])


def test_the_picture_of_the_packages_shows_the_imports_of_the_code(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    drawing = importlib.import_module("draw_imports")
    edges, counts = drawing.read_edges()
    assert set(edges) >= {"core", "models", "tasks"} and counts["core"] >= 6
    assert edges["core"] == []
    assert drawing.draw(edges, counts).startswith("<svg")
    picture = (ROOT / "docs/imports.svg").read_text(encoding="utf-8")
    drawn = json.loads(unescape(re.search(r"<desc>(.*)</desc>", picture)[1]))
    assert drawn == edges, "run python docs/draw_imports.py and commit docs/imports.svg"
    sys.modules.pop("draw_imports")


def test_a_circle_of_imports_is_named(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    drawing = importlib.import_module("draw_imports")
    with pytest.raises(ValueError, match="circle: a -> b -> a"):
        drawing.layers_of({"a": ["b"], "b": ["a"]})
    assert drawing.layers_of({"a": ["b", "c"], "b": ["c"], "c": []}) == {"a": 2, "b": 1, "c": 0}
    assert drawing.direct({"a": ["b", "c"], "b": ["c"], "c": []}) == [("a", "b"), ("b", "c")]
    sys.modules.pop("draw_imports")
