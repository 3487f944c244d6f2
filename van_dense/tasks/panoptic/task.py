"""Panoptic segmentation: model, data and evaluators from one config."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from van_dense.backbones.weights import load_pretrained
from van_dense.config.panoptic import EvalType, PanopticConfig, PanopticFPN, PanopticSplit
from van_dense.core.dataset_info import DatasetInfo
from van_dense.core.structures import Batch, Prediction, Size
from van_dense.data.crowding import DetectionLimits
from van_dense.data.dataset import DenseDataset, FirstImages, Transform
from van_dense.data.doctor.boxes import BoxSetting
from van_dense.data.doctor.doctor import CocoPart, PanopticPart, Part
from van_dense.data.readers.panoptic import PanopticDataset
from van_dense.data.readers.panoptic_json import coco_panoptic_info
from van_dense.data.readers.quarantine import Quarantine
from van_dense.data.transforms.detection import resize_map
from van_dense.evaluation import panoptic as panoptic_metrics
from van_dense.evaluation import semantic as semantic_metrics
from van_dense.evaluation.coco import METRICS_OF_KIND, CocoEvaluator
from van_dense.evaluation.evaluator import Evaluator
from van_dense.evaluation.ground_truth import Kind
from van_dense.evaluation.oracle.metrics import OracleReport, check_metrics
from van_dense.evaluation.panoptic import PanopticEvaluator
from van_dense.evaluation.results import Outcome, ResultFiles, to_panoptic, write_panoptic
from van_dense.evaluation.semantic import SemanticEvaluator
from van_dense.evaluation.several import SeveralEvaluators
from van_dense.integrations.checkpoints.mask2former import load_mask2former
from van_dense.integrations.checkpoints.openmmlab_file import ForeignFile
from van_dense.models.dense_model import DenseModel
from van_dense.models.panoptic.mask2former import Mask2Former
from van_dense.tasks.base import PredictionWriter, Split, Task
from van_dense.tasks.detection import transforms
from van_dense.tasks.detection.box_setting import box_setting
from van_dense.tasks.detection.two_stage import panoptic_fpn
from van_dense.tasks.panoptic.mask2former import mask2former_of
from van_dense.tasks.panoptic.truth import (
    ids_of,
    instances_of,
    labels_of,
    maps_of,
    read_instances,
    reader_of,
)

_BUILDERS: dict[str, Callable[..., DenseModel]] = {
    "mask2former": mask2former_of,
    "panoptic_fpn": panoptic_fpn,
}
_DEFAULT: dict[EvalType, str] = {
    "panoptic": "panoptic/PQ",
    "instance": "segm/AP",
    "semantic": "semantic/mIoU",
}


class Panoptic(Task[PanopticConfig]):
    """Every pixel belongs to a thing or to stuff."""

    sample_part = "panoptic"
    classes_in_files = True

    def dataset_info(self, config: PanopticConfig) -> DatasetInfo:
        """COCO's 133 classes; those of other data sets are in their files."""
        return coco_panoptic_info()

    def build_dataset(self, config: PanopticConfig, split: Split) -> DenseDataset:
        """Reader of one part."""
        data, part, quarantine = config.data, _part(config, split), _quarantine(config)
        dataset = PanopticDataset(
            part.images,
            part.annotations,
            part.mask_folder,
            name=data.name,
            quarantine=quarantine,
        )
        if split == "val" and (file := _instances(config)) is not None:
            dataset.notes += read_instances(file, quarantine)[1]
        return dataset if data.max_images is None else FirstImages(dataset, data.max_images)

    def build_transform(self, config: PanopticConfig, *, train: bool) -> Transform:
        """Those of detection."""
        return transforms.build_transform(config.data.transforms, train=train)

    def check_parts(self, config: PanopticConfig) -> list[Part]:
        """JSON and PNG files, and the instances that the validation part is compared with."""
        parts: list[Part] = [
            PanopticPart(name, part.images, part.annotations, part.mask_folder)
            for name, part in (("train", config.data.train), ("val", config.data.val))
        ]
        if (file := _instances(config)) is not None:
            reads: dict[str, Any] = {"masks": True, "keypoints": False, "is_beside": True}
            parts.append(CocoPart("val.instances", config.data.val.images, file, **reads))
        return parts

    def box_setting(self, config: PanopticConfig) -> BoxSetting | None:
        """Sizes of test and training, and the anchors of Panoptic FPN; Mask2Former has none."""
        if not isinstance(config.model, PanopticFPN):
            return None
        return box_setting(config.data.transforms, config.model)

    def largest_input(self, config: PanopticConfig) -> Size:
        """(height, width) of the largest padded training image."""
        return transforms.largest_input(config.data.transforms, config.data.size_divisor)

    def smallest_input(self, config: PanopticConfig) -> Size:
        """Images are padded to the window of the jitter, or to the largest of their batch."""
        return transforms.smallest_input(config.data.transforms)

    def build_model(self, config: PanopticConfig, info: DatasetInfo) -> DenseModel:
        """Network of the config's kind."""
        return _BUILDERS[config.model.kind](config.model, info, types=config.eval.types)

    def tiling_refusal(self, config: PanopticConfig) -> str | None:
        """Queries stand for segments of a whole image."""
        if config.model.kind == "panoptic_fpn":
            return None
        return (
            "queries of Mask2Former stand for segments of a whole image, and nothing says which "
            "belong together in two windows; train a panoptic_fpn project for that"
        )

    def load_foreign(
        self, model: DenseModel, file: ForeignFile, config: PanopticConfig, info: DatasetInfo
    ) -> str:
        """Mask2Former of transformers, as far as it fits.

        Where the backbone of the file is another one, the config's own weights fill ours.
        """
        if not isinstance(model, Mask2Former):
            raise ValueError(
                "no checkpoint of a whole Panoptic FPN of another code base can be read, only of "
                "Mask2Former; model.backbone.weights takes the backbone alone"
            )
        report = load_mask2former(model, file.state)
        source = config.model.backbone.weights
        if not any(key.startswith("backbone.") for key in report.filled) and source is not None:
            return f"{report}\nbackbone: {load_pretrained(model.backbone, source)}"
        return str(report)

    # ------------------------------------------------------------------------------ evaluation

    def detection_limits(self, config: PanopticConfig) -> DetectionLimits:
        """That of AP, and that of the queries, or of the detector inside."""
        counted = config.eval.max_detections if "instance" in config.eval.types else None
        if isinstance(config.model, PanopticFPN):
            given, key = config.model.box_head.max_detections, "model.box_head.max_detections"
        else:
            given, key = config.model.queries, "model.queries"
        return DetectionLimits(counted, given=given, given_key=key)

    def evaluator_factory(
        self, dataset: DenseDataset, config: PanopticConfig
    ) -> Callable[[], Evaluator]:
        """One evaluator for each of ``eval.types``, all on the same predictions."""
        ids, maps, info = ids_of(dataset), maps_of(dataset), dataset.info
        makers: dict[EvalType, Callable[[], Evaluator]] = {}
        if "panoptic" in config.eval.types:
            boundary = config.eval.boundary
            makers["panoptic"] = partial(PanopticEvaluator, maps, ids, info, boundary=boundary)
        if "instance" in config.eval.types:
            quarantine, file = _quarantine(config), _instances(config)
            truth = instances_of(ids, maps, info, file, quarantine=quarantine)
            kinds: tuple[Kind, ...] = ("bbox", "segm")
            settings = config.eval.model_dump(include={"backend", "max_detections"})
            makers["instance"] = partial(CocoEvaluator, truth, info, kinds, **settings)
        if "semantic" in config.eval.types:
            makers["semantic"] = partial(SemanticEvaluator, labels_of(maps), ids, info)
        return lambda: SeveralEvaluators([makers[kind]() for kind in config.eval.types])

    def measured(self, config: PanopticConfig) -> Sequence[str]:
        """Metrics of all ``eval.types``."""
        names = {
            "panoptic": panoptic_metrics.METRICS
            + (panoptic_metrics.BOUNDARY_METRICS if config.eval.boundary else ()),
            "instance": [f"{k}/{m}" for k in ("bbox", "segm") for m in METRICS_OF_KIND[k]],
            "semantic": semantic_metrics.METRICS,
        }
        return [name for kind in config.eval.types for name in names[kind]]

    def default_metric(self, config: PanopticConfig) -> str:
        """PQ, or the usual metric of the first of ``eval.types``."""
        types = config.eval.types
        return _DEFAULT["panoptic" if "panoptic" in types else types[0]]

    def perfect_predictions(self, batch: Batch, info: DatasetInfo) -> list[Prediction]:
        """Panoptic maps in original pixels; what was a crowd is void."""
        if batch.panoptic is None or batch.segments is None:
            raise ValueError("the batch has no panoptic maps")
        perfect = []
        for index, (height, width) in enumerate(batch.sizes):
            size = batch.orig_sizes[index]
            found = resize_map(batch.panoptic[index, :height, :width].numpy(), size)
            kept, present = [], set(np.unique(found).tolist())
            for segment in batch.segments[index]:
                if segment.get("crowd"):
                    found[found == segment["id"]] = 0
                elif segment["id"] in present:
                    kept.append(segment)
            perfect.append(Prediction(batch.image_ids[index], size, panoptic=found, segments=kept))
        return perfect

    def oracle(self) -> Callable[..., OracleReport]:
        """Most segments survive resizing there and back."""
        return partial(check_metrics, limits={"panoptic/PQ": (1.0, 0.8)})

    def oracle_check(
        self, dataset: DenseDataset, transform: Transform, *, evaluator: Any, config: PanopticConfig
    ) -> OracleReport:
        """Judge the panoptic maps alone, which the truth of all ``eval.types`` comes from."""
        ids, maps = ids_of(dataset), maps_of(dataset)
        evaluator = PanopticEvaluator(maps, ids, dataset.info, boundary=False)
        return super().oracle_check(dataset, transform, evaluator=evaluator, config=config)

    @contextmanager
    def prediction_writer(
        self, config: PanopticConfig, dataset: DenseDataset, folder: Path
    ) -> Iterator[PredictionWriter | None]:
        """Writer of JSON and PNGs as the official servers want them, where asked for."""
        if not config.eval.save_predictions:
            yield None
            return
        path, reader = folder / "predictions", reader_of(dataset)
        png_of = {reader.image_id(index): reader.mask_name(index) for index in range(len(reader))}
        with ResultFiles(path) as files:

            def write(prediction: Prediction) -> None:
                png = png_of[prediction.image_id]
                files.add(Outcome(panoptic=to_panoptic(prediction, dataset.info, png)))
                write_panoptic(prediction, path, png)

            yield write


def _quarantine(config: PanopticConfig) -> Quarantine | None:
    path = config.data.quarantine
    return None if path is None else Quarantine.load(path)


def _instances(config: PanopticConfig) -> str | None:
    """The file of instances, where something is compared with it."""
    return config.data.val.instances if "instance" in config.eval.types else None


def _part(config: PanopticConfig, split: Split) -> PanopticSplit:
    return config.data.train if split == "train" else config.data.val
