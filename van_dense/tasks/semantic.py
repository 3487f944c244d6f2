"""Semantic segmentation: model, data and evaluator from one config."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from torch import nn

from van_dense.backbones.build import Backbone, sync_norms
from van_dense.config import segmentation as schema
from van_dense.core.dataset_info import DatasetInfo
from van_dense.core.structures import Batch, Prediction, Size
from van_dense.data.dataset import DenseDataset, Transform
from van_dense.data.doctor.doctor import Part
from van_dense.data.io.label_map import LabelMap
from van_dense.data.io.masks import write_labels
from van_dense.data.transforms.detection import resize_map
from van_dense.data.transforms.maps import PhotoMetric, SemanticTest, SemanticTrain
from van_dense.evaluation.oracle.check import OracleReport, check_metrics
from van_dense.evaluation.semantic import METRICS, SemanticEvaluator
from van_dense.models.dense_model import DenseModel
from van_dense.models.segmentation.map_inference import Inference
from van_dense.models.segmentation.segmentation_losses import build_loss
from van_dense.models.segmentation.semantic import SemanticSegmenter
from van_dense.models.segmentation.semantic_fpn import SemanticFPN
from van_dense.models.segmentation.smp_decoder import smp_decoder
from van_dense.models.segmentation.upernet import AuxiliaryFCN, UperNet
from van_dense.tasks.common import Split, backbone_of, prepare_sample
from van_dense.tasks.image_masks import mask_parts, read_pairs, truth_of
from van_dense.visualize.figures import plot_confusion
from van_dense.visualize.palette import class_colors


def _labels(config: schema.SemanticConfig) -> LabelMap:
    return LabelMap.parse(config.data.label_map, len(config.data.classes))


def dataset_info(config: schema.SemanticConfig) -> DatasetInfo:
    """Classes as the config names them; nothing is read."""
    return DatasetInfo(
        name=config.data.name,
        class_names=config.data.classes,
        category_ids=_labels(config).raw_of_class,
        colors=config.data.colors or (),
    )


def build_model(config: schema.SemanticConfig, info: DatasetInfo) -> DenseModel:
    """Build the network with random weights for the classes of ``info``."""
    model = config.model
    backbone = backbone_of(model.backbone)
    auxiliary = None
    if model.auxiliary is not None:
        auxiliary = sync_norms(
            AuxiliaryFCN(
                backbone.channels[-2],
                info.num_classes,
                channels=model.auxiliary.channels,
                dropout=model.auxiliary.dropout,
            ),
            model.backbone.norm_mode,
        )
    return SemanticSegmenter(
        backbone,
        sync_norms(_decoder(model.decoder, backbone, info.num_classes), model.backbone.norm_mode),
        losses=[
            (
                loss.name,
                build_loss(
                    loss.name,
                    class_weights=loss.class_weights,
                    ohem_threshold=loss.ohem_threshold,
                    ohem_min_kept=loss.ohem_min_kept,
                ),
                loss.weight,
            )
            for loss in model.losses
        ],
        auxiliary=auxiliary,
        auxiliary_weight=0.0 if model.auxiliary is None else model.auxiliary.weight,
        inference=inference_of(config),
    )


def inference_of(config: schema.SemanticConfig) -> Inference:
    """How the network of a config looks at images."""
    inference = config.eval.inference
    return Inference(
        mode=inference.mode,
        crop=inference.crop,
        stride=inference.stride,
        scales=inference.scales,
        flip=inference.flip,
        multiple=max(32, config.data.transforms.test_multiple),
    )


def _decoder(
    config: schema.SemanticFPN | schema.UperNet | schema.SmpDecoder,
    backbone: Backbone,
    num_classes: int,
) -> nn.Module:
    if config.name == "semantic_fpn":
        return SemanticFPN(
            backbone.channels,
            num_classes,
            channels=config.channels,
            head_channels=config.head_channels,
            dropout=config.dropout,
        )
    if config.name == "upernet":
        return UperNet(
            backbone.channels,
            num_classes,
            channels=config.channels,
            pool_scales=config.pool_scales,
            dropout=config.dropout,
        )
    arch = config.name.removeprefix("smp/")
    backbone.add_stride_2()  # smp's encoders give it where the model has one
    return smp_decoder(arch, backbone.channels, num_classes, options=config.options)


def prepare_data(config: schema.SemanticConfig) -> None:
    """Write the sample data set if the config asks for it and it is not there."""
    prepare_sample(config.data, "ade")


def build_dataset(config: schema.SemanticConfig, split: Split) -> DenseDataset:
    """Reader of one part.

    Raises:
        ValueError: When folders or label map do not fit.
    """
    return read_pairs(config.data, split, info=dataset_info(config), labels=_labels(config))


def check_parts(config: schema.SemanticConfig) -> list[Part]:
    """What the data doctor looks at."""
    return mask_parts(config.data, names=config.data.classes, labels=_labels(config))


def build_transform(config: schema.SemanticConfig, *, train: bool) -> Transform:
    """Resize, crop, flip and colour for training; resize alone for evaluation."""
    t = config.data.transforms
    if not train:
        # Windows have their own size, and an image that keeps its size is labelled tile by tile.
        slides = config.eval.inference.mode == "slide"
        return SemanticTest(t.test_scale, 1 if slides else t.test_multiple)
    colour = t.photometric
    return SemanticTrain(
        scale=t.scale,
        ratio=t.ratio,
        crop=t.crop,
        cat_max_ratio=t.cat_max_ratio,
        flip=t.flip,
        photometric=None
        if colour is None
        else PhotoMetric(colour.brightness, colour.contrast, colour.saturation, colour.hue),
    )


def largest_input(config: schema.SemanticConfig) -> Size:
    """(height, width) of a training crop, for the memory estimate."""
    return config.data.transforms.crop


def smallest_input(config: schema.SemanticConfig) -> Size:
    """(height, width) that smaller crops are padded to, as in mmseg."""
    return config.data.transforms.crop


def evaluator_factory(
    dataset: DenseDataset, config: schema.SemanticConfig
) -> Callable[[], SemanticEvaluator]:
    """Make evaluators that read the ground truth of ``dataset`` image by image."""
    ids = [dataset.image_id(index) for index in range(len(dataset))]
    return partial(SemanticEvaluator, truth_of(dataset), ids, dataset.info)


def perfect_predictions(batch: Batch) -> list[Prediction]:
    """Bring the label maps of a batch back to original pixels, as a perfect network would.

    Raises:
        ValueError: When the batch has no label maps.
    """
    if batch.semantic is None:
        raise ValueError("the batch has no label maps")
    perfect = []
    for index, (height, width) in enumerate(batch.sizes):
        labels = batch.semantic[index, :height, :width].numpy().astype("uint8")
        size = batch.orig_sizes[index]
        found = resize_map(labels, size)
        perfect.append(Prediction(batch.image_ids[index], size, semantic=found))
    return perfect


def oracle_check(
    dataset: DenseDataset, transform: Transform, *, evaluator: SemanticEvaluator, num_images: int
) -> OracleReport:
    """Push label maps through transform, post-processing and evaluator."""
    return check_metrics(
        dataset,
        transform,
        to_prediction=perfect_predictions,
        evaluator=evaluator,
        num_images=num_images,
        limits={"semantic/aAcc": (1.0, 0.9)},
    )


def save_figures(evaluator: SemanticEvaluator, folder: Path) -> None:
    """Draw the confusion matrix."""
    plot_confusion(evaluator.confusion, evaluator.info.class_names, folder / "confusion.png")


def prediction_writer(
    config: schema.SemanticConfig,
) -> Callable[[Prediction, Path], None] | None:
    """Writer of palette PNGs in the values of the data set's own files, where asked for."""
    if not config.eval.save_predictions:
        return None
    label_map, colors = _labels(config), class_colors(dataset_info(config))

    def write(prediction: Prediction, path: Path) -> None:
        assert prediction.semantic is not None  # this task predicts nothing else
        write_labels(
            path.with_name(f"{path.name}.png"),
            prediction.semantic,
            label_map=label_map,
            colors=colors,
        )

    return write


def best_metric(config: schema.SemanticConfig) -> str:
    """Name of the metric that chooses the best checkpoint.

    Raises:
        ValueError: When the config names none that is measured.
    """
    metric = config.eval.best_metric or "semantic/mIoU"
    if metric not in METRICS:
        raise ValueError(
            f"eval.best_metric: {metric!r} is not measured; choose one of {list(METRICS)}"
        )
    return metric
