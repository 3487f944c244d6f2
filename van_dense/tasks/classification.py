"""Image classification: model, data and evaluator from one config."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from van_dense.config import classification as schema
from van_dense.core.dataset_info import DatasetInfo
from van_dense.core.structures import Batch, Prediction, Size
from van_dense.data.dataset import DenseDataset, FirstImages, Transform
from van_dense.data.doctor.classes import cub_parts, folder_parts
from van_dense.data.doctor.doctor import Part
from van_dense.data.readers.class_folder import ClassFolder, class_names
from van_dense.data.readers.cub import Cub200
from van_dense.data.readers.quarantine import Quarantine
from van_dense.data.transforms.classification import ClassTest, ClassTrain
from van_dense.evaluation.classification import METRICS, ClassificationEvaluator
from van_dense.evaluation.oracle.check import LABEL_CAUSE, OracleReport, check_metrics
from van_dense.models.classifier import Classifier, Regularisation
from van_dense.models.dense_model import DenseModel
from van_dense.tasks.common import Split, classifier_of, prepare_sample
from van_dense.visualize.figures import plot_confusion


def dataset_info(config: schema.ClassConfig) -> DatasetInfo:
    """Classes as the config names or counts them; nothing is read.

    Raises:
        ValueError: When the config says neither.
    """
    data = config.data
    names = data.classes
    if names is None:
        if data.num_classes is None:
            raise ValueError(
                "the config does not say how many classes there are; set data.num_classes"
            )
        names = tuple(f"class {label}" for label in range(data.num_classes))
    return DatasetInfo(data.name, class_names=names, category_ids=tuple(range(len(names))))


def build_model(config: schema.ClassConfig, info: DatasetInfo) -> DenseModel:
    """Build the network with random weights."""
    model = config.model
    return Classifier(
        classifier_of(model.backbone, info.num_classes),
        mean=model.mean,
        std=model.std,
        regularisation=Regularisation(**model.regularisation.model_dump()),
    )


def prepare_data(config: schema.ClassConfig) -> None:
    """Write the sample data set if the config asks for it and it is not there."""
    prepare_sample(config.data, "classes")


def build_dataset(config: schema.ClassConfig, split: Split) -> DenseDataset:
    """Reader of one part; both parts have the classes of the training folder.

    Raises:
        ValueError: When the files do not fit, or hold another number of classes than expected.
    """
    data = config.data
    quarantine = Quarantine.load(data.quarantine) if data.quarantine else None
    dataset: ClassFolder | Cub200
    if data.format == "cub":
        assert data.root is not None  # the schema demands it
        dataset = Cub200(data.root, split, name=data.name, quarantine=quarantine)
    else:
        assert data.train is not None and data.val is not None  # the schema demands them
        dataset = ClassFolder(
            data.train if split == "train" else data.val,
            name=data.name,
            classes=data.classes or class_names(data.train),
            quarantine=quarantine,
        )
    found = dataset.info.num_classes
    if data.num_classes not in (None, found):
        raise ValueError(
            f"{data.root or data.train}: {found} classes, but data.num_classes is "
            f"{data.num_classes}; is the data set complete, and is this the folder that holds "
            "one folder for each class?"
        )
    if data.max_images is None:
        return dataset
    return FirstImages(dataset, data.max_images, spread=True)  # the files come class by class


def check_parts(config: schema.ClassConfig) -> list[Part]:
    """What the data doctor looks at."""
    data = config.data
    if data.format == "cub":
        return [*cub_parts(str(data.root))]
    return [*folder_parts({"train": str(data.train), "val": str(data.val)}, data.classes)]


def build_transform(config: schema.ClassConfig, *, train: bool) -> Transform:
    """Random crop, flip and colour for training; resize and centre crop for evaluation."""
    t = config.data.transforms
    resize = t.resize or int(t.size / t.crop_pct)  # rounded down, as in timm
    test = ClassTest(t.size, resize=resize, mode=t.resize_mode, interpolation=t.interpolation)
    if not train:
        return test
    return ClassTrain(
        t.size,
        crop=t.train_crop,
        scale=t.scale,
        ratio=t.ratio,
        interpolation=t.train_interpolation,
        resizing=test,
        flip=t.flip,
        auto_augment=t.auto_augment,
        color_jitter=t.color_jitter,
        fill=config.model.mean,
    )


def largest_input(config: schema.ClassConfig) -> Size:
    """(height, width) of every image, for the memory estimate."""
    return config.data.transforms.size, config.data.transforms.size


def smallest_input(config: schema.ClassConfig) -> Size:
    """(height, width) of every image."""
    return largest_input(config)


def evaluator_factory(
    dataset: DenseDataset, config: schema.ClassConfig
) -> Callable[[], ClassificationEvaluator]:
    """Make evaluators that know the class of each image of ``dataset``."""
    return partial(ClassificationEvaluator, dataset)


def perfect_predictions(batch: Batch, num_classes: int) -> list[Prediction]:
    """All of the score for the annotated class of each image, as a perfect network would.

    Raises:
        ValueError: When the batch has no labels.
    """
    if batch.labels is None:
        raise ValueError("the batch has no labels")
    scores = torch.eye(num_classes)[batch.labels]
    return [
        Prediction(image_id, size, class_scores=row)
        for image_id, size, row in zip(batch.image_ids, batch.orig_sizes, scores, strict=True)
    ]


def oracle_check(
    dataset: DenseDataset,
    transform: Transform,
    *,
    evaluator: ClassificationEvaluator,
    num_images: int,
) -> OracleReport:
    """Push labels through reader, transform and evaluator."""
    return check_metrics(
        dataset,
        transform,
        to_prediction=partial(perfect_predictions, num_classes=dataset.info.num_classes),
        evaluator=evaluator,
        num_images=num_images,
        limits={METRICS[0]: (1.0, 1.0)},
        cause=LABEL_CAUSE,
    )


def save_figures(evaluator: ClassificationEvaluator, folder: Path) -> None:
    """Draw which classes are taken for which."""
    if not evaluator.has_confusion:
        return
    plot_confusion(
        evaluator.confusion(),
        evaluator.info.class_names,
        folder / "confusion.png",
        counted="images",
    )


def prediction_writer(config: schema.ClassConfig) -> None:
    """The evaluator writes all predictions as one table, so none are written one by one."""


def best_metric(config: schema.ClassConfig) -> str:
    """Name of the metric that chooses the best checkpoint.

    Raises:
        ValueError: When the config names none that is measured.
    """
    metric = config.eval.best_metric or "classification/top1"
    if metric not in METRICS:
        raise ValueError(
            f"eval.best_metric: {metric!r} is not measured; choose one of {list(METRICS)}"
        )
    return metric
