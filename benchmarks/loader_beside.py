"""Processor time of an image in the training loader, beside that of another commit.

python benchmarks/loader_beside.py BASE --config FILE [key.path=value ...] --output FILE.json

Working tree and BASE, in a work tree of its own, take turns. Each turn is a fresh process with one
loader process, which warms up and then passes the images once; the process that receives a batch
touches every page of it, as a model would. What counts is the processor time of both processes, and
the ratio within a turn: "times as many images per CPU second".
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch

PAGE = 4096  # bytes


def main(argv: Sequence[str] | None = None) -> int:
    """Measure in turn and write the result; or, in a process of a turn, print its figures."""
    argv = sys.argv[1:] if argv is None else list(argv)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("base", help="commit to compare the working tree with")
    parser.add_argument("overrides", nargs="*", metavar="key.path=value")
    parser.add_argument("--config", required=True, help="project file")
    parser.add_argument("--output", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--repeats", type=int, default=5, help="turns of each (default 5)")
    parser.add_argument("--one-turn", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_intermixed_args(argv)
    if arguments.one_turn:
        print(json.dumps(one_turn(arguments.config, arguments.overrides)))
        return 0
    result = beside(arguments, argv)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result["times_as_many_images_per_cpu_s"]), f"results: {arguments.output}")
    return 0


def beside(arguments: argparse.Namespace, argv: Sequence[str]) -> dict[str, Any]:
    """Turns of both checkouts, and what their ratios say."""
    from benchmarks.harness.checkout import ROOT, checkout_of
    from benchmarks.harness.clock import spread
    from benchmarks.harness.machine import describe_machine, shareable_command

    turns: dict[str, list[dict[str, Any]]] = {"before": [], "now": []}
    with checkout_of(arguments.base) as tree:
        for number in range(arguments.repeats):
            order = [("before", tree), ("now", ROOT)]
            for name, checkout in order[:: 1 if number % 2 else -1]:
                turns[name].append(_turn(checkout, argv))
    cpu = {name: [turn["cpu_ms_per_image"] for turn in found] for name, found in turns.items()}
    digests = {turn.pop("sha256") for found in turns.values() for turn in found}
    return {
        "machine": describe_machine(),
        "command": shareable_command(argv, "benchmarks/loader_beside.py"),
        "batches_are_equal": len(digests) == 1,
        "times_as_many_images_per_cpu_s": spread(np.divide(cpu["before"], cpu["now"])),
        "images_per_cpu_s": {name: spread(1000 / np.array(ms), 1) for name, ms in cpu.items()},
        "turns": turns,
    }


def _turn(checkout: Path, argv: Sequence[str]) -> dict[str, Any]:
    environment = os.environ | {"PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, *argv, "--one-turn"]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(found, file=sys.stderr)
    return found


def one_turn(project: str, overrides: Sequence[str]) -> dict[str, Any]:
    """Milliseconds of an image in the van_dense that Python finds, and a digest of the batches."""
    from van_dense.config import load_config
    from van_dense.core.seeding import Streams
    from van_dense.data.loader import LoaderPlan, build_train_loader
    from van_dense.engine.plan import make_plan
    from van_dense.tasks import TASKS

    config = load_config(project, list(overrides))
    task = TASKS[config.task]
    dataset, transform = (
        task.build_dataset(config, "train"),
        task.build_transform(config, train=True),
    )
    plan = LoaderPlan(
        batch_size=config.train.batch_size,
        micro_batch=make_plan(config.train, num_images=len(dataset), world_size=1).micro_batch,
        workers=1,
        size_divisor=config.data.size_divisor,
        group_by_aspect=config.data.group_by_aspect,
        max_bad_fraction=config.data.max_bad_fraction,
        streams=Streams(0),
    )
    batches = build_train_loader(dataset, transform, plan=plan)
    num_batches = max(1, len(dataset) // plan.micro_batch)
    digest = hashlib.sha256()
    for _ in range(num_batches):
        for tensor in _tensors(next(batches)):
            digest.update(tensor.numpy().tobytes())
    (worker,) = psutil.Process().children()
    before = _seconds(psutil.Process()), _seconds(worker)
    for _ in range(num_batches):
        for tensor in _tensors(next(batches)):
            tensor.reshape(-1)[::PAGE].sum()
    after = _seconds(psutil.Process()), _seconds(worker)
    own, theirs = (1000 * np.subtract(after, before) / num_batches / plan.micro_batch).tolist()
    return {
        "images": num_batches * plan.micro_batch,
        "micro_batch": plan.micro_batch,
        "receiving_cpu_ms_per_image": round(own, 2),
        "worker_cpu_ms_per_image": round(theirs, 2),
        "cpu_ms_per_image": round(own + theirs, 2),
        "sha256": digest.hexdigest(),
    }


def _seconds(process: psutil.Process) -> float:
    return float(sum(process.cpu_times()[:2]))  # user and system


def _tensors(value: Any) -> list[torch.Tensor]:
    """All tensors of a batch, those of its targets too."""
    if isinstance(value, torch.Tensor):
        return [value]
    parts = value if isinstance(value, list) else getattr(value, "__dict__", {}).values()
    return [tensor for part in parts for tensor in _tensors(part)]


if __name__ == "__main__":
    sys.exit(main())
