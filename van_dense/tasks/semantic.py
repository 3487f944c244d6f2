"""Semantic segmentation: model, data and evaluator from one config."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from van_dense.backbones.build import DIVISOR, TimmBackbone, sync_norms
from van_dense.config import segmentation as schema
from van_dense.config.segmentation import SemanticConfig
from van_dense.core.dataset_info import DatasetInfo
from van_dense.core.structures import Batch, Prediction, Size
from van_dense.data.dataset import DenseDataset, Transform
from van_dense.data.doctor.doctor import Part
from van_dense.data.io.label_map import LabelMap
from van_dense.data.io.masks import write_labels
from van_dense.data.transforms.detection import resize_map
from van_dense.data.transforms.extra import with_extra
from van_dense.data.transforms.maps import PhotoMetric, SemanticTest, SemanticTrain
from van_dense.evaluation.evaluator import Evaluator
from van_dense.evaluation.oracle.metrics import OracleReport, check_metrics
from van_dense.evaluation.semantic import METRICS, SemanticEvaluator
from van_dense.integrations.checkpoints import mmseg_settings
from van_dense.integrations.checkpoints.mmseg import load_segmenter
from van_dense.integrations.checkpoints.openmmlab_file import ForeignFile
from van_dense.integrations.checkpoints.openmmlab_settings import (
    check_classes,
    keeps_ratio,
    no_config,
)
from van_dense.models.dense_model import DenseModel
from van_dense.models.segmentation.light_ham import LightHam
from van_dense.models.segmentation.map_inference import MapInference
from van_dense.models.segmentation.segmentation_losses import build_loss
from van_dense.models.segmentation.semantic import SemanticSegmenter
from van_dense.models.segmentation.semantic_fpn import SemanticFPN
from van_dense.models.segmentation.smp_decoder import smp_decoder
from van_dense.models.segmentation.upernet import AuxiliaryFCN, UperNet
from van_dense.tasks.backbone import backbone_of
from van_dense.tasks.base import PredictionWriter, Split, Task
from van_dense.tasks.image_masks import mask_parts, read_pairs, truth_of
from van_dense.visualize.figures import plot_confusion
from van_dense.visualize.palette import class_colors


class Semantic(Task[SemanticConfig]):
    """Label maps."""

    sample_part = "ade"

    def dataset_info(self, config: SemanticConfig) -> DatasetInfo:
        """Classes as the config names them."""
        return DatasetInfo(
            name=config.data.name,
            class_names=config.data.classes,
            category_ids=_labels(config).raw_of_class,
            colors=config.data.colors or (),
        )

    def build_dataset(self, config: SemanticConfig, split: Split) -> DenseDataset:
        """Reader of one part."""
        info = self.dataset_info(config)
        return read_pairs(config.data, split, info=info, labels=_labels(config))

    def build_transform(self, config: SemanticConfig, *, train: bool) -> Transform:
        """Resize, crop, flip and colour for training; resize alone for evaluation."""
        t = config.data.transforms
        if not train:
            # Windows have their own size, and an image that keeps its size is labelled in tiles.
            slides = config.eval.inference.mode == "slide"
            return SemanticTest(t.test_scale, 1 if slides else t.test_multiple)
        colour = t.photometric
        own = SemanticTrain(
            scale=t.scale,
            ratio=t.ratio,
            crop=t.crop,
            cat_max_ratio=t.cat_max_ratio,
            flip=t.flip,
            photometric=None if colour is None else PhotoMetric(**colour.model_dump()),
        )
        return with_extra(own, t.extra, repeats=True)

    def check_parts(self, config: SemanticConfig) -> list[Part]:
        """Pairs of images and label maps."""
        return mask_parts(config.data, names=config.data.classes, labels=_labels(config))

    def largest_input(self, config: SemanticConfig) -> Size:
        """(height, width) of a training crop; smaller ones are padded to it, as in mmseg."""
        return config.data.transforms.crop

    def build_model(self, config: SemanticConfig, info: DatasetInfo) -> DenseModel:
        """Decoder and losses of the config on its backbone."""
        model, classes = config.model, info.num_classes
        backbone = backbone_of(model.backbone)
        auxiliary = None
        if (aux := model.auxiliary) is not None:
            head = AuxiliaryFCN(
                backbone.channels[-2], classes, channels=aux.channels, dropout=aux.dropout
            )
            auxiliary = sync_norms(head, model.backbone.norm_mode)
        decoder = _decoder(model.decoder, backbone, classes)
        return SemanticSegmenter(
            backbone,
            sync_norms(decoder, model.backbone.norm_mode),
            losses=[
                (loss.name, build_loss(**loss.model_dump(exclude={"weight"})), loss.weight)
                for loss in model.losses
            ],
            auxiliary=auxiliary,
            auxiliary_weight=0.0 if aux is None else aux.weight,
            inference=inference_of(config),
        )

    def taken_over(self, file: ForeignFile, config: SemanticConfig) -> dict[str, Any]:
        """Test settings and colours of a file of mmseg."""
        return mmseg_settings.taken_over(file, config.model_dump())

    def load_foreign(
        self, model: DenseModel, file: ForeignFile, config: SemanticConfig, info: DatasetInfo
    ) -> str:
        """Segmenters of VAN-Segmentation, SegNeXt and mmseg."""
        mmseg_settings.check_network(file.config, config.model_dump())
        fix = "name a project of its data, or give data.classes and data.label_map of the file"
        note = check_classes(file.classes, info.class_names, fix=fix)
        is_rank_known = mmseg_settings.says_rank(file.config)
        name = config.model.backbone.name
        report = load_segmenter(model, file.state, name, is_rank_known=is_rank_known)
        if report.head:
            what = "the checkpoint has another number of classes than the project"
            fix = "give data.classes and data.label_map of the file"
            raise ValueError(f"{what}, so the classifier would be random: {report.head[0]}; {fix}")
        test = keeps_ratio(file.config)
        notes = (note, test, no_config(file.config), *file.notes)
        return "\n".join([str(report), *filter(None, notes)])

    def evaluator_factory(
        self, dataset: DenseDataset, config: SemanticConfig
    ) -> Callable[[], SemanticEvaluator]:
        """Evaluators that read the ground truth image by image."""
        ids = [dataset.image_id(index) for index in range(len(dataset))]
        return partial(SemanticEvaluator, truth_of(dataset), ids, dataset.info)

    def default_metric(self, config: SemanticConfig) -> str:
        """Mean IoU over the classes."""
        return "semantic/mIoU"

    def measured(self, config: SemanticConfig) -> Sequence[str]:
        """Metrics of label maps."""
        return METRICS

    def perfect_predictions(self, batch: Batch, info: DatasetInfo) -> list[Prediction]:
        """Label maps in original pixels."""
        if batch.semantic is None:
            raise ValueError("the batch has no label maps")
        perfect = []
        for index, (height, width) in enumerate(batch.sizes):
            labels = batch.semantic[index, :height, :width].numpy().astype("uint8")
            size = batch.orig_sizes[index]
            found = resize_map(labels, size)
            perfect.append(Prediction(batch.image_ids[index], size, semantic=found))
        return perfect

    def oracle(self) -> Callable[..., OracleReport]:
        """Most pixels keep their class after resizing there and back."""
        return partial(check_metrics, limits={"semantic/aAcc": (1.0, 0.9)})

    def multiple(self, config: SemanticConfig) -> int:
        """That of whole images where they are not padded as batches are."""
        inference = config.eval.inference
        is_own = inference.mode == "whole" and inference.multiple != DIVISOR
        return inference.multiple if is_own else config.data.size_divisor

    def save_figures(self, evaluator: Evaluator, folder: Path) -> None:
        """Draw the confusion matrix."""
        assert isinstance(evaluator, SemanticEvaluator)  # evaluator_factory makes no other
        plot_confusion(evaluator.confusion, evaluator.info.class_names, folder / "confusion.png")

    def prediction_writer(
        self, config: SemanticConfig, dataset: DenseDataset, folder: Path
    ) -> AbstractContextManager[PredictionWriter | None]:
        """Writer of palette PNGs in the values of the data set's own files, where asked for."""
        if not config.eval.save_predictions:
            return nullcontext()
        label_map, colors = _labels(config), class_colors(self.dataset_info(config))

        def write(prediction: Prediction) -> None:
            assert prediction.semantic is not None  # this task predicts nothing else
            file = folder / "predictions" / f"{prediction.image_id}.png"
            write_labels(file, prediction.semantic, label_map=label_map, colors=colors)

        return nullcontext(write)


def _labels(config: SemanticConfig) -> LabelMap:
    return LabelMap.parse(config.data.label_map, len(config.data.classes))


def inference_of(config: SemanticConfig) -> MapInference:
    """How the network of a config predicts images of any size."""
    inference = config.eval.inference
    rounding = max(inference.multiple, config.data.transforms.test_multiple)
    return MapInference(**inference.model_dump(), rounding=rounding)


def _decoder(config: schema.Decoder, backbone: TimmBackbone, num_classes: int) -> nn.Module:
    settings = config.model_dump(exclude={"name"})
    if config.name == "semantic_fpn":
        return SemanticFPN(backbone.channels, num_classes, **settings)
    if config.name == "upernet":
        return UperNet(backbone.channels, num_classes, **settings)
    if config.name == "light_ham":
        backbone.leave_out(1)  # it begins at stride 8
        return LightHam(backbone.channels, num_classes, **settings)
    backbone.add_stride_2()  # smp's encoders give it where the model has one
    return smp_decoder(config.name.removeprefix("smp/"), backbone.channels, num_classes, **settings)
