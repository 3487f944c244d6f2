"""Top-down pose: model, data and evaluator from one config."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from van_dense.backbones.build import sync_norms
from van_dense.config import pose as schema
from van_dense.core.dataset_info import DatasetInfo
from van_dense.core.structures import Batch, Prediction, Size
from van_dense.data.dataset import DenseDataset, Transform
from van_dense.data.doctor.doctor import CocoPart, Part
from van_dense.data.readers.coco import CocoDataset
from van_dense.data.readers.coco_json import Skeleton, coco_person, with_sigmas
from van_dense.data.readers.detections import read_detections
from van_dense.data.readers.persons import PersonImages, Persons
from van_dense.data.readers.quarantine import Quarantine
from van_dense.data.transforms.pose import PoseTest, PoseTrain
from van_dense.evaluation.ground_truth import coco_ground_truth
from van_dense.evaluation.oracle.check import OracleReport
from van_dense.evaluation.oracle.instances import check_keypoints
from van_dense.evaluation.pose import METRICS, PoseEvaluator
from van_dense.models.dense_model import DenseModel
from van_dense.models.detection.anchors import without_crowd
from van_dense.models.pose.heatmap import build_codec
from van_dense.models.pose.simple_baseline import SimpleBaseline
from van_dense.models.pose.top_down import CropRule, PoseScoring, TopDownPose
from van_dense.models.postprocess import to_predictions
from van_dense.tasks.common import Split, backbone_of, prepare_sample


def dataset_info(config: schema.PoseConfig) -> DatasetInfo:
    """Skeleton as the config gives it, or COCO's persons; nothing is read."""
    return coco_person(_skeleton(config))


def _skeleton(config: schema.PoseConfig) -> Skeleton | None:
    given = config.data.skeleton
    return None if given is None else Skeleton(**given.model_dump())


def build_model(config: schema.PoseConfig, info: DatasetInfo) -> DenseModel:
    """Build the network with random weights for the keypoints of ``info``.

    Raises:
        ValueError: When the flip test is wanted and nobody knows what swaps.
    """
    info = with_sigmas(info)
    model, transforms, evaluation = config.model, config.data.transforms, config.eval
    backbone = backbone_of(model.backbone)
    head = SimpleBaseline(backbone.channels[-1], len(info.keypoint_names), channels=model.channels)
    return TopDownPose(
        backbone,
        sync_norms(head, model.backbone.norm_mode),
        codec=build_codec(model.codec, model.sigma),
        crop=CropRule(transforms.size, transforms.padding),
        flip_order=info.flip_order() if evaluation.flip else None,
        scoring=PoseScoring(
            sigmas=info.sigmas,
            joint_threshold=evaluation.joint_score,
            nms=evaluation.nms,
            nms_threshold=evaluation.nms_oks,
        ),
    )


def prepare_data(config: schema.PoseConfig) -> None:
    """Write the sample data set if the config asks for it and it is not there."""
    prepare_sample(config.data, "keypoints")


def build_dataset(config: schema.PoseConfig, split: Split) -> DenseDataset:
    """Reader of one part: persons for training, images with their persons for evaluation.

    Raises:
        ValueError: When the files do not fit, or hold no keypoints.
    """
    data = config.data
    part = data.train if split == "train" else data.val
    skeleton = _skeleton(config)
    images = CocoDataset(
        part.images,
        part.annotations,
        name=data.name,
        quarantine=Quarantine.load(data.quarantine) if data.quarantine else None,
        # The first images must be the same ones where both parts are one file.
        drop_empty=split == "train" or data.max_images is not None,
        masks=False,
        skeleton=skeleton,
    )
    _check_keypoints(images.info, dataset_info(config), part.annotations)
    if split == "train":
        size = data.transforms.size if data.transforms.reduced_decoding else None
        return Persons(images, decode_for=size, max_images=data.max_images)
    given = None
    if data.detections is not None:
        given = read_detections(data.detections, images, min_score=data.min_detection_score)
    return PersonImages(images, given, max_images=data.max_images)


def check_parts(config: schema.PoseConfig) -> list[Part]:
    """What the data doctor looks at.

    Raises:
        ValueError: When the transforms need to know more about the skeleton.
    """
    build_transform(config, train=True)
    names = dataset_info(config).keypoint_names
    return [
        CocoPart(name, part.images, part.annotations, poses=names, skeleton=_skeleton(config))
        for name, part in (("train", config.data.train), ("val", config.data.val))
    ]


def _check_keypoints(found: DatasetInfo, expected: DatasetInfo, path: str) -> None:
    """The transforms swap and cut by the names of the config, so the file must agree with them."""
    if found.keypoint_names != expected.keypoint_names:
        raise ValueError(
            f"{path}: the annotations have the keypoints {list(found.keypoint_names)}, but the "
            f"config expects {list(expected.keypoint_names)}; describe those of the file in "
            "data.skeleton"
        )


def build_transform(config: schema.PoseConfig, *, train: bool) -> Transform:
    """Cut out the region of one instance in training; whole images for evaluation.

    Raises:
        ValueError: When a flip or half-body crop is wanted and nobody knows what swaps or what is
            the upper half.
    """
    if not train:
        return PoseTest()
    t, info = config.data.transforms, dataset_info(config)
    return PoseTrain(
        t.size,
        padding=t.padding,
        shift=t.shift,
        shift_prob=t.shift_prob,
        flip=t.flip,
        flip_order=info.flip_order() if t.flip > 0 else None,
        half_body=t.half_body,
        half_body_min_joints=t.half_body_min_joints,
        upper_body=[info.keypoint_names.index(name) for name in info.upper_body],
        scale=t.scale,
        rotation=t.rotation,
        rotation_prob=t.rotation_prob,
    )


def largest_input(config: schema.PoseConfig) -> Size:
    """(height, width) of a crop, for the memory estimate."""
    return config.data.transforms.size


def smallest_input(config: schema.PoseConfig) -> Size:
    """(height, width) of a crop."""
    return config.data.transforms.size


def evaluator_factory(
    dataset: DenseDataset, config: schema.PoseConfig
) -> Callable[[], PoseEvaluator]:
    """Make evaluators that share the ground truth of ``dataset``."""
    return partial(
        PoseEvaluator, coco_ground_truth(dataset), dataset.info, backend=config.eval.backend
    )


def perfect_predictions(batch: Batch) -> list[Prediction]:
    """The annotated poses of whole images, as a perfect network would find them.

    Raises:
        ValueError: When the batch has no targets, or holds crops, which know no way back.
    """
    if batch.sizes != batch.orig_sizes:
        raise ValueError("the batch holds crops; give one of whole images")
    targets = [replace(t, scores=torch.ones(len(t))) for t in without_crowd(batch.targets)]
    return to_predictions(batch, targets)


def oracle_check(
    dataset: DenseDataset, transform: Transform, *, evaluator: PoseEvaluator, num_images: int
) -> OracleReport:
    """Push the annotated poses through reader and evaluator."""
    return check_keypoints(
        dataset,
        transform,
        to_prediction=perfect_predictions,
        evaluator=evaluator,
        num_images=num_images,
    )


def save_figures(evaluator: PoseEvaluator, folder: Path) -> None:
    """Nothing beside the pictures."""


def prediction_writer(config: schema.PoseConfig) -> None:
    """The evaluator writes all predictions as COCO results, so none are written one by one."""


def best_metric(config: schema.PoseConfig) -> str:
    """Name of the metric that chooses the best checkpoint.

    Raises:
        ValueError: When the config names none that is measured.
    """
    metric = config.eval.best_metric or "keypoints/AP"
    has_head = bool(dataset_info(config).head)
    measured = [name for name in METRICS if has_head or not name.startswith("pck/PCKh")]
    if metric not in measured:
        raise ValueError(
            f"eval.best_metric: {metric!r} is not measured; choose one of {measured}"
            + ("" if has_head else "; PCKh needs data.skeleton.head")
        )
    return metric
