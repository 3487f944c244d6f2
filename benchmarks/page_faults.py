"""Page faults of training steps, and what settings of the allocator change about them.

python benchmarks/page_faults.py --output results.json [--cases 128 320 640 light scales]
            [--rounds 3] [--only NAME ...] [--preload jemalloc=libjemalloc.so.2 ...]

glibc gives large blocks back to the system when they are freed, and the next step faults them in
again, page by page. Training steps of RetinaNet on VAN-B0 (channels-last, AdamW, two shapes of
images in turn) run in a process of its own for each setting, in turns, one thread each; counted are
faults, CPU time in user and system mode, and the most memory the process occupied. Linux only.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import re
import resource
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout, installed or not
import van_dense
from benchmarks.harness.machine import describe_machine, shareable_command
from van_dense.core.structures import Batch, Instances
from van_dense.engine.optim import build_optimizer


@dataclass(frozen=True)
class Case:
    """What is trained."""

    sides: tuple[int, ...]  # shorter side of the images, pixels; wide and tall images in turn
    batch: int  # images of a step
    rounds: int  # through all shapes, after one to warm up
    overrides: tuple[str, ...] = ()  # of the project retinanet_van_b0


LIGHT = (
    "model.backbone={name: tf_efficientnet_lite0, norm_mode: frozen}",
    "model.fpn={channels: 64, norm: group}",
    "model.head={convs: 2, norm: group}",
)
CASES = {
    "128": Case((128,), batch=4, rounds=4),
    "320": Case((320,), batch=1, rounds=2),
    "640": Case((640,), batch=1, rounds=1),
    "light": Case((256,), batch=8, rounds=2, overrides=LIGHT),  # of statistics_of_weights.py
    "scales": Case((192, 256, 320), batch=4, rounds=1, overrides=LIGHT),
}
GIB = 1 << 30
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -2, -3, -4  # of malloc.h
PLAIN, NO_MMAP = "default", "no mmap, no trim"
# Calls of mallopt in a fresh copy of this process.
CALLS: dict[str, list[tuple[int, int]]] = {
    PLAIN: [],
    "mmap from 32 MiB": [(M_MMAP_THRESHOLD, 32 << 20), (M_TRIM_THRESHOLD, -1)],
    "mmap from 1 GiB": [(M_MMAP_THRESHOLD, GIB), (M_TRIM_THRESHOLD, -1)],
    "mmap from 1 GiB, pad 64 MiB": [
        (M_MMAP_THRESHOLD, GIB),
        (M_TRIM_THRESHOLD, -1),
        (M_TOP_PAD, 64 << 20),
    ],
    NO_MMAP: [(M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, -1)],
}
# Variables of a process that is started anew.
VARIABLES = {
    "default, started anew": {},
    "variables, mmap from 1 GiB, trim at 4 GiB": {
        "MALLOC_MMAP_THRESHOLD_": str(GIB),
        "MALLOC_TRIM_THRESHOLD_": str(4 * GIB),
    },
}


def main() -> int:
    """Measure all settings in turns and print medians."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, help="JSON to write")
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=CASES)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", help="these settings and the default")
    parser.add_argument("--preload", nargs="*", default=[], metavar="NAME=FILE")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child is not None:
        print(json.dumps(measure(arguments.child, [])))
        return 0
    settings: dict[str, Callable[[str], dict[str, float]]] = {
        **{name: partial(in_a_copy, calls) for name, calls in CALLS.items()},
        **{name: partial(started_anew, variables) for name, variables in VARIABLES.items()},
    }
    for name, _, file in (text.partition("=") for text in arguments.preload):
        settings[name] = partial(started_anew, {"LD_PRELOAD": file})
    if arguments.only:
        settings = {n: s for n, s in settings.items() if n in {PLAIN, *arguments.only}}
    found: dict[str, Any] = {}
    for case in arguments.cases:
        rounds = [
            {name: run(case) for name, run in settings.items()} for _ in range(arguments.rounds)
        ]
        found[case] = summary(rounds)
        print_table(case, found[case])
        if arguments.output is not None:
            write(arguments, found)
    return 0


def write(arguments: argparse.Namespace, found: dict[str, Any]) -> None:
    """Write what has been found so far."""
    report = {
        "machine": describe_machine(),
        "command": shareable_command(sys.argv[1:], script="benchmarks/page_faults.py"),
        "cases": {name: asdict(CASES[name]) for name in found},
        "found": found,
    }
    arguments.output.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def in_a_copy(calls: list[tuple[int, int]], case: str) -> dict[str, float]:
    """What calls of mallopt give in a copy of this process, which has imported everything."""
    with ProcessPoolExecutor(1, mp_context=get_context("fork")) as pool:
        return pool.submit(measure, case, calls).result()


def started_anew(variables: dict[str, str], case: str) -> dict[str, float]:
    """What environment variables give."""
    command = [sys.executable, __file__, "--child", case]
    done = subprocess.run(command, env=os.environ | variables, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def measure(case: str, calls: list[tuple[int, int]]) -> dict[str, float]:
    """Faults and seconds of a step, and the most MB of the process, after a round to warm up."""
    torch.set_num_threads(1)
    accepted = [ctypes.CDLL(None).mallopt(*call) for call in calls]
    assert all(accepted), f"mallopt refused {calls}: {accepted}"
    step, batches = make_step(CASES[case])
    for each in batches:
        step(each)
    before = resource.getrusage(resource.RUSAGE_SELF)
    for each in batches * CASES[case].rounds:
        step(each)
    after = resource.getrusage(resource.RUSAGE_SELF)
    number = len(batches) * CASES[case].rounds
    return {
        "faults": (after.ru_minflt - before.ru_minflt) / number,
        "user_s": (after.ru_utime - before.ru_utime) / number,
        "system_s": (after.ru_stime - before.ru_stime) / number,
        "peak_mb": occupied("VmHWM"),
        "now_mb": occupied("VmRSS"),
    }


def make_step(case: Case) -> tuple[Callable[[Batch], None], list[Batch]]:
    """A training step as the loop makes it, and a batch of each shape."""
    config = van_dense.load_config(
        "retinanet_van_b0", ["model.backbone.weights=null", *case.overrides]
    )
    torch.manual_seed(0)
    model = van_dense.build_model(config).train().to(memory_format=torch.channels_last)
    optimizer = build_optimizer(model, config.train.optimizer, lr=1e-4)

    def step(batch: Batch) -> None:
        losses = model(batch)
        torch.stack(list(losses.values())).sum().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    shapes = [(side, side * 4 // 3 // 32 * 32) for side in case.sides]
    both = [shape for short, long in shapes for shape in ((short, long), (long, short))]
    return step, [noise(*shape, case.batch) for shape in both]


def noise(height: int, width: int, images: int) -> Batch:
    """Noise with eight boxes an image."""
    generator = torch.Generator().manual_seed(0)
    limits = torch.tensor([width, height])
    corners = torch.rand(images, 8, 2, 2, generator=generator).sort(dim=2).values * limits
    size = (height, width)
    return Batch(
        images=torch.randint(0, 256, (images, 3, *size), dtype=torch.uint8, generator=generator),
        sizes=[size] * images,
        orig_sizes=[size] * images,
        image_ids=list(range(images)),
        seeds=list(range(images)),
        targets=[Instances(boxes=boxes.flatten(1), labels=torch.arange(8)) for boxes in corners],
    )


def occupied(name: str) -> float:
    """MB of this process: "VmRSS" now, "VmHWM" at most so far."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    match = re.search(rf"^{name}:\s+(\d+) kB", status, re.MULTILINE)
    assert match is not None
    return int(match[1]) * 1024 / 1e6


def summary(rounds: list[dict[str, dict[str, float]]]) -> dict[str, dict[str, float]]:
    """Medians of each setting, and of the ratio of CPU time to that of the default in a round."""
    return {
        name: {
            **{key: round(median(r[name][key] for r in rounds), 3) for key in rounds[0][name]},
            "cpu_ratio": round(median(cpu(r[name]) / cpu(r[PLAIN]) for r in rounds), 3),
            "cpu_ratios": [round(cpu(r[name]) / cpu(r[PLAIN]), 3) for r in rounds],
        }
        for name in rounds[0]
    }


def cpu(values: dict[str, float]) -> float:
    """Seconds of CPU time of a step."""
    return values["user_s"] + values["system_s"]


def print_table(case: str, found: dict[str, dict[str, float]]) -> None:
    """One line for each setting."""
    print(f"{case}: faults, user s, system s of a step; ratio of CPU time; peak MB", flush=True)
    for name, x in found.items():
        print(
            f"{name:<42}{x['faults']:>9.0f}{x['user_s']:>8.3f}{x['system_s']:>8.3f}"
            f"{x['cpu_ratio']:>8.3f}{x['peak_mb']:>8.0f}",
            flush=True,
        )


if __name__ == "__main__":
    sys.exit(main())
