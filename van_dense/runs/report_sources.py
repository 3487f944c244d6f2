"""What reports are made of: the saved predictions of a run, or of any program."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from van_dense import __version__
from van_dense.config import Config, dump_config
from van_dense.config.load import RawConfig
from van_dense.core.digest import sha256_of
from van_dense.core.structures import Prediction, size_of
from van_dense.core.writing import replacing
from van_dense.data.dataset import DenseDataset, ReadError
from van_dense.data.io.image import read_image
from van_dense.data.io.label_map import LabelMap
from van_dense.data.io.masks import read_classes, read_grey
from van_dense.deploy.formats import RUNTIMES
from van_dense.engine.checkpoint import choose_checkpoint
from van_dense.evaluation.ground_truth import Kind
from van_dense.evaluation.result_files import load_results
from van_dense.evaluation.saved import MapKind
from van_dense.evaluation.saved_truth import read_truth
from van_dense.inference.load import load
from van_dense.report import saved_maps
from van_dense.report.sources import Maps, Objects, ReadImage, Source, no_image
from van_dense.runs.saved import evaluator_of_objects
from van_dense.runs.scoring import evaluate_run
from van_dense.tasks import task_of
from van_dense.tasks.image_masks import truth_of

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
        folder: Folder for the evaluation; what it holds is taken where checkpoint, config and
            version are the same.
        checkpoint: "best", "last" or a file.
        fragments: YAML files, such as another data set, laid over the stored config.
        overrides: ``key.path=value`` on top of them.

    Raises:
        ValueError: When checkpoint or data do not fit.
    """
    given: dict[str, Any] = {"fragments": fragments, "overrides": overrides}
    path = Path(run)
    if path.suffix not in RUNTIMES:
        path = choose_checkpoint(run, checkpoint)
    config = load(path, device="cpu", **given).config
    made_of = folder / _MADE_OF
    if "save_predictions" in type(config.eval).model_fields:
        given["overrides"] = [*overrides, "eval.save_predictions=true"]
    wanted = f"{__version__}\n{sha256_of(path)}\n{dump_config(config)}"
    if made_of.is_file() and made_of.read_text(encoding="utf-8") == wanted:
        log.info("predictions are those in %s", folder)
    else:
        made_of.unlink(missing_ok=True)
        evaluate_run(path, output=folder, **given)
        with replacing(made_of) as temporary:
            temporary.write_text(wanted, encoding="utf-8")
    return SOURCES[config.task](config, task_of(config).build_dataset(config, "val"), folder)


def _objects(config: Config, dataset: DenseDataset, folder: Path) -> list[Source]:
    """Boxes, masks and poses."""
    found = evaluator_of_objects(str(folder / "predictions.json"), config, dataset, None)
    evaluator = found.evaluator
    return [
        Objects(
            evaluator.ground_truth,
            found.table,
            kind,
            dataset.info,
            evaluator.max_detections,
            _reader(dataset),
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


def _maps(dataset: DenseDataset, folder: Path, predicted: Any, kind: Any) -> Maps:
    """Maps of the images that were predicted; unreadable ones were reported by the evaluation."""
    ids = [dataset.image_id(index) for index in range(len(dataset))]
    there = [key for key in ids if (folder / "predictions" / f"{key}.png").is_file()]
    return Maps(there, predicted, truth_of(dataset), kind, dataset.info, _reader(dataset))


def _reader(dataset: DenseDataset) -> ReadImage:
    index_of = {dataset.image_id(index): index for index in range(len(dataset))}

    def read(image_id: int | str) -> np.ndarray | None:
        try:
            return dataset.raw(index_of[image_id]).image
        except ReadError:
            return None

    return read


SOURCES: Mapping[str, Callable[[Any, DenseDataset, Path], list[Source]]] = {
    "detection": _objects,
    "pose": _objects,
    "saliency": _saliency_maps,
    "semantic": _label_maps,
}


def saved_sources(
    predictions: Path,
    *,
    annotations: str,
    type: Kind | MapKind | Literal["panoptic"],
    fragments: Sequence[Path],
    images: str | None = None,
    masks: str | None = None,
    label_map: Sequence[str] | None = None,
    max_detections: int | None = None,
) -> tuple[list[Source], list[str]]:
    """Predictions that any program saved, and what is to be said of them.

    Args:
        predictions: COCO results file, folder of maps, or of panoptic results.
        annotations: COCO annotation file, or folder of masks.
        type: What to measure.
        fragments: YAML files whose section ``data`` says what label maps and keypoints mean.
        images: Folder of the images, for pictures; None draws none.
        masks: Folder of the PNGs of panoptic annotations; None is the one beside their JSON.
        label_map: Lines such as "1..9 -> 0..8", in place of those of ``fragments``.
        max_detections: Detections of an image and class that count; None as COCO.

    Raises:
        ValueError: When predictions and annotations do not fit.
    """
    raw = RawConfig()
    for fragment in fragments:
        raw.merge_file(fragment)
    data = dict(raw.values.get("data", {})) | ({"label_map": label_map} if label_map else {})
    if type in ("bbox", "segm", "keypoints"):
        return _saved_objects(predictions, annotations, type, data, images, max_detections)
    if type == "panoptic":
        return [saved_maps.panoptic(predictions, annotations, masks=masks, images=images)], []
    return [saved_maps.maps(predictions, annotations, type, data, images=images)], []


def _saved_objects(
    predictions: Path,
    annotations: str,
    kind: Kind,
    data: Mapping[str, Any],
    images: str | None,
    max_detections: int | None,
) -> tuple[list[Source], list[str]]:
    truth = read_truth(annotations, kind, data)
    names = truth.info.keypoint_names
    found = load_results(predictions, truth.coco, (kind,), left_out=truth.left_out, keypoints=names)
    read = no_image if images is None else _by_file_name(truth.coco["images"], images)
    source = Objects(truth.coco, found.table, kind, truth.info, max_detections, read)
    return [source], [*truth.warnings, *found.notes, *truth.remarks]


def _by_file_name(records: Sequence[Mapping[str, Any]], images: str) -> ReadImage:
    names = {record["id"]: record["file_name"] for record in records}
    return lambda image_id: _read(Path(images) / names[image_id])


def _read(path: Path) -> np.ndarray | None:
    try:
        return read_image(path)
    except ReadError as error:
        log.warning("no picture of it: %s", error)
        return None
