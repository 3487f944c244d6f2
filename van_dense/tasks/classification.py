"""Image classification: model, data and evaluator from one config."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from van_dense.config.classification import ClassConfig
from van_dense.core.counting import counted
from van_dense.core.dataset_info import DatasetInfo
from van_dense.core.structures import Batch, Prediction, Size
from van_dense.data.dataset import DenseDataset, FirstImages, Transform
from van_dense.data.doctor.classes import cub_parts, folder_parts
from van_dense.data.doctor.doctor import Part
from van_dense.data.readers.class_folder import ClassFolder, class_names
from van_dense.data.readers.cub import Cub200
from van_dense.data.readers.quarantine import Quarantine
from van_dense.data.transforms.classification import ClassTest, ClassTrain
from van_dense.data.transforms.extra import with_extra
from van_dense.evaluation.classification import METRICS, ClassificationEvaluator
from van_dense.evaluation.evaluator import Evaluator
from van_dense.evaluation.oracle.metrics import LABEL_CAUSE, OracleReport, check_metrics
from van_dense.models.classifier import Classifier, Regularisation
from van_dense.models.dense_model import DenseModel
from van_dense.tasks.backbone import classifier_of, pixel_statistics
from van_dense.tasks.base import Split, Task
from van_dense.visualize.figures import plot_confusion


class Classification(Task[ClassConfig]):
    """One class for each image."""

    sample_part = "classes"
    backbone_is_model = True

    def dataset_info(self, config: ClassConfig) -> DatasetInfo:
        """Classes as the config names or counts them, or ValueError when it does neither."""
        data, names = config.data, config.data.classes
        if names is None:
            if data.num_classes is None:
                what = "the config does not say how many classes there are"
                raise ValueError(f"{what}; set data.num_classes")
            names = tuple(f"class {label}" for label in range(data.num_classes))
        return DatasetInfo(data.name, class_names=names, category_ids=tuple(range(len(names))))

    def build_dataset(self, config: ClassConfig, split: Split) -> DenseDataset:
        """Reader of one part; both parts have the classes of the training folder."""
        data = config.data
        quarantine = Quarantine.load(data.quarantine) if data.quarantine else None
        options: dict[str, Any] = {"name": data.name, "quarantine": quarantine}
        dataset: ClassFolder | Cub200
        if data.format == "cub":
            assert data.root is not None  # the schema demands it
            dataset = Cub200(data.root, split, **options)
        else:
            assert data.train is not None and data.val is not None  # the schema demands them
            folder, classes = data.train if split == "train" else data.val, data.classes
            dataset = ClassFolder(folder, classes=classes or class_names(data.train), **options)
        found = dataset.info.num_classes
        if data.num_classes not in (None, found):
            counts = f"{counted(found, 'class')}, but data.num_classes is {data.num_classes}"
            hint = "is the data set complete, and does it hold one folder for each class?"
            raise ValueError(f"{data.root or data.train}: {counts}; {hint}")
        if data.max_images is None:
            return dataset
        return FirstImages(dataset, data.max_images, spread=True)  # files come class by class

    def build_transform(self, config: ClassConfig, *, train: bool) -> Transform:
        """Random crop, flip and colour for training; resize and centre crop for evaluation."""
        t = config.data.transforms
        resize = t.resize or int(t.size / t.crop_pct)  # rounded down, as in timm
        test = ClassTest(t.size, resize=resize, mode=t.resize_mode, interpolation=t.interpolation)
        if not train:
            return test
        own = ClassTrain(
            t.size,
            crop=t.train_crop,
            scale=t.scale,
            ratio=t.ratio,
            interpolation=t.train_interpolation,
            resizing=test,
            flip=t.flip,
            auto_augment=t.auto_augment,
            color_jitter=t.color_jitter,
            fill=pixel_statistics(config.model.backbone).mean,
        )
        return with_extra(own, t.extra, repeats=True)

    def check_parts(self, config: ClassConfig) -> list[Part]:
        """Folders of classes, or the lists of CUB."""
        data = config.data
        if data.format == "cub":
            return [*cub_parts(str(data.root))]
        return [*folder_parts({"train": str(data.train), "val": str(data.val)}, data.classes)]

    def largest_input(self, config: ClassConfig) -> Size:
        """(height, width) of every image."""
        return config.data.transforms.size, config.data.transforms.size

    def build_model(self, config: ClassConfig, info: DatasetInfo) -> DenseModel:
        """The whole timm model."""
        model = config.model
        network = classifier_of(model.backbone, info.num_classes, self.largest_input(config))
        harder = Regularisation(**model.regularisation.model_dump())
        return Classifier(network, regularisation=harder)

    def tiling_refusal(self, config: ClassConfig) -> str:
        """Never in tiles."""
        why = "the answer is for the whole image, and no sum of windows"
        return f"{why}; crop what you want classified"

    def evaluator_factory(
        self, dataset: DenseDataset, config: ClassConfig
    ) -> Callable[[], ClassificationEvaluator]:
        """Evaluators that know the class of each image."""
        return partial(ClassificationEvaluator, dataset)

    def default_metric(self, config: ClassConfig) -> str:
        """Top-1 accuracy."""
        return "classification/top1"

    def measured(self, config: ClassConfig) -> Sequence[str]:
        """Accuracies."""
        return METRICS

    def perfect_predictions(self, batch: Batch, info: DatasetInfo) -> list[Prediction]:
        """All of the score for the annotated class of each image."""
        if batch.labels is None:
            raise ValueError("the batch has no labels")
        scores = torch.eye(info.num_classes)[batch.labels]
        images = zip(batch.image_ids, batch.orig_sizes, scores, strict=True)
        return [Prediction(image_id, size, class_scores=row) for image_id, size, row in images]

    def oracle(self) -> Callable[..., OracleReport]:
        """Every image keeps its label."""
        return partial(check_metrics, limits={METRICS[0]: (1.0, 1.0)}, cause=LABEL_CAUSE)

    def save_figures(self, evaluator: Evaluator, folder: Path) -> None:
        """Draw which classes are taken for which."""
        assert isinstance(evaluator, ClassificationEvaluator)  # evaluator_factory makes no other
        if evaluator.has_confusion:
            names, path = evaluator.info.class_names, folder / "confusion.png"
            plot_confusion(evaluator.confusion(), names, path, counted="images")
