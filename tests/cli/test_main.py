"""``van-dense``: one command with all others below it, which answers before torch is imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from van_dense import __version__
from van_dense.cli.main import COMMANDS, main

ROOT = Path(__file__).resolve().parents[2]


def test_help_names_every_command(capsys):
    assert main(["--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines if line.startswith("  ")] == list(COMMANDS)


def test_without_a_command_it_prints_the_help(capsys):
    assert main([]) == 0
    assert capsys.readouterr().out.startswith("usage: van-dense COMMAND")


def test_the_version_is_that_of_the_package(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"van-dense {__version__}\n"


@pytest.mark.parametrize(
    ("word", "hint"), [("expain", "did you mean explain?"), ("xyz", "choose one of train, eval")]
)
def test_an_unknown_command_is_told_the_nearest(word, hint, capsys):
    assert main([word]) == 2
    assert hint in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("train --confg quickstart", "--confg: did you mean --config?"),
        ("train --config quickstart --dryrun", "--dryrun: did you mean --dry-run?"),
        ("predict run photos --percision=bf16", "--percision: did you mean --precision?"),
    ],
)
def test_an_unknown_option_is_told_the_nearest(line, hint, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(line.split())
    assert hint in capsys.readouterr().err


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_under_the_name_that_calls_it(command, capsys):
    with pytest.raises(SystemExit, match="0"):
        main([command, "--help"])
    assert capsys.readouterr().out.startswith(f"usage: van-dense {command}")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        *([command, "--help"] for command in COMMANDS),
        ["projects"],
        ["train", "--config", "maskrcnn_van_b2", "train.stepz=1"],
        ["check", "--config", "maskrcnn_van_b2", "train.stepz=1"],
        ["eval", "--config", "classify_van_b0_in1k", "train.stepz=1"],
        ["eval", f"{ROOT}/tests/old_runs/0.1.0/pose", "train.stepz=1"],
        ["convert", "a.pth", "b.pt", "--project", "maskrcnn_van_b2", "train.stepz=1"],
        ["show-config", "maskrcnn_van_b2", "train.stepz=1"],
    ],
    ids=" ".join,
)
def test_help_and_mistakes_are_told_before_torch_is_imported(arguments):
    code = (
        "import sys\nfrom van_dense.cli.main import main\n"
        "try: main(sys.argv[1:])\nexcept SystemExit: pass\n"
        "assert not {'torch', 'timm', 'numpy'} & {*sys.modules}"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert ("did you mean 'steps'?" in done.stderr) == (arguments[-1] == "train.stepz=1")


def test_python_m_van_dense_is_the_same(tmp_path):
    command = [sys.executable, "-m", "van_dense", "projects"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "maskrcnn_van_b2  " in done.stdout


@pytest.mark.parametrize("tool", ["train_net", "eval_net", "predict", "explain", "check_data"])
def test_the_tools_of_a_checkout_need_no_installed_package(tool, tmp_path):
    """A checkout's tool runs the checkout's code, from any folder."""
    code = f"""
import runpy, sys
sys.path[:] = [p for p in sys.path if p not in ("", {str(ROOT)!r})]
sys.meta_path[:] = [f for f in sys.meta_path if "editable" not in str(f)]
sys.argv = [{tool!r}, "--help"]
runpy.run_path({str(ROOT / "tools" / f"{tool}.py")!r}, run_name="__main__")
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env={})
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage: van-dense")
