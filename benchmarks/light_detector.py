"""CPU time of the light detector, as a ratio to that of YOLO11n of ultralytics, in one run.

python benchmarks/light_detector.py --peer-python PEER/bin/python --output FILE

A training step (forward with matching and loss, backward, clipping, AdamW) and the prediction of a
batch (from pixels to boxes, without decoding a file) on images of one size and equal boxes, on one
thread. Each network lives in a process of its own, the peer in its own environment (``pip install
ultralytics``), and the two take turns; what counts is the median over the rounds of the ratio of
CPU times in a round. Both are trained on their batch for some steps first, so that there is
something to suppress. YOLO11n is made from its YAML, and fused for prediction as ultralytics does
it; ours is `projects/gfl_small.yaml`, predicting with the copy that ``van_dense.load`` makes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[1]
CASES = ((320, 8), (640, 4))  # side of the images in pixels, and images of a batch
NUM_CLASSES, BOXES, WARM_UP = 3, 12, 12
Call = Callable[[], Any]


def main() -> int:
    """Measure, print and write, or answer as one of the two processes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peer-python", help="Python of an environment that has ultralytics")
    parser.add_argument("--project", default="gfl_small", help="ours (default gfl_small)")
    parser.add_argument("--rounds", type=int, default=5, help="default 5")
    parser.add_argument("--output", type=Path, help="JSON file to write")
    parser.add_argument("--serve", nargs=3, metavar=("WHO", "SIDE", "BATCH"), help="internal")
    arguments = parser.parse_args()
    if arguments.serve is not None:
        who, side, batch = arguments.serve
        make = yolo11n if who == "yolo11n" else lambda *numbers: ours(arguments.project, *numbers)
        serve(make, int(side), int(batch))
        return 0
    if arguments.peer_python is None or arguments.output is None:
        parser.error("give --peer-python and --output")
    result = measure(arguments.peer_python, arguments.project, arguments.rounds)
    print(json.dumps(result, indent=2))
    arguments.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return 0


def measure(peer_python: str, project: str, rounds: int) -> dict[str, Any]:
    """CPU milliseconds an image of both, and their ratio, of each case."""
    sys.path.insert(0, str(ROOT))
    from benchmarks.harness.clock import spread
    from benchmarks.harness.machine import describe_machine, shareable_command

    command = shareable_command(sys.argv[1:], script="benchmarks/light_detector.py")
    result: dict[str, Any] = {"machine": describe_machine(), "command": command}
    result |= {"project": project, "rounds": rounds}
    for side, batch in CASES:
        pythons = {"ours": sys.executable, "yolo11n": peer_python}
        children = {
            who: _start([python, __file__, "--project", project, "--serve", who, side, batch])
            for who, python in pythons.items()
        }
        case: dict[str, Any] = {"batch": batch}
        for what in ("train", "predict"):
            times = {who: [] for who in children}
            for _ in range(rounds):
                for who, child in children.items():
                    times[who].append(1000 * _ask(child, what) / batch)
            ratios = [a / b for a, b in zip(times["ours"], times["yolo11n"], strict=True)]
            case[what] = {who: spread(values, 1) for who, values in times.items()}
            case[what]["ratio"] = spread(ratios)
        for child in children.values():
            child.communicate("\n")
        result[f"{side}x{side}"] = case
    return result


def _start(command: list[Any]) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen([*map(str, command)], stdin=pipe, stdout=pipe, text=True)


def _ask(child: subprocess.Popen[str], what: str) -> float:
    assert child.stdin is not None and child.stdout is not None  # they are pipes
    child.stdin.write(f"{what}\n")
    child.stdin.flush()
    while not (line := child.stdout.readline()).startswith("seconds "):
        if not line:
            raise RuntimeError("one of the processes ended; what it said stands above")
    return float(line.split()[1])


def serve(make: Callable[[int, int], tuple[Call, Call]], side: int, batch: int) -> None:
    """Do what each line of the standard input asks for, and answer with its CPU seconds."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    train, predict = make(side, batch)
    for _ in range(WARM_UP):
        train()
    predict()
    for line in sys.stdin:
        call = {"train": train, "predict": predict}.get(line.strip())
        if call is None:
            return
        began = time.process_time()
        call()
        print("seconds", time.process_time() - began, flush=True)


def _boxes(batch: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Centres and sizes in 0..1 (B, N, 2) of boxes."""
    generator = torch.Generator().manual_seed(0)
    shape = (batch, BOXES, 2)
    centres = 0.1 + 0.8 * torch.rand(shape, generator=generator)
    return centres, 0.05 + 0.15 * torch.rand(shape, generator=generator)


def _stepper(model: torch.nn.Module, loss: Callable[[], torch.Tensor]) -> Call:
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, fused=True)

    def train() -> None:
        model.train()
        loss().backward()
        torch.nn.utils.clip_grad_norm_(parameters, 10.0)
        optimizer.step()
        optimizer.zero_grad()

    return train


def ours(project: str, side: int, batch: int) -> tuple[Call, Call]:
    """A training step and a prediction of a project of van_dense."""
    sys.path.insert(0, str(ROOT))
    from van_dense.api import build_model, load_config
    from van_dense.core.allocator import keep_freed_memory
    from van_dense.core.dataset_info import DatasetInfo
    from van_dense.core.structures import Batch, Instances
    from van_dense.models.cpu_copy import cpu_copy

    keep_freed_memory()  # as van-dense train does
    config = load_config(project, ["model.backbone.weights=null"])
    names = [f"class {number}" for number in range(NUM_CLASSES)]
    info = DatasetInfo("boxes", names, category_ids=list(range(1, NUM_CLASSES + 1)))
    model = build_model(config, info).to(memory_format=torch.channels_last)
    centres, sizes = _boxes(batch)
    boxes = side * torch.cat([centres - sizes / 2, centres + sizes / 2], dim=2)
    labels = torch.arange(BOXES) % NUM_CLASSES
    images = Batch(
        images=torch.randint(0, 256, (batch, 3, side, side), dtype=torch.uint8),
        sizes=[(side, side)] * batch,
        orig_sizes=[(side, side)] * batch,
        image_ids=list(range(batch)),
        targets=[Instances(boxes=of_image, labels=labels) for of_image in boxes],
        seeds=list(range(batch)),
    )
    copies: list[Any] = []

    def predict() -> None:
        if not copies:
            copies.append(cpu_copy(model.eval()))
        with torch.inference_mode():
            copies[0].predict(images)

    return _stepper(model, lambda: torch.stack(list(model(images).values())).sum()), predict


def yolo11n(side: int, batch: int) -> tuple[Call, Call]:
    """A training step and a prediction of ultralytics' network, without its loader and trainer."""
    from copy import deepcopy

    from ultralytics.nn.tasks import DetectionModel
    from ultralytics.utils import DEFAULT_CFG
    from ultralytics.utils.nms import non_max_suppression

    model = DetectionModel("yolo11n.yaml", nc=NUM_CLASSES, verbose=False)
    model.args = DEFAULT_CFG
    centres, sizes = _boxes(batch)
    pixels = torch.randint(0, 256, (batch, 3, side, side), dtype=torch.uint8)
    labels = (torch.arange(BOXES) % NUM_CLASSES).repeat(batch)
    targets = {
        "bboxes": torch.cat([centres, sizes], dim=2).flatten(0, 1),
        "cls": labels[:, None].float(),
        "batch_idx": torch.arange(batch).repeat_interleave(BOXES).float(),
    }
    copies: list[Any] = []

    def predict() -> None:
        if not copies:
            copies.append(deepcopy(model).eval().fuse(verbose=False))
        with torch.inference_mode():
            found = copies[0](pixels.float() / 255)
            non_max_suppression(found[0] if isinstance(found, tuple) else found, 0.25, 0.7)

    return _stepper(
        model, lambda: model({"img": pixels.float() / 255, **targets})[0].sum()
    ), predict


if __name__ == "__main__":
    sys.exit(main())
