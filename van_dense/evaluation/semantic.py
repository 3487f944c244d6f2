"""Evaluation of label maps by one confusion matrix, and of their outlines.

A class that neither ground truth nor prediction shows has no value and is left out of the means, as
in mmseg; one that is predicted but never true has IoU 0. Pixels without a predicted class (255)
count as wrong. Pixels, of outlines too, are summed over all images before any ratio is taken.

Outlines follow Cheng et al., "Boundary IoU", CVPR 2021: of each class, the pixels of its mask that
lie at most 2 % of the image diagonal from the rest of the image, or from its border.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

from van_dense.core.dataset_info import DatasetInfo
from van_dense.core.structures import IGNORE_LABEL, Prediction
from van_dense.evaluation.table import PerClass

Truth = Callable[[int | str], np.ndarray]

METRICS = tuple(
    f"semantic/{name}" for name in ("mIoU", "aAcc", "mAcc", "Dice", "fwIoU", "boundary_IoU")
)
OUTLINE_RATIO = 0.02  # of the image diagonal
_NO_CLASS = "no class"
_IGNORED = np.uint8(IGNORE_LABEL)


class SemanticEvaluator:
    """Counts pixels of label maps, image by image; no image is kept.

    Agrees with masks of each class, and with the erosions of the published Boundary IoU, see
    ``tests/evaluation/test_semantic_evaluator.py``.

    Args:
        truth: Gives the ground truth of an image id, uint8 (H, W) 0..C-1 and 255 = ignore.
        image_ids: All images.
        info: Classes.

    Attributes:
        confusion: int64 (C, C + 1), pixels by true and predicted class; the last column counts
            those without a predicted class.
    """

    def __init__(self, truth: Truth, image_ids: Sequence[int | str], info: DatasetInfo) -> None:
        self.info = info
        self._truth = truth
        self._left = set(image_ids)
        self._known = frozenset(image_ids)
        self.confusion = np.zeros((info.num_classes, info.num_classes + 1), dtype=np.int64)
        self._outlines = np.zeros((3, info.num_classes), dtype=np.int64)

    @property
    def num_images(self) -> int:
        """Images seen so far; the metrics are those of these."""
        return len(self._known) - len(self._left)

    def update(self, predictions: Sequence[Prediction]) -> None:
        """Count the pixels of some images; see ``Evaluator``."""
        for prediction in predictions:
            truth, found = self._pair(prediction)
            pairs = count_pairs(truth, found)
            self._check_labels(pairs, prediction.image_id)
            classes = self.info.num_classes
            self.confusion += pairs[:classes, [*range(classes), IGNORE_LABEL]]
            self._outlines += count_outlines(truth, found)[:, :classes]
            self._left.remove(prediction.image_id)

    def _pair(self, prediction: Prediction) -> tuple[np.ndarray, np.ndarray]:
        image_id, found = prediction.image_id, prediction.semantic
        if image_id not in self._known:
            raise ValueError(f"image {image_id!r} is not in the ground truth of {self.info.name!r}")
        if image_id not in self._left:
            raise ValueError(f"image {image_id!r} has two predictions")
        if found is None:
            raise ValueError(f"the prediction of image {image_id!r} has no label map")
        if found.dtype != np.uint8 and not 0 <= found.min() <= found.max() <= IGNORE_LABEL:
            raise ValueError(
                f"image {image_id!r}: the prediction holds labels from {found.min()} to "
                f"{found.max()}; labels are 0..254, and 255 is no class"
            )
        truth = self._truth(image_id)
        if truth.shape != found.shape:
            raise ValueError(
                f"image {image_id!r}: the prediction is {found.shape[1]}x{found.shape[0]} (width x "
                f"height), the ground truth {truth.shape[1]}x{truth.shape[0]}; predict at the size "
                "of the stored image"
            )
        return truth, found.astype(np.uint8, copy=False)

    def _check_labels(self, pairs: np.ndarray, image_id: int | str) -> None:
        classes = self.info.num_classes
        for name, counts in (("ground truth", pairs.sum(axis=1)), ("prediction", pairs.sum(0))):
            foreign = classes + np.flatnonzero(counts[classes:IGNORE_LABEL])
            if len(foreign):
                raise ValueError(
                    f"image {image_id!r}: the {name} holds the labels {foreign[:5].tolist()}, but "
                    f"there are {classes} classes, 0..{classes - 1}"
                )

    def compute(self) -> dict[str, float]:
        """Means over classes, and accuracy over pixels; see ``Evaluator``."""
        scores = self._scores()
        pixels = self.confusion.sum(axis=1)
        total, seen = int(pixels.sum()), pixels > 0
        weighted = float((scores["IoU"] * pixels)[seen].sum() / total) if total else math.nan
        accuracy = float(np.trace(self.confusion) / total) if total else math.nan
        values = (
            _mean(scores["IoU"]),
            accuracy,
            _mean(scores["Acc"]),
            _mean(scores["Dice"]),
            weighted,
            _mean(scores["boundary_IoU"]),
        )
        return dict(zip(METRICS, values, strict=True))

    def per_class(self) -> PerClass:
        """IoU, Acc, Dice and boundary_IoU of each class; NaN where there is nothing to measure."""
        scores = self._scores()
        return {
            "semantic": {
                name: {metric: float(values[c]) for metric, values in scores.items()}
                for c, name in enumerate(self.info.class_names)
            }
        }

    def _scores(self) -> dict[str, np.ndarray]:
        right = np.diagonal(self.confusion)
        truth = self.confusion.sum(axis=1)
        found = self.confusion[:, : self.info.num_classes].sum(axis=0)
        common, of_truth, of_found = self._outlines
        return {
            "IoU": _ratio(right, truth + found - right),
            "Acc": _ratio(right, truth),
            "Dice": _ratio(2 * right, truth + found),
            "boundary_IoU": _ratio(common, of_truth + of_found - common),
        }

    def save(self, folder: Path) -> None:
        """Write the confusion matrix as confusion.csv: a row for each true class, in pixels."""
        folder.mkdir(parents=True, exist_ok=True)
        names = self.info.class_names
        with (folder / "confusion.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["truth", *names, _NO_CLASS])
            for name, row in zip(names, self.confusion.tolist(), strict=True):
                writer.writerow([name, *row])


def count_pairs(truth: np.ndarray, found: np.ndarray) -> np.ndarray:
    """How many pixels have each pair of labels: (256, 256), from two uint8 (H, W)."""
    pairs = truth.astype(np.uint16) << 8 | found
    return np.bincount(pairs.reshape(-1), minlength=256 * 256).reshape(256, 256)


def count_outlines(truth: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Pixels of the outline of each label: common ones, of the truth, of the prediction.

    Args:
        truth: uint8 (H, W); where it is 255, the prediction counts as 255, too.
        found: uint8 (H, W).

    Returns:
        Integers (3, 256).
    """
    found = np.where(truth == IGNORE_LABEL, truth, found)
    distance = max(1, round(OUTLINE_RATIO * math.hypot(*truth.shape)))
    # All other pixels become 255, which is no class.
    truth, found = (np.where(_is_outline(m, distance), m, _IGNORED) for m in (truth, found))
    pairs = count_pairs(truth, found)
    return np.stack([np.diagonal(pairs), pairs.sum(axis=1), pairs.sum(axis=0)])


def _is_outline(labels: np.ndarray, distance: int) -> np.ndarray:
    """Where another label, or the border of the image, is within ``distance`` pixels.

    The published code erodes the mask of each class ``distance`` times with a square of 3 pixels,
    and takes what that removes. Here a first step finds for all classes at once the pixels that one
    erosion would remove; each further erosion removes the pixels around those before.
    """
    square = np.ones((3, 3), np.uint8)
    is_edge = cv2.dilate(labels, square) != cv2.erode(labels, square)
    is_edge[[0, -1]] = is_edge[:, [0, -1]] = True
    around = np.ones((2 * distance - 1, 2 * distance - 1), np.uint8)
    return cv2.dilate(is_edge.view(np.uint8), around).view(np.bool_)


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole > 0)


def _mean(values: np.ndarray) -> float:
    """Mean over the classes that have a value; NaN without any."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else math.nan
