"""Evaluation of image classes: top-1 and top-5 accuracy, and what is taken for what.

An image is right at top-k if fewer than k classes score higher than its own; of equal scores the
first class comes first, so that equal scores for all are no success. With five classes or fewer
top-5 is always 1.
"""

from __future__ import annotations

import csv
import logging
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from van_dense.core.structures import Batch, Prediction
from van_dense.data.collate import collate
from van_dense.data.dataset import DenseDataset, ReadError, Transform
from van_dense.evaluation.ground_truth import unwrapped
from van_dense.evaluation.oracle.instances import OracleReport, readable
from van_dense.evaluation.table import PerClass

logger = logging.getLogger(__name__)

BestClasses = tuple[list[int], list[float]]  # labels and scores

TOP = 5
MAX_CONFUSION = 2000  # classes
METRICS = tuple(f"classification/{name}" for name in ("top1", f"top{TOP}", "mean_class"))


@runtime_checkable
class HasLabels(Protocol):
    """A data set that knows the classes of its images without decoding them."""

    def label(self, index: int) -> int:
        """Class of an image, 0-based."""
        ...


class ClassificationEvaluator:
    """Keeps the five best classes of each image; images come in any order.

    Top-1 and top-5 agree with ``timm.utils.accuracy``, see
    ``tests/evaluation/test_classification_evaluator.py``; the mean over classes is also called
    balanced accuracy.

    Args:
        dataset: Gives names and labels. One without a method ``label``, even inside, is read
            once, which decodes every image.
    """

    def __init__(self, dataset: DenseDataset) -> None:
        self.info = dataset.info
        self._truth = _labels(dataset)
        self._found: dict[int | str, BestClasses] = {}

    @property
    def has_confusion(self) -> bool:
        """Whether the confusion matrix is small enough to be looked at."""
        return self.info.num_classes <= MAX_CONFUSION

    def update(self, predictions: Sequence[Prediction]) -> None:
        """Take the scores of some images; see ``Evaluator``."""
        for prediction in predictions:
            scores = self._scores(prediction)
            self._found[prediction.image_id] = best_classes(scores)

    def _scores(self, prediction: Prediction) -> np.ndarray:
        image_id, scores = prediction.image_id, prediction.class_scores
        if image_id not in self._truth:
            raise ValueError(f"image {image_id!r} is not in the ground truth of {self.info.name!r}")
        if image_id in self._found:
            raise ValueError(f"image {image_id!r} has two predictions")
        if scores is None:
            raise ValueError(f"the prediction of image {image_id!r} has no class scores")
        if scores.shape != (self.info.num_classes,):
            raise ValueError(
                f"image {image_id!r}: the prediction has scores of shape {tuple(scores.shape)}, "
                f"but data set {self.info.name!r} has {self.info.num_classes} classes"
            )
        if not bool(scores.isfinite().all()):
            raise ValueError(f"image {image_id!r}: some class scores are not finite; did it learn?")
        return scores.numpy()

    def compute(self) -> dict[str, float]:
        """Shares of images, and of those of each class, mean over classes; see ``Evaluator``."""
        right = [
            [self._truth[image_id] in best[:k] for image_id, (best, _) in self._found.items()]
            for k in (1, TOP)
        ]
        if len(self._found) < len(self._truth):
            logger.warning(
                "%d of %d images have no prediction, and are left out",
                len(self._truth) - len(self._found),
                len(self._truth),
            )
        right_of, truth, _ = self._counts()
        accuracies = right_of[truth > 0] / truth[truth > 0]
        return dict(zip(METRICS, map(_mean, (*right, accuracies)), strict=True))

    def per_class(self) -> PerClass:
        """Accuracy (recall), precision and number of images of each class.

        NaN where a class has no image, or is never predicted; the mean over classes leaves those
        without image out.
        """
        right, truth, found = self._counts()
        return {
            "classification": {
                name: {
                    "accuracy": _share(right[c], truth[c]),
                    "precision": _share(right[c], found[c]),
                    "count": float(truth[c]),
                }
                for c, name in enumerate(self.info.class_names)
            }
        }

    def _counts(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of each class: images that are right, that belong to it, and that are taken for it."""
        truth = np.array([self._truth[image_id] for image_id in self._found], dtype=np.int64)
        first = np.array([best[0] for best, _ in self._found.values()], dtype=np.int64)
        classes = self.info.num_classes
        groups = truth[truth == first], truth, first
        right, truth, found = (np.bincount(labels, minlength=classes) for labels in groups)
        return right, truth, found

    def confusion(self) -> np.ndarray:
        """Images by true and predicted class, int64 (C, C + 1).

        The last column, in label maps that of pixels without a predicted class, is 0.
        """
        classes = self.info.num_classes
        counts = np.zeros((classes, classes + 1), dtype=np.int64)
        for image_id, (best, _) in self._found.items():
            counts[self._truth[image_id], best[0]] += 1
        return counts

    def save(self, folder: Path) -> None:
        """Write confusion.csv, a row for each true class, and predictions.csv, one for each image.

        The latter has the id, the true class, and up to five classes with their scores. The former
        is left out beyond 2,000 classes: that of ImageNet-22K would have 477 million numbers.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._save_predictions(folder / "predictions.csv")
        if not self.has_confusion:
            logger.info("no confusion matrix is written for %d classes", self.info.num_classes)
            return
        names = self.info.class_names
        with (folder / "confusion.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["truth", *names])
            for name, row in zip(names, self.confusion()[:, :-1].tolist(), strict=True):
                writer.writerow([name, *row])

    def _save_predictions(self, path: Path) -> None:
        names = self.info.class_names
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["image", "truth", *best_header(len(names))])
            for image_id in filter(self._found.__contains__, self._truth):
                cells = best_cells(self._found[image_id], names)
                writer.writerow([image_id, names[self._truth[image_id]], *cells])


def best_classes(scores: np.ndarray) -> BestClasses:
    """Labels and scores of the best five of (C,) scores, the best first."""
    best = np.argsort(-scores, kind="stable")[:TOP]
    return best.tolist(), scores[best].tolist()


def best_header(num_classes: int) -> list[str]:
    """Heads of the columns that ``best_cells`` fills."""
    places = range(1, 1 + min(TOP, num_classes))
    return [f"{what}_{place}" for place in places for what in ("class", "score")]


def best_cells(best: BestClasses, names: Sequence[str]) -> list[str]:
    """Names and scores in turn, for a table."""
    pairs = zip(*best, strict=True)
    return [cell for label, score in pairs for cell in (names[label], f"{score:.6g}")]


def check_classification(
    dataset: DenseDataset,
    transform: Transform,
    *,
    to_prediction: Callable[[Batch], list[Prediction]],
    evaluator: ClassificationEvaluator,
    num_images: int,
) -> OracleReport:
    """Push the labels of some images through reader, transform and evaluator: all must be right.

    Args:
        dataset: Where the images come from, usually the validation part.
        transform: The test transform.
        to_prediction: Takes a batch and returns predictions that are sure of its labels.
        evaluator: Fresh, of the whole data set.
        num_images: How many to try, evenly spread, since folders come class by class.

    Raises:
        ReadError: When none of the images can be read.
    """
    indices = np.linspace(0, len(dataset) - 1, min(num_images, len(dataset))).round().astype(int)
    count = 0
    for sample in readable(dataset, indices.tolist()):
        evaluator.update(to_prediction(collate([transform(sample, np.random.default_rng(0))])))
        count += 1
    metrics = evaluator.compute()
    top1 = METRICS[0]
    problem = "" if metrics[top1] == 1 else "images do not arrive with the label they are listed by"
    return OracleReport(not problem, count, metrics, {top1: 1.0}, problem)


def _labels(dataset: DenseDataset) -> dict[int | str, int]:
    """Class of each image, by id."""
    reader = unwrapped(dataset, HasLabels)
    ids = [dataset.image_id(index) for index in range(len(dataset))]
    if isinstance(reader, HasLabels):
        index_of = {reader.image_id(index): index for index in range(len(reader))}
        return {image_id: reader.label(index_of[image_id]) for image_id in ids}
    labels: dict[int | str, int] = {}
    for index, image_id in enumerate(ids):
        try:
            label = dataset.raw(index).label
        except ReadError as error:
            logger.warning("left out of the evaluation: %s", error)
            continue
        if label is None:
            raise ValueError(f"data set {dataset.info.name!r}: image {image_id!r} has no label")
        labels[image_id] = label
    return labels


def _share(part: int, whole: int) -> float:
    return float(part / whole) if whole else math.nan


def _mean(values: Sequence[float] | np.ndarray) -> float:
    """NaN without any."""
    return float(np.mean(values)) if len(values) else math.nan
