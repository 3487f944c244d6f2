"""Top-down pose: model, data and evaluator from one config."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from van_dense.backbones.build import sync_norms
from van_dense.config.pose import PoseConfig
from van_dense.core.dataset_info import DatasetInfo
from van_dense.core.structures import Batch, Prediction, Size
from van_dense.data.crowding import DetectionLimits
from van_dense.data.dataset import DenseDataset, Transform
from van_dense.data.doctor.doctor import CocoPart, Part
from van_dense.data.readers.coco import CocoDataset
from van_dense.data.readers.coco_json import Skeleton, coco_person, with_sigmas
from van_dense.data.readers.detections import read_detections
from van_dense.data.readers.persons import PersonImages, Persons
from van_dense.data.readers.quarantine import Quarantine
from van_dense.data.readers.skeleton_file import spell
from van_dense.data.transforms.extra import with_extra
from van_dense.data.transforms.pose import PoseTest, PoseTrain
from van_dense.evaluation.ground_truth import coco_ground_truth
from van_dense.evaluation.oracle.instances import check_keypoints
from van_dense.evaluation.oracle.metrics import OracleReport
from van_dense.evaluation.pose import METRICS, PoseEvaluator
from van_dense.integrations.checkpoints import mmpose
from van_dense.integrations.checkpoints.openmmlab_file import ForeignFile
from van_dense.integrations.checkpoints.openmmlab_settings import (
    check_classes,
    no_config,
)
from van_dense.models.dense_model import DenseModel
from van_dense.models.detection.anchors import without_crowd
from van_dense.models.pose.heatmap import build_codec
from van_dense.models.pose.simple_baseline import SimpleBaseline
from van_dense.models.pose.top_down import CropGeometry, PoseScoring, TopDownPose
from van_dense.models.postprocess import to_predictions
from van_dense.tasks.backbone import backbone_of
from van_dense.tasks.base import Split, Task


class Pose(Task[PoseConfig]):
    """Keypoints of instances that are known by their boxes."""

    sample_part = "keypoints"
    training_items = "instances"

    def dataset_info(self, config: PoseConfig) -> DatasetInfo:
        """Skeleton as the config gives it, or COCO's persons."""
        return coco_person(_skeleton(config))

    def label_names(self, info: DatasetInfo) -> dict[str, Sequence[str]]:
        """Keypoints beside the classes."""
        return {**super().label_names(info), "keypoints": info.keypoint_names}

    def build_dataset(self, config: PoseConfig, split: Split) -> DenseDataset:
        """Reader of one part: persons for training, images with their persons for evaluation."""
        data = config.data
        part = data.train if split == "train" else data.val
        images = CocoDataset(
            part.images,
            part.annotations,
            name=data.name,
            quarantine=Quarantine.load(data.quarantine) if data.quarantine else None,
            # The first images must be the same ones where both parts are one file.
            drop_empty=split == "train" or data.max_images is not None,
            masks=False,
            crowds=data.crowds,
            index=data.index,
            skeleton=_skeleton(config),
        )
        _check_keypoints(images.info, self.dataset_info(config), part.annotations)
        if split == "train":
            size = data.transforms.size if data.transforms.reduced_decoding else None
            return Persons(images, decode_for=size, max_images=data.max_images)
        detections, least = None, data.min_detection_score
        if data.detections is not None:
            detections = read_detections(data.detections, images, min_score=least)
        return PersonImages(images, detections, max_images=data.max_images)

    def build_transform(self, config: PoseConfig, *, train: bool) -> Transform:
        """Cut out the region of one instance in training; whole images for evaluation.

        ValueError for a flip or half-body crop where nobody knows what swaps or is the upper half.
        """
        if not train:
            return PoseTest()
        t, info = config.data.transforms, self.dataset_info(config)
        own = PoseTrain(
            **t.model_dump(exclude={"extra", "reduced_decoding"}),
            flip_order=info.flip_order() if t.flip > 0 else None,
            upper_body=[info.keypoint_names.index(name) for name in info.upper_body],
        )
        return with_extra(own, t.extra, info=info, crop_size=t.size)

    def check_parts(self, config: PoseConfig) -> list[Part]:
        """COCO files with poses."""
        self.build_transform(config, train=True)
        described: dict[str, Any] = {
            "poses": self.dataset_info(config).keypoint_names,
            "skeleton": _skeleton(config),
            "crowds": config.data.crowds,
        }
        return [
            CocoPart(name, part.images, part.annotations, **described)
            for name, part in (("train", config.data.train), ("val", config.data.val))
        ]

    def largest_input(self, config: PoseConfig) -> Size:
        """(height, width) of a crop."""
        return config.data.transforms.size

    def build_model(self, config: PoseConfig, info: DatasetInfo) -> DenseModel:
        """SimpleBaseline; ValueError when its flip test is on and nobody knows what swaps."""
        info = with_sigmas(info)
        model, transforms, evaluation = config.model, config.data.transforms, config.eval
        backbone = backbone_of(model.backbone, self.largest_input(config))
        backbone.leave_out(3)  # heatmaps are made of c5 alone
        joints = len(info.keypoint_names)
        head = SimpleBaseline(backbone.channels[-1], joints, channels=model.channels)
        return TopDownPose(
            backbone,
            sync_norms(head, model.backbone.norm_mode),
            codec=build_codec(model.codec, model.sigma),
            crop=CropGeometry(transforms.size, transforms.padding),
            flip_order=info.flip_order() if evaluation.flip else None,
            scoring=PoseScoring(
                sigmas=info.sigmas,
                joint_threshold=evaluation.joint_score,
                nms=evaluation.nms,
                nms_threshold=evaluation.nms_oks,
            ),
        )

    def taken_over(self, file: ForeignFile, config: PoseConfig) -> dict[str, Any]:
        """Test settings of a file of mmpose."""
        return mmpose.taken_over(file.config)

    def load_foreign(
        self, model: DenseModel, file: ForeignFile, config: PoseConfig, info: DatasetInfo
    ) -> str:
        """SimpleBaseline of mmpose."""
        mmpose.check_network(file.config, config.model_dump())
        fix = "give those of the file in data.skeleton"
        names = info.keypoint_names
        note = check_classes(file.keypoints, names, what="keypoint", fix=fix)
        report = mmpose.load_pose(model, file.state, config.model.backbone.name)
        notes = (note, no_config(file.config), *file.notes)
        return "\n".join([report, *filter(None, notes)])

    def tiling_refusal(self, config: PoseConfig) -> str:
        """Never in tiles."""
        why = "its model cuts instances out at full resolution anyway"
        return f"{why}; tile the detector of its boxes"

    def detection_limits(self, config: PoseConfig) -> DetectionLimits:
        """That of AP; the model gives a pose for each box."""
        return DetectionLimits(config.eval.max_detections)

    def evaluator_factory(
        self, dataset: DenseDataset, config: PoseConfig
    ) -> Callable[[], PoseEvaluator]:
        """Evaluators that share the ground truth."""
        shared = (coco_ground_truth(dataset), dataset.info)
        backend, limit = config.eval.backend, config.eval.max_detections
        return partial(PoseEvaluator, *shared, backend=backend, max_detections=limit)

    def default_metric(self, config: PoseConfig) -> str:
        """AP over OKS thresholds."""
        return "keypoints/AP"

    def measured(self, config: PoseConfig) -> Sequence[str]:
        """Metrics of keypoints; PCKh where the skeleton has a head."""
        has_head = bool(self.dataset_info(config).head)
        return [name for name in METRICS if has_head or not name.startswith("pck/PCKh")]

    def best_metric(self, config: PoseConfig) -> str:
        """Name of the metric that chooses the best checkpoint."""
        metric = config.eval.best_metric
        if metric in METRICS and metric not in self.measured(config):
            fix = "PCKh needs data.skeleton.head"
            raise ValueError(f"eval.best_metric: {metric!r} is not measured; {fix}")
        return super().best_metric(config)

    def perfect_predictions(self, batch: Batch, info: DatasetInfo) -> list[Prediction]:
        """The annotated poses of whole images; crops know no way back."""
        if batch.sizes != batch.orig_sizes:
            raise ValueError("the batch holds crops; give one of whole images")
        targets = [replace(t, scores=torch.ones(len(t))) for t in without_crowd(batch.targets)]
        return to_predictions(batch, targets)

    def oracle(self) -> Callable[..., OracleReport]:
        """The annotated poses survive reader and evaluator."""
        return check_keypoints


def _skeleton(config: PoseConfig) -> Skeleton | None:
    named = config.data.skeleton
    return None if named is None else Skeleton(**named.model_dump())


def _check_keypoints(found: DatasetInfo, expected: DatasetInfo, path: str) -> None:
    """The transforms swap and cut by the names of the config, so the file must agree with them."""
    there, here = found.keypoint_names, expected.keypoint_names
    if not there:
        fix = "name those of its annotations, in their order, in data.skeleton.keypoints"
        raise ValueError(f"{path}: no category names keypoints; {fix}")
    if there != here:
        line = f"data.skeleton={{keypoints: {spell(there)}}}"
        both = f"has the keypoints {list(there)}, the config expects {list(here)}"
        raise ValueError(f"{path}: the file {both}; describe those of the file: {line}")
