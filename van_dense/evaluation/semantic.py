"""Evaluation of label maps by one confusion matrix, and of their boundaries.

A class that neither ground truth nor prediction shows has no value and is left out of the means, as
in mmseg; one that is predicted where it never is has IoU 0.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

from van_dense.dataset_info import DatasetInfo
from van_dense.evaluation.table import PerClass
from van_dense.structures import IGNORE_LABEL, Prediction

Truth = Callable[[int | str], np.ndarray]

METRICS = tuple(
    f"semantic/{name}" for name in ("mIoU", "aAcc", "mAcc", "Dice", "fwIoU", "boundary_IoU")
)
BOUNDARY_RATIO = 0.02  # of the image diagonal: Cheng et al., "Boundary IoU", CVPR 2021
_NO_CLASS = "no class"


class SemanticEvaluator:
    """Counts pixels of label maps, image by image; no image is kept.

    Args:
        truth: Gives the ground truth of an image id, uint8 (H, W) 0..C-1 and 255 = ignore.
        image_ids: All images.
        info: Classes.
    """

    def __init__(self, truth: Truth, image_ids: Sequence[int | str], info: DatasetInfo) -> None:
        self.info = info
        self._truth = truth
        self._left = set(image_ids)
        self._known = frozenset(image_ids)
        classes = info.num_classes
        self.confusion = np.zeros((classes, classes + 1), dtype=np.int64)
        self._boundary = np.zeros((3, classes), dtype=np.int64)  # common, of truth, of prediction

    @property
    def num_images(self) -> int:
        """Images seen so far."""
        return len(self._known) - len(self._left)

    def update(self, predictions: Sequence[Prediction]) -> None:
        """Count the pixels of some images; see ``Evaluator``."""
        for prediction in predictions:
            truth, found = self._checked(prediction)
            valid = truth != IGNORE_LABEL
            found = np.where(valid, np.minimum(found, self.info.num_classes), IGNORE_LABEL)
            found = found.astype(np.uint8)
            self.confusion += _pair_counts(truth[valid], found[valid], self.confusion.shape)
            self._count_boundaries(truth, found)
            self._left.remove(prediction.image_id)

    def _checked(self, prediction: Prediction) -> tuple[np.ndarray, np.ndarray]:
        image_id, found = prediction.image_id, prediction.semantic
        if image_id not in self._known:
            raise ValueError(f"image {image_id!r} is not in the ground truth of {self.info.name!r}")
        if image_id not in self._left:
            raise ValueError(f"image {image_id!r} has two predictions")
        if found is None:
            raise ValueError(f"the prediction of image {image_id!r} has no label map")
        truth = self._truth(image_id)
        if truth.shape != found.shape:
            raise ValueError(
                f"image {image_id!r}: the prediction is {found.shape[1]}x{found.shape[0]} (width x "
                f"height), the ground truth {truth.shape[1]}x{truth.shape[0]}; predict at the size "
                "of the stored image"
            )
        foreign = np.setdiff1d(np.unique(found), [*range(self.info.num_classes), IGNORE_LABEL])
        if len(foreign):
            raise ValueError(
                f"image {image_id!r}: the prediction holds the labels {foreign[:5].tolist()}, but "
                f"there are {self.info.num_classes} classes, 0..{self.info.num_classes - 1}"
            )
        return truth, found

    def _count_boundaries(self, truth: np.ndarray, found: np.ndarray) -> None:
        """Add pixels of each class near its outline: common ones, of the truth, of the prediction.

        A pixel lies inside where its whole neighbourhood has one label; maximum and minimum over
        the square see that for all classes at once. It is what remains of a class's mask after
        as many erosions with a 3x3 square, the official definition.
        """
        classes = self.info.num_classes
        distance = max(1, round(BOUNDARY_RATIO * math.hypot(*truth.shape)))
        outlines = []
        for labels in (truth, found):
            near = _near_outline(labels, distance) & (labels < classes)
            outlines.append(np.where(near, labels, IGNORE_LABEL))
        both = outlines[0][outlines[0] == outlines[1]]
        for row, labels in enumerate((both, *outlines)):
            self._boundary[row] += np.bincount(labels.reshape(-1), minlength=256)[:classes]

    def compute(self) -> dict[str, float]:
        """Means over classes, and accuracy over pixels; see ``Evaluator``."""
        scores = self._scores()
        pixels = self.confusion.sum(axis=1)
        total = int(pixels.sum())
        seen = pixels > 0
        weighted = float((scores["IoU"][seen] * pixels[seen]).sum() / total) if total else math.nan
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
        classes = self.info.num_classes
        right = np.diagonal(self.confusion).astype(float)
        truth = self.confusion.sum(axis=1)
        found = self.confusion[:, :classes].sum(axis=0)
        common, of_truth, of_found = self._boundary
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


def _pair_counts(truth: np.ndarray, found: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """How often each pair of labels occurs."""
    pairs = truth.astype(np.int64) * shape[1] + found
    return np.bincount(pairs, minlength=shape[0] * shape[1]).reshape(shape)


def _near_outline(labels: np.ndarray, distance: int) -> np.ndarray:
    """Where another label, or the border of the image, is within ``distance`` pixels."""
    square = np.ones((2 * distance + 1, 2 * distance + 1), np.uint8)
    near = cv2.dilate(labels, square) != cv2.erode(labels, square)
    near[:distance] = near[-distance:] = True
    near[:, :distance] = near[:, -distance:] = True
    return near


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(whole > 0, part / whole, np.nan)


def _mean(values: np.ndarray) -> float:
    """Mean over the classes that have a value; NaN without any."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else math.nan
