"""A run in a folder, and the program that trains it: this toolkit here, others in ``peers``."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from benchmarks.golden import ROOT
from benchmarks.harness.same_runs import file_differences, run_differences
from van_dense.engine.checkpoint import best_path, checkpoints
from van_dense.engine.log import read_log

STEPS, EVAL_EVERY = 16, 8  # of runs of this toolkit
LIMIT = 600  # seconds; no attempt takes a tenth of it


def environment() -> dict[str, str]:
    """That of this process, for the package of this checkout on one thread and no GPU."""
    ours = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return os.environ | ours


class Program(Protocol):
    """What trains, resumes, and can tell two of its runs apart.

    Attributes:
        says: What lines about resuming and about mistakes look like.
    """

    says: re.Pattern[str]

    def words(self, run: Run) -> list[str]:
        """The command that starts a run, or resumes it where there is a checkpoint."""
        ...

    def began(self, run: Run) -> Path:
        """A file that an undisturbed run writes just before its first step."""
        ...

    def done(self, run: Run) -> float:
        """The share of a run, 0 to 1, that resuming need not repeat."""
        ...

    def phase(self, run: Run, since: float) -> str:
        """What the attempt that began ``since`` was doing when it ended, by what it left."""
        ...

    def checkpoint(self, run: Run) -> list[Path]:
        """Files that resuming would read; none before there are any."""
        ...

    def log(self, run: Run) -> Path:
        """The log of the run, a line for each entry."""
        ...

    def differences(self, whole: Run, run: Run, *, is_signalled: bool) -> list[str]:
        """Where the results of a run differ from those of an undisturbed one."""
        ...


@dataclass
class Run:
    """A run in a folder of its own, with the data beside it.

    Attributes:
        folder: Where its commands are called.
        program: What trains it.
        name: Of the run folder, which an accident may move.
    """

    folder: Path
    program: Program
    name: str = "runs/run"

    @property
    def path(self) -> Path:
        """The run folder."""
        return self.folder / self.name

    def start(self, before: Iterable[str] = ()) -> subprocess.Popen[bytes]:
        """The command in a process group of its own; what it says goes to a file.

        ``before`` are words of a command that starts it.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.folder / "said.txt", "wb") as said:
            return subprocess.Popen(
                [*before, *self.program.words(self)],
                cwd=self.folder,
                env=environment(),
                stdout=said,
                stderr=said,
                start_new_session=True,
            )

    def finish(self) -> None:
        """Train to the end; RuntimeError with what was said where that fails."""
        if self.start().wait(LIMIT) != 0:
            raise RuntimeError(f"{self.folder}: {self.said}")

    @property
    def said(self) -> str:
        """What the last attempt said."""
        return (self.folder / "said.txt").read_text(encoding="utf-8", errors="replace")

    def sentences(self) -> list[str]:
        """The lines of it that tell of resuming and of mistakes, without time and folder."""
        lines = (line.rstrip() for line in re.split(r"[\n\r]", self.said))
        # Indented are the frames of a traceback.
        told = (line for line in lines if line[:1] != " " and self.program.says.search(line))
        return [
            re.sub(r"^\d\d:\d\d:\d\d ", "", line).replace(f"{self.folder}/", "")[:400]
            for line in told
        ]


# How torchrun itself ends where a process of its own has failed.
_OF_TORCHRUN = re.compile(
    r"^Traceback \(most recent call last\):\n(?: .*\n)*torch\.distributed\.elastic\.", re.M
)


@dataclass(frozen=True)
class Ours:
    """Training through ``tools/train_net.py``.

    Attributes:
        first: Words of the command that starts it, without ``--output``.
        processes: How many of them ``torchrun`` starts; one is started without it.
    """

    first: list[str]
    processes: int = 1
    says = re.compile(r"^\d\d:\d\d:\d\d (WARNING|ERROR|INFO resumed)|^error:")

    def words(self, run: Run) -> list[str]:
        """What a user types: first the experiment, then what the run said of how to resume it."""
        torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
        launcher = [*torchrun, str(self.processes)] if self.processes > 1 else []
        words = self.first
        config = run.path / "config.yaml"
        if config.is_file() and checkpoints(run.path):
            tool = str(ROOT / "tools" / "train_net.py")
            words = [tool, "--config", f"{run.name}/config.yaml", "--resume"]
        return [sys.executable, *launcher, *words, "--output", run.name]

    def began(self, run: Run) -> Path:
        """The config, which is written before the loop."""
        return run.path / "config.yaml"

    def step(self, run: Run) -> int:
        """Where resuming starts."""
        found = checkpoints(run.path)
        return int(found[-1].stem.split("_")[1]) if found else 0

    def done(self, run: Run) -> float:
        """The share of the steps that the newest checkpoint has."""
        return self.step(run) / STEPS

    def phase(self, run: Run, since: float) -> str:
        """Starting, training, saving, evaluating or ending."""
        log = self.log(run)
        if any((run.path / "checkpoints").glob(".*.tmp")):
            return "saving"
        if not log.exists() or log.stat().st_mtime < since:
            return "starting"
        step = self.step(run)
        done = {entry["step"] for entry in read_log(log) if entry["kind"] == "eval"}
        if step and step % EVAL_EVERY == 0 and step not in done:
            return "evaluating"
        return "ending" if STEPS in done else "training"

    def checkpoint(self, run: Run) -> list[Path]:
        """The newest one."""
        return checkpoints(run.path)[-1:]

    def log(self, run: Run) -> Path:
        """``log.jsonl``."""
        return run.path / "log.jsonl"

    def differences(self, whole: Run, run: Run, *, is_signalled: bool) -> list[str]:
        """In what was computed, and in files; those of a run that saved on a signal are others."""
        lines = run_differences(whole.path, run.path, STEPS)
        if is_signalled:
            return lines
        lines += file_differences(whole.path, run.path)
        best = [json.dumps(best_path(one.path).stat().st_nlink) for one in (run, whole)]
        return lines + ([f"names of the best checkpoint: {best}"] if best[0] != best[1] else [])


def has_traceback(said: str) -> bool:
    """Whether a program of ours ended in one; that of torchrun itself does not count."""
    return "Traceback" in _OF_TORCHRUN.sub("", said)
