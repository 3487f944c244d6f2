"""Do training runs survive? Accidents of each kind for each task, here and in other programs.

crashes.py --output FILE.json                     every accident of this toolkit
crashes.py --only kill --tasks pose               a part of it; the rest of FILE.json stays
crashes.py --only damage                          bits and pages of a checkpoint, changed
crashes.py --peers ultralytics lightning trainer --environments FOLDER
crashes.py --page docs/crashes.md --output FILE.json   write the tables of the page, run nothing

Runs of golden.py with an average of the weights and gradients of two passes are struck at random
moments and resumed until they end; then they must equal an undisturbed run to the last bit. The
kinds of accident are the rows of ACCIDENTS in harness/accidents.py, and ``damage`` changes bits and
pages of a checkpoint of RetinaNet on VAN-B0 (harness/damage.py). Peers are those of
harness/peers.py, each with a virtual environment below FOLDER, where --install makes it. Moments
and places follow from --seed; what a moment hits depends on the speed of the machine.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout, installed or not
from benchmarks.golden import ROOT, train_arguments
from benchmarks.harness.accidents import ACCIDENTS, suffer, undisturbed
from benchmarks.harness.crash_page import write_page
from benchmarks.harness.damage import damage
from benchmarks.harness.machine import describe_machine, shareable_command
from benchmarks.harness.peers import PEERS, Peer
from benchmarks.harness.programs import EVAL_EVERY, STEPS, Ours

# Each task: its experiment of golden.py, and half of its batch.
TASKS = {
    "detection": ("retinanet", 1),
    "semantic": ("semantic_fpn", 1),
    "pose": ("pose_msra", 2),
    "classification": ("classification", 2),
}
# Lines of the log, checkpoints and evaluations do not coincide; gradients of two passes add up.
SETTINGS = (
    f"train.steps={STEPS}",
    f"train.eval_every={EVAL_EVERY}",
    "train.save_every=2",
    "train.log_every=3",
    "train.ema_decay=0.9",
    "data.sample.train_images=24",
    "data.sample.val_images=6",
)


def main() -> int:
    """Run what is asked for, and exit with 1 where anything of this toolkit is at fault."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    kinds = [*ACCIDENTS, "damage"]
    parser.add_argument("--only", nargs="+", choices=kinds, default=list(ACCIDENTS))
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--times", type=int, help="accidents of each kind (default: by kind)")
    parser.add_argument("--peers", nargs="+", choices=PEERS, help="other programs, not this one")
    parser.add_argument("--environments", type=Path, metavar="FOLDER", help="of the peers")
    parser.add_argument("--install", action="store_true", help="make the peers' environments")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, required=True, metavar="JSON", help="file to write")
    parser.add_argument("--page", type=Path, metavar="MD", help="write the tables and stop")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep the runs in this folder")
    arguments = parser.parse_args()
    if arguments.peers and arguments.environments is None:
        parser.error("--peers needs the folder of their --environments")
    if arguments.page:
        write_page(arguments.page, json.loads(arguments.output.read_text()))
        return 0
    folder = arguments.keep or Path(tempfile.mkdtemp(prefix="crashes_"))
    try:
        if arguments.peers:
            for name in arguments.peers:
                of_peer(name, arguments, folder / name)
            return 0
        at_fault = [of_task(task, arguments, folder / task) for task in arguments.tasks]
        if "damage" in arguments.only:
            result = damage(folder / "damage", seed=arguments.seed)
            write(arguments.output, {"damage": result})
            at_fault.append(any(found["faults"] for found in result["kinds"].values()))
    finally:
        if arguments.keep is None:
            shutil.rmtree(folder)
    return int(any(at_fault))


def of_task(task: str, arguments: argparse.Namespace, folder: Path) -> bool:
    """Accidents of this toolkit; whether anything is at fault."""
    experiment, micro_batch = TASKS[task]
    wholes: dict[int, Any] = {}
    at_fault = False
    for kind in (kind for kind in arguments.only if kind in ACCIDENTS):
        accident = ACCIDENTS[kind]
        number = accident.processes
        if number not in wholes:
            more = (
                f"train.micro_batch={micro_batch}",
                f"train.batch_size={2 * number * micro_batch}",
            )
            first = [*train_arguments(ROOT, experiment, "--resume"), *SETTINGS, *more]
            wholes[number] = undisturbed(folder / f"whole_{number}", Ours(first, number))
        times = arguments.times or accident.times
        numbers = (arguments.seed, list(ACCIDENTS).index(kind), list(TASKS).index(task))
        random = np.random.default_rng(numbers)
        found = suffer(kind, times, wholes[number], folder / kind, random)
        show(task, kind, found)
        at_fault |= bool(found["faults"]) or found["equal"] < found["runs"]
        write(arguments.output, {kind: {task: found}})
    return at_fault


def of_peer(name: str, arguments: argparse.Namespace, folder: Path) -> None:
    """Two undisturbed runs of another program, and what accidents do to it."""
    peer = Peer(name, (arguments.environments / name).absolute())
    if arguments.install:
        peer.install()
    whole = undisturbed(folder / "whole", peer)
    again = undisturbed(folder / "again", peer)
    about = {**peer.about, "twice": peer.differences(whole.run, again.run, is_signalled=False)}
    result = peer.result(whole.run)
    about["result"] = {"weights": result["weights"], "last": result["log"][-1]}
    write(arguments.output, {"peers": {name: about}})
    for kind in (kind for kind in arguments.only if kind in ACCIDENTS):
        times = arguments.times or ACCIDENTS[kind].of_peers
        if ACCIDENTS[kind].of_peers and kind not in peer.cannot:
            random = np.random.default_rng((arguments.seed, list(ACCIDENTS).index(kind), 99))
            found = suffer(kind, times, whole, folder / kind, random)
            show(name, kind, found)
            write(arguments.output, {"peers": {name: {"accidents": {kind: found}}}})


def write(path: Path, result: dict[str, Any]) -> None:
    """Write results over those of the same kinds and tasks, and the command that made them."""
    values: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    command = shareable_command(sys.argv[1:], script="benchmarks/crashes.py")
    commands = [one for one in values.pop("commands", ()) if one != command]
    values.pop("machine", None)
    head = {"machine": describe_machine(), "commands": [*commands, command]}
    path.write_text(json.dumps(head | merged(values, result), indent=1) + "\n")


def merged(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Results by kind and task, and by peer and kind, with those of ``new`` in their places."""
    if "accidents" in new and isinstance(new["accidents"], int):  # one result
        return new
    both = dict(old)
    for key, value in new.items():
        is_nested = isinstance(value, dict) and isinstance(both.get(key), dict)
        both[key] = merged(both[key], value) if is_nested else value
    return both


def show(who: str, kind: str, found: dict[str, Any]) -> None:
    """Print a line, and what is at fault."""
    counts = ", ".join(f"{key} {found[key]}" for key in ("accidents", "runs", "ended", "equal"))
    print(f"{who} {kind}: {counts}; {found['phases']}", file=sys.stderr)
    print(*found["faults"], sep="\n", end="\n" if found["faults"] else "", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
