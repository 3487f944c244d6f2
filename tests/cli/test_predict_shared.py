"""``van-dense predict`` in several processes, killed and continued, gives what one gives."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from helpers.command import Done, call_main
from helpers.tiny_runs import train_tiny
from PIL import Image

from van_dense.api import Loaded
from van_dense.cli import predict
from van_dense.engine.parts import UNFINISHED, Parts

TESTS = Path(__file__).resolve().parents[1]
TWO = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> str:
    return str(train_tiny("detector", tmp_path_factory.mktemp("runs")))


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    """Thirty small images in two folders, one of them broken."""
    folder = tmp_path_factory.mktemp("photos")
    for index in range(30):
        path = folder / ("inner" if index % 3 else "") / f"{index:02d}.jpg"
        path.parent.mkdir(exist_ok=True)
        size = (60 + 5 * (index % 2), 80, 3)
        Image.fromarray(np.random.default_rng(index).integers(0, 255, size, np.uint8)).save(path)
    (folder / "09.jpg").write_bytes(b"broken")
    return folder


@pytest.fixture(scope="module")
def alone(run, photos, tmp_path_factory) -> tuple[Done, dict[str, bytes]]:
    """What one process says and writes."""
    out = tmp_path_factory.mktemp("alone")
    done = call_main(predict.main, run, photos, "--output", out)
    assert done.returncode == 1 and "29 of 30 files predicted" in done.stdout
    return done, contents(out)


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def start(*arguments: object) -> subprocess.Popen[str]:
    """Start the command in two processes."""
    words = [str(argument) for argument in arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    environment["PYTHONPATH"] = os.pathsep.join([str(TESTS.parent), str(TESTS)])
    script = [str(TESTS / "helpers" / "shallow_command.py"), "predict"]
    return subprocess.Popen(
        [sys.executable, *TWO, *script, *words],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def records(out: Path) -> int:
    """Bytes of the parts of a job."""
    return sum(path.stat().st_size for path in (out / UNFINISHED).glob("part_*"))


def test_two_processes_write_and_say_what_one_does(run, photos, alone, tmp_path):
    process = start(run, photos, "--output", tmp_path / "out")
    said, errors = process.communicate(timeout=900)
    done, files = alone
    assert process.returncode == 1, errors
    assert contents(tmp_path / "out") == files
    assert said.splitlines()[0].rpartition(":")[0] == done.stdout.splitlines()[0].rpartition(":")[0]
    assert said.splitlines()[1:] == done.stdout.splitlines()[1:]
    mistakes = [line for line in errors.splitlines() if line.startswith("not predicted:")]
    assert mistakes == done.stderr.splitlines()


def test_a_job_of_two_that_is_killed_twice_is_finished_by_one(run, photos, alone, tmp_path):
    out, before = tmp_path / "out", 0
    for _ in range(2):
        process = start(run, photos, "--output", out, "--resume")
        while records(out) < before + 2000 and process.poll() is None:
            time.sleep(0.01)
        assert process.poll() is None, process.communicate()
        for one in (*psutil.Process(process.pid).children(recursive=True), process):
            one.kill()
        process.communicate()
        before = records(out)
        assert not (out / "predictions.json").exists()
    kept = (out / UNFINISHED / "part_00001").read_bytes()

    done = call_main(predict.main, run, photos, "--output", out)
    assert done.returncode == 1 and "continue it with --resume" in done.stderr
    assert (out / UNFINISHED / "part_00001").read_bytes() == kept

    done = call_main(predict.main, run, photos, "--output", out, "--resume")
    assert done.returncode == 1 and "29 of 30 files predicted" in done.stdout
    assert contents(out) == alone[1]


def test_a_job_whose_results_lie_among_its_sources_goes_on(run, photos, tmp_path, monkeypatch):
    source, out = shutil.copytree(photos, tmp_path / "photos"), tmp_path / "photos" / "found"
    stopping(monkeypatch)
    assert call_main(predict.main, run, source, "--output", out).returncode == 130
    monkeypatch.undo()
    assert list((out / "pictures").iterdir())
    done = call_main(predict.main, run, source, "--output", out, "--resume")
    assert "29 of 30 files predicted" in done.stdout


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (["--min-score", "0.5"], "another job: --min-score was None and is 0.5; give what it"),
        (["--tile", "48", "48"], "--tile was None and is [48, 48]"),
        ([], "the files differ: "),
    ],
    ids=["option", "tiles", "files"],
)
def test_another_job_is_not_continued(run, photos, changes, words, tmp_path, monkeypatch):
    out = tmp_path / "out"
    stopping(monkeypatch)
    done = call_main(predict.main, run, photos, "--output", out)
    assert done.returncode == 130 and "--resume and the same --output continue it" in done.stdout
    before = contents(out)
    monkeypatch.undo()
    source = photos if changes else photos / "inner"
    done = call_main(predict.main, run, source, "--output", out, "--resume", *changes)
    assert done.returncode == 1 and words in done.stderr
    assert {**contents(out), f"{UNFINISHED}/.lock": b""} == {**before, f"{UNFINISHED}/.lock": b""}


def stopping(monkeypatch) -> None:
    """Behave as if Ctrl-C were pressed at the fifth image."""
    original, seen = Loaded._predict, []

    def predicting(self, *given):
        seen.append(1)
        if len(seen) == 5:
            os.kill(os.getpid(), signal.SIGINT)
        return original(self, *given)

    monkeypatch.setattr(Loaded, "_predict", predicting)


def test_what_ctrl_c_stopped_is_continued(run, photos, alone, tmp_path, monkeypatch):
    out = tmp_path / "out"
    stopping(monkeypatch)
    assert call_main(predict.main, run, photos, "--output", out).returncode == 130
    assert (out / "predictions.json").read_text().endswith("]\n")
    monkeypatch.undo()
    done = call_main(predict.main, run, photos, "--output", out, "--resume")
    assert done.returncode == 1 and contents(out) == alone[1]


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--resume"], "--resume needs the folder to go on in: --output"),
        (["--device", "cpu"], "--device is not for several processes"),
    ],
)
def test_misuse_is_named_at_once(words, problem, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    done = call_main(predict.main, "run", "a.jpg", *words)
    assert done.returncode == 2 and problem in done.stderr


def test_what_another_process_did_not_leave_is_no_success(run, photos, tmp_path, monkeypatch):
    out, read = tmp_path / "out", Parts.read
    with monkeypatch.context() as patched:
        patched.setattr(Parts, "read", lambda parts, total: [*read(parts, total)][:4])
        done = call_main(predict.main, run, photos / "inner", "--output", out)
    assert done.returncode == 1 and "4 of 20 files predicted" in done.stdout
    assert "--resume and the same --output continue it" in done.stdout
    done = call_main(predict.main, run, photos / "inner", "--output", out, "--resume")
    assert done.returncode == 0 and "20 of 20 files predicted" in done.stdout
