"""What every evaluator offers, and the checks, ratios and tables that several of them need."""

import csv
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from van_dense.core.structures import Prediction
from van_dense.data.dataset import ReadError
from van_dense.evaluation.table import PerClass


class Evaluator(Protocol):
    """Takes predictions in any order and computes the metrics of one task.

    It is made anew for each evaluation, and owns, or reads anew, the unaugmented ground truth.

    >>> from van_dense.core.dataset_info import DatasetInfo
    >>> from van_dense.evaluation.semantic import SemanticEvaluator
    >>> truth = {"a.jpg": np.uint8([[0, 0, 1, 1]])}
    >>> info = DatasetInfo("street", class_names=("road", "car"), category_ids=(1, 2))
    >>> evaluator = SemanticEvaluator(truth.__getitem__, list(truth), info)
    >>> found = np.uint8([[0, 0, 0, 1]])
    >>> evaluator.update([Prediction("a.jpg", size=(1, 4), semantic=found)])
    >>> round(evaluator.compute()["semantic/mIoU"], 4)  # road 2/3, car 1/2
    0.5833
    >>> evaluator.per_class()["semantic"]["car"]["IoU"]
    0.5
    """

    def update(self, predictions: Sequence[Prediction]) -> None:
        """Take predictions of some images; ValueError for unknown or repeated ones, bad values."""

    def compute(self) -> dict[str, float]:
        """Flat metrics such as "semantic/mIoU" or "bbox/AP"; fractions and errors in 0..1."""

    def per_class(self) -> PerClass:
        """Metrics by type and class name; empty where classes mean nothing."""

    def save(self, folder: Path) -> None:
        """Write what the field keeps of an evaluation beside its metrics."""


def check_image(
    image_id: int | str, known: Collection[int | str], predicted: Collection[int | str]
) -> None:
    """Refuse a prediction of an unknown image, or a second one of an image, by ValueError."""
    if image_id not in known:
        ids = f"whose ids are {list(known)[:5]}, ..."
        raise ValueError(f"image {image_id!r} is not in the ground truth, {ids}")
    if image_id in predicted:
        raise ValueError(f"image {image_id!r} has two predictions")


def check_size(found: np.ndarray, truth: np.ndarray, image_id: int | str) -> None:
    """Refuse a predicted map of another (H, W) than its ground truth, by ValueError."""
    if truth.shape != found.shape:
        sizes = (f"{array.shape[1]}x{array.shape[0]}" for array in (found, truth))
        both = "the prediction is {} (width x height), the ground truth {}".format(*sizes)
        raise ValueError(f"image {image_id!r}: {both}; predict at the size of the stored image")


@contextmanager
def naming_files(found: Path, truth: Path) -> Iterator[None]:
    """Let a ValueError name the files that are compared; a ReadError names its own."""
    try:
        yield
    except ReadError:
        raise
    except ValueError as error:
        raise ValueError(f"{found} with {truth}: {error}") from error


class MapTruth:
    """Ground truth of label or saliency maps, read image by image.

    Args:
        read: Function from an image id to its ground truth, uint8 (H, W).
        image_ids: Ids of all images to evaluate.
    """

    def __init__(
        self, read: Callable[[int | str], np.ndarray], image_ids: Sequence[int | str]
    ) -> None:
        self._read = read
        self._known = dict.fromkeys(image_ids)
        self._predicted: set[int | str] = set()

    def __len__(self) -> int:
        """Images that were compared so far."""
        return len(self._predicted)

    def pair(
        self, prediction: Prediction, kind: Literal["semantic", "saliency"]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Predicted map and ground truth of one image, (H, W) both, or ValueError for misfits."""
        image_id, found = prediction.image_id, getattr(prediction, kind)
        check_image(image_id, self._known, self._predicted)
        if found is None:
            name = "label" if kind == "semantic" else kind
            raise ValueError(f"the prediction of image {image_id!r} has no {name} map")
        truth = self._read(image_id)
        check_size(found, truth, image_id)
        return found, truth

    def close(self, prediction: Prediction) -> None:
        """Count an image as compared; another prediction of it will be refused."""
        self._predicted.add(prediction.image_id)


def ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Quotients of two arrays of one shape, NaN where ``whole`` is not positive."""
    return np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=whole > 0)


def mean(values: np.ndarray) -> float:
    """Mean of the values that are not NaN; NaN without any."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else math.nan


def by_name(names: Sequence[str], columns: Mapping[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """Rows of a table whose columns are (N,) arrays, by the N names of the rows."""
    return {
        name: {metric: float(values[i]) for metric, values in columns.items()}
        for i, name in enumerate(names)
    }


def write_csv(path: Path, header: Iterable[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a table as CSV, making its folder if missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
