"""Kinds of mistakes are written for several, and each of them is also right for one."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import van_dense
from van_dense.core.counting import of_kind
from van_dense.data.readers import coco_marks, coco_records
from van_dense.evaluation import result_files

READERS = Path(van_dense.__file__).parent / "data" / "readers"
# Functions that are told a mistake, and which of their arguments is its kind.
TOLD = {"Finding": 1, "_broken": 1, "_left_out": 1, "_change": 0}
SEVERAL = re.compile(r"\b(them|themselves)\b|\bones$|(?<!; )\bthey\b|\bthat (are|have|end)\b")


def texts() -> Iterator[ast.expr]:
    """Of the code of readers, what may be a kind."""
    for path in sorted(READERS.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                name = ast.unparse(node.func).rpartition(".")[2]
                yield from node.args[TOLD[name] :][:1] if name in TOLD else []
            elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                yield from [node.value] if node.targets[0].id == "kind" else []
            elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Tuple):
                if isinstance(node.value, ast.Tuple):
                    named = zip(node.targets[0].elts, node.value.elts, strict=True)
                    yield from (value for name, value in named if ast.unparse(name) == "kind")


def kinds() -> set[str]:
    """All that are written out, with X for what is filled in."""
    found = set(result_files._WORDS.values())
    for module in (coco_marks, coco_records):
        named = (value for name, value in vars(module).items() if name.isupper())
        found |= {text for text in named if isinstance(text, str) and " " in text}
    for text in texts():
        if isinstance(text, ast.JoinedStr):
            parts = (part.value if isinstance(part, ast.Constant) else "X" for part in text.values)
            found.add("".join(map(str, parts)))
        elif isinstance(text, ast.Constant):
            found.add(str(text.value))
    return {kind for kind in found if re.match(r"(\w+ )?\w+s\b", kind)}


def test_a_kind_counts_one_as_well() -> None:
    singles = {kind: of_kind(1, kind) for kind in kinds() - {coco_records.NUM_KEYPOINTS}}
    assert len(singles) > 40
    unchanged = [single for kind, single in singles.items() if single == f"1 {kind}"]
    assert not unchanged, "the noun stays plural: write another, or add it to core/counting.py"
    assert not [single for single in singles.values() if SEVERAL.search(single)]
