"""``van-dense eval --predictions`` beside a plain script of pycocotools: files in, JSON out.

Both run as processes of their own, in turn, on generated data with the hard cases of COCO: crowd
regions, equal scores, images without an object, and images without a result.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from pycocotools import mask as mask_utils

KINDS = ("bbox", "segm", "keypoints")
CLASSES, OBJECTS, FOUND, POSES, JOINTS = 80, 7, 100, 10, 17
HEIGHT, WIDTH = 480, 640
TOLERANCE = 1e-12
OURS = "import sys; from van_dense.cli.main import main; sys.exit(main())"
PLAIN = """
import json, sys
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
truth, results, kind, output = sys.argv[1:]
truth = COCO(truth)
evaluation = COCOeval(truth, truth.loadRes(results), kind)
evaluation.evaluate()
evaluation.accumulate()
evaluation.summarize()
with open(output, "w") as file:
    json.dump(evaluation.stats.tolist(), file)
"""
NAMES = {
    "bbox": "AP AP50 AP75 APs APm APl AR1 AR10 AR100 ARs ARm ARl".split(),
    "keypoints": "AP AP50 AP75 APm APl AR AR50 AR75 ARm ARl".split(),
}
NAMES["segm"] = NAMES["bbox"]
_CIRCLE = np.linspace(0, 2 * np.pi, 24, endpoint=False)


def measure_coco(*, images: int, rounds: int, kinds: Sequence[str] = KINDS) -> dict[str, Any]:
    """Compare the whole command, and matching and accumulating alone.

    Args:
        images: Number of images, each with 100 results, or 10 poses.
        rounds: Of running both, after one on few images that fills caches.
        kinds: What to measure.

    Raises:
        RuntimeError: When the numbers differ, or a command fails.
    """
    found = {}
    for kind in kinds:
        with TemporaryDirectory() as name:
            folder = Path(name)
            for size in (20, images):
                write(folder, kind, size)
                seconds = [_run_both(folder, kind) for _ in range(1 if size == 20 else rounds)]
            found[kind] = {"images": images, "command": _summarize(seconds)}
            if kind != "keypoints":
                found[kind]["evaluate_and_accumulate"] = _alone(folder, kind)
    return found


def _run_both(folder: Path, kind: str) -> dict[str, dict[str, float]]:
    files = ["truth.json", "results.json"]
    plain = [sys.executable, "-c", PLAIN, *files, kind, "plain.json"]
    words = ["--predictions", files[1], "--annotations", files[0], "--type", kind]
    ours = [sys.executable, "-c", OURS, "eval", *words, "--output", "ours.json"]
    seconds = {"pycocotools": _run(plain, folder), "ours": _run(ours, folder)}
    stats = json.loads((folder / "plain.json").read_text(encoding="utf-8"))
    metrics = json.loads((folder / "ours.json").read_text(encoding="utf-8"))["metrics"]
    for name, value in zip(NAMES[kind], stats, strict=True):
        other = metrics[f"{kind}/{name}"]
        if value != -1 and not abs(value - (np.nan if other is None else other)) <= TOLERANCE:
            raise RuntimeError(f"{kind}/{name} is {other}, and {value} by pycocotools")
    return seconds


def _run(command: Sequence[str], folder: Path) -> dict[str, float]:
    """Wall and CPU seconds of a process."""
    # Installed packages have compiled modules, those of a checkout get them by the first run.
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(folder / "cache")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    began = time.perf_counter()
    with (folder / "log.txt").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT
        )
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError((folder / "log.txt").read_text(encoding="utf-8")[-2000:])
    return {
        "wall_s": time.perf_counter() - began,
        "cpu_s": usage.ru_utime + usage.ru_stime,
    }


def _summarize(rounds: Sequence[dict[str, dict[str, float]]]) -> dict[str, Any]:
    """Medians, and of the ratios within a round."""
    medians: dict[str, Any] = {
        side: {key: round(median(r[side][key] for r in rounds), 3) for key in rounds[0][side]}
        for side in rounds[0]
    }
    for key in ("wall_s", "cpu_s"):
        ratios = [r["pycocotools"][key] / r["ours"][key] for r in rounds]
        medians[f"times_as_fast_by_{key}"] = round(median(ratios), 2)
    return medians


def _alone(folder: Path, kind: str) -> dict[str, Any]:
    """Matching and accumulating of hotcoco and of pycocotools, from loaded files on."""
    import hotcoco
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    files, found = [str(folder / name) for name in ("truth.json", "results.json")], {}
    for name, load, evaluate in (
        ("pycocotools", COCO, COCOeval),
        ("hotcoco", hotcoco.COCO, hotcoco.COCOeval),
    ):
        truth = load(files[0])
        results = truth.loadRes(files[1]) if name == "pycocotools" else truth.load_res(files[1])
        evaluation = evaluate(truth, results, kind)
        found[name] = {
            "evaluate": _time(evaluation.evaluate),
            "accumulate": _time(evaluation.accumulate),
        }
    for step in ("evaluate", "accumulate"):
        for key in ("wall_s", "cpu_s"):
            ratio = found["pycocotools"][step][key] / found["hotcoco"][step][key]
            found[f"{step}_times_as_fast_by_{key}"] = round(ratio, 1)
    return found


def _time(call: Callable[[], object]) -> dict[str, float]:
    began, cpu = time.perf_counter(), time.process_time()
    call()
    return {"wall_s": time.perf_counter() - began, "cpu_s": time.process_time() - cpu}


# --------------------------------------------------------------------------------------- data


def write(folder: Path, kind: str, num_images: int) -> None:
    """Write truth.json and results.json of generated images, always the same ones."""
    rng = np.random.default_rng(0)
    annotations: list[dict[str, Any]] = []
    with (folder / "results.json").open("w", encoding="utf-8") as file:
        for image_id in range(1, num_images + 1):
            truth, found = _poses(rng) if kind == "keypoints" else _objects(rng, kind)
            for entry in truth:
                annotations.append({"id": len(annotations) + 1, "image_id": image_id, **entry})
            if image_id % 50 == 0:
                found = []
            records = (json.dumps({"image_id": image_id, **entry}) for entry in found)
            file.write("[" if image_id == 1 else ",\n" if found else "")
            file.write(",\n".join(records))
        file.write("]\n")
    sides = {"width": WIDTH, "height": HEIGHT}
    images = [{"id": k, "file_name": f"{k:012d}.jpg", **sides} for k in range(1, num_images + 1)]
    count = 1 if kind == "keypoints" else CLASSES
    categories: list[dict[str, Any]] = [
        {"id": k, "name": f"class {k}"} for k in range(1, 1 + count)
    ]
    if kind == "keypoints":
        from van_dense.data.readers.coco_json import COCO_SIGMAS

        categories[0] |= {"keypoints": list(COCO_SIGMAS)}
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "truth.json").write_text(json.dumps(content), encoding="utf-8")


def _objects(rng: np.random.Generator, kind: str) -> tuple[list[dict[str, Any]], ...]:
    """Annotations of one image, and results: three near each object, and others anywhere."""
    boxes, labels = _boxes(rng, int(rng.poisson(OBJECTS)))
    near = np.repeat(boxes, 3, axis=0)[:FOUND]
    near = near + rng.normal(0, 4, near.shape) * [1, 1, 0, 0]
    others, other_labels = _boxes(rng, FOUND - len(near))
    found = np.concatenate([near, others])
    found_labels = np.concatenate([np.repeat(labels, 3)[:FOUND], other_labels])
    scores = rng.uniform(size=FOUND).round(3)  # many are equal
    crowds = (rng.uniform(size=len(boxes)) < 0.02).astype(int)
    truth = _shapes(kind, boxes, with_area=True)
    for entry, label, crowd in zip(truth, labels.tolist(), crowds.tolist(), strict=True):
        entry |= {"category_id": label, "iscrowd": crowd}
    results = _shapes(kind, found, with_area=False)
    for entry, label, score in zip(results, found_labels.tolist(), scores.tolist(), strict=True):
        entry |= {"category_id": label, "score": score}
    return truth, results


def _boxes(rng: np.random.Generator, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (N, 4) as x, y, width, height in pixels, and category ids (N,)."""
    sides = np.exp(rng.uniform(np.log(8), np.log(300), (number, 2)))
    corner = rng.uniform(0, 1, (number, 2)) * (np.array([WIDTH, HEIGHT]) - sides)
    return np.hstack([corner, sides]), rng.integers(1, CLASSES + 1, number)


def _shapes(kind: str, boxes: np.ndarray, *, with_area: bool) -> list[dict[str, Any]]:
    """Fields of boxes, or of ellipses in them."""
    if not len(boxes):
        return []
    rounded = boxes.round(2).tolist()
    if kind == "bbox":
        return [{"bbox": b, **({"area": b[2] * b[3]} if with_area else {})} for b in rounded]
    centres, radii = boxes[:, :2] + boxes[:, 2:] / 2, boxes[:, 2:] / 2
    points = np.stack([np.cos(_CIRCLE), np.sin(_CIRCLE)], axis=1)
    polygons = (centres[:, None] + radii[:, None] * points).round(2).reshape(len(boxes), -1)
    rles = mask_utils.frPyObjects(polygons.tolist(), HEIGHT, WIDTH)
    if with_area:
        areas = mask_utils.area(rles).tolist()
        columns = zip(rounded, polygons.tolist(), areas, strict=True)
        return [{"bbox": b, "segmentation": [p], "area": float(a)} for b, p, a in columns]
    sides = [HEIGHT, WIDTH]
    texts = (rle["counts"].decode() for rle in rles)
    return [{"segmentation": {"size": sides, "counts": text}} for text in texts]


def _poses(rng: np.random.Generator) -> tuple[list[dict[str, Any]], ...]:
    """Annotated persons of one image, and ten poses."""
    boxes, _ = _boxes(rng, int(rng.poisson(3)))
    places = rng.uniform(0, 1, (len(boxes), JOINTS, 2))
    joints = boxes[:, None, :2] + places * boxes[:, None, 2:]
    seen = rng.choice([0, 1, 2], (len(boxes), JOINTS), p=[0.3, 0.2, 0.5])
    truth = []
    for box, points, visible in zip(boxes.round(2).tolist(), joints.round(1), seen, strict=True):
        flat = np.column_stack([points * (visible > 0)[:, None], visible]).reshape(-1).tolist()
        entry = {"bbox": box, "area": box[2] * box[3] * 0.6, "keypoints": flat, "iscrowd": 0}
        truth.append({**entry, "num_keypoints": int((visible > 0).sum()), "category_id": 1})
    near = np.repeat(joints, 3, axis=0)[:POSES]
    near = near + rng.normal(0, 4, near.shape)
    others = rng.uniform(0, HEIGHT, (POSES - len(near), JOINTS, 2))
    found = np.concatenate([near, others]).round(3)
    scores = rng.uniform(size=(POSES, JOINTS, 1)).round(3)
    flat = np.concatenate([found, scores], axis=2).reshape(POSES, -1).tolist()
    total = rng.uniform(size=POSES).round(3).tolist()
    return truth, [
        {"category_id": 1, "keypoints": f, "score": s} for f, s in zip(flat, total, strict=True)
    ]
