"""Do training runs survive? Accidents of each kind for each task, and damage to a checkpoint.

crashes.py --output FILE.json           everything, under an hour on two busy cores
crashes.py --only kill --tasks pose     a part of it; the rest of FILE.json stays

Runs of golden.py with an average of the weights and gradients of two passes are struck at random
moments and resumed until they end; then they must equal an undisturbed run to the last bit. The
kinds of accident are the rows of ACCIDENTS in harness/accidents.py, and ``damage`` changes bits and
pages of a checkpoint of RetinaNet on VAN-B0 (harness/damage.py). Moments and places follow from
--seed; what a moment hits depends on the speed of the machine.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout, installed or not
from benchmarks.harness.accidents import ACCIDENTS, TASKS, suffer, undisturbed
from benchmarks.harness.damage import damage
from benchmarks.harness.machine import describe_machine, shareable_command


def main() -> int:
    """Run what is asked for, print a table, and exit with 1 where anything is at fault."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    kinds = [*ACCIDENTS, "damage"]
    parser.add_argument("--only", nargs="+", choices=kinds, default=kinds)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, metavar="JSON", help="file to write")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep the runs in this folder")
    arguments = parser.parse_args()
    folder = arguments.keep or Path(tempfile.mkdtemp(prefix="crashes_"))
    began = time.time()
    try:
        result = accidents(arguments, folder)
        if "damage" in arguments.only:
            result["damage"] = damage(folder / "damage", seed=arguments.seed)
    finally:
        if arguments.keep is None:
            shutil.rmtree(folder)
    command = shareable_command(sys.argv[1:], script="benchmarks/crashes.py")
    made: dict[str, Any] = {"command": command, "seed": arguments.seed}
    made["minutes"] = round((time.time() - began) / 60, 1)
    if arguments.output is not None:
        write(arguments.output, made, result)
    return int(show(result))


def write(path: Path, made: dict[str, Any], result: dict[str, Any]) -> None:
    """Write results over those of the same kinds and tasks, and the command that made them."""
    values: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    commands = [*values.pop("commands", ()), made]
    for kind, found in result.items():
        values[kind] = {**values.get(kind, {}), **found}
    head = {"machine": describe_machine(), "commands": commands}
    path.write_text(json.dumps(head | values, indent=1) + "\n")


def accidents(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Results by kind of accident and task; two runs at a time."""
    cells = [(kind, task) for kind in ACCIDENTS for task in arguments.tasks]
    cells = [cell for cell in cells if cell[0] in arguments.only]
    with ThreadPoolExecutor(2) as pool:
        tasks = arguments.tasks if cells else []
        made = pool.map(lambda task: undisturbed(folder / task / "whole", task), tasks)
        wholes = dict(zip(tasks, made, strict=True))

        def one(cell: tuple[str, str]) -> dict[str, Any]:
            kind, task = cell
            numbers = (arguments.seed, list(ACCIDENTS).index(kind), list(TASKS).index(task))
            place, random = folder / task / kind, np.random.default_rng(numbers)
            found = suffer(kind, wholes[task], place, random)
            print(f"{kind} {task}: {found}", file=sys.stderr)
            return found

        found = dict(zip(cells, pool.map(one, cells), strict=True))
    result: dict[str, Any] = {}
    for (kind, task), values in found.items():
        result.setdefault(kind, {})[task] = values
    return result


def show(result: dict[str, Any]) -> bool:
    """Print the table; whether anything is at fault."""
    at_fault = False
    print(f"{'accident':<12}{'task':<12}{'times':>6}{'runs':>6}{'equal':>6}  struck while")
    for kind in ACCIDENTS:
        for task, found in result.get(kind, {}).items():
            phases = ", ".join(f"{name} {n}" for name, n in sorted(found["phases"].items()))
            counts = f"{found['accidents']:>6}{found['runs']:>6}{found['equal']:>6}"
            print(f"{kind:<12}{task:<12}{counts}  {phases}")
            print(*found["faults"], sep="\n", end="\n" if found["faults"] else "")
            at_fault |= bool(found["faults"]) or found["equal"] < found["runs"]
    if "damage" in result:
        print(f"{'damage':<24}{'cases':>6}{'noticed':>9}{'harmless':>9}{'faults':>7}")
        for name, found in result["damage"]["kinds"].items():
            numbers = f"{found['noticed']:>9}{found['harmless']:>9}{len(found['faults']):>7}"
            print(f"{name:<24}{found['cases']:>6}{numbers}")
            print(*found["faults"], sep="\n", end="\n" if found["faults"] else "")
            at_fault |= bool(found["faults"])
    return at_fault


if __name__ == "__main__":
    sys.exit(main())
