"""Evaluation of image classes: top-1 and top-5 accuracy, and which class is taken for which.

An image is right at top-k if fewer than k classes score higher than its own; of equal scores the
first class comes first, so that equal scores for all are no success. With five classes or fewer
top-5 is always 1.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from van_dense.core.counting import counted
from van_dense.core.structures import Prediction
from van_dense.data.dataset import DenseDataset, ReadError
from van_dense.evaluation.evaluator import by_name, check_image, mean, ratio, write_csv
from van_dense.evaluation.ground_truth import unwrapped
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


class ClassificationEvaluator:
    """Keeps the five best classes of each image; images come in any order.

    Top-1 and top-5 agree with ``timm.utils.accuracy``, as its test says; the mean over classes is
    also called balanced accuracy.

    Args:
        dataset: Data set of all images, with names and labels. One without a method ``label``,
            even inside, is read once, which decodes every image.
    """

    def __init__(self, dataset: DenseDataset) -> None:
        self.info = dataset.info
        self._truth = _labels(dataset)
        self._found: dict[int | str, BestClasses] = {}

    @property
    def has_confusion(self) -> bool:
        """Whether the confusion matrix is small enough to be written and drawn."""
        return self.info.num_classes <= MAX_CONFUSION

    def update(self, predictions: Sequence[Prediction]) -> None:
        """Take the class scores of some images."""
        for prediction in predictions:
            check_image(prediction.image_id, self._truth, self._found)
            self._found[prediction.image_id] = best_classes(self._scores(prediction))

    def _scores(self, prediction: Prediction) -> np.ndarray:
        image_id, scores = prediction.image_id, prediction.class_scores
        if scores is None:
            raise ValueError(f"the prediction of image {image_id!r} has no class scores")
        if scores.shape != (self.info.num_classes,):
            found = f"the prediction has scores of shape {tuple(scores.shape)}"
            classes = f"data set {self.info.name!r} has {counted(self.info.num_classes, 'class')}"
            raise ValueError(f"image {image_id!r}: {found}, but {classes}")
        if not bool(scores.isfinite().all()):
            raise ValueError(f"image {image_id!r}: some class scores are not finite; did it learn?")
        return scores.numpy()

    def compute(self) -> dict[str, float]:
        """Fraction of images that are right, and its mean over classes, by ``METRICS``."""
        right = [
            [self._truth[image_id] in best[:k] for image_id, (best, _) in self._found.items()]
            for k in (1, TOP)
        ]
        if len(self._found) < len(self._truth):
            missing = f"{len(self._truth) - len(self._found)} of {len(self._truth)}"
            logger.warning("%s images have no prediction, and are left out", missing)
        top1, top5 = (mean(np.array(hits, dtype=np.float64)) for hits in right)
        of_class, truth, _ = self._counts()
        return dict(zip(METRICS, (top1, top5, mean(ratio(of_class, truth))), strict=True))

    def per_class(self) -> PerClass:
        """Accuracy (recall), precision and count of each class; NaN without image or prediction."""
        right, truth, found = self._counts()
        columns = {"accuracy": ratio(right, truth), "precision": ratio(right, found)}
        return {"classification": by_name(self.info.class_names, columns | {"count": truth})}

    def _counts(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Images of each class that are right, that belong to it, and that are taken for it."""
        truth = np.array([self._truth[image_id] for image_id in self._found], dtype=np.int64)
        first = np.array([best[0] for best, _ in self._found.values()], dtype=np.int64)
        groups = truth[truth == first], truth, first
        right, truth, found = (np.bincount(g, minlength=self.info.num_classes) for g in groups)
        return right, truth, found

    def confusion(self) -> np.ndarray:
        """Images by true and predicted class, int64 (C, C + 1); the last column, no class, is 0."""
        counts = np.zeros((self.info.num_classes, self.info.num_classes + 1), dtype=np.int64)
        for image_id, (best, _) in self._found.items():
            counts[self._truth[image_id], best[0]] += 1
        return counts

    def save(self, folder: Path) -> None:
        """Write confusion.csv, a row for each true class, and predictions.csv, one for each image.

        The latter has the id, the true class, and up to five classes with their scores. The former
        is left out beyond 2,000 classes: that of ImageNet-22K would have 477 million numbers.
        """
        names = self.info.class_names
        rows = (
            [image_id, names[self._truth[image_id]], *best_columns(self._found[image_id], names)]
            for image_id in filter(self._found.__contains__, self._truth)
        )
        header = ["image", "truth", *best_header(len(names))]
        write_csv(folder / "predictions.csv", header, rows)
        if not self.has_confusion:
            logger.info("no confusion matrix is written for %d classes", self.info.num_classes)
            return
        counts = zip(names, self.confusion()[:, :-1].tolist(), strict=True)
        write_csv(folder / "confusion.csv", ["truth", *names], ([n, *row] for n, row in counts))


def best_classes(scores: np.ndarray) -> BestClasses:
    """Labels and scores of the best five of (C,) scores, the best first."""
    best = np.argsort(-scores, kind="stable")[:TOP]
    return best.tolist(), scores[best].tolist()


def best_header(num_classes: int) -> list[str]:
    """Heads of the columns that ``best_columns`` fills."""
    places = range(1, 1 + min(TOP, num_classes))
    return [f"{what}_{place}" for place in places for what in ("class", "score")]


def best_columns(best: BestClasses, names: Sequence[str]) -> list[str]:
    """Names and scores in turn, for a table."""
    pairs = zip(*best, strict=True)
    return [text for label, score in pairs for text in (names[label], f"{score:.6g}")]


def _labels(dataset: DenseDataset) -> dict[int | str, int]:
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
