"""The recipe of CONTRIBUTING.md for a decode head, followed to the letter in a copy of the tree."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def recipe() -> str:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    return text.split("## Recipe: a decode head\n")[1].split("\n## ")[0]


def apply_diff(tree: Path, diff: str) -> None:
    """Change a file as a diff without line numbers says; its old lines must be there once."""
    header, *hunks = re.split(r"^@@\n", diff, flags=re.M)
    name, first = re.fullmatch(r"--- (\S+)\n(.*)", header, flags=re.S).groups()
    text = (tree / name).read_text(encoding="utf-8")
    for hunk in (first, *hunks):
        lines = hunk.splitlines(keepends=True)
        old = "".join(line[1:] for line in lines if line[0] in " -")
        assert text.count(old) == 1, f"CONTRIBUTING.md: {name} has no longer\n{old}"
        text = text.replace(old, "".join(line[1:] for line in lines if line[0] in " +"))
    (tree / name).write_text(text, encoding="utf-8")


def test_a_decode_head_is_added_as_the_recipe_says(recipe, tmp_path):
    for folder in ("van_dense", "configs", "projects"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    module, test = re.findall(r"```python\n(.*?)```", recipe, flags=re.S)
    module_path, test_path = re.findall(r"`([\w/]+/\w*sum_head\.py)`", recipe)
    for path, code in ((module_path, module), (test_path, test)):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(code, encoding="utf-8")
    for diff in re.findall(r"```diff\n(.*?)```", recipe, flags=re.S):
        apply_diff(tmp_path, diff)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", test_path]
    run = subprocess.run(
        command,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "1 passed" in run.stdout


def test_the_code_of_the_recipe_is_as_ours_is(recipe, tmp_path):
    for name, code in enumerate(re.findall(r"```python\n(.*?)```", recipe, flags=re.S)):
        (tmp_path / f"{name}.py").write_text(code, encoding="utf-8")
    ruff = Path(sys.executable).with_name("ruff")
    command = [str(ruff), "format", "--check", "--line-length", "100", str(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
