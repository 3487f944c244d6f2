"""Docstrings: their examples run, and every entry of ``Args`` and ``Attributes`` stands alone."""

import ast
import doctest
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "van_dense"
# Classes whose docstring carries an example.
EXAMPLES = (
    "van_dense.core.structures.Instances",
    "van_dense.core.structures.Prediction",
    "van_dense.data.dataset.DenseDataset",
    "van_dense.evaluation.evaluator.Evaluator",
    "van_dense.inference.loaded.Loaded",
    "van_dense.inference.result.Result",
    "van_dense.models.dense_model.DenseModel",
    "van_dense.tasks.base.Task",
)
FILES = sorted(PACKAGE.rglob("*.py"))
# An entry that needs another one, or the signature, to be understood.
LEANS = re.compile(r"(Of|With|Such as) |.*\b([Ss]ee there|The same\.|[Aa]s above\b)|(Its|Their) ")


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_run(name: str) -> None:
    module_name, _, class_name = name.rpartition(".")
    module = importlib.import_module(module_name)
    tests = doctest.DocTestFinder(recurse=False).find(
        getattr(module, class_name), name, module, vars(module).copy()
    )
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    results = [runner.run(test) for test in tests]
    assert sum(result.attempted for result in results) > 1, "the docstring has no example"
    assert sum(result.failed for result in results) == 0


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_entries_stand_alone(path: Path) -> None:
    nodes = [
        node
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
    ]
    leaning = [
        f"{path.name}:{node.lineno} {node.name}: {name}: {text}"
        for node in nodes
        for name, text in entries(ast.get_docstring(node) or "")
        if LEANS.match(text)
    ]
    assert not leaning


def entries(docstring: str) -> Iterator[tuple[str, str]]:
    """Name and text of each entry under ``Args`` and ``Attributes``."""
    for section in re.split(r"\n\n", docstring):
        title, _, body = section.lstrip().partition("\n")
        if title in ("Args:", "Attributes:"):
            for match in re.finditer(r"^    (\*{0,2}\w+): (.*(?:\n     .*)*)", body, re.MULTILINE):
                yield match[1], " ".join(match[2].split())


def test_entries_are_found() -> None:
    args = "Args:\n    one: Of two\n        lines.\n    two: Short."
    docstring = f"First line.\n\n{args}\n\nReturns:\n    x: y"
    assert list(entries(docstring)) == [("one", "Of two lines."), ("two", "Short.")]
