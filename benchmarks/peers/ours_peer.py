"""This project: the command ``van-dense train`` with a recipe of projects/, and ``load``."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

import van_dense.runs.training  # noqa: F401  # before the clock starts, as the libraries of others
from benchmarks.peers.jobs import MARKS, Job, Meter

_STEP = re.compile(r'"kind": "train", "step": (\d+)')

# What a user writes: mine.yaml and the command.
USER = """
extends: [projects/RECIPE.yaml]
data:
  name: mine
  train: {images: mine/images/train, annotations: mine/train.json}
  val: {images: mine/images/val, annotations: mine/val.json}
van-dense train --config mine.yaml train.steps=N
"""


def train(job: Job, meter: Meter) -> int:
    """Run the command in this process; a thread reads its log and stops it in time."""
    from van_dense.cli.train import main
    from van_dense.config import load_config
    from van_dense.engine.interrupt import STOPPED

    run = Path(job.out) / "run"
    steps = job.steps or 100_000
    warmup = load_config(job.project, job.overrides).train.schedule.warmup_steps
    length = [f"train.steps={steps}", "train.epochs=null", "train.eval_every=null"]
    length += [f"train.schedule.warmup_steps={min(warmup, steps // 10)}", "train.log_every=1"]
    length += [f"train.save_every={-(-steps // len(MARKS))}", "train.keep_last=9"]
    length += ["data.workers=0", "eval.pictures=0", f"seed={job.seed}"]
    clock = threading.Thread(target=watch, args=(run, meter), daemon=True)
    clock.start()
    code = main(["--config", job.project, "--output", str(run), *job.overrides, *length])
    if code not in (0, STOPPED):  # it said why, and there are no more steps to wait for
        raise SystemExit(code)
    clock.join()
    return load_config(str(run / "config.yaml")).train.batch_size


def watch(run: Path, meter: Meter) -> None:
    """Count steps as they appear in the log; SIGTERM lets the command save and stop."""
    log = run / "log.jsonl"
    go_on = True
    while go_on:
        time.sleep(0.1)
        done = max([meter.step, *map(int, _STEP.findall(tail(log)))])
        while go_on and meter.step < done:
            go_on = meter.after_step(lambda path: path.touch())
    last = run / "checkpoints" / f"step_{meter.steps:08d}.pt"
    while meter.step == meter.steps and not last.is_file():
        time.sleep(0.1)
    os.kill(os.getpid(), signal.SIGTERM)  # nor is the evaluation at the end a part of the budget


def tail(log: Path) -> str:
    """Last lines of a file that may not exist yet."""
    if not log.is_file():
        return ""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 8192))
        return file.read().decode()


def checkpoint_of(job: Job, state: Path) -> Path:
    """Checkpoint of the run for a mark, which stands for it by its place."""
    files = sorted((Path(job.out) / "run" / "checkpoints").glob("step_*.pt"))
    return files[min(int(state.stem.removeprefix("state")), len(files) - 1)]


def predictor(job: Job, state: Path) -> Any:
    """What ``van_dense.load`` gives."""
    import van_dense

    loaded = van_dense.load(Path(job.out) / "run", checkpoint=str(checkpoint_of(job, state)))

    def predict(path: Path) -> Any:
        (result,) = loaded.predict(path)
        if job.task == "maps":
            assert result.semantic is not None
            return np.asarray(result.semantic).astype(np.uint8)
        return result.to_coco()

    return predict
