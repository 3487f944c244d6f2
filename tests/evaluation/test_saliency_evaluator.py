"""Saliency maps are scored by two protocols: that of PySODMetrics and that of EDN's own code."""

import csv
import math
import tracemalloc
import warnings

import numpy as np
import py_sod_metrics as pysod
import pytest

from van_dense.core.structures import Prediction
from van_dense.evaluation.saliency import METRICS, SaliencyEvaluator


def evaluate(truth: list[np.ndarray], found: list[np.ndarray]) -> SaliencyEvaluator:
    """Evaluate grey maps uint8 (H, W), as files hold them."""
    evaluator = SaliencyEvaluator(truth.__getitem__, range(len(truth)))
    for image_id, grey in enumerate(found):
        evaluator.update([Prediction(image_id, grey.shape, saliency=as_map(grey))])
    return evaluator


def as_map(grey: np.ndarray) -> np.ndarray:
    return grey.astype(np.float32) / np.float32(255)


def grey(*rows: list[int]) -> np.ndarray:
    return np.array(rows, dtype=np.uint8)


def disk(size: tuple[int, int], centre: tuple[float, float], radius: float) -> np.ndarray:
    y, x = np.mgrid[: size[0], : size[1]]
    return np.hypot(y - centre[0], x - centre[1]) < radius


def soft_and_truth(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A noisy map of a disk, beside the disk itself."""
    rng = np.random.default_rng(seed)
    size = (int(rng.integers(20, 40)), int(rng.integers(20, 40)))
    truth = disk(size, (size[0] / 2, size[1] / 3), 8)
    soft = 60 + 120 * disk(size, (size[0] / 2, size[1] / 2.5), 9) + rng.integers(-50, 50, size)
    return soft.astype(np.uint8), truth.astype(np.uint8) * np.uint8(255)


# Two maps of one row. A stretches to 0, 50/152, 102/152, 1: of 255 that is 0, 83.9, 171.1, 255.
A, A_TRUTH = grey([51, 101, 153, 203]), grey([0, 0, 255, 255])
B, B_TRUTH = grey([0, 255, 0, 255]), grey([0, 255, 255, 0])

# ---------------------------------------------------------------------------------- by hand


def test_pysod_stretches_every_map_to_its_own_range():
    metrics = evaluate([A_TRUTH], [A]).compute()
    assert metrics["pysod/MAE"] == pytest.approx((0 + 50 + 50 + 0) / 152 / 4)
    assert metrics["edn/MAE"] == pytest.approx((51 + 101 + 102 + 52) / 255 / 4)


def test_pysod_averages_f_over_images_before_it_takes_the_maximum():
    """Of A, F is 1 at the thresholds that part 83 from 171; of B it is 1/2 above 0."""
    metrics = evaluate([A_TRUTH, B_TRUTH], [A, B]).compute()
    assert metrics["pysod/Fmax"] == pytest.approx((1 + 0.5) / 2)

    def f(precision: float, recall: float) -> float:
        return 1.3 * precision * recall / (0.3 * precision + recall)

    # Of A, threshold 0 finds all, 1..83 three pixels, 84..171 two, 172..255 one.
    mean_a = (f(1 / 2, 1) + 83 * f(2 / 3, 1) + 88 * f(1, 1) + 84 * f(1, 1 / 2)) / 256
    mean_b = (f(1 / 2, 1) + 255 * f(1 / 2, 1 / 2)) / 256
    assert metrics["pysod/Fmean"] == pytest.approx((mean_a + mean_b) / 2)


def test_the_adaptive_threshold_is_twice_the_mean_but_at_most_1():
    found, truth = grey([0, 0, 0, 100, 255]), grey([0, 0, 0, 0, 255])  # mean 71/255: only 255
    assert evaluate([truth], [found]).compute()["pysod/Fadp"] == pytest.approx(1)
    found = grey([0, 200, 200, 255, 255])  # twice the mean is 1.43
    truth = grey([0, 0, 0, 255, 255])
    assert evaluate([truth], [found]).compute()["pysod/Fadp"] == pytest.approx(1)


def test_edn_averages_precision_and_recall_over_images_and_makes_f_of_the_averages():
    """Below 100 all three pixels of the second map are found: P = 1/3, R = 1; above none.

    Of the first map one of two is found at all thresholds: P = 1, R = 1/2. Averages are 2/3, 3/4.
    """
    truth = [grey([255, 255, 0, 0]), grey([255, 0, 0, 0])]
    found = [grey([255, 0, 0, 0]), grey([100, 100, 100, 0])]
    precision, recall = 2 / 3, 3 / 4
    expected = 1.3 * precision * recall / (0.3 * precision + recall)
    assert evaluate(truth, found).compute()["edn/Fmax"] == pytest.approx(expected)


def test_edn_does_not_stretch_and_finds_only_what_is_above_a_threshold():
    """5 is 1/51 of 255, its lowest threshold: not above it. 250 is 50/51, the highest."""
    truth = grey([255, 0])
    assert evaluate([truth], [grey([5, 0])]).compute()["edn/Fmax"] == 0
    assert evaluate([truth], [grey([6, 5])]).compute()["edn/Fmax"] == pytest.approx(1)
    assert evaluate([truth], [grey([255, 250])]).compute()["edn/Fmax"] == pytest.approx(1)
    all_found = 1.3 * 0.5 / (0.3 * 0.5 + 1)
    assert evaluate([truth], [grey([255, 251])]).compute()["edn/Fmax"] == pytest.approx(all_found)


def test_greys_of_the_truth_are_cut_by_pysod_and_kept_by_edn():
    metrics = evaluate([grey([0, 128, 129, 255])], [grey([0, 0, 255, 255])]).compute()
    assert metrics["pysod/MAE"] == 0 and metrics["pysod/Fmax"] == pytest.approx(1)
    assert metrics["edn/MAE"] == pytest.approx((128 + 126) / 255 / 4)
    recall = (129 + 255) / (128 + 129 + 255)  # soft, as in its code
    precision = (129 + 255) / 255 / 2
    expected = 1.3 * precision * recall / (0.3 * precision + recall)
    assert metrics["edn/Fmax"] == pytest.approx(expected)


def test_ground_truth_against_itself_is_perfect():
    truth = disk((40, 50), (20, 20), 10).astype(np.uint8) * np.uint8(255)
    metrics = evaluate([truth], [truth]).compute()
    for name in ("pysod/Fmax", "pysod/Fadp", "pysod/wF", "pysod/Sm", "edn/Fmax"):
        assert metrics[name] == pytest.approx(1, abs=1e-6)
    assert metrics["pysod/Emax"] == pytest.approx(1, abs=1e-3)  # it divides by one pixel less
    assert metrics["pysod/MAE"] == metrics["edn/MAE"] == 0


# ------------------------------------------------------------------------ beside the library


def by_library(pairs: list[tuple[np.ndarray, np.ndarray]]) -> dict[str, float]:
    """Every metric of protocol pysod, by PySODMetrics called as its examples do."""
    f_handler = pysod.FmeasureHandler(with_dynamic=True, with_adaptive=True, beta=0.3)
    measures = [
        *(pysod.MAE(), pysod.FmeasureV2({"f": f_handler}), pysod.WeightedFmeasure()),
        *(pysod.Smeasure(), pysod.Emeasure()),
    ]
    for found, truth in pairs:
        for measure in measures:
            measure.step(found, truth)
    mae, f, weighted, structure, e = (measure.get_results() for measure in measures)
    f, e = f["f"], e["em"]
    values = (mae["mae"], f["dynamic"].max(), f["dynamic"].mean(), f["adaptive"], weighted["wfm"])
    values += (structure["sm"], e["curve"].max(), e["curve"].mean(), e["adp"])
    return dict(zip(METRICS, values, strict=False))


def one_pixel(size: tuple[int, ...], at: tuple[int, int]) -> np.ndarray:
    truth = np.zeros(size, dtype=np.uint8)
    truth[at] = 255
    return truth


def dots(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Noise beside single pixels: many other pixels have several nearest ones."""
    rng = np.random.default_rng(seed)
    truth = (rng.uniform(size=(31, 26)) < 0.05).astype(np.uint8) * np.uint8(255)
    return rng.integers(0, 256, truth.shape, dtype=np.uint8), truth


def cases() -> dict[str, list[tuple[np.ndarray, np.ndarray]]]:
    soft, truth = soft_and_truth(0)
    return {
        "several": [soft_and_truth(seed) for seed in range(5)],
        "nothing salient": [(soft, np.zeros_like(truth))],
        "everything salient": [(soft, np.full_like(truth, 255))],
        "empty and full": [(soft, np.zeros_like(truth)), (soft, np.full_like(truth, 255))],
        "constant map": [(np.full_like(soft, 77), truth)],
        "black map": [(np.zeros_like(soft), truth)],
        "black on black": [(np.zeros_like(soft), np.zeros_like(truth))],
        "binary map": [((soft > 128).astype(np.uint8) * np.uint8(255), truth)],
        "grey truth": [(soft, np.flipud(soft).copy())],
        "one pixel": [(grey([200]), grey([255])), (grey([200]), grey([0]))],
        "one salient pixel": [(soft, one_pixel(soft.shape, at)) for at in ((0, 0), (9, 5))],
        "a constant quadrant": [(np.where(truth > 0, 179, 77).astype(np.uint8), truth)],
        "dots": [dots(seed) for seed in range(10)],
    }


@pytest.mark.parametrize("name", cases())
def test_pysod_agrees_with_the_library(name):
    pairs = cases()[name]
    metrics = evaluate([truth for _, truth in pairs], [found for found, _ in pairs]).compute()
    expected = by_library(pairs)
    assert len(expected) == 9
    for metric, value in expected.items():
        assert metrics[metric] == pytest.approx(value, abs=1e-12), metric


def test_a_truth_centred_on_the_last_row_does_not_spoil_the_s_measure():
    """The library divides by the pixels of an empty quadrant there, and its mean becomes NaN."""
    soft, truth = soft_and_truth(1)
    truth[:] = 0
    truth[-1] = 255
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        value = evaluate([truth], [soft]).compute()["pysod/Sm"]
    assert 0 < value < 1


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_the_library_itself_has_no_s_measure_there():
    soft, truth = soft_and_truth(1)
    truth[:] = 0
    truth[-1] = 255
    assert math.isnan(by_library([(soft, truth)])["pysod/Sm"])


# ------------------------------------------------------------------- refusals, files, memory


def test_values_are_rounded_as_a_file_rounds_them():
    truth = grey([255, 0])
    found = np.array([[0.5, 0.001]], dtype=np.float32)  # 127.5 and 0.255 become 128 and 0
    evaluator = SaliencyEvaluator(lambda _: truth, ["a"])
    evaluator.update([Prediction("a", (1, 2), saliency=found)])
    assert evaluator.compute()["edn/MAE"] == pytest.approx((127 + 0) / 255 / 2)
    assert evaluator.compute() == evaluate([truth], [grey([128, 0])]).compute()


def predict(saliency: np.ndarray | None, image_id: int = 0) -> Prediction:
    return Prediction(image_id, (1, 4), saliency=saliency)


@pytest.mark.parametrize(
    ("prediction", "message"),
    [
        (predict(as_map(A), image_id=7), "image 7 is not in the ground truth"),
        (predict(None), "image 0 has no saliency map"),
        (predict(as_map(A).T), r"image 0: the prediction is 1x4 .* truth 4x1"),
        (predict(as_map(A) + 1), r"image 0: the saliency map has values outside of 0\.\.1"),
        (predict(as_map(A) - 1), r"image 0: the saliency map has values outside of 0\.\.1"),
        (predict(as_map(A) * np.nan), "image 0: the saliency map has values .* or NaN"),
    ],
)
def test_impossible_predictions_are_refused_with_the_image(prediction, message):
    evaluator = evaluate([A_TRUTH], [])
    with pytest.raises(ValueError, match=message):
        evaluator.update([prediction])
    assert evaluator.num_images == 0


def test_an_image_cannot_be_predicted_twice():
    evaluator = evaluate([A_TRUTH], [A])
    with pytest.raises(ValueError, match="image 0 has two predictions"):
        evaluator.update([predict(as_map(A))])


def test_before_the_first_image_nothing_has_a_value():
    metrics = evaluate([A_TRUTH], []).compute()
    assert list(metrics) == list(METRICS)
    assert all(math.isnan(value) for value in metrics.values())


def test_there_are_no_classes():
    assert evaluate([A_TRUTH], [A]).per_class() == {}


def test_curves_are_saved_from_the_lowest_threshold_up(tmp_path):
    evaluate([A_TRUTH], [A]).save(tmp_path / "eval")
    with (tmp_path / "eval" / "curves.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["threshold", "precision", "recall", "F", "E"]
    assert [int(row[0]) for row in rows] == list(range(256))
    assert [float(value) for value in rows[0][1:3]] == [0.5, 1.0]
    assert [float(value) for value in rows[100][1:3]] == [1.0, 1.0]
    assert [float(value) for value in rows[255][1:3]] == [1.0, 0.5]


def test_without_images_the_file_of_curves_has_no_rows(tmp_path):
    evaluate([A_TRUTH], []).save(tmp_path)
    assert (tmp_path / "curves.csv").read_text().split() == ["threshold,precision,recall,F,E"]


def test_no_image_is_kept():
    truth = disk((300, 300), (150, 150), 50).astype(np.uint8) * np.uint8(255)
    evaluator = SaliencyEvaluator(lambda _: truth.copy(), range(4))
    tracemalloc.start()
    try:
        for image_id in range(4):
            evaluator.update([Prediction(image_id, truth.shape, saliency=as_map(truth))])
        assert tracemalloc.get_traced_memory()[0] < truth.size  # less than one map
    finally:
        tracemalloc.stop()
