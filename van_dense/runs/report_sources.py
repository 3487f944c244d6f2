"""What reports are made of: the saved predictions of a run, or of any program."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np

from van_dense.config import Config, dump_config
from van_dense.core.dataset_info import DatasetInfo
from van_dense.core.digest import sha256_of
from van_dense.core.structures import Prediction, size_of
from van_dense.core.writing import replacing
from van_dense.data.dataset import DenseDataset, ReadError
from van_dense.data.io.image import read_image
from van_dense.data.io.label_map import LabelMap
from van_dense.data.io.masks import read_classes, read_grey
from van_dense.data.io.sources import find_files
from van_dense.deploy.formats import RUNTIMES
from van_dense.engine.checkpoint import choose_checkpoint
from van_dense.evaluation.coco import CocoEvaluator
from van_dense.evaluation.ground_truth import HasCocoDict, Kind, coco_ground_truth, unwrapped
from van_dense.evaluation.map_files import find_files as find_pairs
from van_dense.evaluation.map_files import label_info
from van_dense.evaluation.result_files import load_results
from van_dense.evaluation.saved import MapKind, compare, summary_of
from van_dense.evaluation.saved_truth import read_truth
from van_dense.inference.load import load
from van_dense.inference.loaded import Loaded
from van_dense.report import saved_maps
from van_dense.report.evidence import same_protocol
from van_dense.report.objects_evidence import digest_of
from van_dense.report.sources import Maps, Objects, ReadImage, Source, no_image
from van_dense.runs.saved import evaluator_of_objects
from van_dense.runs.scoring import evaluate_loaded
from van_dense.tasks import task_of
from van_dense.tasks.image_masks import truth_of
from van_dense.tasks.panoptic.truth import reader_of

log = logging.getLogger(__name__)

_MADE_OF = "made_of.txt"  # beside predictions: digests of what they were predicted with


def sources_of_run(
    run: str | Path,
    folder: Path,
    *,
    checkpoint: str = "best",
    fragments: Sequence[str | Path] = (),
    overrides: Sequence[str] = (),
) -> list[Source]:
    """Evaluate a run with its predictions saved, unless that was done, and read them back.

    Args:
        run: Run folder, checkpoint, or exported file.
        folder: Folder for the evaluation; what it holds is taken where checkpoint, config, version
            and ids of the images are the same.
        checkpoint: "best", "last" or a file.
        fragments: YAML files, such as another data set, laid over the stored config.
        overrides: ``key.path=value`` on top of them.

    Raises:
        ValueError: When checkpoint or data do not fit.
    """
    opened = open_run(run, checkpoint=checkpoint, fragments=fragments, overrides=overrides)
    return opened.sources(folder)


@dataclass(frozen=True)
class Run:
    """A run that is loaded, and has predicted nothing yet.

    Attributes:
        path: Checkpoint, or exported file.
        loaded: Network and config.
        dataset: Validation part of the config.
    """

    path: Path
    loaded: Loaded
    dataset: DenseDataset

    @cached_property
    def protocol(self) -> dict[str, Any]:
        """What runs must share to be compared, as far as configs and annotation files tell.

        Masks, maps and images are not read for this; the comparison looks at them later.
        """
        config, dataset = self.loaded.config, self.dataset
        task = task_of(config)
        shared: dict[str, Any] = {"task": config.task, **task.label_names(dataset.info)}
        shared["metrics"] = list(task.measured(config))
        for name in ("max_detections", "federated", "boundary"):
            shared[f"eval.{name}"] = getattr(config.eval, name, None)
        shared["images"] = [dataset.image_id(index) for index in range(len(dataset))]
        if isinstance(unwrapped(dataset, HasCocoDict), HasCocoDict):
            truth = coco_ground_truth(dataset)
            shared["annotations (SHA-256)"] = digest_of(truth["annotations"])
        return shared

    def sources(self, folder: Path) -> list[Source]:
        """Evaluate with the predictions saved in a folder, unless they are there, and read them."""
        config, dataset, made_of = self.loaded.config, self.dataset, folder / _MADE_OF
        ids = repr([dataset.image_id(index) for index in range(len(dataset))])
        digests = sha256_of(self.path), hashlib.sha256(ids.encode()).hexdigest()
        wanted = "\n".join([version("van_dense"), *digests, dump_config(config)])
        if made_of.is_file() and made_of.read_text(encoding="utf-8") == wanted:
            log.info("predictions are those in %s", folder)
        else:
            made_of.unlink(missing_ok=True)
            evaluate_loaded(replace(self.loaded, config=_with_predictions(config)), output=folder)
            with replacing(made_of) as temporary:
                temporary.write_text(wanted, encoding="utf-8")
        return SOURCES[config.task](config, dataset, folder)


def open_run(
    run: str | Path,
    *,
    checkpoint: str = "best",
    fragments: Sequence[str | Path] = (),
    overrides: Sequence[str] = (),
) -> Run:
    """Load a run and open its validation part; arguments and errors as ``sources_of_run``."""
    path = Path(run)
    if path.suffix not in RUNTIMES:
        path = choose_checkpoint(run, checkpoint)
    loaded = load(path, device="cpu", fragments=fragments, overrides=overrides)
    task = task_of(loaded.config)
    task.prepare_data(loaded.config)
    return Run(path, loaded, task.build_dataset(loaded.config, "val"))


def _with_predictions(config: Config) -> Config:
    """The config with predictions saved, where its task has a choice."""
    section = type(config.eval)
    if "save_predictions" not in section.model_fields:
        return config
    wanted = section.model_validate({**config.eval.model_dump(), "save_predictions": True})
    return config.model_copy(update={"eval": wanted})


def check_comparable(runs: Mapping[str, Run]) -> None:
    """ValueError, naming what differs, where runs cannot be compared; nothing is evaluated.

    Args:
        runs: Runs by name, each of which is compared with the first.
    """
    first, *others = runs
    for other in others:
        same_protocol(runs[first].protocol, runs[other].protocol, (first, other))


def _objects(config: Config, dataset: DenseDataset, folder: Path) -> list[Source]:
    """Boxes, masks and poses."""
    found = evaluator_of_objects(str(folder / "predictions.json"), config, dataset, None)
    evaluator = found.evaluator
    for warning in found.warnings:
        log.warning("%s", warning)
    rules = {}
    if isinstance(evaluator, CocoEvaluator):
        rules = {"federated": evaluator.federated, "boundary": evaluator.boundary}
    return [
        Objects(
            evaluator.ground_truth,
            found.table,
            kind,
            dataset.info,
            evaluator.max_detections,
            _reader(dataset),
            **(rules if kind == "segm" else rules | {"boundary": False}),
        )
        for kind in found.kinds
    ]


def _label_maps(config: Any, dataset: DenseDataset, folder: Path) -> list[Source]:
    label_map = LabelMap.parse(config.data.label_map, len(config.data.classes))

    def predicted(image_id: int | str) -> Prediction:
        labels = read_classes(folder / "predictions" / f"{image_id}.png", label_map)
        return Prediction(image_id, size_of(labels), semantic=labels)

    return [_maps(dataset, folder, predicted, "semantic")]


def _saliency_maps(config: Any, dataset: DenseDataset, folder: Path) -> list[Source]:
    def predicted(image_id: int | str) -> Prediction:
        grey = read_grey(folder / "predictions" / f"{image_id}.png")
        scaled = grey.astype(np.float32) / np.float32(255)
        return Prediction(image_id, size_of(grey), saliency=scaled)

    return [_maps(dataset, folder, predicted, "saliency")]


def _classes(config: Config, dataset: DenseDataset, folder: Path) -> list[Source]:
    index_of = {str(dataset.image_id(index)): index for index in range(len(dataset))}
    read = partial(_image_at, dataset, index_of)
    return [saved_maps.image_classes(folder / "predictions.csv", dataset.info, read=read)]


def _panoptic_maps(config: Any, dataset: DenseDataset, folder: Path) -> list[Source]:
    """Panoptic maps, whatever else a run of the config measures."""
    data, reader = config.data.val, reader_of(dataset)
    pngs = {
        reader.image_id(index): folder / "predictions_panoptic" / reader.mask_name(index)
        for index in range(len(dataset))
    }
    source = saved_maps.panoptic_maps(
        folder,
        data.annotations,
        masks=data.masks,
        only={image_id for image_id, png in pngs.items() if png.is_file()},
        read=_reader(dataset),
        boundary=config.eval.boundary,
    )
    return [source]


def _maps(dataset: DenseDataset, folder: Path, predicted: Any, kind: Any) -> Maps:
    """Maps of the images that were predicted; unreadable ones were reported by the evaluation."""
    ids = [dataset.image_id(index) for index in range(len(dataset))]
    there = [key for key in ids if (folder / "predictions" / f"{key}.png").is_file()]
    return Maps(there, predicted, truth_of(dataset), kind, dataset.info, _reader(dataset))


def _reader(dataset: DenseDataset) -> ReadImage:
    index_of = {dataset.image_id(index): index for index in range(len(dataset))}
    return partial(_image_at, dataset, index_of)


def _image_at(
    dataset: DenseDataset, index_of: Mapping[Any, int], image_id: int | str
) -> np.ndarray | None:
    try:
        return dataset.raw(index_of[image_id]).image
    except ReadError:  # the evaluation has named it
        return None


SOURCES: Mapping[str, Callable[[Any, DenseDataset, Path], list[Source]]] = {
    "classification": _classes,
    "detection": _objects,
    "panoptic": _panoptic_maps,
    "pose": _objects,
    "saliency": _saliency_maps,
    "semantic": _label_maps,
}


def saved_sources(
    predictions: Path,
    *,
    annotations: str,
    type: Kind | MapKind | Literal["panoptic"],
    data: Mapping[str, Any],
    images: str | None = None,
    masks: str | None = None,
    max_detections: int | None = None,
    federated: bool = False,
    boundary: bool = False,
) -> tuple[list[Source], list[str]]:
    """Predictions that any program saved, and what is to be said of them.

    Args:
        predictions: COCO results file, folder of maps, or of panoptic results.
        annotations: COCO annotation file, or folder of masks.
        type: What to measure.
        data: Section ``data`` of a config, of which ``quarantine``, ``crowds``, ``skeleton``,
            ``label_map``, ``classes`` and the patterns of names matter.
        images: Folder of the images, for pictures; None draws none.
        masks: Folder of the PNGs of panoptic annotations; None is the one beside their JSON.
        max_detections: Detections of an image and class that count; None as COCO.
        federated: Whether the rules of boxes and masks are those of LVIS.
        boundary: Whether boundary AP of masks is measured beside AP, or boundary PQ beside PQ.

    Raises:
        ValueError: When predictions and annotations do not fit.
    """
    if images is not None and not Path(images).is_dir():
        raise ValueError(f"--images {images}: no such folder")
    if type in ("bbox", "segm", "keypoints"):
        rules = {"federated": federated, "boundary": boundary}
        limit = max_detections
        return _saved_objects(predictions, annotations, type, data, images, limit, **rules)
    read = no_image if images is None else _by_stem(images)
    if type == "panoptic":
        given: Any = {"masks": masks, "read": read, "boundary": boundary}
        return [saved_maps.panoptic_maps(predictions, annotations, **given)], []
    patterns = {k: data[k] for k in ("prediction_pattern", "mask_pattern") if k in data}
    files = find_pairs(predictions, annotations, **patterns)
    if type == "saliency":
        info = DatasetInfo("saliency", class_names=("salient",), category_ids=(1,))
        return [saved_maps.saliency_maps(files, info, read=read)], []
    if not data.get("label_map"):
        fix = "give --data FRAGMENT, such as ade20k, or --label-map"
        raise ValueError(f"what do the values of the label maps mean? {fix}")
    lines = data["label_map"]
    info = label_info(lines, data.get("classes", ()))
    return [saved_maps.label_maps(files, lines, info, read=read)], []


def _by_stem(images: str) -> ReadImage:
    """Images of a folder by their paths in it without the ending, or by such a name alone."""
    files = find_files(images)
    names = Counter(file.stem for file in files)
    paths = {file.stem: file for file in files if names[file.stem] == 1}
    paths |= {file.relative_to(images).with_suffix("").as_posix(): file for file in files}

    def read(image_id: int | str) -> np.ndarray | None:
        key = PurePosixPath(str(image_id))
        path = paths.get(str(key)) or paths.get(key.name)
        return None if path is None else _read(path)

    return read


def _saved_objects(
    predictions: Path,
    annotations: str,
    kind: Kind,
    data: Mapping[str, Any],
    images: str | None,
    max_detections: int | None,
    *,
    federated: bool,
    boundary: bool,
) -> tuple[list[Source], list[str]]:
    truth = read_truth(annotations, kind, data)
    names = truth.info.keypoint_names
    found = load_results(predictions, truth.coco, (kind,), left_out=truth.left_out, keypoints=names)
    read = no_image if images is None else _by_file_name(truth.coco["images"], images)
    given: Any = {"max_detections": max_detections, "federated": federated}
    rules = given | {"boundary": boundary}
    source = Objects(truth.coco, found.table, kind, truth.info, read=read, **rules)
    notes = compare(str(predictions), truth.coco, found, kind, **given)
    said = [*truth.warnings, *found.notes, *notes, *truth.remarks, summary_of(found.table)]
    return [source], said


def _by_file_name(records: Sequence[Mapping[str, Any]], images: str) -> ReadImage:
    names = {record["id"]: record.get("file_name") for record in records}

    def read(image_id: int | str) -> np.ndarray | None:
        name = names[image_id]
        return None if name is None else _read(Path(images) / str(name))

    return read


def _read(path: Path) -> np.ndarray | None:
    try:
        return read_image(path)
    except ReadError as error:
        log.warning("no picture of it: %s", error)
        return None
