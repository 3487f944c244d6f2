"""Opening large annotations with an index and without: time, private memory, loader processes.

python benchmarks/annotation_index.py --output results.json [--base FOLDER] [--rounds 3]
            [--images 118000 --objects 860000] [--large-images 1700000 --large-objects 25000000]

Generated are COCO files as large as train2017 (polygons of 23 points) and as Objects365 (boxes),
in no order of images, and files of 64x48 pixels for the former. Each opening is a process of its
own, in turns; counted are CPU time, and what the process has for itself (USS) before and after. Of
loader processes over an epoch, that is what they have written (private dirty pages); beside it
stands USS, which also counts pages of a mapped file that no other process has looked at yet.
``--base`` is another checkout, whose reader is what the index is compared with. Linux only.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import psutil

HERE = Path(__file__).resolve().parents[1]
sys.path.insert(0, os.environ.get("BENCHMARKED", str(HERE)))  # this checkout or the base

CLASSES, POINTS, SIDES = 80, 23, (64, 48)
FOLDERS = 50
AT_ONCE = 20_000  # objects that are written together


def main() -> int:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, help="JSON to write")
    parser.add_argument("--base", type=Path, default=HERE, help="checkout to compare with")
    parser.add_argument("--folder", type=Path, help="for the generated files; default: temporary")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, default=118_000)
    parser.add_argument("--objects", type=int, default=860_000)
    parser.add_argument("--large-images", type=int, default=1_700_000)
    parser.add_argument("--large-objects", type=int, default=25_000_000, help="0 leaves it out")
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child is not None:
        print(
            json.dumps({"open": opened, "epoch": epoch}[arguments.child[0]](*arguments.child[1:]))
        )
        return 0
    with TemporaryDirectory() as name:
        found = measure(arguments, arguments.folder or Path(name))
    print(json.dumps(found, indent=1))
    if arguments.output is not None:
        from benchmarks.harness.machine import describe_machine, shareable_command

        command = shareable_command(sys.argv[1:], script="benchmarks/annotation_index.py")
        result = {"machine": describe_machine(), "command": command, **found}
        arguments.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 0


def measure(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """All figures, of both sizes."""
    root = folder / "train2017"
    write_images(root, arguments.images)
    write_annotations(root, arguments.images, arguments.objects, polygons=True)
    found: dict[str, Any] = {"train2017": opening(arguments, root, masks=True)}
    epochs = {use: child(arguments, use, "epoch", root) for use in ("base", "index")}
    same = epochs["base"].pop("digest") == epochs["index"].pop("digest")
    found["train2017"]["epoch_of_a_worker"] = {**epochs, "same_samples_in_the_same_order": same}
    if arguments.large_objects:
        root = folder / "objects365"
        for number in range(FOLDERS):
            (root / "images" / f"{number:02d}").mkdir(parents=True, exist_ok=True)
        write_annotations(root, arguments.large_images, arguments.large_objects, polygons=False)
        built = child(arguments, "index", "open", root, "boxes")
        used = [child(arguments, "index", "open", root, "boxes") for _ in range(arguments.rounds)]
        found["objects365"] = {**sizes_of(root), "build": built, "index": summary(used)}
    return found


def opening(arguments: argparse.Namespace, root: Path, *, masks: bool) -> dict[str, Any]:
    """Building, and rounds of opening without an index and with it, in turns."""
    built = child(arguments, "index", "open", root, "masks" if masks else "boxes")
    rounds: dict[str, list[dict[str, float]]] = {"base": [], "index": []}
    for _ in range(arguments.rounds):
        for use, runs in rounds.items():
            runs.append(child(arguments, use, "open", root, "masks" if masks else "boxes"))
    base, index = map(summary, rounds.values())
    ratios = [b["cpu_s"] / i["cpu_s"] for b, i in zip(*rounds.values(), strict=True)]
    memory = [b["uss_added_mb"] / i["uss_added_mb"] for b, i in zip(*rounds.values(), strict=True)]
    ratios_of = {"times_as_fast": median(ratios), "times_less_private_memory": median(memory)}
    return {**sizes_of(root), "build": built, "base": base, "index": index, **ratios_of}


def summary(runs: list[dict[str, float]]) -> dict[str, float]:
    """Medians."""
    return {key: round(median(run[key] for run in runs), 3) for key in runs[0]}


def sizes_of(root: Path) -> dict[str, Any]:
    """Size of the annotations and of their index."""
    folder = root / ".annotations.json.index"
    files = [file for file in folder.rglob("*") if file.is_file()]
    index = sum(file.stat().st_size for file in files)
    text = (root / "annotations.json").stat().st_size
    return {"annotations_mb": round(text / 1e6), "index_mb": round(index / 1e6)}


def child(arguments: argparse.Namespace, use: str, what: str, root: Path, *more: str) -> Any:
    """Result of a process of its own, of this checkout with an index, or of the base without."""
    checkout = arguments.base if use == "base" else HERE
    environment = {**os.environ, "BENCHMARKED": str(checkout), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, "--child", what, use, str(root), *more]
    output = subprocess.run(
        command, env=environment, check=True, stdout=subprocess.PIPE, text=True
    ).stdout
    return json.loads(output)


# ------------------------------------------------------------------------------------- measuring


def read(use: str, root: Path, masks: bool) -> Any:
    """The data set, without an index as it was before there was one."""
    from van_dense.data.readers.coco import CocoDataset

    options: dict[str, Any] = {"index": "always"} if use == "index" else {}
    files = root / "images", root / "annotations.json"
    return CocoDataset(*files, name="generated", drop_empty=True, masks=masks, **options)


def opened(use: str, root: str, kind: str) -> dict[str, float]:
    """CPU and wall seconds, and megabytes, of opening a set."""
    from van_dense.data.readers import coco  # noqa: F401  imports are no part of opening

    before, cpu, began = private_mb(), time.process_time(), time.perf_counter()
    dataset = read(use, Path(root), kind == "masks")
    cpu, seconds = time.process_time() - cpu, time.perf_counter() - began
    gc.collect()
    peak = re.search(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text())
    return {
        "cpu_s": cpu,
        "wall_s": seconds,
        "uss_added_mb": private_mb() - before,
        "uss_mb": private_mb(),
        "peak_rss_mb": int(peak[1]) * 1024 / 1e6 if peak else 0,
        "images": len(dataset),
    }


def epoch(use: str, root: str) -> dict[str, Any]:
    """Private memory of a loader process over an epoch, and a hash of all that it gives."""
    from van_dense.core.seeding import Streams
    from van_dense.data.loader import LoaderPlan, build_train_loader

    dataset = read(use, Path(root), masks=True)
    plan = LoaderPlan(16, 16, 2, Streams(0), 32, group_by_aspect=True, max_bad_fraction=0.0)
    batches = build_train_loader(dataset, lambda sample, _: sample, plan=plan)
    digest = hashlib.sha256()
    next(batches)
    next(batches)
    workers = [worker.pid for worker in psutil.Process().children()]
    first = np.array([pages_mb(pid) for pid in workers])
    for _ in range(len(dataset) // plan.batch_size):
        batch = next(batches)
        digest.update(repr((batch.image_ids, batch.seeds)).encode())
        for target in batch.targets:
            digest.update(target.boxes.numpy().tobytes() + target.masks.numpy().tobytes())
    added = (np.array([pages_mb(pid) for pid in workers]) - first).max(axis=0)
    return {
        "workers": len(workers),
        "added_mb": round(added[0], 1),
        "added_uss_mb": round(added.sum(), 1),
        "images": len(dataset),
        "digest": digest.hexdigest(),
    }


def pages_mb(pid: int) -> tuple[float, float]:
    """Private pages of a process, written ones and others."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    dirty, clean = (re.search(rf"Private_{kind}:\s*(\d+)", text) for kind in ("Dirty", "Clean"))
    assert dirty is not None and clean is not None  # Linux writes both
    return int(dirty[1]) * 1024 / 1e6, int(clean[1]) * 1024 / 1e6


def private_mb() -> float:
    """Memory of this process that no other one shares."""
    return psutil.Process().memory_full_info().uss / 1e6


# ------------------------------------------------------------------------------------ generating


def write_images(root: Path, count: int) -> None:
    """Files of one picture, in ``FOLDERS`` folders."""
    from PIL import Image

    for number in range(FOLDERS):
        folder = root / "images" / f"{number:02d}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", SIDES, (number, 90, 200)).save(first := folder / "first.jpg")
        for image in range(number, count, FOLDERS):
            if not (file := root / "images" / name_of(image)).exists():
                os.link(first, file)


def name_of(image: int) -> str:
    """File of an image."""
    return f"{image % FOLDERS:02d}/{image:012d}.jpg"


def write_annotations(root: Path, images: int, objects: int, *, polygons: bool) -> None:
    """A COCO file whose annotations come in no order of their images."""
    if (path := root / "annotations.json").exists():
        return
    width, height = SIDES
    with path.open("w", encoding="utf-8") as file:
        categories = [{"id": i, "name": f"class {i}"} for i in range(1, CLASSES + 1)]
        file.write(f'{{"categories": {json.dumps(categories)}, "images": [')
        for start in range(0, images, AT_ONCE):
            records = (
                f'{{"license": 1, "file_name": "{name_of(image)}", "height": {height}, '
                f'"width": {width}, "date_captured": "2026-01-01 00:00:00", "id": {image}}}'
                for image in range(start, min(start + AT_ONCE, images))
            )
            file.write((", " if start else "") + ", ".join(records))
        file.write('], "annotations": [')
        for start in range(0, objects, AT_ONCE):
            count = min(AT_ONCE, objects - start)
            lines = annotations_of(start, images, count, polygons)
            file.write((", " if start else "") + ", ".join(lines))
        file.write("]}")


def annotations_of(start: int, images: int, count: int, polygons: bool) -> Iterator[str]:
    """Records as COCO writes them."""
    rng = np.random.default_rng(start)
    size = np.array(SIDES)
    sides = (rng.uniform(0.1, 0.6, (count, 2)) * size).round(1)
    corner = (rng.uniform(size=(count, 2)) * (size - sides)).round(1)
    columns = [*corner.T.tolist(), *sides.T.tolist()]
    owners, classes = rng.integers(0, images, count), rng.integers(1, CLASSES + 1, count)
    outlines: list[str] = [""] * count
    if polygons:
        angles = np.linspace(0, 2 * np.pi, POINTS, endpoint=False)
        circle = np.stack([np.cos(angles), np.sin(angles)], axis=1) / 2 + 0.5
        points = corner[:, None] + circle * sides[:, None]
        flat = points.round(2).reshape(count, -1).tolist()
        outlines = [f'"segmentation": [{json.dumps(one)}], ' for one in flat]
    rows = zip(*columns, owners.tolist(), classes.tolist(), outlines, strict=True)
    for number, (x, y, w, h, owner, label, outline) in enumerate(rows, start + 1):
        yield (
            f'{{{outline}"area": {w * h:.3f}, "iscrowd": 0, "image_id": {owner}, '
            f'"bbox": [{x}, {y}, {w}, {h}], "category_id": {label}, "id": {number}}}'
        )


if __name__ == "__main__":
    sys.exit(main())
