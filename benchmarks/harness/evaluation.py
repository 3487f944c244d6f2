"""Evaluation of label maps and saliency maps beside plain ways to do it: speed and memory.

All work in one thread on maps that lie in memory, so that no file is read.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
import py_sod_metrics as pysod
import torch

from benchmarks.harness.clock import compare, one_thread, time_in_turn
from van_dense.core.dataset_info import DatasetInfo
from van_dense.core.structures import Prediction, Size
from van_dense.data.io.masks import to_grey
from van_dense.evaluation.evaluator import Evaluator
from van_dense.evaluation.saliency import SaliencyEvaluator
from van_dense.evaluation.semantic import SemanticEvaluator, count_outlines, count_pairs

LABEL_MAP_SIZE: Size = (512, 683)  # ADE20K as its recipes resize it
SALIENCY_SIZE: Size = (300, 400)  # of most images of DUTS
NUM_CLASSES = 150
LABEL_MAPS = 500
SALIENCY_MAPS = 60  # of a round; PySODMetrics takes its time
NUM_PAIRS = 6  # different ones, used again and again
MEMORY_IMAGES = (50, 500)
TOLERANCE = 1e-6

Pair = tuple[np.ndarray, np.ndarray]  # ground truth and prediction

_CPU = torch.device("cpu")


def measure_evaluation(*, rounds: int) -> dict[str, Any]:
    """Compare evaluators with NumPy masks of each class, and with PySODMetrics called directly.

    Args:
        rounds: Of evaluating all maps, after one to warm up.

    Raises:
        RuntimeError: When ours and the other way disagree.
    """
    with one_thread():
        return {"rounds": rounds, "semantic": _semantic(rounds), "saliency": _saliency(rounds)}


def _semantic(rounds: int) -> dict[str, Any]:
    pairs = make_label_maps(LABEL_MAP_SIZE)
    several = [pairs[i % NUM_PAIRS] for i in range(LABEL_MAPS)]
    ours = _evaluate_labels(pairs, LABEL_MAPS).per_class()["semantic"].values()
    _require_equal([scores["IoU"] for scores in ours], iou_by_masks(several))
    calls = {
        "numpy_masks": lambda: iou_by_masks(several),
        "ours": lambda: _evaluate_labels(pairs, LABEL_MAPS).compute(),
        "ours_confusion_alone": lambda: [count_pairs(*pair) for pair in several],
        "ours_outlines_alone": lambda: [count_outlines(*pair) for pair in several],
    }
    return {
        "maps": LABEL_MAPS,
        "size": list(LABEL_MAP_SIZE),
        "classes": NUM_CLASSES,
        "speed": compare(
            time_in_turn(calls, rounds=rounds, device=_CPU), "numpy_masks", images=LABEL_MAPS
        ),
        "peak_mb": _peak_mb(lambda count: _evaluate_labels(pairs, count)),
    }


def _saliency(rounds: int) -> dict[str, Any]:
    pairs = make_saliency_maps(SALIENCY_SIZE)
    several = [pairs[i % NUM_PAIRS] for i in range(SALIENCY_MAPS)]
    expected = measures_by_pysod(several)
    ours = _evaluate_saliency(pairs, SALIENCY_MAPS).compute()
    _require_equal([ours[name] for name in expected], list(expected.values()))
    calls = {
        "pysodmetrics": lambda: measures_by_pysod(several),
        "ours": lambda: _evaluate_saliency(pairs, SALIENCY_MAPS).compute(),
    }
    return {
        "maps": SALIENCY_MAPS,
        "size": list(SALIENCY_SIZE),
        "speed": compare(
            time_in_turn(calls, rounds=rounds, device=_CPU), "pysodmetrics", images=SALIENCY_MAPS
        ),
        "peak_mb": _peak_mb(lambda count: _evaluate_saliency(pairs, count)),
    }


def make_label_maps(size: Size) -> list[Pair]:
    """Label maps of ``NUM_CLASSES`` classes in bent tiles, and predictions that are bent further.

    Args:
        size: (height, width).
    """
    rng = np.random.default_rng(0)
    pairs = []
    for _ in range(NUM_PAIRS):
        tiles = rng.integers(0, NUM_CLASSES, (6, 8), dtype=np.uint8)
        plain = cv2.resize(tiles, size[::-1], interpolation=cv2.INTER_NEAREST)
        truth = bend(plain, rng, pixels=0.08 * size[0])
        found = bend(truth, rng, pixels=0.02 * size[0])
        truth[_noise(rng, size) > 1.2] = 255  # some pixels are ignored
        pairs.append((truth, found))
    return pairs


def bend(labels: np.ndarray, rng: np.random.Generator, *, pixels: float) -> np.ndarray:
    """Move the pixels of a label map (H, W) about, smoothly and by about so many pixels."""
    size = labels.shape[0], labels.shape[1]
    rows, columns = (
        (axis + pixels * _noise(rng, size)).astype(np.float32) for axis in np.indices(size)
    )
    border = cv2.BORDER_REFLECT
    return cv2.remap(labels, columns, rows, cv2.INTER_NEAREST, borderMode=border)


def make_saliency_maps(size: Size) -> list[Pair]:
    """Saliency masks of smooth shapes, uint8, and uncertain predictions, float32 0..1.

    Args:
        size: (height, width).
    """
    rng = np.random.default_rng(0)
    pairs = []
    for _ in range(NUM_PAIRS):
        shape = _noise(rng, size)
        found = 1 / (1 + np.exp(-6 * (shape + 0.5 * _noise(rng, size) - 0.5)))
        pairs.append(((shape > 0.5).astype(np.uint8) * np.uint8(255), found.astype(np.float32)))
    return pairs


def _noise(rng: np.random.Generator, size: Size) -> np.ndarray:
    """Smooth noise (H, W) around 0, mostly within -1 and 1."""
    return cv2.resize(rng.normal(size=(7, 9)), size[::-1], interpolation=cv2.INTER_CUBIC)


def iou_by_masks(pairs: Sequence[Pair]) -> np.ndarray:
    """IoU of each class from two masks a class and image; NaN where there is no pixel."""
    common, either = np.zeros((2, NUM_CLASSES), dtype=np.int64)
    for truth, found in pairs:
        is_valid = truth != 255
        for label in range(NUM_CLASSES):
            true_mask, found_mask = truth == label, (found == label) & is_valid
            common[label] += np.count_nonzero(true_mask & found_mask)
            either[label] += np.count_nonzero(true_mask | found_mask)
    return np.divide(common, either, out=np.full(NUM_CLASSES, np.nan), where=either > 0)


def measures_by_pysod(pairs: Sequence[Pair]) -> dict[str, float]:
    """The measures of protocol pysod, as the documentation of PySODMetrics takes them."""
    handler = pysod.FmeasureHandler(beta=0.3, with_adaptive=True, with_dynamic=True)
    f, e, s = pysod.FmeasureV2({"fm": handler}), pysod.Emeasure(), pysod.Smeasure()
    weighted, error = pysod.WeightedFmeasure(), pysod.MAE()
    for truth, found in pairs:
        grey = to_grey(found)
        for measure in (f, e, s, weighted, error):
            measure.step(pred=grey, gt=truth)
    f_results, e_results = f.get_results()["fm"], e.get_results()["em"]
    return {
        "pysod/MAE": error.get_results()["mae"],
        "pysod/Fmax": f_results["dynamic"].max(),
        "pysod/Fmean": f_results["dynamic"].mean(),
        "pysod/Fadp": f_results["adaptive"],
        "pysod/wF": weighted.get_results()["wfm"],
        "pysod/Sm": s.get_results()["sm"],
        "pysod/Emax": e_results["curve"].max(),
        "pysod/Emean": e_results["curve"].mean(),
        "pysod/Eadp": e_results["adp"],
    }


def _evaluate_labels(pairs: Sequence[Pair], count: int) -> SemanticEvaluator:
    names = tuple(f"class {label}" for label in range(NUM_CLASSES))
    info = DatasetInfo("generated", names, tuple(range(NUM_CLASSES)))
    evaluator = SemanticEvaluator(lambda i: pairs[int(i) % NUM_PAIRS][0], range(count), info)
    for i in range(count):
        found = pairs[i % NUM_PAIRS][1]
        evaluator.update([Prediction(i, LABEL_MAP_SIZE, semantic=found)])
    return evaluator


def _evaluate_saliency(pairs: Sequence[Pair], count: int) -> SaliencyEvaluator:
    evaluator = SaliencyEvaluator(lambda i: pairs[int(i) % NUM_PAIRS][0], range(count))
    for i in range(count):
        found = pairs[i % NUM_PAIRS][1]
        evaluator.update([Prediction(i, SALIENCY_SIZE, saliency=found)])
    return evaluator


def _require_equal(ours: Sequence[float], others: Sequence[float] | np.ndarray) -> None:
    if not np.allclose(ours, others, rtol=0, atol=TOLERANCE, equal_nan=True):
        raise RuntimeError(
            f"ours and the other evaluation differ by more than {TOLERANCE:g}; speeds of different "
            "functions say nothing"
        )


def _peak_mb(evaluate: Callable[[int], Evaluator]) -> dict[str, float]:
    """Most memory that Python and NumPy hold at one time while so many images are evaluated."""
    peaks = {}
    for count in MEMORY_IMAGES:
        tracemalloc.start()
        evaluate(count).compute()
        peaks[f"{count}_images"] = round(tracemalloc.get_traced_memory()[1] / 1e6, 2)
        tracemalloc.stop()
    return peaks
