"""Every row of the register of quirks names tests that exist."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent
REGISTER = TESTS.parent / "docs" / "quirks.md"
COUNTERPARTS = (
    *("mmdet", "mmseg", "mmpose", "mmpretrain", "Detectron2", "torchvision", "pycocotools"),
    *("PySODMetrics", "timm", "segmentation-models-pytorch", "albumentations", "transformers"),
)
PIN = re.compile(r"`(test_\w+\.py)::(test_\w+)`")


def tables() -> dict[str, list[list[str]]]:
    """Rows of each section's table, header first and without the line below it."""
    sections = re.split(r"^## (.+)$", REGISTER.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {
        title: [
            [cell.strip() for cell in line.strip("|").split("|")]
            for line in text.splitlines()
            if line.startswith("|") and not line.startswith("|---")
        ]
        for title, text in zip(sections[1::2], sections[2::2], strict=True)
    }


ROWS = [(title, row) for title, (_, *rows) in tables().items() for row in rows]
PINS = sorted(set(PIN.findall(REGISTER.read_text(encoding="utf-8"))))


@cache
def files_of_function() -> dict[str, set[str]]:
    """Names of the files, anywhere below tests/, that define each test function."""
    found: dict[str, set[str]] = {}
    for path in TESTS.rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                found.setdefault(node.name, set()).add(path.name)
    return found


def test_every_counterpart_has_a_table_that_names_its_version():
    headers = {title: rows[0] for title, rows in tables().items()}
    assert set(COUNTERPARTS) <= set(headers)
    for title in COUNTERPARTS:
        what, here, there, why, pinned_by = headers[title]
        assert (what, here, why, pinned_by) == ("what differs", "here", "why", "pinned by")
        assert re.fullmatch(rf"{title} \d[\d.]+", there), there


@pytest.mark.parametrize(("title", "row"), ROWS, ids=[f"{t}: {r[0]}" for t, r in ROWS])
def test_every_row_is_complete_and_pinned(title, row):
    assert len(row) == 5 and all(row)
    assert PIN.findall(row[-1]) and not PIN.sub("", row[-1]).strip()


@pytest.mark.parametrize(("file", "function"), PINS, ids=[f"{f}::{t}" for f, t in PINS])
def test_every_test_of_the_register_exists(file, function):
    assert any(TESTS.rglob(file)), f"no test file is called {file}; correct docs/quirks.md"
    files = files_of_function().get(function, set())
    assert file in files, f"{function} is not in {file} but in {sorted(files) or 'no file'}"
