"""Boxes that another program found, as proposals of a top-down model.

Source of the format: https://cocodataset.org/#format-results, as in the widely shared
``COCO_val2017_detections_AP_H_56_person.json`` (SimpleBaseline, ECCV 2018).
"""

import logging
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import torch

from van_dense.core.structures import Instances
from van_dense.data.dataset import DenseDataset
from van_dense.data.io.json_file import read_json
from van_dense.data.messages import list_counts
from van_dense.data.readers.coco_values import parse_box, parse_id

logger = logging.getLogger(__name__)

_ROUNDING = 1e-3  # some programs leave 0..1 by rounding errors
_FIX = "give a COCO results file, a list of {image_id, category_id, bbox: [x, y, w, h], score}"


def read_detections(
    path: str | Path, images: DenseDataset, *, min_score: float = 0.0
) -> dict[int | str, Instances]:
    """Boxes, labels and scores by image id from a COCO results file, in the order of the file.

    Records under "annotations" of an object with images and categories, as some tools export
    predictions, are read as well.

    Detections of other images, of categories the data set does not know, with a lower score, or of
    no size are left out, with a line that counts them. Another file, or one of which nothing
    remains, is a ValueError with file, entry and fix.

    Args:
        path: COCO results file, JSON.
        images: Data set whose image ids and category ids the file uses.
        min_score: Lowest score to keep; papers keep all.
    """
    ids = {images.image_id(index) for index in range(len(images))}
    labels = images.info.label_of
    left_out: Counter[str] = Counter()
    rows: dict[int | str, list[tuple[tuple[float, ...], int, float]]] = defaultdict(list)
    entries = _entries(path)
    for index, entry in enumerate(entries):
        box, score = _box_and_score(f"{path}: entry {index} (counted from 0)", entry)
        label = labels.get(parse_id(entry.get("category_id")))
        if parse_id(entry.get("image_id")) not in ids:
            left_out["of other images"] += 1
        elif label is None:
            left_out["of other categories"] += 1
        elif score < min_score:
            left_out[f"below score {min_score:g}"] += 1
        elif box[2] <= box[0] or box[3] <= box[1]:
            left_out["of no size"] += 1
        else:
            rows[entry["image_id"]].append((box, label, score))
    counts = list_counts(left_out)
    if not rows:
        what = f"no detection of {len(entries)} is usable ({counts or 'it is empty'})"
        known = f"image ids such as {sorted(ids, key=str)[:3]} and the categories {labels}"
        raise ValueError(f"{path}: {what}; the data set has {known}")
    logger.info("%s: detections: %d; left out: %s", path, len(entries), counts or "none")
    return {image_id: _instances(found) for image_id, found in rows.items()}


def _entries(path: str | Path) -> list[Any]:
    """Records of a file: the list itself, or that under "annotations" of a COCO-like object."""
    data = read_json(path, "file of detections")
    entries = data.get("annotations") if isinstance(data, dict) else data
    if not isinstance(entries, list):
        raise ValueError(f"{path}: expected a list, got {type(data).__name__}; {_FIX}")
    first = entries[0] if entries else None
    if isinstance(data, dict) and isinstance(first, dict) and "score" not in first:
        what = "it is an annotation file, whose records have no score"
        raise ValueError(f"{path}: {what}; without data.detections the annotated boxes are taken")
    return entries


def _box_and_score(where: str, entry: Any) -> tuple[tuple[float, ...], float]:
    if not isinstance(entry, dict):
        raise ValueError(f"{where}: expected an object, got {entry!r:.80}; {_FIX}")
    box = parse_box(entry.get("bbox"))
    if box is None:
        what = f"'bbox' must be four finite numbers, got {entry.get('bbox')!r:.80}"
        raise ValueError(f"{where}: {what}; {_FIX}")
    score: Any = entry.get("score")
    if type(score) not in (int, float) or not -_ROUNDING <= score <= 1 + _ROUNDING:
        raise ValueError(f"{where}: 'score' must lie in 0..1, got {score!r:.80}; {_FIX}")
    return box, min(max(float(score), 0.0), 1.0)


def _instances(found: list[tuple[tuple[float, ...], int, float]]) -> Instances:
    boxes, labels, scores = zip(*found, strict=True)
    xyxy = torch.tensor(boxes, dtype=torch.float32)
    return Instances(xyxy, torch.tensor(labels), torch.tensor(scores))
