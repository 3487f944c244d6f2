"""Image classes: top-1, top-5, means over classes, and the tables beside them."""

import csv
import math

import numpy as np
import pytest
import torch
from timm.utils import accuracy
from torch import Tensor

from van_dense.core.dataset_info import DatasetInfo
from van_dense.core.structures import Batch, Prediction, Sample, Size
from van_dense.data.dataset import FirstImages, ReadError
from van_dense.evaluation.classification import (
    METRICS,
    ClassificationEvaluator,
)
from van_dense.evaluation.oracle.metrics import LABEL_CAUSE, check_metrics

NAMES = ("ant", "bee", "cat", "dog", "elk", "fox")


class Animals:
    """Images "0" to "n - 1" of the given classes; decoding them is noted."""

    def __init__(self, labels: list[int], names: tuple[str, ...] = NAMES) -> None:
        self.info = DatasetInfo("animals", names, tuple(range(len(names))))
        self.labels = labels
        self.decoded: list[int] = []

    def __len__(self) -> int:
        return len(self.labels)

    def size(self, index: int) -> Size:
        return 2, 2

    def image_id(self, index: int) -> str:
        return str(index)

    def raw(self, index: int) -> Sample:
        self.decoded.append(index)
        image = np.zeros((2, 2, 3), np.uint8)
        return Sample(image, str(index), f"{index}.png", (2, 2), label=self.labels[index])


class Labelled(Animals):
    """Knows its labels without decoding."""

    def label(self, index: int) -> int:
        return self.labels[index]


def scored(image: int | str, *scores: float) -> Prediction:
    return Prediction(str(image), (2, 2), class_scores=torch.tensor(scores))


def sure(image: int, label: int, num_classes: int = 6) -> Prediction:
    return scored(image, *torch.eye(num_classes)[label].tolist())


def evaluated(labels: list[int], *predictions: Prediction) -> dict[str, float]:
    evaluator = ClassificationEvaluator(Labelled(labels))
    evaluator.update(predictions)
    return evaluator.compute()


def test_top1_and_top5_are_shares_of_images():
    metrics = evaluated(
        [0, 0, 5, 1],
        scored(0, 0.9, 0.1, 0, 0, 0, 0),  # first
        scored(1, 0.1, 0.2, 0.3, 0.15, 0.13, 0.12),  # last of six
        scored(2, 0.3, 0.2, 0.2, 0.15, 0.05, 0.1),  # fifth
        scored(3, 0.5, 0.4, 0.1, 0, 0, 0),  # second
    )
    assert metrics["classification/top1"] == 0.25
    assert metrics["classification/top5"] == 0.75


def test_accuracies_equal_those_of_timm():
    generator = torch.Generator().manual_seed(0)
    scores = torch.rand(200, 20, generator=generator).softmax(dim=1)
    labels = torch.randint(20, (200,), generator=generator)
    names = tuple(map(str, range(20)))
    evaluator = ClassificationEvaluator(Labelled(labels.tolist(), names))
    evaluator.update([Prediction(str(i), (2, 2), class_scores=row) for i, row in enumerate(scores)])
    metrics = evaluator.compute()
    expected = [float(share) / 100 for share in accuracy(scores, labels, topk=(1, 5))]
    ours = [metrics["classification/top1"], metrics["classification/top5"]]
    assert ours == pytest.approx(expected) and 0 < expected[0] < expected[1] < 1


def test_the_mean_over_classes_weighs_classes_alike_and_leaves_out_those_without_images():
    metrics = evaluated([0, 0, 0, 1], sure(0, 0), sure(1, 0), sure(2, 1), sure(3, 2))
    assert metrics["classification/mean_class"] == pytest.approx((2 / 3 + 0) / 2)
    assert metrics["classification/top1"] == 0.5


def test_of_equal_scores_the_first_class_wins():
    metrics = evaluated([0, 4, 5], *(scored(image, *[0.5] * 6) for image in range(3)))
    assert metrics["classification/top1"] == pytest.approx(1 / 3)
    assert metrics["classification/top5"] == pytest.approx(2 / 3)


def test_the_mean_over_classes_survives_names_that_appear_twice():
    evaluator = ClassificationEvaluator(Labelled([0, 1], names=("crane", "crane", "x")))
    evaluator.update([sure(0, 0, 3), sure(1, 0, 3)])
    assert evaluator.compute()["classification/mean_class"] == 0.5


def test_without_predictions_nothing_is_measured():
    assert all(math.isnan(value) for value in evaluated([0]).values())
    assert tuple(evaluated([0])) == METRICS


def test_each_class_has_accuracy_precision_and_a_count():
    evaluator = ClassificationEvaluator(Labelled([0, 0, 1]))
    evaluator.update([sure(0, 0), sure(1, 1), sure(2, 1)])
    table = evaluator.per_class()["classification"]
    assert list(table) == list(NAMES)
    assert table["ant"] == {"accuracy": 0.5, "precision": 1.0, "count": 2.0}
    assert table["bee"] == {"accuracy": 1.0, "precision": 0.5, "count": 1.0}
    assert math.isnan(table["cat"]["accuracy"]) and math.isnan(table["cat"]["precision"])


def test_the_confusion_matrix_counts_images_by_true_and_predicted_class():
    evaluator = ClassificationEvaluator(Labelled([0, 0, 1]))
    evaluator.update([sure(2, 4), sure(0, 0)])
    evaluator.update([sure(1, 1)])
    confusion = evaluator.confusion()
    assert confusion.shape == (6, 7) and confusion.sum() == 3
    assert confusion[0, 0] == confusion[0, 1] == confusion[1, 4] == 1


def test_predictions_and_confusions_are_written_as_tables(tmp_path):
    evaluator = ClassificationEvaluator(Labelled([2, 0]))
    evaluator.update([scored(1, 0.7, 0.1, 0, 0.2, 0, 0), sure(0, 2)])
    evaluator.save(tmp_path / "eval")
    header, *rows = csv.reader((tmp_path / "eval" / "predictions.csv").open())
    assert header[:6] == ["image", "truth", "class_1", "score_1", "class_2", "score_2"]
    assert len(header) == 2 + 2 * 5
    assert rows[0][:4] == ["0", "cat", "cat", "1"]  # in the order of the data set
    assert rows[1][:6] == ["1", "ant", "ant", "0.7", "dog", "0.2"]
    header, first, *_ = csv.reader((tmp_path / "eval" / "confusion.csv").open())
    assert header == ["truth", *NAMES] and first == ["ant", "1", "0", "0", "0", "0", "0"]


def test_with_few_classes_all_of_them_are_written_and_top5_is_sure(tmp_path):
    evaluator = ClassificationEvaluator(Labelled([1], names=("off", "on")))
    evaluator.update([scored(0, 0.9, 0.1)])
    evaluator.save(tmp_path)
    assert (tmp_path / "predictions.csv").read_text().split() == [
        "image,truth,class_1,score_1,class_2,score_2",
        "0,on,off,0.9,on,0.1",
    ]
    assert evaluator.compute()["classification/top5"] == 1


def test_labels_come_without_decoding_where_the_data_set_knows_them():
    dataset = Labelled([3, 4, 5])
    evaluator = ClassificationEvaluator(FirstImages(dataset, 2))
    evaluator.update([sure(0, 3), sure(1, 4)])
    assert evaluator.compute()["classification/top1"] == 1 and dataset.decoded == []
    with pytest.raises(ValueError, match="image '2' is not in the ground truth"):
        evaluator.update([sure(2, 5)])


def test_other_data_sets_are_read_once():
    dataset = Animals([3, 4])
    evaluator = ClassificationEvaluator(dataset)
    evaluator.update([sure(0, 3), sure(1, 4)])
    assert evaluator.compute()["classification/top1"] == 1 and dataset.decoded == [0, 1]


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (None, "the prediction of image '0' has no class scores"),
        (torch.ones(5), r"image '0': .* scores of shape \(5,\), .* has 6 classes"),
        (torch.full((6,), math.nan), "image '0': some class scores are not finite"),
    ],
)
def test_impossible_predictions_are_refused(scores: Tensor | None, message):
    evaluator = ClassificationEvaluator(Labelled([0]))
    with pytest.raises(ValueError, match=message):
        evaluator.update([Prediction("0", (2, 2), class_scores=scores)])


def test_a_second_prediction_of_an_image_is_refused():
    with pytest.raises(ValueError, match="image '0' has two predictions"):
        evaluated([0], sure(0, 0), sure(0, 0))


# ---------------------------------------------------------------------------- oracle check


def perfect(batch: Batch) -> list[Prediction]:
    assert batch.labels is not None
    return [sure(i, label) for i, label in zip(batch.image_ids, batch.labels.tolist(), strict=True)]


def check(read: Animals, listed: Animals, num_images: int = 3):
    return check_metrics(
        read,
        lambda sample, rng: sample,
        to_prediction=perfect,
        evaluator=ClassificationEvaluator(listed),
        num_images=num_images,
        limits={"classification/top1": (1.0, 1.0)},
        cause=LABEL_CAUSE,
        size_divisor=32,
    )


def test_labels_that_arrive_pass_and_images_are_spread_over_the_classes():
    dataset = Labelled([0, 0, 1, 1, 2])
    report = check(dataset, dataset)
    assert report.ok and report.num_images == 3 and report.metrics["classification/top1"] == 1
    assert dataset.decoded == [0, 2, 4]


def test_a_reader_whose_labels_are_not_those_of_its_list_is_found():
    report = check(Labelled([0, 0, 2]), Labelled([0, 0, 1]))
    assert not report.ok
    assert "images do not arrive with the label they are listed by" in str(report)


class Broken(Labelled):
    def raw(self, index: int) -> Sample:
        if index == 0:
            raise ReadError("0.png: truncated")
        return super().raw(index)


def test_an_unreadable_image_is_left_out_and_named(caplog):
    dataset = Broken([0, 1, 2])
    assert check(dataset, dataset).num_images == 2
    assert "0.png: truncated" in caplog.text
    with pytest.raises(ReadError, match=r"0\.png: truncated"):
        check(dataset, dataset, num_images=1)
