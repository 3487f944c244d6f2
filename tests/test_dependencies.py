"""Dependencies: each is in the table of the docs, and optional ones stay optional."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BLOCKED = (
    *("av", "pytorch_grad_cam", "tensorboard", "supervision"),
    *("transformers", "onnx", "onnxscript", "onnxruntime", "openvino"),
)


def setup_lists() -> dict[str, set[str]]:
    """Package names of setup.py: those of "core" and of each extra."""
    lists = {}
    for node in ast.parse((ROOT / "setup.py").read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            if name == "EXTRAS":
                lists |= ast.literal_eval(node.value)
            elif name in ("CORE", "DEV"):
                lists[name.lower()] = ast.literal_eval(node.value)
    return {
        name: {re.split("[<>=]", package)[0] for package in packages}
        for name, packages in lists.items()
    }


def test_the_table_of_the_docs_names_the_packages_of_setup_py():
    core, extras = (ROOT / "docs/dependencies.md").read_text(encoding="utf-8").split("## Extras")
    table = {"core": set(re.findall(r"^\| ([\w-]+) \| (?!what for)", core, re.MULTILINE))}
    for extra, package in re.findall(r"^\| (\w+) \| ([\w-]+) \| (?!what for)", extras, re.M):
        table.setdefault(extra, set()).add(package)
    assert table == setup_lists()


def test_every_row_says_what_for_licence_release_and_replacement():
    text = (ROOT / "docs/dependencies.md").read_text(encoding="utf-8")
    for part, columns in zip(text.split("## Extras"), (5, 6), strict=True):
        for row in re.findall(r"^\|(.*)\|$", part, re.MULTILINE):
            assert len(row.split("|")) == columns, row
            assert all(cell.strip() for cell in row.split("|")), row


def test_the_extras_in_the_code_are_those_of_setup_py():
    from van_dense.core.optional import EXTRA_OF

    assert {*EXTRA_OF} == {*BLOCKED}
    assert {*EXTRA_OF.values()} == {*setup_lists()} - {"core", "dev"}


def test_nothing_but_its_own_feature_imports_an_optional_package():
    code = f"""
import importlib, pkgutil, sys
from importlib.machinery import PathFinder

class Hiding(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        hidden = name.split(".")[0] in {BLOCKED}
        return None if hidden else super().find_spec(name, path, target)

sys.meta_path[:] = [Hiding if finder is PathFinder else finder for finder in sys.meta_path]
import van_dense
from van_dense.core.optional import MissingPackage

refused = []
for module in pkgutil.walk_packages(van_dense.__path__, "van_dense."):
    if module.name.startswith(("van_dense.integrations.detectron2", "van_dense.__main__")):
        continue
    try:
        importlib.import_module(module.name)
    except MissingPackage as error:
        refused.append(module.name)
        assert "pip install 'van_dense[" in str(error)
print(refused)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "['van_dense.data.io.video', 'van_dense.deploy.onnx_ops']"
