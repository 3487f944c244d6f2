"""Salient object detection: model, data and evaluator from one config."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2

from van_dense.backbones.build import sync_norms
from van_dense.config import segmentation as schema
from van_dense.core.dataset_info import DatasetInfo
from van_dense.core.structures import Batch, Prediction, Size
from van_dense.data.dataset import DenseDataset, Transform
from van_dense.data.doctor.doctor import Part
from van_dense.data.io.masks import write_saliency
from van_dense.data.transforms.maps import SaliencyTest, SaliencyTrain
from van_dense.evaluation.oracle.check import OracleReport, check_metrics
from van_dense.evaluation.saliency import METRICS, SaliencyEvaluator
from van_dense.models.dense_model import DenseModel
from van_dense.models.segmentation.edn import EDN
from van_dense.models.segmentation.saliency import SaliencyModel
from van_dense.tasks.common import Split, backbone_of, prepare_sample
from van_dense.tasks.image_masks import mask_parts, read_pairs, truth_of


def dataset_info(config: schema.SaliencyConfig) -> DatasetInfo:
    """One class: salient."""
    return DatasetInfo(name=config.data.name, class_names=("salient",), category_ids=(255,))


def build_model(config: schema.SaliencyConfig, info: DatasetInfo) -> DenseModel:
    """Build the network with random weights."""
    backbone = backbone_of(config.model.backbone)
    decoder = sync_norms(EDN(backbone.channels), config.model.backbone.norm_mode)
    return SaliencyModel(backbone, decoder)


def prepare_data(config: schema.SaliencyConfig) -> None:
    """Write the sample data set if the config asks for it and it is not there."""
    prepare_sample(config.data, "duts")


def build_dataset(config: schema.SaliencyConfig, split: Split) -> DenseDataset:
    """Reader of one part.

    Raises:
        ValueError: When the folders do not fit together.
    """
    return read_pairs(config.data, split, info=dataset_info(config), labels=None)


def check_parts(config: schema.SaliencyConfig) -> list[Part]:
    """What the data doctor looks at."""
    return mask_parts(config.data, names=(), labels=None)


def build_transform(config: schema.SaliencyConfig, *, train: bool) -> Transform:
    """Warp to one size; in training also border crops and flips."""
    t = config.data.transforms
    if not train:
        return SaliencyTest(t.size)
    return SaliencyTrain(
        size=t.size, border_crop=t.border_crop, flip=t.flip, vertical_flip=t.vertical_flip
    )


def largest_input(config: schema.SaliencyConfig) -> Size:
    """(height, width) of every image, for the memory estimate."""
    return config.data.transforms.size


def smallest_input(config: schema.SaliencyConfig) -> Size:
    """(height, width) of every image."""
    return config.data.transforms.size


def evaluator_factory(
    dataset: DenseDataset, config: schema.SaliencyConfig
) -> Callable[[], SaliencyEvaluator]:
    """Make evaluators that read the ground truth of ``dataset`` image by image."""
    ids = [dataset.image_id(index) for index in range(len(dataset))]
    return partial(SaliencyEvaluator, truth_of(dataset), ids)


def perfect_predictions(batch: Batch) -> list[Prediction]:
    """Bring the saliency maps of a batch back to original pixels, as a perfect network would.

    Raises:
        ValueError: When the batch has no saliency maps.
    """
    if batch.saliency is None:
        raise ValueError("the batch has no saliency maps")
    perfect = []
    for index, (height, width) in enumerate(batch.sizes):
        salient = batch.saliency[index, :height, :width].numpy()
        size = batch.orig_sizes[index]
        salient = cv2.resize(salient, size[::-1], interpolation=cv2.INTER_LINEAR)
        perfect.append(Prediction(batch.image_ids[index], size, saliency=salient))
    return perfect


def oracle_check(
    dataset: DenseDataset, transform: Transform, *, evaluator: SaliencyEvaluator, num_images: int
) -> OracleReport:
    """Push saliency maps through transform, post-processing and evaluator."""
    return check_metrics(
        dataset,
        transform,
        to_prediction=perfect_predictions,
        evaluator=evaluator,
        num_images=num_images,
        limits={"pysod/MAE": (0.0, 0.05)},
    )


def save_figures(evaluator: SaliencyEvaluator, folder: Path) -> None:
    """Nothing to draw: the numbers say it all."""


def prediction_writer(
    config: schema.SaliencyConfig,
) -> Callable[[Prediction, Path], None] | None:
    """Writer of 8-bit grey PNGs, where asked for."""
    return _write if config.eval.save_predictions else None


def _write(prediction: Prediction, path: Path) -> None:
    assert prediction.saliency is not None  # this task predicts nothing else
    write_saliency(path.with_name(f"{path.name}.png"), prediction.saliency)


def best_metric(config: schema.SaliencyConfig) -> str:
    """Name of the metric that chooses the best checkpoint.

    Raises:
        ValueError: When the config names none that is measured.
    """
    metric = config.eval.best_metric or "pysod/MAE"
    if metric not in METRICS:
        raise ValueError(
            f"eval.best_metric: {metric!r} is not measured; choose one of {list(METRICS)}"
        )
    return metric
