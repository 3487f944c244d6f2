"""What a run says about itself: log.jsonl, TensorBoard, and one line or a bar in the terminal.

``log.jsonl`` holds one object a line, steps counted from 1, with means since the line before::

    {"kind": "train", "step": 20, "lr": ..., "loss": ..., "losses": {"box": ...}, "grad_norm": ...,
     "images_per_s": ..., "data_fraction": ..., "memory_gb": ...}
    {"kind": "eval", "step": 500, "metrics": {"bbox/AP": ...}}

``data_fraction`` is the part of the time spent waiting for data, ``data_share`` in older logs.
What is not finite is null.
"""

from __future__ import annotations

import json
import logging
import math
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import torch
from rich.console import Console
from rich.logging import RichHandler
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Column

from van_dense.core.counting import counted
from van_dense.core.optional import MissingPackage, require
from van_dense.core.parse import parse_json
from van_dense.core.plain_text import PlainFormatter
from van_dense.core.writing import write_whole, writing

log = logging.getLogger(__name__)

_CONSOLE = Console(stderr=True)  # shared, so that messages appear above the bar
Entry = dict[str, Any]
_WARM, _TIMED = 2, 8  # first steps, in which everything wakes up, and those the estimate is made of
_ERRORS = frozenset({"MAE"})  # metrics of which less is better, by the last part of their names


def setup_logging(is_main: bool = True) -> None:
    """Send the messages of this package to the terminal; other processes only warn.

    Handlers that exist already (notebooks, tests) are left as they are.
    """
    if _CONSOLE.is_terminal:
        handler: logging.Handler = RichHandler(
            console=_CONSOLE, show_path=False, log_time_format="%H:%M:%S"
        )
        handler.setFormatter(PlainFormatter("%(message)s"))
    else:
        handler = logging.StreamHandler()
        form = "%(asctime)s %(levelname)s %(message)s"
        handler.setFormatter(PlainFormatter(form, datefmt="%H:%M:%S"))
    logging.basicConfig(handlers=[handler])
    logging.getLogger("van_dense").setLevel(logging.INFO if is_main else logging.WARNING)


def read_log(path: Path) -> list[Entry]:
    """Read a log.jsonl; a torn last line of a killed run is left out, ValueError for another."""
    lines = path.read_text(encoding="utf-8").split("\n")
    entries = []
    for number, line in enumerate(lines, start=1):
        if not line:
            continue
        try:
            entry = parse_json(line, f"{path}, line {number}")
        except ValueError as error:
            if number == len(lines):
                break
            raise ValueError(f"{error}; remove the line") from error
        if "data_share" in entry:  # its name until 0.1
            entry["data_fraction"] = entry.pop("data_share")
        entries.append(entry)
    return entries


def _summary_writer(folder: Path, start_step: int) -> Any:
    """Writer of TensorBoard files, or None where the package is missing: log.jsonl has it all."""
    try:
        require("tensorboard", "the folder tensorboard/ of a run")
    except MissingPackage as error:
        log.info("no TensorBoard files: %s", error)
        return None
    from torch.utils.tensorboard import SummaryWriter  # slow to import

    return SummaryWriter(str(folder), purge_step=start_step + 1)


class RunLog:
    """Writes the log of a run; where ``enabled`` is false (all ranks but 0) it does nothing.

    Entries after ``start_step`` are left by a run that was killed later than its last checkpoint;
    they are removed, since the resumed run writes them again. ``evaluations`` are the evaluation
    entries so far, oldest first. After the first steps a line says how long the run will take, with
    evaluations that take as long as ``evaluation_steps`` steps in all.
    """

    def __init__(
        self,
        run_dir: Path,
        start_step: int = 0,
        *,
        total_steps: int,
        evaluation_steps: float = 0.0,
        enabled: bool = True,
    ) -> None:
        self.evaluations: list[Entry] = []
        self._enabled = enabled
        self._start_step, self._total_steps = start_step, total_steps
        self._evaluation_steps = evaluation_steps
        self._began = time.perf_counter()
        if not enabled:
            return
        run_dir.mkdir(parents=True, exist_ok=True)
        self._path = path = run_dir / "log.jsonl"
        self.evaluations = [e for e in _rewind(path, start_step) if e["kind"] == "eval"]
        self._file = open(path, "a", encoding="utf-8")
        self._tensorboard = _summary_writer(run_dir / "tensorboard", start_step)
        self._bar = Progress(
            TextColumn("step"),
            MofNCompleteColumn(),
            BarColumn(12),
            # The text takes what is left of the line and is cut at its end.
            TextColumn("{task.description}", table_column=Column(no_wrap=True, ratio=1)),
            expand=True,
            console=_CONSOLE,
            refresh_per_second=2,
            disable=not _CONSOLE.is_terminal,
        )
        self._task = self._bar.add_task("", total=total_steps, completed=start_step)
        self._bar.start()

    def __enter__(self) -> RunLog:
        return self

    def __exit__(self, *_: object) -> None:
        if self._enabled:
            self._bar.stop()
            with suppress(OSError):  # of a full disk, which the write before has told
                if self._tensorboard is not None:
                    self._tensorboard.close()
            with suppress(OSError):
                self._file.close()

    def advance(self, step: int) -> None:
        """Move the bar, and say once how long the run will take."""
        if not self._enabled:
            return
        self._bar.update(self._task, completed=step)
        made = step - self._start_step
        if made == _WARM:
            self._warm_at = time.perf_counter()
        elif made == _WARM + _TIMED and step < self._total_steps:
            pace = (time.perf_counter() - self._warm_at) / _TIMED
            steps = self._total_steps - step
            log.info("%s", duration_line(pace, steps, self._evaluation_steps, now=time.time()))

    def train(self, step: int, values: Mapping[str, float]) -> None:
        """Write the means of the steps up to ``step``."""
        if not self._enabled:
            return
        scalars = _finite({**values, "memory_gb": memory_gb()})
        losses = {k[len("loss/") :]: v for k, v in scalars.items() if k.startswith("loss/")}
        others = {k: v for k, v in scalars.items() if not k.startswith("loss/")}
        entry = {"kind": "train", "step": step, **others, "losses": losses}
        self._write(entry, scalars)
        pace = (time.perf_counter() - self._began) / max(1, step - self._start_step)
        line = train_line(entry, eta=pace * (self._total_steps - step))
        self._bar.update(self._task, description=line)
        if self._bar.disable:
            log.info("step %d/%d  %s", step, self._total_steps, line)

    def evaluation(self, step: int, metrics: Mapping[str, float]) -> None:
        """Write the metrics of an evaluation."""
        if not self._enabled:
            return
        scalars = _finite(metrics)
        entry = {"kind": "eval", "step": step, "metrics": scalars}
        self._write(entry, scalars)
        self.evaluations.append(entry)
        shown = (f"{key} {value:.4g}" for key, value in metrics.items() if key.count("/") < 2)
        log.info("step %d/%d  evaluation: %s", step, self._total_steps, "  ".join(shown))

    def _write(self, entry: Entry, scalars: Mapping[str, float | None]) -> None:
        with writing(self._path, keep=True):
            self._file.write(json.dumps(entry) + "\n")
            self._file.flush()
            os.fsync(self._file.fileno())  # before a checkpoint after which it is not written again
        with writing(self._path.with_name("tensorboard")):
            for name, value in scalars.items() if self._tensorboard is not None else ():
                if value is not None:
                    self._tensorboard.add_scalar(f"{entry['kind']}/{name}", value, entry["step"])


class Window:
    """Means of the training values since the last line of the log.

    Sums and count are part of checkpoints, so that a resumed run logs equal means; times are not.
    """

    def __init__(self, sums: Mapping[str, float] | None = None, count: int = 0) -> None:
        self._sums, self._count = dict(sums or {}), count
        self._timed, self._seconds, self._waited = 0, 0.0, 0.0

    def add(self, values: Mapping[str, float], *, seconds: float, waited: float) -> None:
        """Add the values of one step, its duration, and the part of it spent waiting for data."""
        self._sums |= {key: self._sums.get(key, 0.0) + value for key, value in values.items()}
        self._count, self._timed = self._count + 1, self._timed + 1
        self._seconds, self._waited = self._seconds + seconds, self._waited + waited

    def means(self, batch_size: int) -> dict[str, float]:
        """Means, images/s and the fraction of time spent waiting for data."""
        means = {key: value / self._count for key, value in self._sums.items()}
        speed = batch_size * self._timed / self._seconds
        return means | {"images_per_s": speed, "data_fraction": self._waited / self._seconds}

    def state_dict(self) -> dict[str, Any]:
        """The arguments that make an equal window."""
        return {"sums": dict(self._sums), "count": self._count}


def is_error(metric: str) -> bool:
    """Whether less is better, as in ``pysod/MAE``."""
    return metric.rsplit("/", 1)[-1] in _ERRORS


def best_evaluation(evaluations: Sequence[Entry], metric: str) -> tuple[int, int]:
    """Step of the (first) best evaluation, and the number of evaluations after it.

    The best is the highest value, or the lowest of an error; one that is null is the worst.
    """
    if lacking := next((e for e in evaluations if metric not in e["metrics"]), None):
        names = sorted(lacking["metrics"])
        raise ValueError(f"no metric {metric!r}; set eval.best_metric to one of {names}")
    sign = -1 if is_error(metric) else 1
    values = [entry["metrics"][metric] for entry in evaluations]
    values = [-math.inf if value is None else sign * value for value in values]
    best = values.index(max(values))
    return evaluations[best]["step"], len(values) - 1 - best


def train_line(entry: Mapping[str, Any], *, eta: float) -> str:
    """Show a training entry in one line, the most important first; ``eta`` in seconds."""

    def show(value: float | None, form: str) -> str:
        return "not finite" if value is None else format(value, form)

    parts = "  ".join(f"{name} {show(value, '.4g')}" for name, value in entry["losses"].items())
    minutes, seconds = divmod(round(eta), 60)
    return (
        f"loss {show(entry['loss'], '.4g')}  ETA {minutes // 60}:{minutes % 60:02d}:{seconds:02d}  "
        f"{entry['images_per_s']:.1f} images/s  data {entry['data_fraction']:.0%}  "
        f"{entry['memory_gb']:.1f} GB  lr {entry['lr']:.2e}  ({parts})"
    )


def duration_line(pace: float, steps: int, evaluation_steps: float, *, now: float) -> str:
    """Tell how long the rest takes, of ``steps`` that last ``pace`` seconds, and until when.

    ``now`` is in seconds since the epoch; ``evaluation_steps`` are the steps in whose time all
    evaluations are made.
    """
    seconds = pace * (steps + evaluation_steps)
    hours, minutes = divmod(max(1, round(seconds / 60)), 60)
    length = f"{hours} h {minutes} min" if hours else f"{minutes} min"
    form = "%H:%M" if seconds < 12 * 3600 else "%Y-%m-%d %H:%M"
    until = time.strftime(form, time.localtime(now + seconds))
    parts = [f"{counted(steps, 'step')} of {pace:.2g} s"]
    if evaluation_steps:
        parts.append(f"about {pace * evaluation_steps / 60:.2g} min of evaluation")
    return f"about {length} to go, until {until}: {' and '.join(parts)}"


def _finite(values: Mapping[str, float]) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in values.items()}


def memory_gb() -> float:
    """Peak memory of the GPU in GB, or on a CPU the memory of this process now."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 1e9
    return psutil.Process().memory_info().rss / 1e9


def _rewind(path: Path, step: int) -> list[Entry]:
    """Keep the entries up to ``step``, in the file too, and return them."""
    if not path.exists():
        return []
    entries = [entry for entry in read_log(path) if entry["step"] <= step]
    write_whole(path, "".join(json.dumps(entry) + "\n" for entry in entries))
    return entries
