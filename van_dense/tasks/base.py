"""What a task is: model, data and evaluator of one kind of config, wired together.

A task alone reads its config; readers, transforms, models and evaluators take plain arguments.
``Task`` is the interface that commands use, and holds what is the same for all tasks; a new task is
a subclass in a file beside this one, and an entry in ``van_dense.tasks.TASKS``.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, TypeVar

from van_dense.backbones.download import IMAGENET, PUBLISHED
from van_dense.backbones.weights import LoadReport
from van_dense.config import Config
from van_dense.core.dataset_info import DatasetInfo
from van_dense.core.structures import Batch, Prediction, Size
from van_dense.data.crowding import DetectionLimits, object_counts
from van_dense.data.dataset import DenseDataset, Transform
from van_dense.data.doctor.boxes import BoxSetting
from van_dense.data.doctor.doctor import Part
from van_dense.data.readers.quarantine import Quarantine
from van_dense.data.sample.sample_data import write_sample_data
from van_dense.evaluation.evaluator import Evaluator
from van_dense.evaluation.oracle.metrics import OracleReport
from van_dense.integrations.checkpoints.openmmlab_file import ForeignFile
from van_dense.integrations.checkpoints.openmmlab_settings import overrides, pixel_overrides
from van_dense.models.dense_model import DenseModel
from van_dense.tasks.backbone import pixel_statistics

Split = Literal["train", "val"]
PredictionWriter = Callable[[Prediction], None]
C = TypeVar("C", bound=Config)


class Task(ABC, Generic[C]):
    """One dense-prediction task for configs of the class C.

    >>> from van_dense.tasks import TASKS
    >>> TASKS["detection"].sample_part
    'instances'

    Attributes:
        sample_part: Part of the generated sample data set that ``--sample`` trains on.
        training_items: What one item of the training part is, in the plural, for the plan.
        classes_in_files: Whether the files of the data set name its classes, and not the config.
        backbone_is_model: Whether weights of the backbone fill the whole network, so that
            published ones can be evaluated without training.
    """

    sample_part: ClassVar[str]
    training_items: ClassVar[str] = "images"
    classes_in_files: ClassVar[bool] = False
    backbone_is_model: ClassVar[bool] = False

    # ------------------------------------------------------------------------------------ data

    @abstractmethod
    def dataset_info(self, config: C) -> DatasetInfo:
        """Classes and keypoints as the config names them, without reading any file."""

    @abstractmethod
    def build_dataset(self, config: C, split: Split) -> DenseDataset:
        """Reader of one part, untransformed.

        Raises:
            ValueError: When the files do not fit the config or each other.
        """

    @abstractmethod
    def build_transform(self, config: C, *, train: bool) -> Transform:
        """Random transforms for training, or the fixed one for evaluation and prediction.

        Raises:
            ValueError: When a transform needs to know more about the data set.
        """

    @abstractmethod
    def check_parts(self, config: C) -> list[Part]:
        """What the data doctor checks.

        Raises:
            ValueError: When the transforms do not fit.
        """

    def quarantine_notes(self, config: C) -> list[str]:
        """What is wrong with the quarantine list of a config; empty where it belongs to its files.

        Raises:
            ValueError: When the list cannot be read.
        """
        if (path := config.data.quarantine) is None:
            return []
        sources = [part.source for part in self.check_parts(config)]
        problem = Quarantine.load(path).unused_problem(sources)
        return [] if problem is None else [f"{path}: {problem}"]

    def box_setting(self, config: C) -> BoxSetting | None:
        """What becomes of the sizes of boxes, for the data doctor; None where nothing depends."""
        return None

    @abstractmethod
    def largest_input(self, config: C) -> Size:
        """(height, width) of the largest training image after padding, for the memory estimate."""

    def smallest_input(self, config: C) -> Size:
        """(height, width) that smaller training images are padded to; by default all are equal."""
        return self.largest_input(config)

    def prepare_data(self, config: C) -> None:
        """Write the sample data set if the config asks for it and it is not there."""
        if (sample := config.data.sample) is not None:
            write_sample_data(
                Path(sample.root), parts=(self.sample_part,), **sample.model_dump(exclude={"root"})
            )

    # ----------------------------------------------------------------------------------- model

    @abstractmethod
    def build_model(self, config: C, info: DatasetInfo) -> DenseModel:
        """Network with random weights for the classes of ``info``.

        Raises:
            ValueError: When the settings do not fit each other or the classes.
        """

    def tiling_refusal(self, config: C) -> str | None:
        """Why large images cannot be predicted in tiles; None where they can."""
        return None

    def weights_warning(self, config: C, report: LoadReport) -> str | None:
        """What is wrong with backbone weights that fit by name and shape, or None.

        Images normalised otherwise than the weights expect cost accuracy without any error; VAN's
        recipes of dense prediction do so on purpose.
        """
        backbone = config.model.backbone
        mismatch = report.mismatch(*pixel_statistics(backbone))
        is_recipe = not self.backbone_is_model and backbone.weights in PUBLISHED
        return None if is_recipe and pixel_statistics(backbone) == IMAGENET else mismatch

    def describe_weights(self, config: C, report: LoadReport | None) -> dict[str, str]:
        """Lines of the plan about the pixels, and whether the weights expect such.

        ``report`` is None where weights are not known.
        """
        statistics = pixel_statistics(config.model.backbone)
        text = f"mean {statistics.mean}, std {statistics.std}"
        if report is not None:
            if warning := self.weights_warning(config, report):
                text += f"; WARNING: {warning}"
            elif report.mismatch(*statistics):
                text += "; the weights were trained with others, but VAN's recipes take these"
            elif report.normalization is not None:
                text += ", as the weights expect"
            else:
                text += "; the weights do not say what they expect"
        return {"normalization": text}

    def foreign_settings(self, file: ForeignFile, config: C) -> list[str]:
        """Settings that a checkpoint of another code base says of itself, where it differs.

        Args:
            file: The checkpoint.
            config: The project that it is read for.

        Returns:
            ``key.path=value`` strings, to be laid over the project, and below what users override.
        """
        if (taken := self.taken_over(file, config)) is None:
            return []
        backbone = config.model.backbone
        return [
            *overrides(taken, config.model_dump()),
            *pixel_overrides(file.config, backbone.name, pixel_statistics(backbone)),
        ]

    def taken_over(self, file: ForeignFile, config: C) -> Mapping[str, Any] | None:
        """Values of a checkpoint by keys of the project, beside its pixels; None takes nothing."""
        return None

    def load_foreign(
        self, model: DenseModel, file: ForeignFile, config: C, info: DatasetInfo
    ) -> str:
        """Fill a network with a whole checkpoint of another code base, and report.

        Args:
            model: Network of the config; filled in place.
            file: The checkpoint.
            config: The project, with ``foreign_settings`` in it.
            info: Classes of the network.

        Raises:
            ValueError: When the checkpoint is of another network, or no layout of such is known.
        """
        raise ValueError(
            f"no checkpoint of a whole {config.task} network of another code base can be read, "
            "only of detectors, segmenters, SimpleBaseline and Mask2Former; model.backbone.weights "
            "takes the backbone alone"
        )

    def foreign_info(self, file: ForeignFile, config: C) -> DatasetInfo:
        """Classes of a checkpoint of another code base.

        They are those of the data set's files, where these name them and are here, otherwise those
        of the checkpoint, where it names them, or of the project.

        Args:
            file: The checkpoint.
            config: The project, with ``foreign_settings`` in it.
        """
        if self.classes_in_files and all(map(os.path.exists, config.data.files().values())):
            return self.build_dataset(config, "val").info
        return self.classes_of(file, config) or self.dataset_info(config)

    def classes_of(self, file: ForeignFile, config: C) -> DatasetInfo | None:
        """Classes that a checkpoint of another code base names, by default none."""
        return None

    def label_names(self, info: DatasetInfo) -> dict[str, Sequence[str]]:
        """Names that the outputs of a network stand for, by what they are, to compare two sets."""
        return {"classes": info.class_names}

    # ------------------------------------------------------------------------------ evaluation

    def detection_limits(self, config: C) -> DetectionLimits:
        """How many objects of an image are counted and given; by default nothing is limited."""
        return DetectionLimits(counted=None)

    def limit_notes(self, config: C, dataset: DenseDataset) -> list[str]:
        """What these limits leave out of a data set, to be said before a number is printed."""
        return self.detection_limits(config).notes(object_counts(dataset))

    @abstractmethod
    def evaluator_factory(self, dataset: DenseDataset, config: C) -> Callable[[], Evaluator]:
        """Maker of evaluators that share the untransformed ground truth of ``dataset``."""

    @abstractmethod
    def measured(self, config: C) -> Sequence[str]:
        """Names of the metrics that ``eval.best_metric`` may name."""

    @abstractmethod
    def default_metric(self, config: C) -> str:
        """Metric that chooses the best checkpoint unless the config names one.

        Higher is better, except for errors such as "pysod/MAE".
        """

    def best_metric(self, config: C) -> str:
        """Name of the metric that chooses the best checkpoint.

        Raises:
            ValueError: When the config names none that is measured.
        """
        metric = config.eval.best_metric or self.default_metric(config)
        known = self.measured(config)
        if metric not in known:
            fix = f"choose one of {list(known)}"
            raise ValueError(f"eval.best_metric: {metric!r} is not measured; {fix}")
        return metric

    @abstractmethod
    def perfect_predictions(self, batch: Batch, info: DatasetInfo) -> list[Prediction]:
        """Targets of a batch brought back to original pixels, as a perfect network would find them.

        Raises:
            ValueError: When the batch has no targets of this task.
        """

    @abstractmethod
    def oracle(self) -> Callable[..., OracleReport]:
        """Check that pushes ground truth through transform, post-processing and evaluator."""

    def oracle_check(
        self, dataset: DenseDataset, transform: Transform, *, evaluator: Any, config: C
    ) -> OracleReport:
        """Push the ground truth of some images through the pipeline, before training."""
        return self.oracle()(
            dataset,
            transform,
            to_prediction=lambda batch: self.perfect_predictions(batch, dataset.info),
            evaluator=evaluator,
            num_images=config.eval.oracle_images,
            size_divisor=config.data.size_divisor,
        )

    def multiple(self, config: C) -> int:
        """Number that padded sides of an image that is predicted alone are multiples of."""
        return config.data.size_divisor

    def save_figures(self, evaluator: Evaluator, folder: Path) -> None:
        """Drawings beside the pictures of predictions; by default none."""
        return None

    def prediction_writer(
        self, config: C, dataset: DenseDataset, folder: Path
    ) -> AbstractContextManager[PredictionWriter | None]:
        """Open what writes each prediction into a folder; by default the evaluator writes all."""
        return nullcontext()
