"""Score saved predictions of objects against the validation part of a config, in any format."""

from typing import NamedTuple

from van_dense.config import Config
from van_dense.data.dataset import DenseDataset, notes_of
from van_dense.data.readers.table import TableDataset
from van_dense.evaluation.coco import CocoEvaluator
from van_dense.evaluation.ground_truth import Kind, unwrapped
from van_dense.evaluation.pose import PoseEvaluator
from van_dense.evaluation.result_files import load_results
from van_dense.evaluation.result_table import ResultTable
from van_dense.evaluation.saved import Scores, compare, summary_of
from van_dense.runs.data_doctor import silent
from van_dense.tasks import task_of


class FoundObjects(NamedTuple):
    """Results in the evaluator that a run of their config would use."""

    table: ResultTable
    evaluator: CocoEvaluator | PoseEvaluator
    kinds: tuple[Kind, ...]  #: what is measured
    warnings: list[str]  #: what was left out or read otherwise than it is written
    remarks: list[str]  #: what is as the format has it, and worth knowing


def score_by_config(predictions: str, config: Config, kind: Kind | None) -> Scores:
    """Compare COCO results with what a run of the config evaluates, by the evaluator of a run.

    Args:
        predictions: COCO results file; its image ids are those of the data set, or names of its
            image files.
        config: Experiment whose validation part is the ground truth.
        kind: What to measure; None measures what a run does.

    Raises:
        ValueError: When results and data do not fit, or for a task without objects.
    """
    task = task_of(config)
    task.prepare_data(config)
    with silent():  # its notes are handed on
        dataset = task.build_dataset(config, "val")
    found = evaluator_of_objects(predictions, config, dataset, kind)
    metrics, per_class = found.evaluator.compute(), found.evaluator.per_class()
    summary = summary_of(found.table)
    return Scores(metrics, per_class, summary, found.warnings, found.remarks)


def evaluator_of_objects(
    predictions: str, config: Config, dataset: DenseDataset, kind: Kind | None
) -> FoundObjects:
    """Read COCO results into the evaluator of a run.

    Args:
        predictions: COCO results file.
        config: Experiment whose validation part is the ground truth.
        dataset: That part.
        kind: What to measure; None measures what a run does.

    Raises:
        ValueError: When results and data do not fit, or for a task without objects.
    """
    task = task_of(config)
    evaluator = task.evaluator_factory(dataset, config)()
    if not isinstance(evaluator, CocoEvaluator | PoseEvaluator):
        what = f"--predictions with --config takes results of objects, not of {config.task}"
        raise ValueError(f"{what}; give --annotations and --type")
    if kind is not None and kind not in evaluator.types:
        known = ", ".join(evaluator.types)
        raise ValueError(f"--type {kind}: a run of this config measures {known} alone")
    kinds = evaluator.types if kind is None else (kind,)
    truth, reader = evaluator.ground_truth, unwrapped(dataset, TableDataset)
    warnings = task.quarantine_notes(config)
    gone: frozenset[int | str] = frozenset()
    if isinstance(reader, TableDataset):
        gone, warnings = reader.left_out, reader.warnings + warnings
    remarks = [note for note in notes_of(dataset) if note not in warnings]
    names = dataset.info.keypoint_names if "keypoints" in kinds else ()
    found = load_results(predictions, truth, kinds, left_out=gone, keypoints=names)
    warnings += found.notes
    limit = evaluator.max_detections
    federated = isinstance(evaluator, CocoEvaluator) and evaluator.federated
    for one in kinds:
        warnings += compare(
            predictions, truth, found, one, max_detections=limit, federated=federated
        )
    evaluator.take(found.table, kinds)
    return FoundObjects(found.table, evaluator, kinds, list(dict.fromkeys(warnings)), remarks)
