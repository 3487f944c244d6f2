"""What one training of one toolkit is asked to do, and the clock of its CPU time.

The environments of the peers have nothing of this project's dependencies but torch, so that this
file needs the standard library alone.
"""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

MARKS = (1 / 3, 2 / 3, 1.0)  # parts of a run after which its state is kept and measured
_FEWEST = 3  # steps of a calibration


@dataclass(frozen=True)
class Job:
    """One training. Paths are absolute."""

    peer: str  # name in PEERS of environments.py
    task: str  # boxes, masks or maps
    seed: int
    steps: int  # of the optimiser; 0 measures what one costs
    cpu_seconds: float  # of training, or of measuring
    out: str  # folder for everything that is written
    folder: str  # of the data: images/{train,val}, {train,val}.json, data.yaml
    images: dict[str, str]  # folder of the images of each part
    masks: dict[str, str]  # maps: folder of the label maps of each part
    classes: list[str]  # names; of label maps, values from their number on are no class
    size: list[int]  # height and width of a training image
    backbone: str  # name of timm
    weights: str  # of that backbone, a file of timm's names
    project: str  # of this project
    overrides: list[str] = field(default_factory=list)  # for it

    def write(self, path: Path) -> None:
        """Write as JSON."""
        path.write_text(json.dumps(asdict(self), indent=1))

    @staticmethod
    def read(path: Path) -> Job:
        """Read what ``write`` wrote."""
        return Job(**json.loads(path.read_text()))

    @property
    def is_calibration(self) -> bool:
        """Whether the steps are only counted."""
        return self.steps == 0

    def annotations(self, part: str) -> dict[str, Any]:
        """COCO dictionary of a part."""
        return json.loads((Path(self.folder) / f"{part}.json").read_text())


class Meter:
    """Counts the steps of a training and its CPU time, and says when to save and when to stop.

    The time is that of the whole process, all threads, from here on; toolkits load in the process
    that trains. What saving takes does not count.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self.steps = job.steps  # a toolkit that counts in epochs may round it
        self.step = 0
        self.saved: list[dict[str, Any]] = []
        self.ticks: list[float] = []
        self._start = time.process_time()

    def cpu(self) -> float:
        """Seconds since the start, without those of saving."""
        return time.process_time() - self._start

    def after_step(self, save: Callable[[Path], object]) -> bool:
        """Count a step; whether to go on."""
        self.step += 1
        self.ticks.append(self.cpu())
        is_over = self.ticks[-1] >= self.job.cpu_seconds
        if self.job.is_calibration:
            return not is_over or self.step < _FEWEST
        is_due = self.step >= MARKS[min(len(self.saved), len(MARKS) - 1)] * self.steps - 1e-6
        if is_due or is_over:
            began = time.process_time()
            path = Path(self.job.out) / f"state{len(self.saved)}.pt"
            save(path)
            self.saved.append({"step": self.step, "cpu_s": self.ticks[-1], "state": str(path)})
            self._start += time.process_time() - began
        return self.step < self.steps and not is_over

    def report(self, batch: int) -> dict[str, Any]:
        """What is known after the training of ``batch`` images a step."""
        ticks = self.ticks
        cost = (ticks[-1] - ticks[0]) / (len(ticks) - 1)
        return {
            "steps": self.step,
            "steps_planned": self.steps,
            "batch": batch,
            "cpu_s": ticks[-1],
            "cpu_s_of_a_step": cost,
            "cpu_s_before_steps": max(0.0, ticks[0] - cost),
            "images_per_cpu_s": batch / cost,
            "peak_mb": peak_mb(),
            "saved": self.saved,
        }


def peak_mb() -> float:
    """Largest resident memory of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def steps_that_fit(report: dict[str, Any], cpu_seconds: float) -> int:
    """Steps that a budget allows, by the report of a calibration; 3 % stay in reserve."""
    seconds = 0.97 * cpu_seconds - report["cpu_s_before_steps"]
    return max(len(MARKS), int(seconds / report["cpu_s_of_a_step"]))
