"""Score predictions that any program saved: COCO results, a folder of maps, panoptic PNGs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from van_dense.core.dataset_info import DatasetInfo
from van_dense.data.readers import coco_json
from van_dense.data.readers.coco_json import CocoDict, Skeleton, read_coco_json
from van_dense.evaluation.coco import Backend, evaluate_results
from van_dense.evaluation.evaluator import Evaluator
from van_dense.evaluation.ground_truth import Kind
from van_dense.evaluation.map_files import evaluate_label_maps, evaluate_saliency_maps, find_files
from van_dense.evaluation.panoptic import PanopticEvaluator
from van_dense.evaluation.panoptic_files import evaluate_panoptic_files
from van_dense.evaluation.pck import evaluate_pck
from van_dense.evaluation.pose import check_joints
from van_dense.evaluation.results import CocoResult, load_results
from van_dense.evaluation.table import PerClass

MapKind = Literal["semantic", "saliency"]


@dataclass(frozen=True)
class Scores:
    """Metrics by flat name, those of each class, and one line on what was compared."""

    metrics: dict[str, float]
    per_class: PerClass
    summary: str


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
) -> Scores:
    """Compare saved predictions with their annotations, or ValueError when they do not fit.

    Args:
        predictions: Path of a COCO results file, or folder of maps, or of panoptic results.
        annotations: Path of a COCO annotation file, or folder of masks.
        kind: Metrics to compute.
        data: Section ``data`` of a config, of which label maps need ``label_map`` and take
            ``classes`` and the patterns of file names, and keypoints take ``skeleton``.
        folder: Folder for what the evaluation of maps writes beside its metrics.
        backend: Library that computes COCO metrics; both give the same numbers.
        masks: Folder of the PNGs of a panoptic annotation file; None is the one of its name.
        boundary: Whether to compute boundary PQ beside PQ.
    """
    if kind == "panoptic":
        evaluator = evaluate_panoptic_files(
            predictions, annotations, masks=masks, boundary=boundary
        )
        return _score_panoptic(evaluator, folder)
    if kind == "semantic" or kind == "saliency":
        return _score_maps(predictions, annotations, kind, data, folder=folder)
    truth = read_coco_json(annotations)
    info = None
    if kind == "keypoints":
        name, skeleton = Path(annotations).stem, skeleton_of(data)
        info = coco_json.with_sigmas(coco_json.dataset_info(annotations, truth, name, skeleton))
    results = load_results(predictions, truth, kind)
    if info is not None:
        check_joints(truth["annotations"], info, f"{annotations}: annotation")
        check_joints(results, info, f"{predictions}: record")
    return _score_results(truth, results, kind, info, backend=backend)


def _score_panoptic(evaluator: PanopticEvaluator, folder: Path) -> Scores:
    """Panoptic quality, and segments.csv in a folder."""
    evaluator.save(folder)
    summary = f"{evaluator.num_images} images"
    return Scores(evaluator.compute(), evaluator.per_class(), summary)


def _score_results(
    truth: CocoDict,
    results: Sequence[CocoResult],
    kind: Kind,
    poses: DatasetInfo | None,
    *,
    backend: Backend,
) -> Scores:
    """COCO metrics, and PCK of ``poses``."""
    sigmas = () if poses is None else poses.sigmas
    scores = evaluate_results(truth, results, kind, backend=backend, sigmas=sigmas)
    metrics = {f"{kind}/{name}": value for name, value in scores.metrics.items()}
    per_class: dict[str, dict[str, dict[str, float]]] = {kind: scores.per_class}
    if poses is not None:
        joints = evaluate_pck(truth, results, poses)
        metrics |= {f"pck/{name}": value for name, value in joints.metrics.items()}
        per_class |= {"pck": joints.per_joint}
    num_images = len({record["image_id"] for record in results})
    summary = f"{len(results)} results in {num_images} of {len(truth['images'])} images"
    return Scores(metrics, per_class, f"{summary}; images without results count as empty")


def skeleton_of(section: Mapping[str, Any]) -> Skeleton | None:
    """Take ``skeleton`` from section ``data`` of a config, or ValueError for anything else."""
    values = section.get("skeleton")
    if values is None:
        return None
    known = [field.name for field in fields(Skeleton)]
    if not (isinstance(values, Mapping) and "keypoints" in values and values.keys() <= set(known)):
        form = f"keypoints, and nothing but {known}"
        raise ValueError(f"data.skeleton must have {form}, got {values}")
    return Skeleton(**{name: _frozen(value) for name, value in values.items()})


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


def _score_maps(
    predictions: str, annotations: str, kind: MapKind, data: Mapping[str, Any], *, folder: Path
) -> Scores:
    """Compare two folders, and write confusion.csv or curves.csv into a third."""
    if kind == "semantic" and not data.get("label_map"):
        fix = "Give --data FRAGMENT, such as ade20k, or --label-map"
        example = '"0 -> ignore" "1..150 -> 0..149"'
        raise ValueError(f"what do the values of the label maps mean? {fix} {example}")
    patterns = {k: data[k] for k in ("prediction_pattern", "mask_pattern") if k in data}
    files = find_files(predictions, annotations, **patterns)
    evaluator: Evaluator
    if kind == "saliency":
        evaluator = evaluate_saliency_maps(files)
    else:
        evaluator = evaluate_label_maps(files, data["label_map"], data.get("classes", ()))
    evaluator.save(folder)
    return Scores(evaluator.compute(), evaluator.per_class(), f"{len(files)} maps")
