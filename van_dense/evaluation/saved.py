"""Score predictions that any program saved: a file of COCO results, or a folder of maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from van_dense.data.readers.coco_json import (
    CocoDict,
    Skeleton,
    dataset_info,
    read_coco_json,
    with_sigmas,
)
from van_dense.evaluation.coco import Backend, evaluate_results
from van_dense.evaluation.evaluator import Evaluator
from van_dense.evaluation.ground_truth import Kind
from van_dense.evaluation.map_files import evaluate_label_maps, evaluate_saliency_maps, find_files
from van_dense.evaluation.pck import evaluate_pck
from van_dense.evaluation.pose import check_joints
from van_dense.evaluation.results import CocoResult, load_results
from van_dense.evaluation.table import PerClass

BoxKind = Literal["bbox", "segm"]
MapKind = Literal["semantic", "saliency"]


@dataclass(frozen=True)
class Scores:
    """Metrics by flat name, those of each class, and one line on what was compared."""

    metrics: dict[str, float]
    per_class: PerClass
    summary: str


@dataclass(frozen=True)
class MapSettings:
    """What folders of maps do not say about themselves; named as in section ``data`` of a config.

    Attributes:
        label_map: Lines that give raw values their labels; see ``LabelMap``.
        classes: Names of the labels; without any they are called by their raw values.
        prediction_pattern: Of the files with predictions; see ``van_dense/data/image_mask.py``.
        mask_pattern: Of the files with annotations.
    """

    label_map: Sequence[str] = ()
    classes: Sequence[str] = ()
    prediction_pattern: str = "{key}.*"
    mask_pattern: str = "{key}.*"

    @staticmethod
    def of(section: Mapping[str, Any]) -> MapSettings:
        """Take what is here from section ``data`` of a config, which holds more."""
        names = {field.name for field in fields(MapSettings)}
        return MapSettings(**{name: section[name] for name in names & section.keys()})


def score(
    predictions: str,
    annotations: str,
    *,
    kind: Kind | MapKind,
    data: Mapping[str, Any],
    folder: Path,
    backend: Backend,
) -> Scores:
    """Compare saved predictions of any kind with their annotations.

    Args:
        predictions: COCO results file, or folder of maps.
        annotations: COCO annotation file, or folder of masks.
        kind: What to measure.
        data: As section ``data`` of a config, of which label maps need ``label_map`` and take
            names and patterns, and keypoints take ``skeleton``.
        folder: For what the evaluation of maps keeps beside its metrics.
        backend: Of COCO metrics; same numbers, "faster" is faster.

    Raises:
        ValueError: When files or settings do not fit together.
    """
    if kind == "keypoints":
        skeleton = skeleton_of(data)
        return score_keypoints(predictions, annotations, backend=backend, skeleton=skeleton)
    if kind == "bbox" or kind == "segm":
        return score_results(predictions, annotations, kind, backend)
    return score_maps(predictions, annotations, kind, MapSettings.of(data), folder=folder)


def skeleton_of(section: Mapping[str, Any]) -> Skeleton | None:
    """Take ``skeleton`` from section ``data`` of a config.

    Raises:
        ValueError: When it holds something else than a skeleton does.
    """
    given = section.get("skeleton")
    if given is None:
        return None
    known = [field.name for field in fields(Skeleton)]
    if not isinstance(given, Mapping) or not given.keys() <= set(known) or "keypoints" not in given:
        raise ValueError(f"data.skeleton must have keypoints, and nothing but {known}, got {given}")
    return Skeleton(**{name: _frozen(value) for name, value in given.items()})


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


def score_results(predictions: str, annotations: str, kind: BoxKind, backend: Backend) -> Scores:
    """Compare boxes or masks of a COCO results file with its annotation file.

    Raises:
        ValueError: For a record or an annotation that cannot be right.
    """
    ground_truth = read_coco_json(annotations)
    results = load_results(predictions, ground_truth, kind)
    scores = evaluate_results(ground_truth, results, kind, backend=backend)
    return Scores(
        _flat(kind, scores.metrics), {kind: scores.per_class}, _count(results, ground_truth)
    )


def score_keypoints(
    predictions: str,
    annotations: str,
    *,
    backend: Backend,
    skeleton: Skeleton | None = None,
) -> Scores:
    """Compare poses of a COCO results file with its annotation file; also by PCK, see ``pck.py``.

    Args:
        predictions: Results file.
        annotations: Annotation file.
        backend: Of AP and AR; same numbers, "faster" is faster.
        skeleton: What the annotation file does not say about its joints; None = it says all.

    Raises:
        ValueError: For a record or an annotation that cannot be right, or other joints than the
            file has.
    """
    ground_truth = read_coco_json(annotations)
    info = with_sigmas(dataset_info(annotations, ground_truth, Path(annotations).stem, skeleton))
    results = load_results(predictions, ground_truth, "keypoints")
    check_joints(ground_truth["annotations"], info, f"{annotations}: annotation")
    check_joints(results, info, f"{predictions}: record")
    scores = evaluate_results(
        ground_truth, results, "keypoints", backend=backend, sigmas=info.sigmas
    )
    joints = evaluate_pck(ground_truth, results, info)
    return Scores(
        _flat("keypoints", scores.metrics) | _flat("pck", joints.metrics),
        {"keypoints": scores.per_class, "pck": joints.per_joint},
        _count(results, ground_truth),
    )


def _flat(kind: str, metrics: Mapping[str, float]) -> dict[str, float]:
    return {f"{kind}/{name}": value for name, value in metrics.items()}


def _count(results: Sequence[CocoResult], ground_truth: CocoDict) -> str:
    num_images = len({record["image_id"] for record in results})
    return (
        f"{len(results)} results in {num_images} of {len(ground_truth['images'])} images; "
        "images without results count as empty"
    )


def score_maps(
    predictions: str, annotations: str, kind: MapKind, settings: MapSettings, *, folder: Path
) -> Scores:
    """Compare two folders, and write confusion.csv or curves.csv into a third.

    Raises:
        ValueError: When the files do not fit together, or label maps come without a label map.
    """
    if kind == "semantic" and not settings.label_map:
        raise ValueError(
            "what do the values of the label maps mean? Give --data FRAGMENT, such as "
            'configs/_data/ade20k.yaml, or --label-map "0 -> ignore" "1..150 -> 0..149"'
        )
    files = find_files(
        predictions,
        annotations,
        prediction_pattern=settings.prediction_pattern,
        mask_pattern=settings.mask_pattern,
    )
    evaluator: Evaluator = (
        evaluate_saliency_maps(files)
        if kind == "saliency"
        else evaluate_label_maps(files, settings.label_map, settings.classes)
    )
    evaluator.save(folder)
    return Scores(evaluator.compute(), evaluator.per_class(), f"{len(files)} maps")
