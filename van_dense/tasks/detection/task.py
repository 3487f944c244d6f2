"""Object detection and instance segmentation: model, data and evaluator from one config."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from torch import Tensor

from van_dense.config.detection import CascadeMaskRCNN, DetectionConfig, MaskRCNN, SparseRCNN
from van_dense.core.dataset_info import DatasetInfo
from van_dense.core.structures import Batch, Prediction, Size
from van_dense.data.crowding import DetectionLimits
from van_dense.data.dataset import DenseDataset, FirstImages, Transform
from van_dense.data.doctor.boxes import BoxSetting
from van_dense.data.doctor.doctor import Part
from van_dense.data.readers.coco_json import coco_info
from van_dense.data.readers.quarantine import Quarantine
from van_dense.evaluation.coco import CocoEvaluator, metrics_of, rules_of
from van_dense.evaluation.ground_truth import Kind, coco_ground_truth
from van_dense.evaluation.oracle.instances import check_instances
from van_dense.evaluation.oracle.metrics import OracleReport
from van_dense.integrations.checkpoints.detectors import load_detector
from van_dense.integrations.checkpoints.mmdet_settings import kind_of, test_settings
from van_dense.integrations.checkpoints.openmmlab_file import ForeignFile
from van_dense.models.dense_model import DenseModel
from van_dense.models.detection.anchors import without_crowd
from van_dense.models.postprocess import resize_masks, to_predictions
from van_dense.tasks.base import Split, Task
from van_dense.tasks.detection import files, transforms
from van_dense.tasks.detection.box_setting import box_setting
from van_dense.tasks.detection.one_stage import build_atss, build_gfl, build_retinanet
from van_dense.tasks.detection.sparse import sparse_rcnn
from van_dense.tasks.detection.two_stage import cascade_mask_rcnn, mask_rcnn

MASK_KINDS = ("maskrcnn", "cascade_maskrcnn")  # models that give masks beside boxes
BUILDERS: dict[str, Callable[[Any, int], DenseModel]] = {
    "maskrcnn": mask_rcnn,
    "cascade_maskrcnn": cascade_mask_rcnn,
    "sparsercnn": sparse_rcnn,
    "retinanet": build_retinanet,
    "atss": build_atss,
    "gfl": build_gfl,
}


class Detection(Task[DetectionConfig]):
    """Boxes of objects, with their masks where the model gives some."""

    sample_part = "instances"
    classes_in_files = True

    def dataset_info(self, config: DetectionConfig) -> DatasetInfo:
        """COCO's 80 classes; those of other data sets are in their files."""
        return coco_info()

    def build_dataset(self, config: DetectionConfig, split: Split) -> DenseDataset:
        """Reader of one part; training leaves out images without boxes if the config says so."""
        data = config.data
        wants_masks = "segm" in metric_types(config)
        options: dict[str, Any] = {
            "name": data.name,
            "quarantine": Quarantine.load(data.quarantine) if data.quarantine else None,
            # The first images must be the same ones where both parts are one file.
            "drop_empty": data.drop_empty and (split == "train" or data.max_images is not None),
            "masks": wants_masks,  # decoding them is half of the reading time
        }
        dataset = files.read_part(data, split, **options)
        if wants_masks and not dataset.has_masks:
            part_has = f"the {split} part of {data.name!r} has boxes only"
            fix = "use a retinanet project, or annotations with segmentation"
            if data.format == "voc":
                fix += "; the masks of SegmentationObject are not read: convert them to COCO JSON"
            raise ValueError(f"{config.model.kind} learns masks, but {part_has}; {fix}")
        return dataset if data.max_images is None else FirstImages(dataset, data.max_images)

    def build_transform(self, config: DetectionConfig, *, train: bool) -> Transform:
        """Flip, crop, resize and colour for training; resize alone for evaluation."""
        return transforms.build_transform(config.data.transforms, train=train)

    def check_parts(self, config: DetectionConfig) -> list[Part]:
        """Files of the format, read as training and evaluation read them."""
        return files.check_parts(config.data, masks="segm" in metric_types(config))

    def box_setting(self, config: DetectionConfig) -> BoxSetting:
        """Sizes of test and training, and the anchors."""
        return box_setting(config.data.transforms, config.model)

    def largest_input(self, config: DetectionConfig) -> Size:
        """(height, width) of the largest padded training image."""
        return transforms.largest_input(config.data.transforms, config.data.size_divisor)

    def smallest_input(self, config: DetectionConfig) -> Size:
        """Images are padded to the largest of their batch alone, or to the window of the jitter."""
        return transforms.smallest_input(config.data.transforms)

    def build_model(self, config: DetectionConfig, info: DatasetInfo) -> DenseModel:
        """Detector of the config's kind, on its engine; ValueError when that has no such model."""
        model = BUILDERS[config.model.kind](config.model, info.num_classes)
        if config.model.engine == "torchvision":
            return model
        from van_dense.integrations.detectron2.engine import on_detectron2  # an optional package

        return on_detectron2(model)

    def load_foreign(
        self, model: DenseModel, file: ForeignFile, config: DetectionConfig, info: DatasetInfo
    ) -> str:
        """Detectors of Detectron2, torchvision and mmdetection."""
        return load_detector(model, file, settings=config.model.model_dump(), info=info)

    def classes_of(self, file: ForeignFile, config: DetectionConfig) -> DatasetInfo | None:
        """Classes of a file of mmdetection, with ids from 1 on unless they are COCO's."""
        if file.classes in (None, coco_info().class_names):
            return None
        ids = tuple(range(1, len(file.classes) + 1))
        return DatasetInfo(config.data.name, file.classes, ids)

    def taken_over(self, file: ForeignFile, config: DetectionConfig) -> dict[str, Any] | None:
        """Test settings of a file of mmdetection."""
        kind = config.model.kind
        if file.config is None or kind_of(file.config) != kind:
            return None
        return test_settings(file.config, kind)

    def detection_limits(self, config: DetectionConfig) -> DetectionLimits:
        """That of AP, and that of the model."""
        model, key = config.model, "model"
        if isinstance(model, MaskRCNN | CascadeMaskRCNN):
            given, key = model.box_head.max_detections, f"{key}.box_head"
        elif isinstance(model, SparseRCNN):
            given = model.max_detections
        else:
            given, key = model.head.max_detections, f"{key}.head"
        counted = None if config.eval.federated else config.eval.max_detections
        key = f"{key}.max_detections"
        return DetectionLimits(counted, given=given, given_key=key)

    def evaluator_factory(
        self, dataset: DenseDataset, config: DetectionConfig
    ) -> Callable[[], CocoEvaluator]:
        """COCO evaluators that share the ground truth."""
        shared = (coco_ground_truth(dataset), dataset.info, metric_types(config))
        names = {"backend", "max_detections", "federated", "boundary"}
        settings = config.eval.model_dump(include=names)
        return partial(CocoEvaluator, *shared, **settings)

    def measured(self, config: DetectionConfig) -> Sequence[str]:
        """Metrics of boxes, and of masks where the model gives some."""
        rules = rules_of(federated=config.eval.federated)
        kinds = metric_types(config)
        names = [f"{kind}/{name}" for kind in kinds for name in metrics_of(kind, rules)]
        boundary = metrics_of("segm", "boundary") if config.eval.boundary else ()
        return [*names, *(f"boundary/{name}" for name in boundary)]

    def default_metric(self, config: DetectionConfig) -> str:
        """AP of masks where the model gives some, otherwise of boxes."""
        return f"{metric_types(config)[-1]}/AP"

    def perfect_predictions(self, batch: Batch, info: DatasetInfo) -> list[Prediction]:
        """Boxes and masks in original pixels."""
        targets = without_crowd(batch.targets)
        perfect = []
        for prediction, target in zip(to_predictions(batch, targets), targets, strict=True):
            assert prediction.instances is not None  # to_predictions fills it
            masks = None
            if isinstance(target.masks, Tensor):
                masks = resize_masks(target.masks, prediction.size)
            instances = replace(prediction.instances, masks=masks)
            perfect.append(replace(prediction, instances=instances))
        return perfect

    def oracle(self) -> Callable[..., OracleReport]:
        """Boxes and masks survive transform, post-processing and evaluator."""
        return check_instances


def metric_types(config: DetectionConfig) -> tuple[Kind, ...]:
    """What is evaluated: boxes, and masks where the model gives some."""
    return ("bbox", "segm") if config.model.kind in MASK_KINDS else ("bbox",)
