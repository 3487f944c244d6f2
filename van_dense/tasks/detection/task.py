"""Object detection and instance segmentation: model, data and evaluator from one config."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from van_dense.config import detection as schema
from van_dense.core.dataset_info import DatasetInfo
from van_dense.core.structures import Batch, Prediction, Sample, Size
from van_dense.data.dataset import DenseDataset, FirstImages, Transform
from van_dense.data.doctor.doctor import CocoPart, Part, YoloPart
from van_dense.data.readers.coco import CocoDataset
from van_dense.data.readers.coco_json import coco_info
from van_dense.data.readers.quarantine import Quarantine
from van_dense.data.readers.yolo import YoloDataset
from van_dense.data.transforms.detection import DetectionTest, DetectionTrain, RandomCrop
from van_dense.evaluation.coco import METRICS_OF_KIND, CocoEvaluator, Kind
from van_dense.evaluation.ground_truth import coco_ground_truth
from van_dense.evaluation.oracle.instances import OracleReport
from van_dense.evaluation.oracle.instances import oracle_check as check_coco
from van_dense.models.dense_model import DenseModel
from van_dense.models.detection import retinanet, sparsercnn
from van_dense.models.detection.anchors import OCTAVE_SCALES, Anchors, BoxMatcher, without_crowd
from van_dense.models.detection.dynamic_head import DynamicHead
from van_dense.models.detection.fpn import FPN
from van_dense.models.detection.hungarian_loss import SetLoss
from van_dense.models.detection.one_stage import STRIDES, DenseDetector
from van_dense.models.postprocess import DetectionFilter, resize_masks, to_predictions
from van_dense.tasks.common import Split, backbone_of, prepare_sample
from van_dense.tasks.detection.one_stage import build_atss, build_gfl
from van_dense.tasks.detection.two_stage import cascade_mask_rcnn, mask_rcnn

MASK_KINDS = ("maskrcnn", "cascade_maskrcnn")  # models that give masks beside boxes


def dataset_info(config: schema.DetectionConfig) -> DatasetInfo:
    """Classes without reading any file: COCO's 80."""
    return coco_info()


def build_model(config: schema.DetectionConfig, info: DatasetInfo) -> DenseModel:
    """Build the network with random weights for the classes of ``info``."""
    model = config.model
    built: DenseModel
    if model.kind == "maskrcnn":
        built = mask_rcnn(model, info.num_classes)
    elif model.kind == "cascade_maskrcnn":
        built = cascade_mask_rcnn(model, info.num_classes)
    elif model.kind == "sparsercnn":
        built = _sparse_rcnn(model, info.num_classes)
    elif model.kind == "atss":
        built = build_atss(model, info.num_classes)
    elif model.kind == "gfl":
        built = build_gfl(model, info.num_classes)
    else:
        built = _retinanet(model, info.num_classes)
    return with_engine(built, model.engine)


def with_engine(model: DenseModel, engine: str) -> DenseModel:
    """The model itself, or the same one on Detectron2, with the same initial weights.

    Raises:
        ValueError: When Detectron2 has no such model.
    """
    if engine == "torchvision":
        return model
    from van_dense.integrations.detectron2.engine import on_detectron2

    return on_detectron2(model)


def _retinanet(config: schema.RetinaNet, num_classes: int) -> DenseDetector:
    backbone = backbone_of(config.backbone)
    head = config.head
    anchors = Anchors(
        config.anchor_sizes,
        STRIDES,
        scales=OCTAVE_SCALES,
        rounded=config.round_anchors,
    )
    return DenseDetector(
        backbone,
        FPN(
            backbone.channels[1:],
            config.fpn.channels,
            norm=config.fpn.norm,
            extra=config.extra_levels,
        ),
        head=retinanet.RetinaNetHead(
            config.fpn.channels,
            num_classes,
            num_anchors=anchors.num_per_cell,
            convs=head.convs,
            norm=head.norm,
        ),
        anchors=anchors,
        matcher=retinanet.IoUMatcher(
            BoxMatcher(head.positive_iou, head.negative_iou, min_positive_iou=0.0)
        ),
        rule=DetectionFilter(head.score_threshold, head.nms_iou, head.max_detections),
    )


def _sparse_rcnn(config: schema.SparseRCNN, num_classes: int) -> sparsercnn.SparseRCNN:
    backbone = backbone_of(config.backbone)
    channels, head, weights = config.fpn.channels, config.head, config.weights
    return sparsercnn.SparseRCNN(
        backbone,
        FPN(backbone.channels, channels, norm=config.fpn.norm, extra="none"),
        proposals=sparsercnn.LearnedProposals(config.proposals, channels),
        heads=[
            DynamicHead(
                channels,
                num_classes,
                attention_heads=head.attention_heads,
                feedforward=head.feedforward,
                dynamic_channels=head.dynamic_channels,
            )
            for _ in range(config.stages)
        ],
        loss=SetLoss(weights.focal, weights.l1, weights.giou),
        max_detections=config.max_detections,
    )


def prepare_data(config: schema.DetectionConfig) -> None:
    """Write the sample data set if the config asks for it and it is not there."""
    prepare_sample(config.data, "instances")


def build_dataset(config: schema.DetectionConfig, split: Split) -> DenseDataset:
    """Reader of one part; training leaves out images without boxes where the config says so.

    Raises:
        ValueError: When the files do not fit, or a model with masks gets a data set without any.
    """
    data = config.data
    wants_masks = "segm" in metric_types(config)
    options: dict[str, Any] = {
        "name": data.name,
        "quarantine": Quarantine.load(data.quarantine) if data.quarantine else None,
        # The first images must be the same ones where both parts are one file.
        "drop_empty": data.drop_empty and (split == "train" or data.max_images is not None),
        "masks": wants_masks,  # decoding them is half of the reading time
    }
    dataset: CocoDataset | YoloDataset
    if data.format == "yolo":
        assert data.yolo_root is not None  # the schema demands it
        dataset = YoloDataset(data.yolo_root, split, **options)
    else:
        part = data.train if split == "train" else data.val
        assert part is not None  # the schema demands it
        dataset = CocoDataset(part.images, part.annotations, **options)
    if wants_masks and not dataset.has_masks:
        raise ValueError(
            f"{config.model.kind} learns masks, but the {split} part of {data.name!r} has boxes "
            "only; use a retinanet project, or annotations with segmentation"
        )
    return dataset if data.max_images is None else FirstImages(dataset, data.max_images)


def check_parts(config: schema.DetectionConfig) -> list[Part]:
    """What the data doctor looks at."""
    data = config.data
    if data.format == "yolo":
        return [YoloPart(str(data.yolo_root), split) for split in ("train", "val")]
    assert data.train is not None and data.val is not None  # the schema demands them
    return [
        CocoPart(name, part.images, part.annotations)
        for name, part in (("train", data.train), ("val", data.val))
    ]


def build_transform(config: schema.DetectionConfig, *, train: bool) -> Transform:
    """Flip, crop, resize and colour for training; resize alone for evaluation."""
    t = config.data.transforms
    if not train:
        return partial(_without_keypoints, DetectionTest(t.test_short_side, t.max_long_side))
    c = t.crop
    return partial(
        _without_keypoints,
        DetectionTrain(
            t.short_sides,
            t.max_long_side,
            flip=t.flip,
            color_jitter=t.color_jitter,
            crop=None if c is None else RandomCrop(c.short_sides, t.max_long_side, c.range, c.prob),
        ),
    )


def _without_keypoints(transform: Transform, sample: Sample, rng: np.random.Generator) -> Sample:
    """Detectors learn no keypoints, so unknown flip pairs of a data set must not stop them."""
    return transform(replace(sample, keypoints=None), rng)


def largest_input(config: schema.DetectionConfig) -> Size:
    """(height, width) of the largest padded training image, for the memory estimate."""
    t, divisor = config.data.transforms, config.data.size_divisor
    short, long = max(t.short_sides), t.max_long_side
    return -(-short // divisor) * divisor, -(-long // divisor) * divisor


def smallest_input(config: schema.DetectionConfig) -> Size:
    """Images are padded to the largest of their batch alone."""
    return 0, 0


def metric_types(config: schema.DetectionConfig) -> tuple[Kind, ...]:
    """What is evaluated: boxes, and masks where the model gives some."""
    return ("bbox", "segm") if config.model.kind in MASK_KINDS else ("bbox",)


def evaluator_factory(
    dataset: DenseDataset, config: schema.DetectionConfig
) -> Callable[[], CocoEvaluator]:
    """Make COCO evaluators that share the untransformed ground truth of ``dataset``."""
    return partial(
        CocoEvaluator,
        coco_ground_truth(dataset),
        dataset.info,
        metric_types(config),
        backend=config.eval.backend,
    )


def perfect_predictions(batch: Batch) -> list[Prediction]:
    """Bring the targets of a batch back to original pixels, as a perfect network would.

    Raises:
        ValueError: When the batch has no targets.
    """
    targets = without_crowd(batch.targets)
    perfect = []
    for prediction, target in zip(to_predictions(batch, targets), targets, strict=True):
        assert prediction.instances is not None  # to_predictions fills it
        masks = None
        if isinstance(target.masks, Tensor):
            masks = resize_masks(target.masks, prediction.size)
        perfect.append(replace(prediction, instances=replace(prediction.instances, masks=masks)))
    return perfect


def oracle_check(
    dataset: DenseDataset, transform: Transform, *, evaluator: CocoEvaluator, num_images: int
) -> OracleReport:
    """Push boxes and masks through transform, post-processing and evaluator."""
    return check_coco(
        dataset,
        transform,
        to_prediction=perfect_predictions,
        evaluator=evaluator,
        num_images=num_images,
    )


def save_figures(evaluator: CocoEvaluator, folder: Path) -> None:
    """Nothing beside the pictures."""


def prediction_writer(config: schema.DetectionConfig) -> None:
    """The evaluator writes all predictions as COCO results, so none are written one by one."""


def best_metric(config: schema.DetectionConfig) -> str:
    """Name of the metric that chooses the best checkpoint.

    Raises:
        ValueError: When the config names none that is measured.
    """
    types = metric_types(config)
    known = [f"{kind}/{metric}" for kind in types for metric in METRICS_OF_KIND[kind]]
    metric = config.eval.best_metric or f"{types[-1]}/AP"
    if metric not in known:
        raise ValueError(f"eval.best_metric: {metric!r} is not measured; choose one of {known}")
    return metric
