"""Metrics, errors and findings of boxes, masks and poses, against the evaluator and by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from van_dense.core.dataset_info import DatasetInfo
from van_dense.evaluation.coco import evaluate_results
from van_dense.evaluation.coco_engines import Settings, evaluation_of
from van_dense.evaluation.result_table import ResultTable
from van_dense.report.evidence import comparable
from van_dense.report.objects import ObjectsEvidence, evidence_of
from van_dense.report.objects_errors import Diagnosis, count_images
from van_dense.report.objects_scores import best_threshold, place_error, reliability
from van_dense.report.sources import Objects

SIDE = 200
SQUARE = [20.0, 20.0, 40.0, 40.0]


def annotation(image: int, category: int, box: list[float], **more: Any) -> dict[str, Any]:
    area = box[2] * box[3]
    whole = {"image_id": image, "category_id": category, "bbox": box, "area": area, "iscrowd": 0}
    return {**whole, **more}


def result(image: int, category: int, box: list[float], score: float) -> dict[str, Any]:
    return {"image_id": image, "category_id": category, "bbox": box, "score": score}


def source_of(
    annotations: list[dict[str, Any]],
    results: list[Any],
    *,
    num_images: int = 2,
    names: tuple[str, ...] = ("cat", "dog"),
    **more: Any,
) -> Objects:
    images = [{"id": i + 1, "height": SIDE, "width": SIDE} for i in range(num_images)]
    categories = [{"id": i + 1, "name": name} for i, name in enumerate(names)]
    numbered = [{"id": i + 1, **entry} for i, entry in enumerate(annotations)]
    truth: Any = {"images": images, "annotations": numbered, "categories": categories}
    info = DatasetInfo("pets", names, tuple(range(1, len(names) + 1)))
    table = ResultTable.of(results, truth)
    return Objects(truth, table, more.pop("kind", "bbox"), info, **more)


def random_source(seed: int, *, kind: str = "bbox", num_images: int = 12, **more: Any) -> Objects:
    """Objects of all sizes and shapes, crowds, equal scores, and results about right."""
    rng = np.random.default_rng(seed)
    truth: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    for image in range(1, num_images + 1):
        for _ in range(rng.integers(0, 9)):
            sides = np.exp(rng.uniform(np.log(6), np.log(150), 2))
            box = [*(rng.random(2) * (SIDE - sides)), *sides]
            category = int(rng.integers(1, 4))
            truth.append(annotation(image, category, box, iscrowd=int(rng.random() < 0.15)))
            for _ in range(rng.integers(0, 4)):
                moved = np.array(box) + rng.normal(0, 0.08, 4) * np.tile(sides, 2)
                other = category if rng.random() < 0.8 else int(rng.integers(1, 4))
                score = round(float(rng.random()), 1)
                found.append(result(image, other, [*moved[:2], *np.maximum(moved[2:], 1)], score))
    if kind == "segm":
        truth = [{**t, "segmentation": mask_of(t["bbox"])} for t in truth]
        found = [{**r, "segmentation": mask_of(r["bbox"])} for r in found]
    names = ("cat", "dog", "bird", "cow")
    return source_of(truth, found, num_images=num_images, names=names, kind=kind, **more)


def mask_of(box: list[float]) -> dict[str, Any]:
    from pycocotools import mask

    x, y, width, height = (round(v) for v in box)
    dense = np.zeros((SIDE, SIDE), np.uint8, order="F")
    dense[max(y, 0) : y + height, max(x, 0) : x + width] = 1
    encoded = mask.encode(dense)
    return {"size": encoded["size"], "counts": encoded["counts"].decode()}


def assert_as_evaluator(evidence: ObjectsEvidence) -> None:
    source = evidence.source
    limit, sigmas = source.max_detections, source.info.sigmas
    expected = evaluate_results(
        source.ground_truth,
        source.results,
        source.kind,
        backend="hotcoco",
        sigmas=sigmas,
        max_detections=limit,
    )
    values = evidence.values()
    for metric, value in expected.metrics.items():
        assert values[f"{source.kind}/{metric}"] == pytest.approx(value, abs=1e-12, nan_ok=True)
    for name, metrics in expected.per_class.items():
        for metric, value in metrics.items():
            key = f"{source.kind}/{metric} of {name}"
            assert values[key] == pytest.approx(value, abs=1e-12, nan_ok=True), key


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("limit", [None, 2, 150])
def test_metrics_are_those_of_the_evaluator(seed: int, limit: int | None) -> None:
    assert_as_evaluator(evidence_of(random_source(seed, max_detections=limit)))


@pytest.mark.parametrize("seed", range(3))
def test_metrics_of_masks_are_those_of_the_evaluator(seed: int) -> None:
    assert_as_evaluator(evidence_of(random_source(seed, kind="segm")))


def test_an_image_that_is_drawn_twice_counts_like_two_images() -> None:
    source = random_source(3, num_images=6)
    evidence = evidence_of(source)
    weights = np.array([[2.0, 0, 1, 3, 0, 1]])
    drawn = evidence.measure(weights, list(evidence.asked))
    order = [0, 0, 2, 3, 3, 3, 5]
    truth, found = [], []
    for new, old in enumerate(order, 1):
        annotations = source.ground_truth["annotations"]
        truth += [{**a, "image_id": new} for a in annotations if a["image_id"] == old + 1]
        found += [{**r, "image_id": new} for r in source.results if r["image_id"] == old + 1]
    names = source.info.class_names
    # Other scores for each image: the order of equal ones is that of images, which changes.
    copies = evidence_of(source_of(truth, found, num_images=7, names=names)).values()
    for name, value in drawn.items():
        if name in copies:
            assert value[0] == pytest.approx(copies[name], abs=1e-12, nan_ok=True), name


def test_only_the_proportion_of_the_weights_counts() -> None:
    evidence = evidence_of(random_source(3, num_images=6))
    weights = np.array([[2.0, 0, 1, 3, 0, 1], [0.0, 0, 0, 0, 0, 6]])
    usual = evidence.measure(weights, list(evidence.asked))
    large = evidence.measure(20000 * weights, list(evidence.asked))  # sums beyond 16 bits
    for name, values in usual.items():
        assert large[name] == pytest.approx(values, abs=1e-12, nan_ok=True), name


def test_slices_count_shapes_and_crowding() -> None:
    tall, wide = [10.0, 10, 10, 50], [60.0, 60, 50, 10]
    truth = [annotation(1, 1, tall), annotation(1, 1, wide), annotation(2, 1, SQUARE)]
    found = [result(1, 1, tall, 0.9), result(2, 1, SQUARE, 0.8)]
    values = evidence_of(source_of(truth, found)).values()
    assert values["bbox/AP of tall objects"] == pytest.approx(1)
    assert values["bbox/AP of wide objects"] == 0
    assert values["bbox/AP of square objects"] == pytest.approx(1)
    assert values["bbox/AP of images with 1-3 objects"] == values["bbox/AP"]


def test_intervals_hold_the_value_and_shrink_with_more_images() -> None:
    few, many = (evidence_of(random_source(1, num_images=n)) for n in (20, 160))
    names = ["bbox/AP", "bbox/AP50", "bbox/ARs", "bbox/AP of cat"]
    found = [evidence.intervals(names) for evidence in (few, many)]
    for intervals in found:
        assert all(i.low <= i.value <= i.high for i in intervals.values())
    widths = [one["bbox/AP"].high - one["bbox/AP"].low for one in found]
    assert widths[1] < 0.6 * widths[0]


def test_a_model_differs_from_a_worse_one_and_not_from_itself() -> None:
    source = random_source(2, num_images=40)
    worse = [{**r, "score": 1 - r["score"]} for r in source.results if r["image_id"] % 2]
    table = ResultTable.of(worse, source.ground_truth)
    other = evidence_of(Objects(source.ground_truth, table, "bbox", source.info))
    evidence = evidence_of(source)
    comparable(evidence, other, ["a", "b"])
    same = evidence.differences(evidence, ["bbox/AP"])["bbox/AP"]
    assert (same.value, same.low, same.high, same.share) == (0, 0, 0, 0.5)
    difference = evidence.differences(other, ["bbox/AP"])["bbox/AP"]
    assert difference.is_clear and difference.value < 0 and difference.share == 0
    with pytest.raises(ValueError, match="cannot be compared"):
        comparable(evidence, evidence_of(random_source(3, num_images=40)), ["a", "b"])


FAR = [120.0, 120.0, 40.0, 40.0]
CASES = {
    "wrong class": [result(1, 2, SQUARE, 0.9)],
    "badly placed": [result(1, 1, [35.0, 20.0, 40.0, 40.0], 0.9)],  # IoU 25 / 55
    "wrong class and badly placed": [result(1, 2, [35.0, 20.0, 40.0, 40.0], 0.9)],
    "found twice": [result(1, 1, SQUARE, 0.95), result(1, 1, SQUARE, 0.9)],
    "nothing there": [result(1, 1, FAR, 0.9)],
    "missed": [],
}


@pytest.mark.parametrize("error", CASES)
def test_each_error_is_told_apart(error: str) -> None:
    truth = [annotation(1, 1, SQUARE), annotation(2, 1, SQUARE), annotation(2, 2, FAR)]
    found = [*CASES[error], result(2, 1, SQUARE, 0.5), result(2, 2, FAR, 0.5)]
    split = Diagnosis(evidence_of(source_of(truth, found))).split
    assert split.count[error] == 1
    # Only a wrong class or a bad place alone says that the object was seen, else it is missed too.
    others = {"missed"} if error in ("nothing there", "wrong class and badly placed") else set()
    assert {name for name, count in split.count.items() if count} == {error} | others
    assert split.cost[error] > 0


def test_an_error_costs_what_its_correction_brings() -> None:
    truth = [annotation(1, 1, SQUARE), annotation(2, 1, SQUARE)]
    source = source_of(truth, [result(1, 1, SQUARE, 0.9)], names=("cat",))
    split = Diagnosis(evidence_of(source)).split
    # 51 of the 101 levels of recall are reached; without the missed object all are.
    assert split.base == pytest.approx(51 / 101)
    assert split.cost["missed"] == pytest.approx(50 / 101)


def test_confusion_counts_classes_and_nothing() -> None:
    truth = [annotation(1, 1, SQUARE), annotation(2, 1, SQUARE)]
    found = [result(1, 2, SQUARE, 0.9), result(1, 1, FAR, 0.8), result(2, 1, SQUARE, 0.1)]
    diagnosis = Diagnosis(evidence_of(source_of(truth, found)))
    assert diagnosis.confusion(0.5).tolist() == [[0, 1, 1], [0, 0, 0], [1, 0, 0]]


@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_confident_contradictions_are_suspected(kind: str) -> None:
    crowd = [150.0, 0.0, 50.0, 50.0]
    truth = [annotation(1, 1, SQUARE), annotation(1, 1, crowd, iscrowd=1)]
    found = [
        result(1, 2, SQUARE, 0.9),
        result(1, 1, FAR, 0.8),
        result(1, 1, [35.0, 20.0, 40.0, 40.0], 0.95),  # about the object, only badly placed
        result(1, 2, [160.0, 10.0, 20.0, 20.0], 0.9),  # in a crowd
        result(2, 2, FAR, 0.3),
    ]
    if kind == "segm":
        truth = [{**t, "segmentation": mask_of(t["bbox"])} for t in truth]
        found = [{**r, "segmentation": mask_of(r["bbox"])} for r in found]
    suspects = Diagnosis(evidence_of(source_of(truth, found, kind=kind))).suspects(0.5)
    assert [(s.score, s.predicted, s.annotated) for s in suspects] == [(0.9, 1, 0), (0.8, 0, None)]


def test_suspects_of_boxes_are_among_those_of_hotcoco() -> None:
    evidence = evidence_of(random_source(5, num_images=60))
    ours = Diagnosis(evidence).suspects(0.5)
    found = evidence.found
    evaluation = evaluation_of(found.part, Settings([found.limit], found.limit))
    theirs = evaluation.image_diagnostics(iou_thr=0.5, score_thr=0.5)["label_errors"]
    ids = {(e["dt_id"], e["gt_category_id"]) for e in theirs}
    assert ours
    for s in ours:
        other = None if s.annotated is None else s.annotated + 1
        assert (found.row[s.result] + 1, other) in ids


def test_images_are_counted_at_a_threshold() -> None:
    truth = [annotation(1, 1, SQUARE), annotation(1, 1, FAR), annotation(2, 2, FAR)]
    found = [result(1, 1, SQUARE, 0.9), result(1, 2, FAR, 0.8), result(2, 2, FAR, 0.2)]
    counts = count_images(evidence_of(source_of(truth, found, num_images=3)), 0.5)
    assert counts.right.tolist() == [1, 0, 0]
    assert counts.wrong.tolist() == [1, 0, 0]
    assert counts.missed.tolist() == [1, 1, 0]
    np.testing.assert_allclose(counts.f1, [0.5, 0, np.nan])


def test_the_best_threshold_keeps_equal_scores_together() -> None:
    scores, right = np.array([0.9, 0.5, 0.5, 0.1]), np.array([True, True, False, False])
    best = best_threshold(scores, right, 2)
    # 0.9: 2 * 1 / (1 + 2); 0.5: 2 * 2 / (3 + 2)
    assert (best.threshold, best.f1) == (0.5, pytest.approx(0.8))
    assert (best.precision, best.recall) == (pytest.approx(2 / 3), 1)
    assert np.isnan(best_threshold(scores, right, 0).f1)
    assert best_threshold(scores, right & False, 2).f1 == 0


def test_calibration_by_hand() -> None:
    found = reliability(np.array([0.92, 0.94, 0.55, 1.0]), np.array([True, False, True, True]))
    # 0.5..0.6: |1 - 0.55|, one result; 0.9..1: |2 / 3 - 2.86 / 3|, three.
    assert found.count.tolist() == [1, 3]
    assert found.error == pytest.approx((0.45 + 0.86) / 4)
    assert found.worst == pytest.approx(0.45)


def test_calibration_is_that_of_hotcoco() -> None:
    evidence = evidence_of(random_source(4, num_images=50))
    found, kept = evidence.found, evidence.found.counted()
    ours = reliability(found.score[kept], found.right()[kept])
    evaluation = evaluation_of(found.part, Settings([found.limit], found.limit))
    theirs = evaluation.calibration(n_bins=10, iou_threshold=0.5)
    assert theirs["num_detections"] == ours.count.sum()
    assert ours.error == pytest.approx(theirs["ece"], abs=1e-9)


def test_calibration_by_place_sees_what_confidence_alone_hides() -> None:
    left, right = [10.0, 10.0, 40.0, 40.0], [150.0, 10.0, 40.0, 40.0]
    truth = [annotation(i, 1, left) for i in range(1, 11)]
    found = [result(i, 1, box, 0.5) for i in range(1, 11) for box in (left, right)]
    evidence = evidence_of(source_of(truth, found, num_images=10))
    kept = evidence.found.counted()
    alone = reliability(evidence.found.score[kept], evidence.found.right()[kept])
    assert alone.error == pytest.approx(0)
    assert place_error(evidence, kept) == pytest.approx(0.5)
