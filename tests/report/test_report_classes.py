"""Report of image classes: metrics of the evaluator, calibration by hand, mistakes that matter."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from van_dense.core.dataset_info import DatasetInfo
from van_dense.core.structures import Prediction, Sample, Size
from van_dense.evaluation.classification import ClassificationEvaluator
from van_dense.report.blocks import Gallery
from van_dense.report.calibration import calibration_error, reliability, risk_coverage
from van_dense.report.class_findings import confusions, suspects
from van_dense.report.classes import evidence_of, report_of
from van_dense.report.saved_maps import image_classes
from van_dense.report.sources import Images

NAMES = ("ant", "bee", "cat", "dog", "elk", "fox", "gnu")


class Animals:
    """Images "0" to "n - 1" of the given classes."""

    def __init__(self, labels: np.ndarray, info: DatasetInfo) -> None:
        self.info, self.labels = info, labels

    def __len__(self) -> int:
        return len(self.labels)

    def size(self, index: int) -> Size:
        return 2, 2

    def image_id(self, index: int) -> str:
        return str(index)

    def label(self, index: int) -> int:
        return int(self.labels[index])

    def raw(self, index: int) -> Sample:
        raise AssertionError("labels are known without decoding")


def info_of(num: int) -> DatasetInfo:
    names = NAMES[:num] if num <= len(NAMES) else tuple(f"c{i}" for i in range(num))
    return DatasetInfo("animals", names, tuple(range(num)))


def random_scores(num: int, classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, max(classes - 1, 1), num)  # the last class never occurs
    logits = rng.normal(size=(num, classes))
    logits[np.arange(num), labels] += 1.5
    scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return labels, scores


def source_of(labels: np.ndarray, scores: np.ndarray, *, photos: bool = False) -> Images:
    order = np.argsort(-scores, axis=1, kind="stable")[:, :5]
    best = np.take_along_axis(scores, order, axis=1)
    ids = [str(i) for i in range(len(labels))]

    def read(image_id: int | str) -> np.ndarray | None:
        return np.zeros((20, 30, 3), np.uint8) if photos else None

    return Images(ids, np.array(labels), order, best, info_of(scores.shape[1]), read)


def evaluator_of(labels: np.ndarray, scores: np.ndarray) -> ClassificationEvaluator:
    evaluator = ClassificationEvaluator(Animals(labels, info_of(scores.shape[1])))
    for i, row in enumerate(scores):
        evaluator.update([Prediction(str(i), (2, 2), class_scores=torch.from_numpy(row).float())])
    return evaluator


@pytest.mark.parametrize("classes", [2, 7, 150])
def test_metrics_are_those_of_the_evaluator(classes):
    labels, scores = random_scores(60, classes)
    values, evaluator = (
        evidence_of(source_of(labels, scores)).values(),
        evaluator_of(labels, scores),
    )
    for name, value in evaluator.compute().items():
        assert values[name] == pytest.approx(value, abs=1e-12)
    for name, row in evaluator.per_class()["classification"].items():
        for metric in ("accuracy", "precision"):
            found = values[f"classification/{metric} of {name}"]
            assert found == pytest.approx(row[metric], abs=1e-12, nan_ok=True)


def test_a_draw_gives_the_metrics_of_the_images_drawn():
    labels, scores = random_scores(4, 7)
    drawn = evidence_of(source_of(labels, scores)).measure(np.array([[2.0, 0, 1, 1]]))
    again = [0, 0, 2, 3]
    expected = evidence_of(source_of(labels[again], scores[again])).values()
    found = {name: values[0] for name, values in drawn.items()}
    assert found == pytest.approx(expected, abs=1e-12, nan_ok=True)


def test_the_calibration_error_by_hand():
    confidence = np.array([0.95, 0.99, 0.97, 0.5, 0.52, 0.2])
    right = np.array([True, True, False, True, False, False])
    # Bins of 1/15: 0.95, 0.99 and 0.97 in the last, 0.5 and 0.52 in the eighth, 0.2 in the third.
    gaps = 3 * abs(2 / 3 - 2.91 / 3), 2 * abs(0.5 - 0.51), abs(0 - 0.2)
    error = calibration_error(confidence, right, np.ones(6))
    assert error == pytest.approx(sum(gaps) / 6)
    found = reliability(confidence, right, np.ones(6))
    assert np.flatnonzero(found.weight).tolist() == [2, 7, 14]
    doubled = calibration_error(np.tile(confidence, 2), np.tile(right, 2), np.ones(12))
    assert doubled == pytest.approx(calibration_error(confidence, right, np.full(6, 2.0)))


def test_scores_at_the_ends_are_in_the_first_and_last_bin():
    found = reliability(np.array([0.0, 1.0]), np.array([False, True]), np.ones(2))
    assert np.flatnonzero(found.weight).tolist() == [0, 14]


def test_coverage_takes_equal_scores_together():
    curve = risk_coverage(np.array([0.9, 0.5, 0.9, 0.2]), np.array([True, True, False, False]))
    assert curve.limit.tolist() == [0.9, 0.5, 0.2]
    assert curve.coverage.tolist() == [0.5, 0.75, 1.0]
    assert curve.accuracy == pytest.approx([0.5, 2 / 3, 0.5])


def sure_source(labels: list[int], found: list[int], scores: list[float], **options) -> Images:
    """The predicted class has the score, and the class behind it the rest."""
    rows = np.zeros((len(labels), 4))
    for row, label, score in zip(rows, found, scores, strict=True):
        row[(label + 1) % 4], row[label] = 1 - score, score
    return source_of(np.array(labels), rows, **options)


def test_confusions_and_sure_mistakes_are_found_with_their_gain():
    labels, found = [0, 0, 0, 1, 1, 2, 3, 3], [1, 1, 0, 1, 1, 2, 3, 0]
    scores = [0.6, 0.95, 0.9, 0.9, 0.8, 0.9, 0.99, 0.97]
    source = sure_source(labels, found, scores, photos=True)
    assert confusions(source)[0] == (0, 1, 2, pytest.approx(2 / 3))
    assert suspects(source).tolist() == [7, 1]
    report = report_of(source, "run")
    texts = {f.section: f for f in report.findings}
    assert texts["Sure and wrong"].weight == 2 / 8 and "surest 7:" in texts["Sure and wrong"].text
    first = next(f for f in report.findings if f.section == "Confusions")
    assert first.weight == 2 / 8 and "67 % of ant, 2 images, is taken for bee" in first.text
    gallery = report.sections[-1].blocks[-1]
    assert isinstance(gallery, Gallery) and len(gallery.pictures) == 2
    sections = {section.title for section in report.sections}
    assert texts.keys() <= sections


def test_scores_that_promise_too_much_are_told():
    report = report_of(sure_source([0, 1, 2, 3], [0, 1, 3, 2], [0.95] * 4), "run")
    text = next(f.text for f in report.findings if f.section == "Calibration")
    assert text.startswith("Scores promise too much: 95 % on average, where 50 % are right")
    assert report.numbers["classification/ECE"] == pytest.approx(0.45)


def test_a_limit_on_scores_that_reaches_99_percent_is_told():
    labels = [0] * 10
    report = report_of(sure_source(labels, [0] * 6 + [1] * 4, [0.9] * 6 + [0.6] * 4), "run")
    text = next(f.text for f in report.findings if f.section == "Taking only sure predictions")
    assert "scores of 0.90 and above, 100 % are right, of 60 % of the images" in text


def test_one_image_one_class_and_a_perfect_model_give_a_report():
    report = report_of(source_of(np.array([0]), np.ones((1, 1))), "run")
    assert report.numbers["classification/top1"] == 1 and not report.findings
    assert report.sections[0].blocks[0].numbers[0].low is None
    labels, scores = random_scores(30, 150)
    assert math.isnan(
        report_of(source_of(labels, scores), "run").numbers["classification/accuracy of c149"]
    )
    with pytest.raises(ValueError, match="one image at least"):
        evidence_of(source_of(np.zeros(0, int), np.zeros((0, 2))))


def test_a_saved_file_gives_the_metrics_of_the_evaluator_in_the_order_of_the_ids(tmp_path: Path):
    labels, scores = random_scores(12, 7)
    evaluator = evaluator_of(labels, scores)
    evaluator.save(tmp_path)
    source = image_classes(tmp_path / "predictions.csv", info_of(7))
    assert source.image_ids == sorted(map(str, range(12)))
    assert source.best.shape == source.scores.shape == (12, 5)
    values = evidence_of(source).values()
    assert {n: values[n] for n in evaluator.compute()} == evaluator.compute()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("image,truth\n", r"it lacks \['class_1', 'score_1'\]"),
        ("image,truth,class_1,score_1\n", "holds no prediction"),
        ("image,truth,class_1,score_1\na,ant,cow,0.5\n", "line 2: 'cow' is no class"),
        ("image,truth,class_1,score_1\na,ant,bee,x\n", "line 2: a score is no number"),
        ("image,truth,class_1,score_1\na,ant,bee,1.5\n", "line 2: scores are probabilities"),
        ("image,truth,class_1,score_1\na,ant,ant,1\na,ant,ant,1\n", "'a' has two predictions"),
    ],
)
def test_a_broken_file_is_an_error(tmp_path: Path, text: str, problem: str):
    (tmp_path / "predictions.csv").write_text(text)
    with pytest.raises(ValueError, match=problem):
        image_classes(tmp_path / "predictions.csv", info_of(7))
