"""Golden values: does a change leave every number as it was, to the last bit?

golden.py BASE                 record the commit BASE and the working tree, and compare
golden.py --record FILE.json   record the working tree alone

One tiny experiment for every kind of model and task trains on generated data through the public
commands, is evaluated and predicts. Recorded are the losses of every step, the metrics, and a
SHA-256 of each file of predictions. Only commands, projects and run folders are used, no module of
the package, so the tool can compare layouts that share no import. Values depend on processor and
library versions: compare records of one machine only.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout, installed or not
from benchmarks.harness.checkout import ROOT, checkout_of

Record = dict[str, dict[str, Any]]

# fmt: off
COMMON = ("train.steps=3", "train.eval_every=3", "train.save_every=3", "train.log_every=1",
          "train.schedule.warmup_steps=1", "eval.pictures=1", "eval.oracle_images=2",
          "data.workers=1", "model.backbone.drop_path=0.2",
          "data.sample.root=datasets/sample", "data.sample.train_images=64",
          "data.sample.val_images=16", "data.sample.size=128")
SMALL = ("data.transforms={short_sides: [64, 80], test_short_side: 64, max_long_side: 112}",
         "model.fpn.channels=16", "train.batch_size=2", "model.backbone.name=van_b0",
         "train.optimizer.base_batch=2")
ANCHORS = "model.anchor_sizes=[8, 16, 24, 36, 48]"
MAPS = ("data.transforms={scale: [112, 64], crop: [64, 64], test_scale: [112, 64]}",
        "model.backbone.name=van_b0", "train.batch_size=2", "eval.save_predictions=true")
POSE = ("data.transforms.size=[64, 64]", "model.channels=[16, 16]", "train.batch_size=4")
PANOPTIC = (SMALL[0], "model.backbone.name=van_b0", "train.batch_size=2", "eval.boundary=true",
            "eval.types=[panoptic, instance, semantic]", "eval.save_predictions=true")
# Name: project, overrides. Settings that no other experiment has are spread over them.
EXPERIMENTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "maskrcnn": ("quickstart", (*SMALL, ANCHORS, "model.box_head.score_threshold=0.001",
        "train.ema_decay=0.9", "train.micro_batch=1")),
    "cascade": ("cascade_maskrcnn_van_b2_3x", (*SMALL, ANCHORS,
        "model.rpn={train_post_nms: 200, test_post_nms: 100}",
        "model.box_head={convs: 1, conv_channels: 16, channels: 32, samples: 64, "
        "score_threshold: 0.001}", "model.mask_head={channels: 16, convs: 1}",
        "data.transforms.crop={short_sides: [48, 56], range: [32, 48]}")),
    "retinanet": ("retinanet_van_b0", (*SMALL, ANCHORS, "model.head.score_threshold=0.001",
        "data.group_by_aspect=true", "train.optimizer.name=sgd")),
    "retinanet_resnet": ("retinanet_r50_torchvision", (*SMALL[:3], ANCHORS,
        "model.backbone={name: resnet18, norm_mode: frozen, freeze_stages: 2, drop_path: 0}",
        "model.head.score_threshold=0.001")),
    "atss": ("atss_van_b2_3x", (*SMALL, ANCHORS, "model.head.score_threshold=0.001")),
    "gfl": ("gfl_van_b2_3x", (*SMALL, ANCHORS, "model.head.score_threshold=0.001",
        "data.transforms.color_jitter=0.3")),
    "sparsercnn": ("sparsercnn_van_b2_3x", (*SMALL, "model.proposals=20", "model.stages=2",
        "model.head={attention_heads: 2, feedforward: 32, dynamic_channels: 8}")),
    "semantic_fpn": ("semfpn_van_b0", (*MAPS,
        "model.decoder={name: semantic_fpn, channels: 16, head_channels: 16}",
        "eval.inference={mode: slide, crop: [64, 64], stride: [43, 43]}")),
    "upernet": ("upernet_van_b2", (*MAPS, "model.decoder={name: upernet, channels: 16}",
        "model.auxiliary={channels: 16}",
        "model.losses=[{name: ohem}, {name: dice}, {name: lovasz, weight: 0.5}]",
        "eval.inference={scales: [0.75, 1.0], flip: true}")),
    "light_ham": ("segnext_t", (*MAPS, "model.backbone.name=mscan_t",
        "model.decoder={name: light_ham, channels: 16, ham_channels: 32, rank: 4}")),
    "smp_unet": ("semfpn_van_b0", (*MAPS, "model.decoder={name: smp/Unet}",
        "model.losses=[{name: focal}, {name: tversky}]")),
    "saliency": ("saliency_van_b1", ("data.transforms={size: [64, 64], border_crop: 2}",
        "model.backbone.name=van_b0", "train.batch_size=2", "eval.save_predictions=true")),
    "pose_msra": ("pose_van_b0_256x192", POSE),
    "pose_dark": ("pose_van_b0_256x192", (*POSE, "model.codec=dark", "eval.nms=soft")),
    "pose_udp": ("pose_van_b0_256x192", (*POSE, "model.codec=udp", "train.ema_decay=0.5")),
    "mask2former": ("mask2former_van_b2", (*PANOPTIC,
        "model={queries: 8, channels: 32, attention_heads: 2, checkpointing: true}",
        "model.pixel_decoder={layers: 1, feedforward: 32}",
        "model.decoder={layers: 2, feedforward: 32}", "model.loss.points=128",
        "model.filter={score_threshold: 0.0, overlap_threshold: 0.0}",
        "data.transforms.large_scale_jitter={size: [96, 96]}")),
    "panoptic_fpn": ("panopticfpn_van_b2", (*PANOPTIC, ANCHORS, "model.fpn.channels=16",
        "model.semantic_head.channels=32", "model.box_head.score_threshold=0.001",
        "model.merge={score_threshold: 0.001, stuff_area: 16}")),
    "classification": ("classify_van_b0_in1k", ("data.transforms={size: 64, resize: 72}",
        "train.batch_size=4", "train.clip_norm=1.0")),
}
IMAGES = {"classification": "classes/val", "saliency": "duts/DUTS-TE/DUTS-TE-Image",
          "semantic_fpn": "ade/images/validation", "upernet": "ade/images/validation",
          "smp_unet": "ade/images/validation", "light_ham": "ade/images/validation"}
# fmt: on


def main() -> int:
    """Record, compare, and exit with 1 where a value changed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("base", nargs="?", help="commit to compare the working tree with")
    parser.add_argument("--record", type=Path, metavar="JSON", help="write the values and stop")
    parser.add_argument("--only", nargs="+", choices=EXPERIMENTS, default=list(EXPERIMENTS))
    arguments = parser.parse_args()
    if bool(arguments.base) == bool(arguments.record):
        parser.error("give either a commit or --record")
    if arguments.record:
        values = record(ROOT, arguments.only)
        arguments.record.write_text(json.dumps(values, indent=1) + "\n")
        return 0
    before = record_commit(arguments.base, arguments.only)
    differences = compare(before, record(ROOT, arguments.only))
    count = sum(len(values) for values in before.values())
    print(*differences, f"{count} values of {len(before)} experiments, ", sep="\n", end="")
    print(f"{len(differences)} differ" if differences else "equal to the last bit")
    return int(bool(differences))


def record_commit(commit: str, names: list[str]) -> Record:
    """Record a commit in a work tree of its own, once: the values are kept beside the runs."""
    parse = ["git", "-C", str(ROOT), "rev-parse", commit]
    parsed = subprocess.run(parse, check=True, capture_output=True, text=True)
    kept = ROOT / "runs" / "golden" / f"{parsed.stdout.strip()}.json"
    values: Record = json.loads(kept.read_text()) if kept.is_file() else {}
    missing = [name for name in names if name not in values]
    if missing:
        with checkout_of(commit) as tree:
            values |= record(tree, missing)
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps(values, indent=1) + "\n")
    if new := [name for name in names if name not in values]:
        print(f"{commit} has no project of {', '.join(new)}: not compared", file=sys.stderr)
    return {name: values[name] for name in names if name in values}


def record(checkout: Path, names: list[str]) -> Record:
    """Run those of ``names`` that the checkout has projects for, two at a time."""
    names = known(checkout, names)
    folder = Path(tempfile.mkdtemp(prefix="golden_"))
    try:
        prepare_sample(checkout, folder)
        with ThreadPoolExecutor(2) as pool:
            found = pool.map(lambda name: run_experiment(checkout, folder, name), names)
            return dict(zip(names, found, strict=True))
    finally:
        shutil.rmtree(folder)


def known(checkout: Path, names: Sequence[str]) -> list[str]:
    """Experiments whose project exists in the checkout; an older one lacks some."""
    projects = {name: checkout / "projects" / f"{EXPERIMENTS[name][0]}.yaml" for name in names}
    return [name for name, project in projects.items() if project.is_file()]


def prepare_sample(checkout: Path, folder: Path) -> None:
    """Write each part of the sample data set before experiments run beside each other."""
    first = ("maskrcnn", "semantic_fpn", "saliency", "pose_msra", "classification", "panoptic_fpn")
    for name in known(checkout, first):
        command(checkout, folder, train_arguments(checkout, name, "--dry-run"))


def run_experiment(checkout: Path, folder: Path, name: str) -> dict[str, Any]:
    """Train, evaluate and predict; the values by a name that says where they come from."""
    command(checkout, folder, train_arguments(checkout, name))
    images = f"datasets/sample/{IMAGES.get(name, 'val2017')}"
    predict = [f"{checkout}/tools/predict.py", f"runs/{name}", images]
    command(checkout, folder, [*predict, "--output", f"predicted/{name}"])

    values: dict[str, Any] = {}
    for line in (folder / "runs" / name / "log.jsonl").read_text().splitlines():
        entry = json.loads(line)
        for key, value in entry.items():
            if entry["kind"] == "train" and ("loss" in key or key == "lr"):
                values[f"step {entry['step']} {key}"] = value
    (evaluation,) = (folder / "runs" / name / "eval").iterdir()
    for key, value in json.loads((evaluation / "metrics.json").read_text()).items():
        values[f"metrics {key}"] = value
    for part in (evaluation, folder / "predicted" / name):
        for path in sorted(part.rglob("*")):
            is_picture = "pictures" in path.parts or path.name == "confusion.png"
            if path.is_file() and path.name != "metrics.json" and not is_picture:
                where = f"file {part.name} {path.relative_to(part)}"
                values[where] = hashlib.sha256(path.read_bytes()).hexdigest()
    print(f"{name}: {len(values)} values", file=sys.stderr)
    return values


def train_arguments(checkout: Path, name: str, *options: str) -> list[str]:
    """The training command of one experiment."""
    project, overrides = EXPERIMENTS[name]
    tool, config = f"{checkout}/tools/train_net.py", f"{checkout}/projects/{project}.yaml"
    arguments = [tool, "--config", config, "--sample", "--output", f"runs/{name}", *options]
    return [*arguments, *COMMON, *overrides]


def command(checkout: Path, folder: Path, arguments: list[str]) -> None:
    """Run a tool of the checkout in ``folder``; what it says is shown where it fails."""
    environment = os.environ | {"PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True
    )
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(arguments)}\n{done.stdout}{done.stderr}")


def compare(before: Record, after: Record) -> list[str]:
    """One line for each value that changed, appeared or vanished."""
    lines = []
    for name in before:
        old, new = before[name], after.get(name, {})
        for key in sorted(old.keys() | new.keys()):
            # As text: NaN equals NaN, and the shortest form of a float names it exactly.
            texts = [json.dumps(values.get(key, "nothing")) for values in (old, new)]
            if texts[0] != texts[1]:
                lines.append(f"{name}: {key}: {texts[0]} before, {texts[1]} now")
    return lines


if __name__ == "__main__":
    sys.exit(main())
