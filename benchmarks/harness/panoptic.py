"""Panoptic quality of files beside two plain programs: speed and memory.

All read the same generated PNGs (compression level 3) and JSON. Ours uses all cores, as users meet
it; the others have one, in NumPy and PIL: ``pq_by_masks`` loops over classes and compares masks,
``pq_by_pairs`` sorts the pairs of ids of all pixels, as panopticapi does in each of its processes.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter, process_time
from typing import Any

import cv2
import numpy as np
from PIL import Image

from benchmarks.harness.clock import compare, one_thread
from benchmarks.harness.evaluation import bend
from van_dense.core.quiet import errors_only
from van_dense.core.structures import Size
from van_dense.data.io.panoptic import write_ids
from van_dense.data.io.prefetch import prefetch_map, usable_cores
from van_dense.data.readers.panoptic_json import coco_panoptic_info
from van_dense.evaluation.panoptic_files import evaluate_panoptic_files

SIZE: Size = (480, 640)
IMAGES = 5000
TOLERANCE = 1e-9

_TILES = (3, 4)  # segments of an image
_LARGEST = 2**24
_INFO = coco_panoptic_info()
# The peak of getrusage would begin with that of the process that starts this one.
_MEMORY = """
import sys
from pathlib import Path
from van_dense.evaluation.panoptic_files import evaluate_panoptic_files
if len(sys.argv) > 1:
    evaluate_panoptic_files(*sys.argv[1:], boundary=False).compute()
print(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
"""

Paths = tuple[Path, Path]  # JSON of the predictions, and of the ground truth
Sums = dict[int, np.ndarray]  # IoU, matched, wrong and missed by category id


def measure_panoptic(*, rounds: int) -> dict[str, Any]:
    """Compare ours with both programs on ``IMAGES`` images.

    Args:
        rounds: Of evaluating all images.

    Raises:
        RuntimeError: When ours and the others disagree.
    """
    # The generated predictions split stuff in places, which is told as a warning.
    with TemporaryDirectory() as folder, one_thread(), errors_only("van_dense"):
        files = make_files(Path(folder), IMAGES)
        calls: dict[str, Callable[[], Any]] = {
            "numpy_masks_one_core": lambda: pq_by_masks(*files),
            "numpy_pairs_one_core": lambda: pq_by_pairs(*files),
            "ours_one_thread": lambda: _ours(files, threads=1),
            "ours": lambda: _ours(files, threads=None),
        }
        seconds: dict[str, list[float]] = {name: [] for name in calls}
        of_cpu: dict[str, list[float]] = {name: [] for name in calls}
        for _ in range(rounds):
            results = {}
            for name, call in calls.items():
                began, cpu_began = perf_counter(), process_time()
                results[name] = call()
                of_cpu[name].append(process_time() - cpu_began)
                seconds[name].append(perf_counter() - began)
            _require_equal(list(results.values()))
        return {
            "rounds": rounds,
            "images": IMAGES,
            "size": list(SIZE),
            "cores": usable_cores(),
            "seconds": {name: round(median(values), 2) for name, values in seconds.items()},
            "cpu_seconds": {name: round(median(values), 2) for name, values in of_cpu.items()},
            "speed": compare(seconds, "numpy_masks_one_core", images=IMAGES),
            "beside_pairs": compare(seconds, "numpy_pairs_one_core", images=IMAGES)["ours"],
            "peak_rss_mb": _peaks(files, (IMAGES // 10, IMAGES)),
        }


def make_files(folder: Path, count: int) -> Paths:
    """Write predictions and ground truth of so many images; paths of both JSONs."""
    paths = folder / "found.json", folder / "truth.json"
    threads = usable_cores()

    def make(index: int) -> list[dict[str, Any]]:
        name = f"{index:06d}.png"
        sides = zip(paths, make_pair(index), strict=True)
        records = []
        for path, (ids, segments) in sides:
            write_ids(path.with_suffix("") / name, ids)
            records.append({"image_id": index, "file_name": name, "segments_info": segments})
        return records

    made = prefetch_map(make, range(count), threads=threads, prefetch=2 * threads)
    both = list(zip(*made, strict=True))
    height, width = SIZE
    images = [
        {"id": i, "file_name": f"{i:06d}.jpg", "height": height, "width": width}
        for i in range(count)
    ]
    kinds = zip(_INFO.category_ids, _INFO.class_names, _INFO.is_thing, strict=True)
    categories = [{"id": i, "name": name, "isthing": int(thing)} for i, name, thing in kinds]
    for path, records in zip(paths, both, strict=True):
        lists = {"images": images, "annotations": records, "categories": categories}
        path.write_text(json.dumps(lists), encoding="utf-8")
    return paths


def make_pair(index: int) -> list[tuple[np.ndarray, list[dict[str, int]]]]:
    """Ids (H, W) and segments of a prediction and its ground truth: bent tiles, with void.

    In the prediction they are bent further, and some are deleted, merged, split or of another
    class. One of the truth may be a crowd.
    """
    rng = np.random.default_rng((15, index))
    number = int(np.prod(_TILES))
    tiles = np.arange(1, number + 1, dtype=np.uint8).reshape(_TILES)
    plain = cv2.resize(tiles, SIZE[::-1], interpolation=cv2.INTER_NEAREST)
    truth = bend(plain, rng, pixels=0.08 * SIZE[0])
    found = bend(truth, rng, pixels=0.02 * SIZE[0])
    truth[truth == rng.integers(1, number + 1)] = 0
    categories = rng.choice(_INFO.category_ids, number)
    others = np.where(rng.random(number) < 0.1, rng.choice(_INFO.category_ids, number), categories)
    deleted, merged, split = rng.integers(1, number + 1, 3)
    found[found == deleted] = 0
    found[found == merged] = merged % number + 1
    left = found[:, : SIZE[1] // 2]
    left[left == split] = number + 1
    others = np.append(others, others[split - 1])
    crowd = int(rng.integers(1, 4 * number))  # rarely one of them
    return [_numbered(found, others, rng, 0), _numbered(truth, categories, rng, crowd)]


def _numbered(
    index: np.ndarray, categories: np.ndarray, rng: np.random.Generator, crowd: int
) -> tuple[np.ndarray, list[dict[str, int]]]:
    """Ids of COCO's kind instead of positions counted from 1, and their segments."""
    table = np.append(0, rng.choice(_LARGEST - 1, len(categories), replace=False) + 1)
    present = np.flatnonzero(np.bincount(index.reshape(-1), minlength=len(table)))
    segments = [
        {"id": int(table[i]), "category_id": int(categories[i - 1]), "iscrowd": int(i == crowd)}
        for i in present
        if i > 0
    ]
    return table.astype(np.int32)[index], segments


def pq_by_masks(found: Path, truth: Path) -> Sums:
    """A loop over the classes of each image, with masks of their segments."""
    sums: Sums = defaultdict(lambda: np.zeros(4))
    for (true_ids, true_segments), (found_ids, found_segments) in _read(found, truth):
        void = true_ids == 0
        for category in {s["category_id"] for s in (*true_segments, *found_segments)}:
            own = [s for s in true_segments if s["category_id"] == category]
            targets = [true_ids == s["id"] for s in own if not s["iscrowd"]]
            open_ = void.copy()
            for s in own:
                if s["iscrowd"]:
                    open_ |= true_ids == s["id"]
            missed = len(targets)
            for s in found_segments:
                if s["category_id"] != category:
                    continue
                mask = found_ids == s["id"]
                ious = [_iou(mask & ~void, target) for target in targets]
                if ious and max(ious) > 0.5:
                    sums[category] += [max(ious), 1, 0, 0]
                    missed -= 1
                elif (mask & open_).sum() <= 0.5 * mask.sum():
                    sums[category][2] += 1
            sums[category][3] += missed
    return sums


def _iou(first: np.ndarray, second: np.ndarray) -> float:
    return float((first & second).sum() / (first | second).sum())


def pq_by_pairs(found: Path, truth: Path) -> Sums:
    """The pairs of ids of all pixels, sorted and counted."""
    sums: Sums = defaultdict(lambda: np.zeros(4))
    for (true_ids, true_segments), (found_ids, found_segments) in _read(found, truth):
        pairs = true_ids.astype(np.uint64) * _LARGEST + found_ids.astype(np.uint64)
        keys, counts = np.unique(pairs, return_counts=True)
        areas: dict[int, int] = defaultdict(int)
        true_areas: dict[int, int] = defaultdict(int)
        common: dict[tuple[int, int], int] = {}
        for key, count in zip(keys.tolist(), counts.tolist(), strict=True):
            pair = divmod(key, _LARGEST)
            common[pair] = count
            true_areas[pair[0]] += count
            areas[pair[1]] += count
        targets, guesses = ({s["id"]: s for s in side} for side in (true_segments, found_segments))
        matched = set()
        for (i, j), count in common.items():
            if i not in targets or j not in guesses or targets[i]["iscrowd"]:
                continue
            category = targets[i]["category_id"]
            union = true_areas[i] + areas[j] - count - common.get((0, j), 0)
            if category == guesses[j]["category_id"] and count / union > 0.5:
                sums[category] += [count / union, 1, 0, 0]
                matched |= {("truth", i), ("found", j)}
        for i, segment in targets.items():
            if not segment["iscrowd"] and ("truth", i) not in matched:
                sums[segment["category_id"]][3] += 1
        for j, segment in guesses.items():
            crowds = [
                i
                for i, s in targets.items()
                if s["iscrowd"] and s["category_id"] == segment["category_id"]
            ]
            left_open = sum(common.get((i, j), 0) for i in (0, *crowds))
            if ("found", j) not in matched and left_open / areas[j] <= 0.5:
                sums[segment["category_id"]][2] += 1
    return sums


def _read(found: Path, truth: Path) -> Any:
    """Ids and segments of truth and prediction, image by image, as plain programs read them."""
    sides = [json.loads(path.read_text(encoding="utf-8"))["annotations"] for path in (truth, found)]
    for records in zip(*sides, strict=True):
        pair = []
        for path, record in zip((truth, found), records, strict=True):
            colors = np.array(Image.open(path.with_suffix("") / record["file_name"]))
            colors = colors.astype(np.uint32)
            ids = colors[..., 0] + 256 * colors[..., 1] + 256 * 256 * colors[..., 2]
            pair.append((ids, record["segments_info"]))
        yield pair


def _ours(files: Paths, *, threads: int | None) -> Sums:
    evaluator = evaluate_panoptic_files(*files, boundary=False, threads=threads)
    evaluator.compute()
    return dict(zip(_INFO.category_ids, evaluator.sums[0].T, strict=True))


def _require_equal(results: Sequence[Sums]) -> None:
    nothing = np.zeros(4)
    tables = [[sums.get(i, nothing) for i in _INFO.category_ids] for sums in results]
    if not all(np.allclose(tables[0], table, rtol=0, atol=TOLERANCE) for table in tables[1:]):
        raise RuntimeError(f"the programs differ by more than {TOLERANCE:g} in a class")


def _peaks(files: Paths, counts: Sequence[int]) -> dict[str, float]:
    """Most memory of processes of their own that evaluate so many images; empty but on Linux."""
    if not Path("/proc/self/status").is_file():
        return {}
    peaks = {"imports_alone": _peak([])}
    for count in counts:
        parts = []
        for path in files:
            content = json.loads(path.read_text(encoding="utf-8"))
            content |= {key: content[key][:count] for key in ("images", "annotations")}
            part = path.with_name(f"{path.stem}_{count}.json")
            part.write_text(json.dumps(content), encoding="utf-8")
            part.with_suffix("").symlink_to(path.with_suffix(""), target_is_directory=True)
            parts.append(str(part))
        peaks[f"{count}_images"] = _peak(parts)
    return peaks


def _peak(arguments: list[str]) -> float:
    command = [sys.executable, "-c", _MEMORY, *arguments]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return round(int(output) * 1024 / 1e6, 1)
