"""Salient object detection: model, data and evaluator from one config."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path

import cv2

from van_dense.backbones.build import sync_norms
from van_dense.config.segmentation import SaliencyConfig
from van_dense.core.dataset_info import DatasetInfo
from van_dense.core.structures import Batch, Prediction, Size
from van_dense.data.dataset import DenseDataset, Transform
from van_dense.data.doctor.doctor import Part
from van_dense.data.io.masks import write_saliency
from van_dense.data.transforms.extra import with_extra
from van_dense.data.transforms.maps import SaliencyTest, SaliencyTrain
from van_dense.evaluation.oracle.metrics import OracleReport, check_metrics
from van_dense.evaluation.saliency import METRICS, SaliencyEvaluator
from van_dense.models.dense_model import DenseModel
from van_dense.models.segmentation.edn import EDN
from van_dense.models.segmentation.saliency import SaliencyModel
from van_dense.tasks.backbone import backbone_of
from van_dense.tasks.base import PredictionWriter, Split, Task
from van_dense.tasks.image_masks import mask_parts, read_pairs, truth_of


class Saliency(Task[SaliencyConfig]):
    """Grey maps of how salient each pixel is."""

    sample_part = "duts"

    def dataset_info(self, config: SaliencyConfig) -> DatasetInfo:
        """One class: salient."""
        return DatasetInfo(name=config.data.name, class_names=("salient",), category_ids=(255,))

    def build_dataset(self, config: SaliencyConfig, split: Split) -> DenseDataset:
        """Reader of one part."""
        return read_pairs(config.data, split, info=self.dataset_info(config), labels=None)

    def build_transform(self, config: SaliencyConfig, *, train: bool) -> Transform:
        """Warp to one size; in training also border crops and flips."""
        t = config.data.transforms
        if not train:
            return SaliencyTest(t.size)
        own = SaliencyTrain(**t.model_dump(exclude={"extra"}))
        return with_extra(own, t.extra, repeats=True)

    def check_parts(self, config: SaliencyConfig) -> list[Part]:
        """Pairs of images and masks."""
        return mask_parts(config.data, names=(), labels=None)

    def largest_input(self, config: SaliencyConfig) -> Size:
        """(height, width) of every image."""
        return config.data.transforms.size

    def build_model(self, config: SaliencyConfig, info: DatasetInfo) -> DenseModel:
        """EDN."""
        backbone = backbone_of(config.model.backbone, self.largest_input(config))
        decoder = sync_norms(EDN(backbone.channels), config.model.backbone.norm_mode)
        return SaliencyModel(backbone, decoder)

    def tiling_refusal(self, config: SaliencyConfig) -> str:
        """Never in tiles."""
        return "what is salient is decided by the whole picture, and a window has no such thing"

    def evaluator_factory(
        self, dataset: DenseDataset, config: SaliencyConfig
    ) -> Callable[[], SaliencyEvaluator]:
        """Evaluators that read the ground truth image by image."""
        ids = [dataset.image_id(index) for index in range(len(dataset))]
        return partial(SaliencyEvaluator, truth_of(dataset), ids)

    def default_metric(self, config: SaliencyConfig) -> str:
        """Mean absolute error."""
        return "pysod/MAE"

    def measured(self, config: SaliencyConfig) -> Sequence[str]:
        """Metrics of both protocols."""
        return METRICS

    def perfect_predictions(self, batch: Batch, info: DatasetInfo) -> list[Prediction]:
        """Saliency maps in original pixels."""
        if batch.saliency is None:
            raise ValueError("the batch has no saliency maps")
        perfect = []
        for index, (height, width) in enumerate(batch.sizes):
            salient = batch.saliency[index, :height, :width].numpy()
            size = batch.orig_sizes[index]
            salient = cv2.resize(salient, size[::-1], interpolation=cv2.INTER_LINEAR)
            perfect.append(Prediction(batch.image_ids[index], size, saliency=salient))
        return perfect

    def oracle(self) -> Callable[..., OracleReport]:
        """Little error is left after resizing there and back."""
        return partial(check_metrics, limits={"pysod/MAE": (0.0, 0.05)})

    def prediction_writer(
        self, config: SaliencyConfig, dataset: DenseDataset, folder: Path
    ) -> AbstractContextManager[PredictionWriter | None]:
        """Writer of 8-bit grey PNGs, where asked for."""

        def write(prediction: Prediction) -> None:
            assert prediction.saliency is not None  # this task predicts nothing else
            file = folder / "predictions" / f"{prediction.image_id}.png"
            write_saliency(file, prediction.saliency)

        return nullcontext(write if config.eval.save_predictions else None)
