"""Evaluation in several processes, killed and continued, gives what one process gives."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path

import psutil
import pytest
from helpers.command import call_main
from helpers.tiny_runs import train_tiny

from van_dense.cli import evaluate
from van_dense.engine.inference import predict_parts
from van_dense.engine.parts import UNFINISHED
from van_dense.runs import evaluation

TESTS = Path(__file__).resolve().parents[1]
TWO = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
SETTINGS = ["eval.batch_size=3", "eval.pictures=4", "data.workers=0"]  # of eleven images


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    return train_tiny("detector", tmp_path_factory.mktemp("runs"), val_images=11)


@pytest.fixture(scope="module")
def alone(run, tmp_path_factory) -> dict[str, bytes]:
    """What one process writes."""
    out = tmp_path_factory.mktemp("alone")
    assert call_main(evaluate.main, run, "--output", out, *SETTINGS).returncode == 0
    return contents(out)


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def start(*arguments: object) -> subprocess.Popen[str]:
    """Start the command in two processes."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    environment["PYTHONPATH"] = os.pathsep.join([str(TESTS.parent), str(TESTS)])
    script = [str(TESTS / "helpers" / "shallow_command.py"), "evaluate"]
    return subprocess.Popen(
        [sys.executable, *TWO, *script, *map(str, arguments), *SETTINGS],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_two_processes_give_what_one_gives(run, alone, tmp_path):
    process = start(run, "--output", tmp_path / "out")
    _, errors = process.communicate(timeout=900)
    assert process.returncode == 0, errors
    assert contents(tmp_path / "out") == alone


def test_two_that_were_killed_are_continued_by_one(run, alone, tmp_path):
    out = tmp_path / "out"
    process = start(run, "--output", out, "--resume")
    parts = out / UNFINISHED
    while not any(path.stat().st_size for path in parts.glob("part_*")) and process.poll() is None:
        time.sleep(0.01)
    for one in (*psutil.Process(process.pid).children(recursive=True), process):
        one.kill()
    process.communicate()
    done = call_main(evaluate.main, run, "--output", out, "--resume", *SETTINGS)
    assert done.returncode == 0, done.stderr
    assert contents(out) == alone


def interrupted(run: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Evaluate until the second batch is kept."""

    def until_the_second(model, loader, accelerator, parts):
        loader.numbers = loader.numbers[:2]
        yield from islice(predict_parts(model, list_with_numbers(loader), accelerator, parts), 2)
        raise KeyboardInterrupt

    class list_with_numbers(list):
        def __init__(self, loader):
            batches = iter(loader)
            super().__init__(next(batches) for _ in loader.numbers)
            self.numbers, self.total = loader.numbers, loader.total

    with monkeypatch.context() as patched:
        patched.setattr(evaluation, "predict_parts", until_the_second)
        with pytest.raises(KeyboardInterrupt):
            evaluate.main([str(run), "--output", str(out), "--resume", *SETTINGS])
    assert (out / UNFINISHED / "part_00000").stat().st_size and not (out / "metrics.json").exists()


def test_what_is_there_is_not_predicted_again(run, alone, tmp_path, monkeypatch):
    out, numbers = tmp_path / "out", []
    interrupted(run, out, monkeypatch)

    def counted(model, loader, *given):
        numbers.extend(loader.numbers)
        return predict_parts(model, loader, *given)

    monkeypatch.setattr(evaluation, "predict_parts", counted)
    done = call_main(evaluate.main, run, "--output", out, "--resume", *SETTINGS)
    assert done.returncode == 0 and numbers == [2, 3]
    assert contents(out) == alone


def test_another_evaluation_is_refused_and_what_differs_is_named(run, tmp_path, monkeypatch):
    out = tmp_path / "out"
    interrupted(run, out, monkeypatch)
    other = ["eval.batch_size=2", *SETTINGS[1:]]
    done = call_main(evaluate.main, run, "--output", out, "--resume", *other)
    assert done.returncode == 1
    assert "another job: config.eval.batch_size was 3 and is 2; give what it" in done.stderr
