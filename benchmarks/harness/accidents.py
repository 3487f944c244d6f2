"""What happens to runs: each kind of accident is a row of ACCIDENTS, each task one of TASKS.

A run is trained through the command line, in processes of their own. An accident strikes at a
moment drawn from the time that an attempt needs, from the start of the command to its end; then the
run is resumed, and is struck again, a few times before it may end. Checkpoints are those of real
networks, so that writing them takes a part of this time.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.golden import ROOT, train_arguments
from benchmarks.harness.same_runs import file_differences, run_differences
from van_dense.engine.checkpoint import best_path, checkpoints
from van_dense.engine.log import read_log

TASKS = {"detection": "retinanet", "semantic": "semantic_fpn", "pose": "pose_msra"}  # of golden.py
STEPS, EVAL_EVERY = 16, 8
# Lines of the log, checkpoints and evaluations do not coincide; gradients of two passes add up.
SETTINGS = (
    f"train.steps={STEPS}",
    f"train.eval_every={EVAL_EVERY}",
    "train.save_every=2",
    "train.log_every=3",
    "train.ema_decay=0.9",
    "data.sample.train_images=24",
    "data.sample.val_images=6",
)
MICRO_BATCH = {"detection": 1, "semantic": 1, "pose": 2}  # half of the batch
_STRIKES = 4  # at most, of one run
_IN_LOOP = 0.7  # of the moments; the others lie before the first step
_LIMIT = 600  # seconds; no attempt takes a tenth of it


def environment() -> dict[str, str]:
    """That of this process, for the package of this checkout on one thread and no GPU."""
    ours = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return os.environ | ours


@dataclass
class Run:
    """A run in a folder of its own, with the sample data beside it.

    Attributes:
        folder: Where its commands are called.
        first: Words of the command that starts it, without ``--output``.
        name: Of the run folder, which an accident may move.
    """

    folder: Path
    first: list[str]
    name: str = "runs/run"

    @property
    def path(self) -> Path:
        """The run folder."""
        return self.folder / self.name

    def arguments(self) -> list[str]:
        """What a user types: first the experiment, then what the run said of how to resume it."""
        config = self.path / "config.yaml"
        if config.is_file() and checkpoints(self.path):
            tool, own = str(ROOT / "tools" / "train_net.py"), f"{self.name}/config.yaml"
            return [tool, "--config", own, "--output", self.name, "--resume"]
        return [*self.first, "--output", self.name]

    def start(self) -> subprocess.Popen[bytes]:
        """The command in a process group of its own; what it says goes to a file."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.folder / "said.txt", "wb") as said:
            return subprocess.Popen(
                [sys.executable, *self.arguments()],
                cwd=self.folder,
                env=environment(),
                stdout=said,
                stderr=said,
                start_new_session=True,
            )

    def finish(self) -> None:
        """Train to the end; RuntimeError with what was said where that fails."""
        if self.start().wait(_LIMIT) != 0:
            raise RuntimeError(f"{self.folder}: {self.said}")

    @property
    def said(self) -> str:
        """What the last attempt said."""
        return (self.folder / "said.txt").read_text(encoding="utf-8", errors="replace")

    @property
    def step(self) -> int:
        """Where resuming starts."""
        found = checkpoints(self.path)
        return int(found[-1].stem.split("_")[1]) if found else 0

    def phase(self, since: float) -> str:
        """What the attempt that began ``since`` was doing when it ended, by what it left."""
        log = self.path / "log.jsonl"
        if any((self.path / "checkpoints").glob(".*.tmp")):
            return "saving"
        if not log.exists() or log.stat().st_mtime < since:
            return "starting"
        step, done = (
            self.step,
            {entry["step"] for entry in read_log(log) if entry["kind"] == "eval"},
        )
        if step and step % EVAL_EVERY == 0 and step not in done:
            return "evaluating"
        return "ending" if STEPS in done else "training"


def _leave(run: Run, random: np.random.Generator) -> None:
    pass


def _tear_log(run: Run, random: np.random.Generator) -> None:
    """Only the beginning of the last line is there, as after a power loss.

    Where the newest checkpoint came after that line, so that it was on the disk, the next one is.
    """
    log = run.path / "log.jsonl"
    lines = log.read_bytes().splitlines(keepends=True) if log.exists() else []
    if lines and lines[-1].endswith(b"\n"):
        last = json.loads(lines[-1])
        if last["kind"] == "eval" or last["step"] > run.step:
            lines.pop()
        torn = json.dumps(last).encode()
        log.write_bytes(b"".join([*lines, torn[: int(random.integers(1, len(torn)))]]))


def _move(run: Run, random: np.random.Generator) -> None:
    """The run folder gets another name and another parent."""
    moved = f"moved/{random.integers(1 << 30):x}"
    if run.path.exists():
        (run.folder / moved).parent.mkdir(exist_ok=True)
        run.path.rename(run.folder / moved)
        run.name = moved


@dataclass(frozen=True)
class Accident:
    """A signal to the whole process group, and what then happens to the run folder."""

    number: signal.Signals
    times: int  # for each task
    afterwards: Callable[[Run, np.random.Generator], None] = _leave


ACCIDENTS = {
    "kill": Accident(signal.SIGKILL, 20),
    "sigterm": Accident(signal.SIGTERM, 6),
    "torn_log": Accident(signal.SIGKILL, 4, _tear_log),
    "moved": Accident(signal.SIGKILL, 4, _move),
}


@dataclass(frozen=True)
class Whole:
    """An undisturbed run to compare with."""

    run: Run
    seconds: float  # from the start of the command to its end
    starting: float  # seconds before the first step

    def moment(self, step: int, random: np.random.Generator) -> float:
        """A moment of an attempt that starts after ``step`` steps.

        Most attempts are struck in the loop, although starting takes half of the time and more.
        """
        end = self.starting + (self.seconds - self.starting) * (1 - step / STEPS)
        in_loop = random.random() < _IN_LOOP
        return random.uniform(self.starting, end) if in_loop else random.uniform(0, self.starting)


def undisturbed(folder: Path, task: str) -> Whole:
    """Make the run that those with accidents must equal."""
    more = (*SETTINGS, f"train.micro_batch={MICRO_BATCH[task]}")
    run = Run(folder, [*train_arguments(ROOT, TASKS[task], "--resume"), *more])
    began = time.time()
    run.finish()
    starting = (run.path / "config.yaml").stat().st_mtime - began  # written before the loop
    return Whole(run, time.time() - began, starting)


def suffer(name: str, whole: Whole, folder: Path, random: np.random.Generator) -> dict[str, Any]:
    """Let runs have an accident until there were as many as its row says; all of them end.

    Args:
        name: Row of ACCIDENTS.
        whole: Undisturbed run of the same task.
        folder: Empty folder to work in.
        random: Where the moments come from.

    Returns:
        Number of accidents, of runs, of those that equal ``whole``; what the struck attempts were
        doing, and a line for each difference, traceback or wrong exit code.
    """
    accident = ACCIDENTS[name]
    phases: Counter[str] = Counter()
    faults: list[str] = []
    stops: list[float] = []
    runs = equal = 0
    while phases.total() < accident.times:
        run = Run(folder / str(runs), whole.run.first)
        runs, left, struck = runs + 1, min(_STRIKES, accident.times - phases.total()), True
        while struck:
            moment = whole.moment(run.step, random) if left else _LIMIT
            left, began = left - 1 if left else 0, time.time()
            struck, stop = _attempt(run, accident, moment, faults)
            if struck:
                phases[run.phase(began)] += 1
                stops.append(stop)
                accident.afterwards(run, random)
        found = differing(run, whole.run, is_signalled=accident.number == signal.SIGTERM)
        equal += not found
        faults += [f"{run.folder.name}: {line}" for line in found]
    result = {"accidents": phases.total(), "runs": runs, "equal": equal, "phases": dict(phases)}
    if accident.number == signal.SIGTERM:
        result["longest_seconds_to_stop"] = round(max(stops), 1)
    return result | {"faults": faults}


def _attempt(run: Run, accident: Accident, moment: float, faults: list[str]) -> tuple[bool, float]:
    """Train until the end or the accident; whether it struck, and the seconds it took to stop."""
    process = run.start()
    with suppress(subprocess.TimeoutExpired):
        process.wait(moment)
    struck, began = process.poll() is None, time.time()
    if struck:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, accident.number)
    code = process.wait(_LIMIT)
    # Its own end may be faster than the signal; a signal before the loop ends the command at once.
    allowed = {0, -accident.number, *([130] if accident.number == signal.SIGTERM else [])}
    if code not in (allowed if struck else {0}) or "Traceback" in run.said:
        faults.append(f"{run.folder.name}: exit code {code}: {run.said[-2000:]}")
    return struck and code != 0, time.time() - began


def differing(run: Run, whole: Run, *, is_signalled: bool) -> list[str]:
    """Where a run differs from the undisturbed one, in what it computed and in its files."""
    lines = run_differences(whole.path, run.path, STEPS)
    if is_signalled:  # which saved at other steps, so that other checkpoints are the newest
        return lines
    lines += file_differences(whole.path, run.path)
    best = [json.dumps(best_path(one.path).stat().st_nlink) for one in (run, whole)]
    return lines + ([f"names of the best checkpoint: {best}"] if best[0] != best[1] else [])
