"""Label maps are compared by one confusion matrix, and their outlines as Boundary IoU defines."""

import csv
import math
import tracemalloc

import cv2
import numpy as np
import pytest

from van_dense.core.dataset_info import DatasetInfo
from van_dense.core.structures import Prediction
from van_dense.evaluation.semantic import METRICS, SemanticEvaluator, count_outlines, count_pairs


def info(classes: int) -> DatasetInfo:
    names = ("sky", "road", "car", *(f"class {c}" for c in range(3, classes)))[:classes]
    return DatasetInfo(name="tiny", class_names=names, category_ids=tuple(range(classes)))


def evaluate(truth: list, found: list, classes: int = 3) -> SemanticEvaluator:
    truths = {i: np.array(t, dtype=np.uint8) for i, t in enumerate(truth)}
    evaluator = SemanticEvaluator(truths.__getitem__, list(truths), info(classes))
    for i, labels in enumerate(found):
        labels = np.array(labels, dtype=np.uint8)
        evaluator.update([Prediction(i, labels.shape, semantic=labels)])
    return evaluator


def blobs(rng: np.random.Generator, classes: int, size: tuple[int, int] = (60, 90)) -> np.ndarray:
    small = rng.integers(0, classes, (6, 7)).astype(np.uint8)
    labels = cv2.resize(small, size[::-1], interpolation=cv2.INTER_NEAREST)
    labels[rng.random(size) < 0.01] = 255
    return labels


# ---------------------------------------------------------------------------------- regions

# Pixels by true (row) and predicted class: sky 3 right, 1 as road; road 2 right; 2 are ignored.
TRUTH = [[0, 0, 0, 0], [1, 1, 255, 255]]
FOUND = [[0, 0, 0, 1], [1, 1, 2, 0]]


def test_metrics_equal_those_counted_by_hand():
    evaluator = evaluate([TRUTH], [FOUND])
    assert evaluator.confusion.tolist() == [[3, 1, 0, 0], [0, 2, 0, 0], [0, 0, 0, 0]]
    metrics = evaluator.compute()
    assert list(metrics) == list(METRICS)
    assert metrics["semantic/mIoU"] == pytest.approx((3 / 4 + 2 / 3) / 2)
    assert metrics["semantic/aAcc"] == pytest.approx(5 / 6)
    assert metrics["semantic/mAcc"] == pytest.approx((3 / 4 + 2 / 2) / 2)
    assert metrics["semantic/Dice"] == pytest.approx((6 / 7 + 4 / 5) / 2)
    assert metrics["semantic/fwIoU"] == pytest.approx((4 * 3 / 4 + 2 * 2 / 3) / 6)
    table = evaluator.per_class()["semantic"]
    assert table["sky"]["IoU"] == pytest.approx(3 / 4)
    assert table["road"]["Acc"] == 1.0


def test_a_class_that_is_neither_true_nor_predicted_has_no_value():
    evaluator = evaluate([TRUTH], [FOUND])  # "car" is predicted on ignored pixels only
    assert all(math.isnan(value) for value in evaluator.per_class()["semantic"]["car"].values())


def test_a_class_that_is_predicted_but_never_true_has_iou_0_and_no_accuracy():
    evaluator = evaluate([[[0, 0, 0, 0]]], [[[0, 0, 0, 2]]])
    car = evaluator.per_class()["semantic"]["car"]
    assert car["IoU"] == 0 and car["Dice"] == 0 and math.isnan(car["Acc"])
    assert evaluator.compute()["semantic/mIoU"] == pytest.approx((3 / 4 + 0) / 2)


def test_pixels_predicted_as_no_class_are_wrong():
    evaluator = evaluate([[[0, 0, 1, 255]]], [[[0, 255, 1, 255]]])
    assert evaluator.confusion.tolist() == [[1, 0, 0, 1], [0, 1, 0, 0], [0, 0, 0, 0]]
    assert evaluator.compute()["semantic/aAcc"] == pytest.approx(2 / 3)
    assert evaluator.per_class()["semantic"]["sky"]["IoU"] == pytest.approx(1 / 2)


def test_ground_truth_against_itself_is_perfect():
    truth = blobs(np.random.default_rng(0), 3)
    assert evaluate([truth], [truth]).compute() == dict.fromkeys(METRICS, 1.0)


def test_pixels_are_summed_over_images_before_ratios_are_taken():
    metrics = evaluate([[[0, 0, 0]], [[0]]], [[[0, 0, 0]], [[1]]]).compute()
    assert metrics["semantic/mIoU"] == pytest.approx((3 / 4 + 0) / 2)


def test_counts_equal_those_of_masks_of_each_class():
    rng = np.random.default_rng(1)
    truth, found = blobs(rng, 5), blobs(rng, 5)
    table = evaluate([truth], [found], classes=5).per_class()["semantic"]
    for c, values in enumerate(table.values()):
        t, f = truth == c, (found == c) & (truth != 255)
        assert values["IoU"] == pytest.approx((t & f).sum() / (t | f).sum())
        assert values["Acc"] == pytest.approx((t & f).sum() / t.sum())
        assert values["Dice"] == pytest.approx(2 * (t & f).sum() / (t.sum() + f.sum()))


def test_254_is_an_ordinary_class_beside_255():
    labels = np.array([[254, 0, 255]], dtype=np.uint8)
    found = np.array([[254, 254, 0]], dtype=np.uint8)
    evaluator = evaluate([labels], [found], classes=255)
    assert evaluator.confusion[254, 254] == 1 and evaluator.confusion[0, 254] == 1
    assert evaluator.confusion.sum() == 2
    assert count_pairs(labels, found)[255, 0] == 1


def test_before_the_first_image_nothing_has_a_value():
    evaluator = evaluate([TRUTH], [])
    assert evaluator.num_images == 0
    assert all(math.isnan(value) for value in evaluator.compute().values())


def test_metrics_are_those_of_the_images_seen():
    evaluator = evaluate([TRUTH, [[0]]], [FOUND])
    assert evaluator.num_images == 1
    assert evaluator.compute() == evaluate([TRUTH], [FOUND]).compute()


# --------------------------------------------------------------------------------- outlines


def official_outline(mask: np.ndarray, ratio: float = 0.02) -> np.ndarray:
    """``mask_to_boundary`` as Cheng et al. define it: what erosions take from a padded mask."""
    distance = max(1, round(ratio * math.hypot(*mask.shape)))
    padded = np.pad(mask.astype(np.uint8), 1)
    eroded = cv2.erode(padded, np.ones((3, 3), np.uint8), iterations=distance)
    return mask & ~eroded[1:-1, 1:-1].astype(bool)


# Diagonals of 108, 608 and 6 pixels: distances 2, 12 and 1.
@pytest.mark.parametrize("size", [(60, 90), (400, 458), (4, 5)])
def test_boundary_iou_equals_the_official_definition_for_each_class(size):
    rng = np.random.default_rng(2)
    truth, found = blobs(rng, 4, size), blobs(rng, 4, size)
    table = evaluate([truth], [found], classes=4).per_class()["semantic"]
    for c, values in enumerate(table.values()):
        t, f = (official_outline(m) for m in (truth == c, (found == c) & (truth != 255)))
        union = (t | f).sum()
        expected = (t & f).sum() / union if union else math.nan
        assert values["boundary_IoU"] == pytest.approx(expected, nan_ok=True)


def test_the_inside_of_a_square_is_no_outline():
    """In 100x100 pixels outlines are 3 wide; of the 60x60 square at one side 54x54 remain."""
    truth = np.zeros((100, 100), np.uint8)
    truth[20:80, 20:80] = 1
    common, of_truth, of_found = count_outlines(truth, np.zeros_like(truth))
    ring_outside = 66 * 66 - 60 * 60
    border = 100 * 100 - 94 * 94
    assert of_truth[1] == 60 * 60 - 54 * 54
    assert of_truth[0] == ring_outside + border
    assert of_found[0] == common[0] == border
    assert common[1] == 0


# ------------------------------------------------------------------------- refusals and files


def predict(labels: np.ndarray | None, image_id: int = 0) -> Prediction:
    return Prediction(image_id, (2, 4), semantic=labels)


@pytest.mark.parametrize(
    ("prediction", "message"),
    [
        (predict(np.zeros((2, 4), np.uint8), image_id=7), "image 7 is not in the ground truth"),
        (predict(None), "image 0 has no label map"),
        (predict(np.zeros((4, 2), np.uint8)), r"image 0: the prediction is 2x4 .* truth 4x2"),
        (predict(np.full((2, 4), 3, np.uint8)), r"image 0: the prediction holds the labels \[3\]"),
        (predict(np.full((2, 4), -1, np.int16)), "image 0: the prediction holds labels from -1"),
        (predict(np.full((2, 4), 256, np.int16)), "image 0: the prediction holds labels from 256"),
    ],
)
def test_impossible_predictions_are_refused_with_the_image_and_change_nothing(prediction, message):
    evaluator = evaluate([TRUTH], [])
    with pytest.raises(ValueError, match=message):
        evaluator.update([prediction])
    assert evaluator.num_images == 0 and not evaluator.confusion.any()


def test_an_image_cannot_be_predicted_twice():
    evaluator = evaluate([TRUTH], [FOUND])
    with pytest.raises(ValueError, match="image 0 has two predictions"):
        evaluator.update([predict(np.array(FOUND, np.uint8))])


def test_labels_of_the_ground_truth_beyond_the_classes_are_refused():
    with pytest.raises(ValueError, match=r"image 0: the ground truth holds the labels \[3, 9\]"):
        evaluate([[[0, 3, 9]]], [[[0, 0, 0]]])


def test_labels_of_16_bits_count_as_those_of_8():
    evaluator = evaluate([TRUTH], [])
    evaluator.update([predict(np.array(FOUND, np.int16))])
    assert evaluator.compute() == evaluate([TRUTH], [FOUND]).compute()


def test_the_confusion_matrix_is_saved_with_names(tmp_path):
    evaluate([TRUTH], [FOUND]).save(tmp_path / "eval")
    with (tmp_path / "eval" / "confusion.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["truth", "sky", "road", "car", "no class"]
    assert rows[1:] == [
        ["sky", "3", "1", "0", "0"],
        ["road", "0", "2", "0", "0"],
        ["car", "0", "0", "0", "0"],
    ]


def test_no_image_is_kept():
    truth = np.zeros((500, 500), np.uint8)
    evaluator = SemanticEvaluator(lambda _: truth.copy(), range(20), info(3))
    tracemalloc.start()
    try:
        for image_id in range(20):
            evaluator.update([Prediction(image_id, truth.shape, semantic=truth.copy())])
        assert tracemalloc.get_traced_memory()[0] < truth.size  # less than one map
    finally:
        tracemalloc.stop()
