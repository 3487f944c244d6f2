"""Other toolkits beside this one, with the same images, weights, CPU time and evaluator.

run.py --set bccd --who ours torchvision ultralytics --seeds 0 1 2 --cpu-minutes 6 \\
    --data datasets --weights datasets/weights --envs envs --out results/cpu2_peers_bccd.json

Each training gets its minutes of CPU time: a calibration, once for each toolkit and set, tells how
many steps fit, the schedule is as long as these, and the run stops where its CPU time is spent.
States after a third, two thirds and all of it predict the validation part; the predictions are
saved, and measured by this project's evaluator, which must agree with pycocotools, or for label
maps with a plain count. What is in --out is not run again. README.md has the sets and the rules.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # this checkout, installed or not
from benchmarks.harness.machine import describe_machine, shareable_command
from benchmarks.peers.environments import PEERS
from benchmarks.peers.jobs import Job, steps_that_fit
from benchmarks.peers.launch import ROOT, start
from benchmarks.peers.scores import score
from benchmarks.peers.sets import SETS
from van_dense.config import load_config

BACKBONE = "tf_efficientnet_lite0"
CALIBRATION = 0.1  # of the budget, and at least ...
LEAST_CALIBRATION = 8.0  # ... seconds of CPU time


def main() -> int:
    """Run what is missing in the file; 1 where a run failed."""
    parser = build_parser(__doc__)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--cpu-minutes", type=float, required=True, help="of each training")
    parser.add_argument("--keep", action="store_true", help="keep states and predictions")
    arguments = parser.parse_args()
    failed = 0
    for name in arguments.who:
        if SETS[arguments.set].task not in PEERS[name].tasks:
            print(f"{name} has no {SETS[arguments.set].task}: left out")
            continue
        for seed in arguments.seeds:
            failed += not one_run(arguments, name, seed)
    return int(failed > 0)


def build_parser(description: str | None) -> argparse.ArgumentParser:
    """Options that broken.py has as well."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--set", required=True, choices=SETS)
    parser.add_argument("--who", nargs="+", choices=PEERS, default=list(PEERS))
    parser.add_argument("--data", type=Path, default=Path("datasets"), help="prepared sets")
    parser.add_argument("--weights", type=Path, default=Path("datasets/weights"))
    parser.add_argument("--envs", type=Path, default=Path("envs"), help="environments of peers")
    parser.add_argument("--work", type=Path, default=Path("runs/peers"), help="for what they write")
    parser.add_argument("--backbone", default=BACKBONE, help="file name in --weights")
    parser.add_argument("--project", type=Path, help="of this project, in place of the set's own")
    parser.add_argument("--override", nargs="+", default=[], metavar="KEY=VALUE", help="of ours")
    parser.add_argument("--out", type=Path, required=True, metavar="JSON")
    return parser


def one_run(arguments: argparse.Namespace, name: str, seed: int) -> bool:
    """Train, predict and measure, unless the file has it; whether it worked."""
    key = f"{name}/{arguments.cpu_minutes:g}/{seed}"
    if key in load(arguments.out)["runs"]:
        print(f"{key}: is there")
        return True
    began = time.time()
    budget = 60 * arguments.cpu_minutes
    calibration = calibrated(arguments, name, budget)
    report = calibration and child(arguments, name, seed, steps_that_fit(calibration, budget))
    if not report:
        return False
    job = Job.read(folder_of(arguments, name, seed) / "job.json")
    for saved in report["saved"]:
        saved["scores"] = score(job, Path(saved.pop("predictions")))
        del saved["state"]
    report["wall_s"] = round(time.time() - began, 1)
    save(arguments.out, "runs", key, report)
    if not arguments.keep:
        shutil.rmtree(job.out)
    values = {k: round(v, 3) for k, v in report["saved"][-1]["scores"].items() if " of " not in k}
    print(f"{key}: {report['steps']} steps, {report['cpu_s']:.0f} s of CPU, {values}", flush=True)
    return True


def calibrated(arguments: argparse.Namespace, name: str, budget: float) -> dict[str, Any] | None:
    """What a step costs, measured once for a file."""
    known = load(arguments.out)["calibrations"]
    if name not in known:
        seconds = max(LEAST_CALIBRATION, CALIBRATION * budget)
        report = child(arguments, name, 0, 0, seconds=seconds)
        if not report:
            return None
        report.pop("saved")
        save(arguments.out, "calibrations", name, report)
        known = load(arguments.out)["calibrations"]
    return known[name]


def folder_of(arguments: argparse.Namespace, name: str, seed: int) -> Path:
    """Folder of a run."""
    return (arguments.work / arguments.set / f"{name}_{seed}").resolve()


def child(
    arguments: argparse.Namespace, name: str, seed: int, steps: int, seconds: float | None = None
) -> dict[str, Any] | None:
    """Start one toolkit; its report, or None where it failed."""
    out = folder_of(arguments, name, seed)
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    job = job_of(arguments, name, seed, steps, out, seconds or 60 * arguments.cpu_minutes)
    code, report = start(job, arguments.envs), out / "report.json"
    if code != 0 or not report.is_file():
        lines = (out / "log.txt").read_text().splitlines()[-5:]
        print(f"{name}, seed {seed}: exit code {code}", *lines, sep="\n  ", flush=True)
        return None
    return json.loads(report.read_text())


def job_of(
    arguments: argparse.Namespace, name: str, seed: int, steps: int, out: Path, seconds: float
) -> Job:
    """The job of one training."""
    data, root = SETS[arguments.set], arguments.data.resolve()
    variant, size = name.partition("-")[2], list(data.size)
    if variant.isdigit():
        size = [round(side * int(variant) / max(data.size)) for side in data.size]
    project, backbone = ROOT / "benchmarks/real" / data.project, arguments.backbone
    if name.startswith("ours-"):  # the recipe's own backbone
        project = ROOT / "projects" / f"{variant}.yaml"
        backbone = load_config(project).model.backbone.name
    project = arguments.project or project
    weights = (arguments.weights / f"{backbone}.safetensors").resolve()
    ours = [*data.overrides(root), f"model.backbone.name={backbone}"]
    ours += [f"model.backbone.weights={weights}", *arguments.override]
    return Job(
        peer=name,
        task=data.task,
        seed=seed,
        steps=steps,
        cpu_seconds=seconds,
        out=str(out),
        folder=str(root / data.folder),
        images=data.images(root),
        masks=data.masks(root),
        classes=list(data.classes),
        size=size,
        backbone=backbone,
        weights=str(weights),
        project=str(project),
        overrides=ours,
    )


def load(path: Path) -> dict[str, Any]:
    """The file so far."""
    values: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    return {"machine": {}, "commands": [], "calibrations": {}, "runs": {}, "broken": {}} | values


def save(path: Path, section: str, key: str, value: dict[str, Any]) -> None:
    """Add a result, and the command that made it."""
    values = load(path)
    values[section][key] = value
    values["machine"] = describe_machine()
    script = f"benchmarks/peers/{Path(sys.argv[0]).name}"
    command = shareable_command(sys.argv[1:], script=script)
    values["commands"] = sorted({*values["commands"], command})
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
