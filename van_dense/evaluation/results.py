"""Results on the disk: predictions become COCO records at this border, and are written.

Source of the format: https://cocodataset.org/#format-results. Boxes of records are ``[x, y, width,
height]`` in pixels of the original image, classes are category ids of the annotation file.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from io import TextIOBase
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from van_dense.core.counting import counted
from van_dense.core.dataset_info import DatasetInfo
from van_dense.core.structures import Instances, Prediction, encode_masks
from van_dense.data.readers.segmentation import rle_to_json
from van_dense.evaluation.ground_truth import Kind, keypoints_to_json

if TYPE_CHECKING:
    import torch

PANOPTIC = "_panoptic"  # ends the names of a panoptic JSON and of the folder of its PNGs
FIELD_OF_KIND: dict[Kind, str] = {k: k for k in ("bbox", "keypoints")} | {"segm": "segmentation"}


class CocoResult(TypedDict, total=False):
    """One record of a results file; which of the last three it holds depends on the task."""

    image_id: int | str  # id of the image in the data set
    category_id: int  # id of the category in the annotation file
    score: float  # confidence in 0..1
    bbox: list[float]  # box as x, y, width, height in pixels
    segmentation: dict[str, Any]  # RLE of JSON: "size" (height, width) and "counts" as text
    keypoints: list[float]  # 3 K numbers, x, y and score of each of K keypoints


class SegmentResult(TypedDict):
    """One segment of a panoptic result."""

    id: int  # value in the PNG
    category_id: int  # id of the category in the annotation file
    score: float  # confidence in 0..1, which the official metric does not read


class PanopticResult(TypedDict):
    """The entry of one image in a panoptic results file."""

    image_id: int | str  # id of the image in the data set
    file_name: str  # PNG, below the folder of the file's name beside it
    segments_info: list[SegmentResult]  # what the ids of the PNG stand for


def to_panoptic(prediction: Prediction, info: DatasetInfo, png: str) -> PanopticResult:
    """Describe the segments of one image; ValueError for a prediction without a panoptic map.

    Args:
        prediction: Prediction with ``panoptic`` and ``segments``.
        info: Category ids of the classes.
        png: Name of its PNG, below the folder of all of them.
    """
    if prediction.panoptic is None or prediction.segments is None:
        where = f"the prediction of image {prediction.image_id!r}"
        raise ValueError(f"{where} has no panoptic map, or no segments")
    segments = [
        SegmentResult(
            id=segment["id"],
            category_id=info.category_ids[segment["label"]],
            score=round(segment["score"], 9),
        )
        for segment in prediction.segments
    ]
    return PanopticResult(image_id=prediction.image_id, file_name=png, segments_info=segments)


def write_panoptic(prediction: Prediction, path: Path, png: str) -> Path:
    """Write the PNG of one image for a ``ResultFiles`` of the same path, and return its path."""
    from van_dense.data.io.panoptic import write_ids  # needs Pillow

    assert prediction.panoptic is not None  # to_panoptic refuses others
    file = path.with_name(f"{path.name}{PANOPTIC}") / png
    write_ids(file, prediction.panoptic)
    return file


def to_results(prediction: Prediction, info: DatasetInfo) -> list[CocoResult]:
    """Turn the prediction of one image into COCO records, or ValueError for impossible numbers.

    Boxes and keypoints keep 4 decimals and scores 9, about the resolution of float32, so that a
    saved file evaluates to the same numbers as the predictions themselves.
    """
    where = f"prediction of image {prediction.image_id!r}"
    instances = prediction.instances
    if instances is None:
        raise ValueError(f"{where} has no instances; give Instances.empty() for nothing found")
    if len(instances) == 0:
        return []
    scores, boxes = _checked_numbers(instances, info, where)
    categories = [info.category_ids[label] for label in instances.labels.tolist()]
    numbers = scores.double().numpy().round(9).tolist(), boxes.numpy().round(4).tolist()
    records: list[CocoResult] = [
        {"image_id": prediction.image_id, "category_id": category_id, "score": score, "bbox": box}
        for category_id, score, box in zip(categories, *numbers, strict=True)
    ]
    if instances.masks is not None:
        masks = instances.masks
        rles = masks if isinstance(masks, list) else encode_masks(masks)
        for record, rle in zip(records, rles, strict=True):
            if tuple(rle["size"]) != tuple(prediction.size):
                sizes = f"a mask has size {tuple(rle['size'])}, the image {tuple(prediction.size)}"
                raise ValueError(f"{where}: {sizes}; results are given in original-image pixels")
            record["segmentation"] = rle_to_json(rle)
    if instances.keypoints is not None:
        for record, keypoints in zip(records, keypoints_to_json(instances), strict=True):
            record["keypoints"] = keypoints
    return records


def as_poses(records: Sequence[CocoResult]) -> list[CocoResult]:
    """Drop the boxes beside keypoints, as in the official format of keypoint results.

    pycocotools takes the area of a record's box where there is one, else that of the box around
    its joints, so that APm and APl of the same poses would differ.
    """
    return [{k: v for k, v in record.items() if k != "bbox"} for record in records]  # type: ignore[misc]


def _checked_numbers(
    instances: Instances, info: DatasetInfo, where: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores (N,) and boxes (N, 4) as xywh float64, all of them possible."""
    from torchvision.ops import box_convert

    scores, boxes, labels = instances.scores, instances.boxes.double(), instances.labels
    if scores is None:
        raise ValueError(f"{where} has no scores; ground truth is not a prediction")
    if not bool(((scores >= 0) & (scores <= 1)).all()):
        raise ValueError(f"{where} has scores outside 0..1: {scores.tolist()[:5]}")
    if int(labels.min()) < 0 or int(labels.max()) >= info.num_classes:
        known = f"data set {info.name!r} has classes 0..{info.num_classes - 1}"
        span = f"{int(labels.min())}..{int(labels.max())}"
        raise ValueError(f"{where} has labels {span}, but {known}")
    xywh = box_convert(boxes, "xyxy", "xywh")
    broken = ~(xywh.isfinite().all(dim=1) & (xywh[:, 2:] >= 0).all(dim=1))
    if broken.any():
        first = boxes[broken][0].tolist()
        form = "finite xyxy with x1 <= x2 and y1 <= y2"
        raise ValueError(
            f"{where}: {counted(int(broken.sum()), 'box is', 'boxes are')} not {form}, first "
            f"{first}"
        )
    return scores, xywh


@dataclass(frozen=True)
class Outcome:
    """What is written of one image."""

    records: Sequence[CocoResult] | None = None  # or None for a task without instances
    panoptic: PanopticResult | None = None  # segments of a panoptic map, or None
    row: list[str] | None = None  # line of the table of classes, or None
    header: list[str] | None = None  # names of the columns of this table, or None


class ResultFiles:
    """Writes NAME.json, NAME_panoptic.json and NAME.csv, whichever the outcomes need.

    Nothing waits in memory: the records of a hundred thousand masks are gigabytes. However the
    context ends, the files are complete. ``path`` is theirs without the suffix; its folder is made
    if missing, and ``written`` lists the files so far. PNGs of panoptic maps are written by
    ``write_panoptic``, which may run in threads.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._files: dict[str, TextIOBase] = {}
        self._ends: dict[str, str] = {}
        self._begun: set[str] = set()
        self.written: list[Path] = []

    def add(self, outcome: Outcome) -> None:
        """Append one image."""
        if outcome.records is not None:
            self.add_records(outcome.records)
        if outcome.panoptic is not None:
            around = ('{"annotations": [', "]}")
            self._append(f"{PANOPTIC}.json", [outcome.panoptic], around=around)
        if outcome.row is not None and outcome.header is not None:
            is_new = ".csv" not in self._files
            table = csv.writer(self._file(".csv"))
            table.writerows([outcome.header, outcome.row] if is_new else [outcome.row])

    def add_records(self, records: Iterable[CocoResult]) -> None:
        """Append records of any number of images."""
        self._append(".json", records, around=("[", "]"))

    def _append(
        self,
        suffix: str,
        records: Iterable[CocoResult] | Iterable[PanopticResult],
        *,
        around: tuple[str, str],
    ) -> None:
        """Append records to a JSON list that begins and ends with ``around``."""
        is_new = suffix not in self._files
        file = self._file(suffix)
        if is_new:
            file.write(around[0])
            self._ends[suffix] = f"\n{around[1]}\n"
        for record in records:
            file.write((",\n" if suffix in self._begun else "\n") + json.dumps(record))
            self._begun.add(suffix)

    def _file(self, suffix: str) -> TextIOBase:
        if suffix not in self._files:
            path = self._path.with_name(f"{self._path.name}{suffix}")
            path.parent.mkdir(parents=True, exist_ok=True)
            self.written.append(path)
            self._files[suffix] = path.open("w", newline="", encoding="utf-8")
        return self._files[suffix]

    def __enter__(self) -> ResultFiles:
        return self

    def __exit__(self, *_: object) -> None:
        for suffix, file in self._files.items():
            file.write(self._ends.get(suffix, ""))
            file.close()


def save_results(path: str | Path, results: Iterable[CocoResult]) -> None:
    """Write records of any number of images as COCO results JSON, to a path ending in .json."""
    with ResultFiles(Path(path).with_suffix("")) as files:
        files.add_records(results)
