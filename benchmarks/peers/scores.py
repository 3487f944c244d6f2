"""Scores of saved predictions: by this project's evaluator, and by others as a check."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.peers.jobs import Job

KINDS = {"boxes": ("bbox",), "masks": ("bbox", "segm")}
TOLERANCE = 1e-9  # between the two evaluators


def score(job: Job, predictions: Path) -> dict[str, float]:
    """Metrics of one folder of predictions; RuntimeError where the two evaluators disagree."""
    return _maps(job, predictions) if job.task == "maps" else _instances(job, predictions)


def _instances(job: Job, predictions: Path) -> dict[str, float]:
    from van_dense.evaluation import saved

    truth, results = Path(job.folder) / "val.json", predictions / "results.json"
    found: dict[str, float] = {}
    for kind in KINDS[job.task]:
        names = {"AP": 0, "AP50": 1}
        if not json.loads(results.read_text()):
            found |= {f"{kind}/{name}": 0.0 for name in names}
            continue
        scores = saved.score(
            str(results), str(truth), kind=kind, data={}, folder=predictions, backend="hotcoco"
        )
        theirs = _pycocotools(truth, results, kind)
        for name, place in names.items():
            ours = scores.metrics[f"{kind}/{name}"]
            if abs(ours - theirs[place]) > TOLERANCE:
                pair = f"{ours} here, {theirs[place]} by pycocotools"
                raise RuntimeError(f"{kind}/{name} of {results}: {pair}")
            found[f"{kind}/{name}"] = ours
        for label, values in scores.per_class.items():
            if isinstance(values, dict) and f"{kind}/AP" in values:
                found[f"{kind}/AP of {label}"] = values[f"{kind}/AP"]
    return found


def _pycocotools(truth: Path, results: Path, kind: str) -> Any:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(truth))
        evaluation = COCOeval(coco, coco.loadRes(str(results)), kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats


def _maps(job: Job, predictions: Path) -> dict[str, float]:
    from van_dense.evaluation import saved

    count = len(job.classes)
    rows = [f"0..{count - 1} -> 0..{count - 1}", f"{count}..255 -> ignore"]
    data: dict[str, Any] = {"label_map": rows, "classes": job.classes}
    folder = predictions.parent / "confusion"
    scores = saved.score(
        str(predictions),
        job.masks["val"],
        kind="semantic",
        data=data,
        folder=folder,
        backend="hotcoco",
    )
    plain = _mean_iou(predictions, Path(job.masks["val"]), count)
    if abs(scores.metrics["semantic/mIoU"] - plain) > TOLERANCE:
        ours = scores.metrics["semantic/mIoU"]
        raise RuntimeError(f"mIoU of {predictions}: {ours} here, {plain} by counting in NumPy")
    return {k: scores.metrics[k] for k in ("semantic/mIoU", "semantic/aAcc")}


def _mean_iou(predictions: Path, masks: Path, count: int) -> float:
    table = np.zeros((count, count), np.int64)
    for path in sorted(predictions.glob("*.png")):
        truth = np.asarray(Image.open(masks / path.name)).astype(np.int64)
        found = np.asarray(Image.open(path)).astype(np.int64)
        counted = truth < count
        pairs = truth[counted] * count + found[counted]
        table += np.bincount(pairs, minlength=count * count).reshape(count, count)
    union = table.sum(0) + table.sum(1) - table.diagonal()
    return float((table.diagonal()[union > 0] / union[union > 0]).mean())
