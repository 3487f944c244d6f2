"""Starts one job in the environment of its toolkit: one thread, nothing from the network."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from benchmarks.peers.environments import interpreter
from benchmarks.peers.jobs import Job

ROOT = Path(__file__).resolve().parents[2]


def start(job: Job, environments: Path) -> int:
    """Run a job in its folder, which gets log.txt and report.json; its exit code."""
    out = Path(job.out)
    job.write(out / "job.json")
    python = interpreter(job.peer, environments)
    command = [str(python), "-m", "benchmarks.peers.child", str(out / "job.json")]
    quiet = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "NO_ALBUMENTATIONS_UPDATE": "1"}
    offline = {"HF_HUB_OFFLINE": "1", "YOLO_CONFIG_DIR": str(out)}
    environment = {**os.environ, **quiet, **offline, "PYTHONPATH": str(ROOT)}
    with (out / "log.txt").open("w") as log:
        done = subprocess.run(command, env=environment, cwd=ROOT, stdout=log, stderr=log)
    return done.returncode
