"""The wheel is the product: what it holds, and that it works where there is no repository."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("setup.py", "pyproject.toml", "README.md", "LICENSE")
# No network, and nothing built before that could be taken for what is built now.
BUILD = (
    "from setuptools import build_meta; import sys; print(getattr(build_meta, sys.argv[1])('.'))"
)


def build(kind: str, source: Path) -> Path:
    command = [sys.executable, "-c", BUILD, f"build_{kind}"]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return source / done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def sdist(tmp_path_factory) -> Path:
    source = tmp_path_factory.mktemp("source")
    for name in SOURCES:
        shutil.copy(ROOT / name, source)
    for name in ("van_dense", "projects", "configs", "tests", "benchmarks"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    return build("sdist", source)


@pytest.fixture(scope="module")
def wheel(sdist, tmp_path_factory) -> Path:
    """From the source distribution, so that this is complete as well."""
    folder = tmp_path_factory.mktemp("unpacked")
    shutil.unpack_archive(sdist, folder)
    (source,) = folder.iterdir()
    return build("wheel", source)


def test_it_holds_the_package_and_its_projects_and_nothing_else(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    ours = {name for name in names if not name.startswith("van_dense-")}
    assert {name.split("/")[0] for name in ours} == {"van_dense"}
    presets = "van_dense/_presets/"
    held = {name.removeprefix(presets) for name in ours if name.startswith(presets)}
    files = {f"{path.relative_to(ROOT)}" for path in ROOT.glob("projects/**/*van_b2*")}
    files |= {f"{path.relative_to(ROOT)}" for path in ROOT.glob("configs/*/*.yaml")}
    assert files <= held
    assert not any(name.endswith("_tables.yaml") for name in held)  # for tools/paper_tables.py
    code = {f"{path.relative_to(ROOT)}" for path in ROOT.glob("van_dense/**/*.py")}
    data = {f"van_dense/report/assets/page.{suffix}" for suffix in ("css", "js")}
    data |= {f"van_dense/demo/{name}" for name in ("demo.html", "demo.css", "demo.js", "paint.js")}
    rest = {name for name in ours if not name.startswith(presets)}
    assert rest == {*code, *data, "van_dense/py.typed"}


def test_it_installs_one_command(wheel):
    archive = zipfile.ZipFile(wheel)
    (name,) = (n for n in archive.namelist() if n.endswith("entry_points.txt"))
    text = archive.read(name).decode()
    assert text.split() == ["[console_scripts]", "van-dense", "=", "van_dense.cli.main:main"]


def test_it_works_in_an_empty_folder(wheel, tmp_path):
    zipfile.ZipFile(wheel).extractall(tmp_path / "installed")
    empty = tmp_path / "empty"
    empty.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "installed")}

    def call(*arguments: str) -> str:
        command = [sys.executable, "-m", "van_dense", *arguments]
        done = subprocess.run(command, cwd=empty, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "maskrcnn_van_b2  " in call("projects")
    assert "configs/_sample/detection.yaml" in call("show-config", "maskrcnn_van_b2", "--sample")
    call("copy", "maskrcnn_van_b2")
    assert "maskrcnn_van_b2.yaml" in call("show-config", "maskrcnn_van_b2")
    code = "import van_dense; print(van_dense.__file__)"
    command = [sys.executable, "-c", code]
    where = subprocess.run(command, cwd=empty, env=environment, capture_output=True, text=True)
    assert where.stdout.startswith(str(tmp_path))  # not that of the repository
