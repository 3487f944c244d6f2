"""The Slurm script of docs/many-machines.md, with stand-ins for Slurm's commands."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers.tiny_runs import PROJECTS

from van_dense.engine.log import read_log

ROOT = Path(__file__).resolve().parents[2]
STEPS = 60
# The script runs again under the number of its job, as Slurm does it.
STAND_INS = {
    "srun": 'exec "$@"',
    "torchrun": f'exec {sys.executable} -m torch.distributed.run "$@"',
    "scontrol": 'echo "$@" >> "$SPOOL/scontrol"\n[ "$1" != show ] || echo localhost',
    "sbatch": 'nohup setsid bash "$@" > "$SPOOL/out" 2>&1 < /dev/null & echo $! > "$SPOOL/pid"',
}


def script() -> str:
    text = (ROOT / "docs/many-machines.md").read_text(encoding="utf-8")
    (found,) = re.findall(r"```bash\n(#!/bin/bash\n.*?)```", text, flags=re.S)
    return found


@pytest.fixture
def spool(tmp_path, monkeypatch) -> Path:
    """A folder with the script, whose commands come from stand-ins."""
    for name, body in STAND_INS.items():
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/bash\n{body}\n")
        path.chmod(0o755)
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    command = f"{ROOT}/tests/helpers/shallow_command.py"  # -m van_dense, and the small backbone
    text = script().replace(":29500", f":{port}").replace("-m van_dense", command)
    assert text.count(str(port)) == text.count(command) == 1
    (tmp_path / "job.sh").write_text(text)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(ROOT / "tests")]))
    values = {"SPOOL": tmp_path, "SLURM_JOB_ID": 7, "SLURM_JOB_NUM_NODES": 1}
    values |= {"SLURM_JOB_NODELIST": "localhost", "OMP_NUM_THREADS": 1, "CUDA_VISIBLE_DEVICES": ""}
    for name, value in values.items():
        monkeypatch.setenv(name, str(value))
    return tmp_path


def wait_for(condition, spool: Path) -> None:
    for _ in range(6000):
        if condition():
            return
        time.sleep(0.1)
    pytest.fail((spool / "out").read_text())


def test_a_job_whose_time_is_over_saves_is_requeued_and_goes_on(spool):
    project, overrides = PROJECTS["detector"]
    sample = (
        f"data.sample={{root: {spool}/data, train_images: 8, val_images: 2, size: 64, seed: 3}}"
    )
    parts = [
        f"data.{part}={{images: {spool}/data/{part}2017, "
        f"annotations: {spool}/data/annotations/instances_{part}2017.json}}"
        for part in ("train", "val")
    ]
    settings = ["model.backbone={name: van_shallow, weights: null}", "data.workers=0"]
    settings += [f"train.steps={STEPS}", "train.eval_every=null", "train.batch_size=2"]
    settings += ["train.log_every=1", "eval.pictures=0", "eval.oracle_images=0"]
    words = ["train", "--config", project, "--sample", "--output", f"{spool}/run"]
    job = ["sbatch", f"{spool}/job.sh", *words, sample, *parts, *settings, *overrides]
    log = spool / "run/log.jsonl"

    def steps() -> list[int]:
        return [e["step"] for e in read_log(log) if e["kind"] == "train"] if log.exists() else []

    def is_gone() -> bool:
        try:
            os.kill(int((spool / "pid").read_text()), 0)
        except ProcessLookupError:
            return True
        return False

    subprocess.run(job, check=True)
    wait_for(lambda: len(steps()) >= 3 or is_gone(), spool)
    os.kill(int((spool / "pid").read_text()), signal.SIGUSR1)
    wait_for(is_gone, spool)
    assert "requeue 7" in (spool / "scontrol").read_text().splitlines(), (spool / "out").read_text()
    before = steps()
    assert 3 <= len(before) < STEPS

    subprocess.run(job, check=True)
    wait_for(is_gone, spool)
    assert steps() == [*range(1, STEPS + 1)], (spool / "out").read_text()
    assert (spool / "scontrol").read_text().count("requeue") == 1
    assert (spool / f"run/checkpoints/step_{STEPS:08d}.pt").is_file()


def test_the_script_asks_for_the_signal_that_it_handles():
    assert "--signal=B:USR1@180" in script() and "trap requeue USR1" in script()
    assert subprocess.run(["bash", "-n"], input=script(), text=True, check=False).returncode == 0
