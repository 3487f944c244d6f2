"""Numbers and what they count agree, everywhere."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import van_dense
from van_dense.core.counting import counted, of_kind

PACKAGE = Path(van_dense.__file__).parent
# Numbers of these are what a user has; of models and other code bases' files, seldom one.
PARTS = ("cli", "config", "data", "engine", "evaluation", "inference", "runs", "tasks", "visualize")
NUMBER = re.compile(r"(len|sum)\(.*\)|(.*\.)?_?num_\w+|\w*count|number|total\(\)")
PLURAL = re.compile(r" (?:[a-z]+ )?(?!is\b|has\b|was\b|this\b|its\b|as\b|times\b)[a-z]+s\b")
FIXED = {  # never one where these are written
    "segments have the id",
    "segments are of the stuff",
    "shapes of one label",
    "stages, engine",
    "joints, ",
    "images; give one for each",
    "bytes cannot hold",
    "keypoints and ",
    "numbers, of which the first 4",
    "tensors, ",
    "parameters, weight decay",
}


@pytest.mark.parametrize(
    ("number", "words", "text"),
    [
        (1, ("image",), "1 image"),
        (0, ("image",), "0 images"),
        (2, ("label file",), "2 label files"),
        (2, ("entry",), "2 entries"),
        (2, ("box",), "2 boxes"),
        (2, ("class",), "2 classes"),
        (2, ("day",), "2 days"),
        (1, ("image has", "images have"), "1 image has"),
        (3, ("image has", "images have"), "3 images have"),
    ],
)
def test_a_number_with_what_it_counts(number: int, words: tuple[str, ...], text: str) -> None:
    assert counted(number, *words) == text


@pytest.mark.parametrize(
    ("kind", "one"),
    [
        ("images", "1 image"),
        ("images have no id", "1 image has no id"),
        ("annotations are of images that are left out", "1 annotation is of an image that is "
         "left out"),
        ("boxes leave their image, and are clipped", "1 box leaves its image, and is clipped"),
        ("images of another size than their file says", "1 image of another size than its file "
         "says"),
        ("lines with a box where other lines have polygons",
         "1 line with a box where other lines have polygons"),
        ("objects that repeat another one", "1 object that repeats another one"),
        ("values of iscrowd are text, and read as 0 or 1",
         "1 value of iscrowd is text, and read as 0 or 1"),
        ("of other images", "1 of other images"),
        ("broken polygons are left out of annotations",
         "1 broken polygon is left out of annotations"),
    ],
)  # fmt: skip
def test_a_kind_of_mistake_is_written_for_several(kind: str, one: str) -> None:
    assert of_kind(1, kind) == one
    assert of_kind(2, kind) == f"2 {kind}"


def test_no_text_counts_by_hand() -> None:
    """A number before a plural is ``counted``; "1 of 3 images" speaks of all three."""
    found = []
    for part in PARTS:
        for path in sorted((PACKAGE / part).rglob("*.py")):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            found += [
                f"{path.relative_to(PACKAGE)}:{node.lineno}: {text}"
                for node in ast.walk(tree)
                if isinstance(node, ast.JoinedStr)
                for text in _by_hand(node)
            ]
    assert not found, "\n".join(["use van_dense.core.counting.counted:", *found])


def _by_hand(text: ast.JoinedStr) -> list[str]:
    found = []
    parts = [None, *text.values, None]
    for before, value, after in zip(parts, parts[1:], parts[2:], strict=False):
        if not isinstance(value, ast.FormattedValue) or not isinstance(after, ast.Constant):
            continue
        of_all = isinstance(before, ast.Constant) and re.search(r"\b(of|all|the) $", before.value)
        words = str(after.value)
        if of_all or any(words.startswith(f" {fixed}") for fixed in FIXED):
            continue
        if NUMBER.fullmatch(ast.unparse(value.value)) and PLURAL.match(words):
            found.append(f"{{{ast.unparse(value.value)}}}{words}")
    return found
