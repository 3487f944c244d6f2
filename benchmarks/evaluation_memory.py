"""Peak memory and CPU time of ``van-dense eval --predictions`` for 5,000 and 50,000 images.

``python benchmarks/evaluation_memory.py`` generates annotations of 7 objects an image on average in
80 classes, and results of 100 boxes an image, about as a detector finds them, and evaluates them
with the command. It takes a few minutes, 0.7 GB of temporary disk space, and needs Linux.
"""

import json
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

COUNTS = (5_000, 50_000)
CLASSES, OBJECTS, BOXES = 80, 7, 100
SIZE = np.array([640, 480])


def objects_of(rng: np.random.Generator, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (N, 4) as x, y, width, height in pixels, and category ids (N,)."""
    sides = rng.uniform(8, 300, (number, 2))
    corner = rng.uniform(0, 1, (number, 2)) * (SIZE - sides)
    return np.hstack([corner, sides]).round(2), rng.integers(1, CLASSES + 1, number)


def found_of(
    rng: np.random.Generator, boxes: np.ndarray, classes: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Three boxes near each object, and others anywhere, ``BOXES`` in all."""
    near = np.repeat(boxes, 3, axis=0)[:BOXES]
    near[:, :2] += rng.normal(0, 4, (len(near), 2))
    near[:, 2:] *= np.exp(rng.normal(0, 0.1, (len(near), 2)))
    others, other_classes = objects_of(rng, BOXES - len(near))
    together = np.concatenate([np.repeat(classes, 3)[:BOXES], other_classes])
    return np.concatenate([near, others]).round(4), together


def results(image_id: int, boxes: np.ndarray, classes: np.ndarray, scores: np.ndarray) -> str:
    """Records of one image as JSON."""
    columns = zip(boxes.tolist(), classes.tolist(), scores.tolist(), strict=True)
    records: Iterator[dict[str, Any]] = (
        {"image_id": image_id, "category_id": label, "bbox": box, "score": score}
        for box, label, score in columns
    )
    return ",\n".join(map(json.dumps, records))


def write(folder: Path, num_images: int) -> None:
    """Write truth.json and results.json."""
    rng = np.random.default_rng(num_images)
    annotations: list[dict[str, Any]] = []
    with (folder / "results.json").open("w", encoding="utf-8") as file:
        for image_id in range(1, num_images + 1):
            boxes, classes = objects_of(rng, int(rng.poisson(OBJECTS)))
            for box, label in zip(boxes.tolist(), classes.tolist(), strict=True):
                entry = {"image_id": image_id, "category_id": label, "bbox": box, "iscrowd": 0}
                area = round(box[2] * box[3], 4)
                annotations.append({"id": len(annotations) + 1, "area": area, **entry})
            found = found_of(rng, boxes, classes)
            scores = rng.uniform(size=BOXES).round(9)
            file.write(("[\n" if image_id == 1 else ",\n") + results(image_id, *found, scores))
        file.write("\n]\n")
    sides = {"width": int(SIZE[0]), "height": int(SIZE[1])}
    images = [{"id": i, "file_name": f"{i:012d}.jpg", **sides} for i in range(1, num_images + 1)]
    categories = [{"id": i, "name": f"class {i}"} for i in range(1, CLASSES + 1)]
    truth = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "truth.json").write_text(json.dumps(truth), encoding="utf-8")


def evaluate(folder: Path) -> tuple[float, float, float]:
    """AP, peak memory in MB and CPU seconds of the command, in a process of its own."""
    names = ["--predictions", "results.json", "--annotations", "truth.json", "--type", "bbox"]
    program = "import sys; from van_dense.cli.main import main; sys.exit(main())"
    command = [sys.executable, "-c", program, "eval", *names, "--output", "metrics.json"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, cwd=folder, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)  # the largest child so far: sizes ascend
    metrics = json.loads((folder / "metrics.json").read_text())["metrics"]
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return metrics["bbox/AP"], after.ru_maxrss * 1024 / 1e6, spent


def main() -> None:
    """Print a table."""
    print(f"{'images':>8}{'AP':>8}{'MB':>8}{'CPU s':>8}")
    for count in COUNTS:
        with TemporaryDirectory() as name:
            write(Path(name), count)
            ap, peak, seconds = evaluate(Path(name))
        print(f"{count:>8}{ap:8.4f}{peak:8.0f}{seconds:8.1f}", flush=True)


if __name__ == "__main__":
    main()
