"""What a report is made of: predictions that were saved, and their ground truth."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np

from van_dense.core.dataset_info import DatasetInfo
from van_dense.core.structures import Prediction
from van_dense.data.readers.coco_json import CocoDict
from van_dense.evaluation.ground_truth import Kind
from van_dense.evaluation.result_table import ResultTable

ReadImage: TypeAlias = Callable[[int | str], np.ndarray | None]


def no_image(image_id: int | str) -> None:
    """Read no image, for a report without pictures."""
    return


@dataclass(frozen=True)
class Objects:
    """Boxes, masks or poses.

    Attributes:
        ground_truth: COCO annotations, cleaned.
        results: Table of the results.
        kind: "bbox", "segm" or "keypoints".
        info: Classes, and keypoints with their sigmas.
        max_detections: Detections of an image and class that count; None as COCO.
        read: From an image id to RGB uint8 (H, W, 3), or None where there is no picture.
        federated: Whether the rules are those of LVIS, which has a limit of its own.
        boundary: Whether boundary AP of masks is measured beside AP.
    """

    ground_truth: CocoDict
    results: ResultTable
    kind: Kind
    info: DatasetInfo
    max_detections: int | None = None
    read: ReadImage = no_image
    federated: bool = False
    boundary: bool = False


@dataclass(frozen=True)
class Maps:
    """Label maps, or saliency maps.

    Attributes:
        image_ids: Ids of the images.
        predicted: From an image id to its prediction, with ``semantic`` or ``saliency``.
        truth: From an image id to its ground truth, uint8 (H, W): labels with 255 for ignored
            pixels, or greys with 255 for salient ones.
        kind: "semantic" or "saliency".
        info: Classes.
        read: From an image id to RGB uint8 (H, W, 3), or None where there is no picture.
    """

    image_ids: Sequence[int | str]
    predicted: Callable[[int | str], Prediction]
    truth: Callable[[int | str], np.ndarray]
    kind: Literal["semantic", "saliency"]
    info: DatasetInfo
    read: ReadImage = no_image


@dataclass(frozen=True)
class Images:
    """Classes of whole images.

    Attributes:
        image_ids: Ids of the N images.
        labels: True label of each image, int64 (N,).
        best: Labels of the up to five best classes of each image, best first, int64 (N, K).
        scores: Probabilities of these classes in 0..1, float64 (N, K).
        info: Classes.
        read: From an image id to RGB uint8 (H, W, 3), or None where there is no picture.
    """

    image_ids: Sequence[int | str]
    labels: np.ndarray
    best: np.ndarray
    scores: np.ndarray
    info: DatasetInfo
    read: ReadImage = no_image


@dataclass(frozen=True)
class Panoptic:
    """Panoptic maps.

    Attributes:
        image_ids: Ids of the images.
        predicted: From an image id to its prediction, with ``panoptic`` and ``segments``.
        truth: From an image id to its ground truth, in the same form, crowds marked.
        info: Classes.
        read: From an image id to RGB uint8 (H, W, 3), or None where there is no picture.
        extra: What the evaluator needs beside these, by name.
        boundary: Whether boundary PQ is measured beside PQ.
    """

    image_ids: Sequence[int | str]
    predicted: Callable[[int | str], Prediction]
    truth: Callable[[int | str], Prediction]
    info: DatasetInfo
    read: ReadImage = no_image
    extra: Mapping[str, Any] = field(default_factory=dict)
    boundary: bool = False


Source: TypeAlias = Objects | Maps | Images | Panoptic
