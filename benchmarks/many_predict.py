"""Twenty thousand images in two processes, killed twice and finished, beside one process.

many_predict.py --output FILE.json [--images 20000] [--alone NUMBER]

Images of 32 x 32 pixels are generated, and predicted by a tiny classifier of random weights: what
is measured is the command around a model. One process predicts all of them undisturbed, or as many
as --alone says, where time is short. Then two processes of ``torchrun`` are killed by SIGKILL after
about a third and two thirds, and finished by ``--resume``. All files must be equal, byte for byte,
as far as the one process came; the resident memory of every process is sampled against the images
that are done.
"""

from __future__ import annotations

import argparse
import filecmp
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout, installed or not
from benchmarks.harness.machine import describe_machine, shareable_command

ROOT = Path(__file__).resolve().parents[1]

TWO = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
SETTINGS = [
    "model.backbone={name: van_b0, weights: null, options: {embed_dims: [8, 8, 8, 8], "
    "depths: [1, 1, 1, 1]}}",
    "data.transforms={size: 32, resize: 32}",
    *("data.workers=0", "train.steps=1", "train.batch_size=2", "train.eval_every=null"),
    *("eval.pictures=0", "eval.oracle_images=0"),
]


def main() -> int:
    """Measure, print and write the result; 1 where anything differs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=20000)
    alone = "images of the one process, which is then told to stop (default: all)"
    parser.add_argument("--alone", type=int, metavar="NUMBER", help=alone)
    parser.add_argument("--output", type=Path, metavar="JSON", help="file to write")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="many_predict_"))
    try:
        result = compare(folder, arguments.images, arguments.alone)
    finally:
        shutil.rmtree(folder)
    print(json.dumps(result, indent=1))
    if arguments.output is not None:
        command = shareable_command(sys.argv[1:], script="benchmarks/many_predict.py")
        made = {"command": command, "machine": describe_machine(), **result}
        arguments.output.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
    return int(not result["equal"])


def compare(folder: Path, count: int, alone: int | None) -> dict[str, Any]:
    """One process, and two that are killed."""
    write_photos(folder / "photos", count)
    run = train(folder)
    words = [str(run), str(folder / "photos"), "--output"]
    one = watch([], [*words, str(folder / "one")], folder / "one", count, tell_at=alone)
    killed, stops = [], [count // 3, 2 * count // 3, None]
    for stop in stops:
        given = [*words, str(folder / "two"), "--resume"]
        killed.append(watch(TWO, given, folder / "two", count, stop=stop))
    shutil.rmtree(folder / "one" / ".unfinished", ignore_errors=True)  # of a process that stopped
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    compared = sum(path.is_file() for path in (folder / "one/pictures").rglob("*"))
    equal = agree(folder / "one", folder / "two", is_whole=compared == count)
    return {
        "images": count,
        "compared": compared,
        "equal": equal and (compared < count or killed[-1]["said"] == one["said"]),
        "bytes_of_results": sum(p.stat().st_size for p in (folder / "two").rglob("*")),
        "one_process": one,
        "two_processes": killed,
        "cpu_minutes": round((used.ru_utime + used.ru_stime) / 60, 1),
    }


def agree(one: Path, two: Path, *, is_whole: bool) -> bool:
    """Whether two folders hold the same bytes; the tables of a part begin those of the whole."""
    names, others = (
        {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
        for folder in (one, two)
    )
    if not names <= others or (is_whole and names != others):
        return False
    if is_whole:
        return all(filecmp.cmp(one / name, two / name, shallow=False) for name in names)
    pictures = [name for name in names if name.parts[0] == "pictures"]
    tables = [
        ((one / name).read_bytes(), (two / name).read_bytes()) for name in names - {*pictures}
    ]
    return all(whole.startswith(part) for part, whole in tables) and all(
        filecmp.cmp(one / name, two / name, shallow=False) for name in pictures
    )


def write_photos(folder: Path, count: int) -> None:
    """JPEGs of 32 x 32 pixels in folders of a thousand."""
    import cv2

    rng = np.random.default_rng(0)
    for index in range(count):
        path = folder / f"{index // 1000:03d}" / f"{index:06d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        cv2.imwrite(str(path), cv2.resize(coarse, (32, 32)))


def train(folder: Path) -> Path:
    """A classifier of one step."""
    data = f"data.sample={{root: {folder}/data, train_images: 8, val_images: 4, size: 64, seed: 3}}"
    parts = [f"data.{part}={folder}/data/classes/{part}" for part in ("train", "val")]
    command = ["train", "--config", "classify_van_b0_in1k", "--sample", "--output"]
    words = [*command, str(folder / "run"), data, *parts, *SETTINGS]
    subprocess.run([sys.executable, "-m", "van_dense", *words], env=environment(), check=True)
    return folder / "run"


def environment() -> dict[str, str]:
    """That of all processes: one thread each."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def watch(
    launcher: list[str],
    words: list[str],
    out: Path,
    count: int,
    *,
    stop: int | None = None,
    tell_at: int | None = None,
) -> dict[str, Any]:
    """Predict, and kill everything once ``stop`` images are done; memory by images that are done.

    At ``tell_at`` images the process is told to stop, by SIGTERM.

    ``resident_mib`` has, for tenths of the images, the largest resident memory of a process.
    """
    command = [sys.executable, *launcher, "-m", "van_dense", "predict", *words]
    process = subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, text=True)
    resident: dict[int, int] = {}
    began, done = time.time(), 0
    while process.poll() is None:
        ours = [psutil.Process(process.pid)]
        try:
            ours += ours[0].children(recursive=True)
            workers = ours if not launcher else ours[1:]
            most = max((one.memory_info().rss for one in workers), default=0) >> 20
        except psutil.Error:
            continue
        done = sum(len(files) for _, _, files in os.walk(out / "pictures"))
        tenth = 10 * done // count
        resident[tenth] = max(resident.get(tenth, 0), most)
        if stop is not None and done >= stop:
            for one in reversed(ours):
                one.kill()
            break
        if tell_at is not None and done >= tell_at:
            process.terminate()
            break
        time.sleep(2)
    said = process.communicate()[0].replace(str(out), "OUT")
    return {
        "killed_after": done if stop is not None else None,
        "said": said.strip(),
        "wall_s": round(time.time() - began, 1),
        "resident_mib": {f"{10 * tenth} %": most for tenth, most in sorted(resident.items())},
    }


if __name__ == "__main__":
    sys.exit(main())
