"""Evaluation of label maps: mIoU and the like from one confusion matrix, and boundary IoU.

A class that neither ground truth nor prediction shows has no value and is left out of the means, as
in mmseg; one that is predicted but never true has IoU 0. Pixels without a predicted class (255)
count as wrong. Pixels, of outlines too, are summed over all images before any ratio is taken.

Outlines of classes follow Cheng et al., "Boundary IoU", CVPR 2021; see ``outlines.py``.
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from van_dense.core.dataset_info import DatasetInfo
from van_dense.core.structures import IGNORE_LABEL, Prediction
from van_dense.evaluation.evaluator import MapTruth, by_name, mean, ratio, write_csv
from van_dense.evaluation.outlines import is_outline
from van_dense.evaluation.table import PerClass

METRICS = tuple(f"semantic/{m}" for m in "mIoU aAcc mAcc Dice fwIoU boundary_IoU".split())


class MapCounts(NamedTuple):
    """Pixels of one image, or of many."""

    confusion: np.ndarray  #: by true and predicted class, int64 (C, C + 1); the last column is none
    outlines: np.ndarray  #: of outlines in both maps, truth and prediction, int64 (3, C)

    def of_classes(self) -> np.ndarray:
        """Counts (6, C) that all metrics follow from: pixels, and pixels of outlines.

        Rows are those in both maps, in the truth, and in the prediction, of either kind.
        """
        right = np.diagonal(self.confusion)
        truth, found = self.confusion.sum(axis=1), self.confusion[:, :-1].sum(axis=0)
        return np.stack([right, truth, found, *self.outlines])


class SemanticEvaluator:
    """Counts pixels of label maps, image by image; no image is kept.

    Its test compares it with masks of each class, and erosions of the published Boundary IoU.

    Args:
        truth: Function from an image id to labels 0..C-1 and 255 = ignore, uint8 (H, W).
        image_ids: Ids of all images to evaluate.
        info: Names of the C classes.

    Attributes:
        confusion: Pixels by true and predicted class, int64 (C, C + 1); the last column is none.
    """

    def __init__(
        self,
        truth: Callable[[int | str], np.ndarray],
        image_ids: Sequence[int | str],
        info: DatasetInfo,
    ) -> None:
        self.info = info
        self._truth = MapTruth(truth, image_ids)
        self.confusion = np.zeros((info.num_classes, info.num_classes + 1), dtype=np.int64)
        self._outlines = np.zeros((3, info.num_classes), dtype=np.int64)

    @property
    def num_images(self) -> int:
        """Images that were counted so far; the metrics are those of these."""
        return len(self._truth)

    def update(self, predictions: Sequence[Prediction]) -> None:
        """Count the pixels of some images."""
        for prediction in predictions:
            found, truth = self._truth.pair(prediction, "semantic")
            counts = count_maps(truth, found, self.info.num_classes, prediction.image_id)
            self.confusion += counts.confusion
            self._outlines += counts.outlines
            self._truth.close(prediction)

    def compute(self) -> dict[str, float]:
        """Means over classes, and accuracy over pixels, by the names of ``METRICS``."""
        return summarize(self._counts())

    def per_class(self) -> PerClass:
        """IoU, Acc, Dice and boundary_IoU of each class; NaN where there is nothing to measure."""
        return {"semantic": by_name(self.info.class_names, score_classes(self._counts()))}

    def _counts(self) -> np.ndarray:
        return MapCounts(self.confusion, self._outlines).of_classes()

    def save(self, folder: Path) -> None:
        """Write the confusion matrix as confusion.csv: a row for each true class, in pixels."""
        names = self.info.class_names
        rows = ([n, *row] for n, row in zip(names, self.confusion.tolist(), strict=True))
        write_csv(folder / "confusion.csv", ["truth", *names, "no class"], rows)


def score_classes(counts: np.ndarray) -> dict[str, np.ndarray]:
    """IoU, Acc, Dice and boundary_IoU of each class, (C,), from ``MapCounts.of_classes``."""
    right, truth, found, common, of_truth, of_found = counts
    return {
        "IoU": ratio(right, truth + found - right),
        "Acc": ratio(right, truth),
        "Dice": ratio(2 * right, truth + found),
        "boundary_IoU": ratio(common, of_truth + of_found - common),
    }


def summarize(counts: np.ndarray) -> dict[str, float]:
    """The metrics by the names of ``METRICS``, from ``MapCounts.of_classes``, (6, C)."""
    scores, right, pixels = score_classes(counts), counts[0], counts[1]
    total, occurs = pixels.sum(), pixels > 0
    weighted = float((scores["IoU"] * pixels)[occurs].sum() / total) if total else math.nan
    accuracy = float(right.sum() / total) if total else math.nan
    iou, acc, dice, outlines = (mean(values) for values in scores.values())
    return dict(zip(METRICS, (iou, accuracy, acc, dice, weighted, outlines), strict=True))


def count_maps(
    truth: np.ndarray, found: np.ndarray, num_classes: int, image_id: int | str
) -> MapCounts:
    """Count the pixels of one image.

    Args:
        truth: Labels 0..C-1 and 255 = ignore, uint8 (H, W).
        found: Predicted labels 0..C-1 and 255 = no class, integers (H, W).
        num_classes: Number of classes C.
        image_id: Id of the image, for messages.

    Raises:
        ValueError: For labels that are no class.
    """
    if found.dtype != np.uint8 and not 0 <= found.min() <= found.max() <= IGNORE_LABEL:
        where, span = f"image {image_id!r}", f"{found.min()} to {found.max()}"
        fix = "labels are 0..254, and 255 is no class"
        raise ValueError(f"{where}: the prediction holds labels from {span}; {fix}")
    found = found.astype(np.uint8, copy=False)
    pairs = count_pairs(truth, found)
    for name, counts in (("ground truth", pairs.sum(axis=1)), ("prediction", pairs.sum(axis=0))):
        foreign = num_classes + np.flatnonzero(counts[num_classes:IGNORE_LABEL])
        if len(foreign):
            holds = f"the {name} holds the labels {foreign[:5].tolist()}"
            known = f"labels of classes are 0..{num_classes - 1}"
            raise ValueError(f"image {image_id!r}: {holds}, but {known}")
    outlines = count_outlines(truth, found)[:, :num_classes]
    return MapCounts(confusion_of(pairs, num_classes), outlines)


def confusion_of(pairs: np.ndarray, num_classes: int) -> np.ndarray:
    """Confusion matrix (C, C + 1) out of pairs of labels (256, 256); the last column is none."""
    return pairs[:num_classes, [*range(num_classes), IGNORE_LABEL]]


def count_pairs(truth: np.ndarray, found: np.ndarray) -> np.ndarray:
    """How many pixels have each pair of labels: (256, 256), from two uint8 (H, W)."""
    pairs = truth.astype(np.uint16) << 8 | found
    return np.bincount(pairs.reshape(-1), minlength=256 * 256).reshape(256, 256)


def count_outlines(truth: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Outline pixels of each label in both maps, in the truth, and in the prediction, (3, 256).

    Both maps are uint8 (H, W); where the truth is 255, the prediction counts as 255, too.
    """
    found = np.where(truth == IGNORE_LABEL, truth, found)
    # All other pixels become 255, which is no class.
    ignored = np.uint8(IGNORE_LABEL)
    truth, found = (np.where(is_outline(m), m, ignored) for m in (truth, found))
    pairs = count_pairs(truth, found)
    return np.stack([np.diagonal(pairs), pairs.sum(axis=1), pairs.sum(axis=0)])
