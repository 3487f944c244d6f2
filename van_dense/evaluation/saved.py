"""Score predictions that any program saved: COCO results, a folder of maps, panoptic PNGs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from van_dense.core.counting import counted
from van_dense.data.readers.coco_json import CocoDict
from van_dense.evaluation import federated as lvis
from van_dense.evaluation.box_convention import odd_convention
from van_dense.evaluation.coco import USUAL_LIMIT, evaluate_results, rules_of
from van_dense.evaluation.coco_engines import Backend
from van_dense.evaluation.evaluator import Evaluator
from van_dense.evaluation.ground_truth import Kind
from van_dense.evaluation.pck import evaluate_pck
from van_dense.evaluation.result_files import SavedResults, load_results
from van_dense.evaluation.result_table import ResultTable
from van_dense.evaluation.saved_truth import (
    SavedTruth,
    boxes_without_mask,
    limit_notes,
    read_truth,
)
from van_dense.evaluation.table import PerClass

if TYPE_CHECKING:
    from van_dense.evaluation.panoptic import PanopticEvaluator

MapKind = Literal["semantic", "saliency"]


@dataclass(frozen=True)
class Scores:
    """Metrics by flat name, those of each class, and one line on what was compared."""

    metrics: dict[str, float]
    per_class: PerClass
    summary: str
    warnings: Sequence[str] = ()  # what was left out or read otherwise than it is written
    remarks: Sequence[str] = ()  # what is as the format has it, and worth knowing


def score(
    predictions: str,
    annotations: str,
    *,
    kind: Kind | MapKind | Literal["panoptic"],
    data: Mapping[str, Any],
    folder: Path,
    backend: Backend,
    masks: str | None = None,
    boundary: bool = False,
    max_detections: int | None = None,
    federated: bool = False,
) -> Scores:
    """Compare saved predictions with their annotations, or ValueError when they do not fit.

    Args:
        predictions: Path of a COCO results file, or folder of maps, or of panoptic results.
        annotations: Path of a COCO annotation file, or folder of masks.
        kind: Metrics to compute.
        data: Section ``data`` of a config, of which label maps need ``label_map`` and take
            ``classes`` and the patterns of file names, keypoints take ``skeleton``, and all COCO
            files ``quarantine`` and ``crowds``.
        folder: Folder for what the evaluation of maps writes beside its metrics.
        backend: Library that computes COCO metrics; both give the same numbers.
        masks: Folder of the PNGs of a panoptic annotation file; None is the one of its name.
        boundary: Whether to compute boundary PQ beside PQ, or boundary AP beside AP of masks.
        max_detections: Detections of an image and class that AP counts; None as COCO: 100, of
            keypoints 20.
        federated: Whether to measure boxes and masks by the rules of LVIS.
    """
    if kind == "panoptic":
        from van_dense.evaluation.panoptic_files import evaluate_panoptic_files  # needs torch

        evaluator = evaluate_panoptic_files(
            predictions, annotations, masks=masks, boundary=boundary
        )
        return _score_panoptic(evaluator, folder)
    if kind == "semantic" or kind == "saliency":
        return _score_maps(predictions, annotations, kind, data, folder=folder)
    truth = read_truth(annotations, kind, data)
    names = truth.info.keypoint_names
    found = load_results(predictions, truth.coco, (kind,), left_out=truth.left_out, keypoints=names)
    settings: Any = {"max_detections": max_detections, "federated": federated}
    compared = compare(predictions, truth.coco, found, kind, **settings)
    scores = _score_results(truth, found.table, kind, backend, boundary=boundary, **settings)
    warnings = [*truth.warnings, *found.notes, *compared]
    if kind == "bbox" and found.has_masks:
        warnings += boxes_without_mask(annotations, truth.coco)
    return replace(scores, warnings=warnings, remarks=truth.remarks)


def compare(
    predictions: str,
    truth: CocoDict,
    found: SavedResults,
    kind: Kind,
    *,
    max_detections: int | None,
    federated: bool,
) -> list[str]:
    """What is to be said of results beside their ground truth, of one kind.

    Args:
        predictions: Path of the results file, for the messages.
        truth: Annotations, cleaned.
        found: Content of the file.
        kind: What is measured.
        max_detections: Detections of an image and class that count; None as COCO.
        federated: Whether the rules are those of LVIS, which has a limit of its own.
    """
    if federated:
        notes = lvis.limit_notes(found.table)
    else:
        notes = limit_notes(truth, found.table, kind, max_detections or USUAL_LIMIT[kind])
    odd = odd_convention(truth, found.table) if kind == "bbox" else None
    return notes if odd is None else [*notes, f"{predictions}: {odd}"]


def _score_panoptic(evaluator: "PanopticEvaluator", folder: Path) -> Scores:
    """Panoptic quality, and segments.csv in a folder."""
    evaluator.save(folder)
    summary = f"{counted(evaluator.num_images, 'image')}"
    return Scores(evaluator.compute(), evaluator.per_class(), summary)


def _score_results(
    truth: SavedTruth,
    results: ResultTable,
    kind: Kind,
    backend: Backend,
    *,
    max_detections: int | None,
    federated: bool,
    boundary: bool,
) -> Scores:
    """COCO metrics, or those of LVIS, boundary AP of masks if asked for, and PCK of poses."""
    settings: Any = {"backend": backend, "sigmas": truth.info.sigmas}
    settings["max_detections"], rules = max_detections, rules_of(federated=federated)
    scores = evaluate_results(truth.coco, results, kind, rules=rules, **settings)
    metrics = {f"{kind}/{name}": value for name, value in scores.metrics.items()}
    per_class: dict[str, dict[str, dict[str, float]]] = {kind: scores.per_class}
    if boundary:
        outlines = evaluate_results(truth.coco, results, kind, rules="boundary", **settings)
        metrics |= {f"boundary/{name}": value for name, value in outlines.metrics.items()}
        per_class |= {"boundary": outlines.per_class}
    if kind == "keypoints":
        joints = evaluate_pck(truth.coco, results, truth.info)
        metrics |= {f"pck/{name}": value for name, value in joints.metrics.items()}
        per_class |= {"pck": joints.per_joint}
    return Scores(metrics, per_class, summary_of(results))


def summary_of(results: ResultTable) -> str:
    """One line on what was compared."""
    found, images = int(np.count_nonzero(results.rows_of_each("image"))), len(results.image_ids)
    counts = f"{counted(len(results), 'result')} in {found} of {images} images"
    return f"{counts}; images without results count as empty"


def _score_maps(
    predictions: str, annotations: str, kind: MapKind, data: Mapping[str, Any], *, folder: Path
) -> Scores:
    """Compare two folders, and write confusion.csv or curves.csv into a third."""
    from van_dense.evaluation import map_files  # needs OpenCV

    if kind == "semantic" and not data.get("label_map"):
        fix = "Give --data FRAGMENT, such as ade20k, or --label-map"
        example = '"0 -> ignore" "1..150 -> 0..149"'
        raise ValueError(f"what do the values of the label maps mean? {fix} {example}")
    patterns = {k: data[k] for k in ("prediction_pattern", "mask_pattern") if k in data}
    files = map_files.find_files(predictions, annotations, **patterns)
    evaluator: Evaluator
    if kind == "saliency":
        evaluator = map_files.evaluate_saliency_maps(files)
    else:
        evaluator = map_files.evaluate_label_maps(files, data["label_map"], data.get("classes", ()))
    evaluator.save(folder)
    return Scores(evaluator.compute(), evaluator.per_class(), f"{counted(len(files), 'map')}")
