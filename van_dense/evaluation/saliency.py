"""Evaluation of saliency maps by the two protocols in use, which give different numbers.

- pysod: PySODMetrics. A map is stretched to its own range 0..1, the ground truth is above 128, and
  curves over 256 thresholds are averaged over images before their maximum and mean are taken.
- edn: the code of EDN. Maps stay as they are, precision and recall at 50 thresholds are averaged
  over images, and F is made of the averages; MAE compares with the grey ground truth.

Maps are rounded to 8 bits first, as a file holds them, so a run and its saved maps score the same.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import py_sod_metrics as pysod
from py_sod_metrics.utils import prepare_data

from van_dense.data.masks import to_grey
from van_dense.evaluation.table import PerClass
from van_dense.structures import Prediction

Truth = Callable[[int | str], np.ndarray]

METRICS = (
    *(f"pysod/{m}" for m in ("MAE", "Fmax", "Fmean", "Fadp", "wF", "Sm", "Emax", "Emean", "Eadp")),
    *(f"edn/{m}" for m in ("MAE", "Fmax")),
)
BETA_SQUARED = 0.3  # Achanta et al., "Frequency-tuned salient region detection", CVPR 2009
EDN_THRESHOLDS = np.arange(1, 51) / 51  # saleval.py of EDN


class SaliencyEvaluator:
    """Sums the measures of each image; no image is kept.

    Args:
        truth: Gives the ground truth of an image id, uint8 (H, W), 255 = salient.
        image_ids: All images.
    """

    def __init__(self, truth: Truth, image_ids: Sequence[int | str]) -> None:
        self._truth = truth
        self._left = set(image_ids)
        self._known = frozenset(image_ids)
        # Means over images: scalars, and curves over thresholds.
        self._sums: dict[str, np.ndarray] = {}

    @property
    def num_images(self) -> int:
        """Images seen so far."""
        return len(self._known) - len(self._left)

    def update(self, predictions: Sequence[Prediction]) -> None:
        """Measure some images; see ``Evaluator``."""
        for prediction in predictions:
            truth, grey = self._checked(prediction)
            measured = _pysod(grey, truth) | _edn(grey, truth)
            for name, value in measured.items():
                self._sums[name] = self._sums.get(name, np.float64(0)) + value
            self._left.remove(prediction.image_id)

    def _checked(self, prediction: Prediction) -> tuple[np.ndarray, np.ndarray]:
        image_id, found = prediction.image_id, prediction.saliency
        if image_id not in self._known:
            raise ValueError(f"image {image_id!r} is not in the ground truth")
        if image_id not in self._left:
            raise ValueError(f"image {image_id!r} has two predictions")
        if found is None:
            raise ValueError(f"the prediction of image {image_id!r} has no saliency map")
        if not (found.min(initial=0) >= 0 and found.max(initial=0) <= 1):  # NaN fails as well
            raise ValueError(f"image {image_id!r}: the saliency map has values outside of 0..1")
        truth = self._truth(image_id)
        if truth.shape != found.shape:
            raise ValueError(
                f"image {image_id!r}: the prediction is {found.shape[1]}x{found.shape[0]} (width x "
                f"height), the ground truth {truth.shape[1]}x{truth.shape[0]}; predict at the size "
                "of the stored image"
            )
        return truth, to_grey(found)

    def compute(self) -> dict[str, float]:
        """All of ``METRICS``; NaN before the first image."""
        if not self.num_images:
            return dict.fromkeys(METRICS, float("nan"))
        mean = {name: value / self.num_images for name, value in self._sums.items()}
        precision, recall = mean["precision"], mean["recall"]
        values = {
            "pysod/MAE": mean["mae"],
            "pysod/Fmax": mean["f"].max(),
            "pysod/Fmean": mean["f"].mean(),
            "pysod/Fadp": mean["f_adaptive"],
            "pysod/wF": mean["f_weighted"],
            "pysod/Sm": mean["structure"],
            "pysod/Emax": mean["e"].max(),
            "pysod/Emean": mean["e"].mean(),
            "pysod/Eadp": mean["e_adaptive"],
            "edn/MAE": mean["mae_grey"],
            "edn/Fmax": _f_measure(precision, recall).max(),
        }
        return {name: float(values[name]) for name in METRICS}

    def per_class(self) -> PerClass:
        """Nothing: there is one class."""
        return {}

    def save(self, folder: Path) -> None:
        """Write the F curve of protocol pysod as curve.csv: threshold 0..255 and mean F."""
        folder.mkdir(parents=True, exist_ok=True)
        if not self.num_images:
            return
        curve = self._sums["f"][::-1] / self.num_images  # it starts with the highest threshold
        with (folder / "curve.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["threshold", "F"])
            writer.writerows(enumerate(curve.tolist()))


def _pysod(grey: np.ndarray, truth: np.ndarray) -> dict[str, np.ndarray]:
    """Measures of one image by PySODMetrics; it prepares the pair once instead of in each."""
    prediction, salient = prepare_data(grey, truth)
    f_handler = pysod.FmeasureHandler(with_dynamic=True, with_adaptive=True, beta=BETA_SQUARED)
    f = pysod.FmeasureV2({"f": f_handler})
    structure, e, weighted = pysod.Smeasure(), pysod.Emeasure(), pysod.WeightedFmeasure()
    for measure in (f, structure, e, weighted):
        measure.step(prediction, salient, normalize=False)
    return {
        "mae": np.abs(prediction - salient).mean(),
        "f": f_handler.dynamic_results[0],
        "f_adaptive": f_handler.adaptive_results[0],
        "f_weighted": np.float64(weighted.weighted_fms[0]),
        "structure": np.float64(structure.sms[0]),
        "e": e.changeable_ems[0],
        "e_adaptive": np.float64(e.adaptive_ems[0]),
    }


def _edn(grey: np.ndarray, truth: np.ndarray) -> dict[str, np.ndarray]:
    """Precision and recall of one image at EDN's thresholds, and its error."""
    salient = truth > 128
    # Pixels above a threshold, from a histogram of the 256 values that a map can have.
    above = np.arange(256)[:, None] / 255 > EDN_THRESHOLDS
    found = np.bincount(grey.reshape(-1), minlength=256) @ above
    right = np.bincount(grey[salient], minlength=256) @ above
    tiny = np.finfo(float).eps
    return {
        "mae_grey": np.abs(grey.astype(np.int16) - truth).mean() / 255,
        "precision": right / (found + tiny),
        "recall": right / (np.count_nonzero(salient) + tiny),
    }


def _f_measure(precision: np.ndarray, recall: np.ndarray) -> np.ndarray:
    tiny = np.finfo(float).eps
    return (1 + BETA_SQUARED) * precision * recall / (BETA_SQUARED * precision + recall + tiny)
