"""Runs that were stopped in the middle and resumed with another batch, beside uninterrupted ones.

python benchmarks/resume_with_another_batch.py --output runs/resumed [--epochs 8] [overrides ...]

Semantic FPN on VAN-B0 learns generated scenes of 64 px. One run is uninterrupted. Another gets
SIGTERM in the middle of an epoch, and copies of its folder are resumed with half, equal and double
batch. Uninterrupted runs with the half and the double batch show what the batch alone does.
Prints a table and writes it as JSON; the resumed run of equal batch must be the uninterrupted one
bit for bit, or the exit code is 1.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import os
import shutil
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout, installed or not
from benchmarks.harness.machine import describe_machine, shareable_command
from benchmarks.harness.same_runs import run_differences
from van_dense.cli.train import main as van_dense_train
from van_dense.engine.checkpoint import latest_intact, load_checkpoint
from van_dense.engine.interrupt import STOPPED
from van_dense.engine.log import read_log

BATCH = 4
LR = 1e-3  # of this batch
IMAGES = 64
STOP_IN_EPOCH = 6  # steps of the epoch in the middle, 24 of its images
METRIC = "semantic/mIoU"
RECIPE = [
    f"data.sample={{train_images: {IMAGES}, val_images: 64, size: 64, seed: 0}}",
    "data.transforms={scale: [128, 64], crop: [64, 64], test_scale: [128, 64]}",
    "data.workers=0",
    "train.steps=null",
    f"train.optimizer={{lr: {LR}, base_batch: {BATCH}}}",
    "train.schedule={name: cosine, warmup_steps: 20, min_factor: 0.01}",
    "train.channels_last=true",
    "train.eval_every=null",
    "train.log_every=1",
    "eval={batch_size: 8, pictures: 0, inference: {crop: [64, 64], stride: [43, 43]}}",
]


def main() -> int:
    """Train the six runs and compare."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, required=True, help="folder for runs and data")
    parser.add_argument("--epochs", type=int, default=8, help="length of every run")
    parser.add_argument("overrides", nargs="*", metavar="key.path=value", help="on top of all")
    arguments = parser.parse_intermixed_args()
    root = arguments.output
    length = [f"train.epochs={arguments.epochs}", f"train.save_every={arguments.epochs}"]
    settings = [*RECIPE, *length, f"data.sample.root={root}/data", *arguments.overrides]
    settings += [
        f"data.{part}.{kind}={root}/data/ade/{folder}/{name}"
        for part, name in (("train", "training"), ("val", "validation"))
        for kind, folder in (("images", "images"), ("masks", "annotations"))
    ]
    batches = {"half": BATCH // 2, "equal": BATCH, "double": BATCH * 2}
    rows = []
    for name, batch in batches.items():
        train(root / f"whole_{name}", settings, batch)
        rows.append(row("uninterrupted", root / f"whole_{name}", batch))
    stopped = root / "stopped"
    made = (arguments.epochs // 2) * (IMAGES // BATCH) + STOP_IN_EPOCH
    train(stopped, settings, BATCH, stop=made)
    for name, batch in batches.items():
        run_dir = root / f"resumed_{name}"
        shutil.copytree(stopped, run_dir, symlinks=True)
        said = train(run_dir, settings, batch, "--resume")
        rows.append(row(f"stopped after {made} steps", run_dir, batch, made, said))
    last_step = arguments.epochs * (IMAGES // BATCH)
    differ = run_differences(root / "whole_equal", root / "resumed_equal", last_step)
    script = "benchmarks/resume_with_another_batch.py"
    report = {
        "machine": describe_machine(),
        "command": shareable_command(sys.argv[1:], script=script),
        "recipe": [*RECIPE, *length, *arguments.overrides],
        "equal_batch_is_bit_identical": not differ,
        "runs": rows,
    }
    (root / "resumed.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print_table(rows)
    for line in differ:
        print(f"resumed with equal batch: {line}")
    print(f"the run resumed with equal batch is the uninterrupted one bit for bit: {not differ}")
    return 1 if differ else 0


def train(
    run_dir: Path, settings: list[str], batch: int, *options: str, stop: int | None = None
) -> list[str]:
    """Train as the command does, to the end or until SIGTERM in step ``stop``; what was said."""
    messages = Messages(None if stop is None else f"step {stop - 1}/")
    logger = logging.getLogger("van_dense")
    logger.addHandler(messages)
    words = ["--config", "semfpn_van_b0", "--sample", "--output", str(run_dir), *settings]
    code = van_dense_train([*words, f"train.batch_size={batch}", *options])
    logger.removeHandler(messages)
    if code != (0 if stop is None else STOPPED):
        raise SystemExit(f"{run_dir}: exit code {code}")
    return messages.lines


class Messages(logging.Handler):
    """Keeps what is logged, and sends SIGTERM to this process at one line.

    The signal comes between two steps, and the loop ends after the second.
    """

    def __init__(self, last: str | None) -> None:
        super().__init__()
        self.lines: list[str] = []
        self._last = last

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line."""
        self.lines.append(record.getMessage())
        if self._last is not None and self.lines[-1].startswith(self._last):
            os.kill(os.getpid(), signal.SIGTERM)


def row(
    kind: str, run_dir: Path, batch: int, made: int | None = None, said: Sequence[str] = ()
) -> dict[str, Any]:
    """What became of a run; ``made`` steps of it have the usual batch."""
    entries = read_log(run_dir / "log.jsonl")
    rates = {entry["step"]: entry["lr"] for entry in entries if entry["kind"] == "train"}
    metrics = next(entry["metrics"] for entry in entries if entry["kind"] == "eval")
    position, last = last_position(run_dir), max(rates)
    first = last if made is None else made
    peak = LR * math.sqrt(batch / BATCH)  # the rule for AdamW, as the plan says
    epoch = IMAGES // batch  # in steps
    losses = [entry["loss"] for entry in entries if entry["kind"] == "train"][-epoch:]
    return {
        "run": kind,
        "batch": batch,
        "steps": last,
        "images": first * (batch if made is None else BATCH) + (last - first) * batch,
        "epochs": position["step"] / epoch,
        "lr_before_stop": None if made is None else rates[made],
        "lr_after_stop": None if made is None else rates[made + 1],
        "of_its_peak": None if made is None else rates[made + 1] / peak,
        "lr_of_last_step": rates[last],
        "loss_of_last_epoch": sum(losses) / len(losses),
        METRIC: metrics[METRIC],
        "said": next((x.partition(": ")[2] for x in said if "goes on" in x), None),
    }


def last_position(run_dir: Path) -> dict[str, int]:
    """What the last checkpoint says of the position."""
    path = latest_intact(run_dir)
    assert path is not None
    return load_checkpoint(path)["position"]


def print_table(rows: list[dict[str, Any]]) -> None:
    """One line for each run."""
    names = [name for name in rows[0] if name != "said"]
    print(" | ".join(names))
    for values in rows:
        cells = (values[name] for name in names)
        print(" | ".join(f"{c:.4g}" if isinstance(c, float) else f"{c}" for c in cells))


if __name__ == "__main__":
    sys.exit(main())
