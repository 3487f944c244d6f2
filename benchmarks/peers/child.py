"""Trains and predicts with one toolkit, inside its environment: ``-m benchmarks.peers.child JOB``.

A toolkit is a module with two functions:

    train(job, meter) -> batch        calls meter.after_step(save) after each optimiser step
    predictor(job, state) -> predict  predict(path) -> records, or a label map (H, W)

Records are dictionaries as COCO's results have them, without ``image_id``.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.peers.jobs import Job, Meter, peak_mb


def main() -> int:
    """Train, predict what was kept, and write report.json beside it."""
    job = Job.read(Path(sys.argv[1]))
    os.chdir(job.out)
    toolkit = importlib.import_module(f"benchmarks.peers.{job.peer.partition('-')[0]}_peer")
    meter = Meter(job)
    batch = toolkit.train(job, meter)
    report = meter.report(batch)
    for number, saved in enumerate(report["saved"]):
        saved |= predict_all(job, toolkit.predictor(job, Path(saved["state"])), number)
    report["peak_mb_predict"] = peak_mb()
    (Path(job.out) / "report.json").write_text(json.dumps(report, indent=1))
    return 0


def predict_all(job: Job, predict: Any, number: int) -> dict[str, Any]:
    """Write the predictions of the validation part, and say what they took."""
    from PIL import Image

    records: list[dict[str, Any]] = []
    target = Path(job.out) / f"predictions{number}"
    target.mkdir(exist_ok=True)
    seconds, paths = 0.0, validation_images(job)
    for image_id, path in paths:
        began = time.process_time()
        found = predict(path)
        seconds += time.process_time() - began
        if job.task == "maps":
            Image.fromarray(found).save(target / f"{path.stem}.png")
        else:
            records += [{**record, "image_id": image_id} for record in found]
    if job.task != "maps":
        (target / "results.json").write_text(json.dumps(records))
    return {"predictions": str(target), "predict_images_per_cpu_s": len(paths) / seconds}


def validation_images(job: Job) -> list[tuple[int, Path]]:
    """Number and file of each."""
    folder = Path(job.images["val"])
    if job.task == "maps":
        return list(enumerate(sorted(p for p in folder.iterdir() if p.is_file()), 1))
    return [(i["id"], folder / i["file_name"]) for i in job.annotations("val")["images"]]


if __name__ == "__main__":
    sys.exit(main())
