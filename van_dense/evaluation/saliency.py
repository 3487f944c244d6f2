"""Evaluation of saliency maps: MAE, F, S and E-measures by the two protocols in use, which differ.

- pysod: PySODMetrics (https://github.com/lartpang/PySODMetrics, MIT). A map is stretched to its own
  range 0..1, the ground truth is above 128, and curves over 256 thresholds are averaged over images
  before their maximum and mean are taken.
- edn: saleval.py of EDN (https://github.com/yuhuan-wu/EDN). Maps stay as they are, precision and
  recall at 50 thresholds are averaged over images, and F is made of the averages; the ground truth
  counts as it is stored, with its greys.

Maps are rounded to 8 bits first, as a file holds them, so a run and its saved maps score the same.
All but two measures then follow from how often each grey meets each grey of the ground truth.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from van_dense.core.structures import Prediction
from van_dense.data.io.masks import to_grey
from van_dense.evaluation.evaluator import MapTruth, write_csv
from van_dense.evaluation.saliency_measures import s_measure, weighted_f_measure
from van_dense.evaluation.semantic import count_pairs
from van_dense.evaluation.table import PerClass

_PYSOD = "MAE Fmax Fmean Fadp wF Sm Emax Emean Eadp"
METRICS = (*(f"pysod/{name}" for name in _PYSOD.split()), "edn/MAE", "edn/Fmax")
_SCALARS = ("MAE", "Fadp", "wF", "Sm", "Eadp")
AVERAGED = (*_SCALARS, "F", "E", "edn MAE", "edn precision", "edn recall")  # what metrics need
CURVES = ("precision", "recall", "F", "E")
BETA_SQUARED = 0.3  # Achanta et al., "Frequency-tuned salient region detection", CVPR 2009
_GREYS = np.arange(256)
_EDN_THRESHOLDS = 5 * np.arange(1, 51)  # 1/51 to 50/51 of 255
_TINY = np.finfo(float).eps


class SaliencyEvaluator:
    """Sums the measures of each image; no image is kept.

    Its test compares it with PySODMetrics, to 1e-12, and with a direct statement of EDN's protocol.

    Args:
        truth: Function from an image id to its ground truth, uint8 (H, W), 255 = salient.
        image_ids: Ids of all images to evaluate.
    """

    def __init__(
        self, truth: Callable[[int | str], np.ndarray], image_ids: Sequence[int | str]
    ) -> None:
        self._truth = MapTruth(truth, image_ids)
        self._sums: dict[str, np.ndarray | float] = {}  # scalars, and curves over thresholds

    @property
    def num_images(self) -> int:
        """Images that were measured so far; the metrics are those of these."""
        return len(self._truth)

    def update(self, predictions: Sequence[Prediction]) -> None:
        """Measure some images."""
        for prediction in predictions:
            found, truth = self._truth.pair(prediction, "saliency")
            if not (found.min() >= 0 and found.max() <= 1):  # NaN fails as well
                problem = "the saliency map has values outside of 0..1, or NaN"
                raise ValueError(f"image {prediction.image_id!r}: {problem}")
            for name, value in measure_pair(to_grey(found), truth).items():
                self._sums[name] = self._sums.get(name, 0.0) + value
            self._truth.close(prediction)

    def compute(self) -> dict[str, float]:
        """All of ``METRICS``; NaN before the first image."""
        if not self.num_images:
            return dict.fromkeys(METRICS, float("nan"))
        return {name: float(value) for name, value in metrics_of(self._means()).items()}

    def per_class(self) -> PerClass:
        """Nothing: there is one class."""
        return {}

    def save(self, folder: Path) -> None:
        """Write the curves of protocol pysod as curves.csv: a row for each threshold 0..255."""
        mean = self._means() if self.num_images else dict.fromkeys(CURVES, np.empty(0))
        rows = zip(*(mean[name].tolist() for name in CURVES), strict=True)
        numbered = ([threshold, *row] for threshold, row in enumerate(rows))
        write_csv(folder / "curves.csv", ["threshold", *CURVES], numbered)

    def _means(self) -> dict[str, np.ndarray]:
        return {name: np.asarray(value) / self.num_images for name, value in self._sums.items()}


def metrics_of(means: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """All of ``METRICS``, (...), of one or many sets of images.

    Args:
        means: Means over images of what ``measure_pair`` gives, by the names of ``AVERAGED``:
            scalars (...), and curves (..., T) over thresholds.
    """
    edn_curve = f_measure(means["edn precision"], means["edn recall"])
    values = {
        **{f"pysod/{name}": means[name] for name in _SCALARS},
        **{f"pysod/{name}max": means[name].max(axis=-1) for name in ("F", "E")},
        **{f"pysod/{name}mean": means[name].mean(axis=-1) for name in ("F", "E")},
        "edn/MAE": means["edn MAE"],
        "edn/Fmax": edn_curve.max(axis=-1),
    }
    return {name: values[name] for name in METRICS}


def f_measure(precision: np.ndarray, recall: np.ndarray) -> np.ndarray:
    """F-measure with beta² = 0.3 of precision and recall, arrays of one shape in 0..1."""
    return (1 + BETA_SQUARED) * precision * recall / (BETA_SQUARED * precision + recall + _TINY)


def measure_pair(grey: np.ndarray, truth: np.ndarray) -> dict[str, np.ndarray | float]:
    """Measures of one image, by both protocols, from uint8 (H, W) maps with 255 = salient.

    Scalars and curves by name: curves of pysod over the thresholds 0..255, of edn over its 50.
    """
    pairs = count_pairs(truth, grey)  # pixels by grey of the truth and of the map
    return _pysod(pairs, grey, truth > 128) | _edn(pairs)


def _pysod(
    pairs: np.ndarray, grey: np.ndarray, salient: np.ndarray
) -> dict[str, np.ndarray | float]:
    """Measures of PySODMetrics; ``salient`` is bool (H, W)."""
    low, high = np.flatnonzero(pairs.any(axis=0))[[0, -1]]
    levels = _GREYS / 255
    if high > low:
        levels = ((levels - levels[low]) / (levels[high] - levels[low])).clip(0, 1)
    prediction = cv2.LUT(grey, levels)
    on, off = pairs[129:].sum(axis=0), pairs[:129].sum(axis=0)
    adaptive = levels >= min(2 * prediction.mean(), 1)
    true, false = (_found(counts, levels, adaptive) for counts in (on, off))
    num_salient = int(on.sum())
    precision = true / np.maximum(true + false, 1)
    recall = true / max(num_salient, 1)
    f = f_measure(precision, recall)
    e = _e_measure(true, false, num_salient, grey.size)
    return {
        "MAE": float(on @ (1 - levels) + off @ levels) / grey.size,
        "precision": precision[:-1],
        "recall": recall[:-1],
        "F": f[:-1],
        "Fadp": f[-1],
        "E": e[:-1],
        "Eadp": e[-1],
        "wF": weighted_f_measure(prediction, salient) if num_salient else 0.0,
        "Sm": s_measure(grey, levels, salient),
    }


def _found(counts: np.ndarray, levels: np.ndarray, adaptive: np.ndarray) -> np.ndarray:
    """How many pixels are found at the 256 thresholds, and at the adaptive one, int (257,)."""
    steps = np.bincount((levels * 255).astype(np.uint8), weights=counts, minlength=256)
    above = np.cumsum(steps[::-1])[::-1]
    return np.append(above, counts[adaptive].sum()).astype(np.int64)


def _edn(pairs: np.ndarray) -> dict[str, np.ndarray | float]:
    """Precision, recall and error as EDN takes them."""
    size = pairs.sum()
    is_found = _GREYS[:, None] > _EDN_THRESHOLDS
    on = (_GREYS / 255) @ pairs  # salient area under each grey of the map
    true, found = on @ is_found, pairs.sum(axis=0) @ is_found
    return {
        "edn MAE": float((pairs * abs(_GREYS[:, None] - _GREYS)).sum() / 255 / size),
        "edn precision": true / (found + _TINY),
        "edn recall": true / (on.sum() + _TINY),
    }


def _e_measure(
    true: np.ndarray, false: np.ndarray, num_salient: int, num_pixels: int
) -> np.ndarray:
    """Enhanced alignment of binary maps: Fan et al., IJCAI 2018.

    Map and truth minus their means agree or differ in one of four ways; all pixels of one way have
    one value, so that numbers of pixels say all: ``true`` and ``false`` are those of salient and of
    other pixels above each of T thresholds, integers (T,).
    """
    found = true + false
    if num_salient == 0:
        aligned = num_pixels - found
    elif num_salient == num_pixels:
        aligned = found
    else:
        a, b = found / num_pixels, num_salient / num_pixels
        aligned = sum(
            count * (2 * x * y / (x * x + y * y + _TINY) + 1) ** 2 / 4
            for count, x, y in (
                (true, 1 - a, 1 - b),
                (false, 1 - a, -b),
                (num_salient - true, -a, 1 - b),
                (num_pixels - num_salient - false, -a, -b),
            )
        )
    return aligned / (num_pixels - 1 + _TINY)
