"""Score saved predictions of objects against the validation part of a config, in any format."""

import logging

from van_dense.config import Config
from van_dense.data.dataset import notes_of
from van_dense.data.readers.table import TableDataset
from van_dense.evaluation.box_convention import odd_convention
from van_dense.evaluation.coco import USUAL_LIMIT, CocoEvaluator
from van_dense.evaluation.ground_truth import Kind, unwrapped
from van_dense.evaluation.pose import PoseEvaluator
from van_dense.evaluation.result_files import load_results
from van_dense.evaluation.saved import Scores
from van_dense.evaluation.saved_truth import limit_notes
from van_dense.tasks import task_of

logger = logging.getLogger(__name__)


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
    dataset = task.build_dataset(config, "val")
    for note in notes_of(dataset):
        logger.info("read of val: %s", note)
    evaluator = task.evaluator_factory(dataset, config)()
    if not isinstance(evaluator, CocoEvaluator | PoseEvaluator):
        what = f"--predictions with --config takes results of objects, not of {config.task}"
        raise ValueError(f"{what}; give --annotations and --type")
    if kind is not None and kind not in evaluator.types:
        known = ", ".join(evaluator.types)
        raise ValueError(f"--type {kind}: a run of this config measures {known} alone")
    kinds = evaluator.types if kind is None else (kind,)
    truth, reader = evaluator.ground_truth, unwrapped(dataset, TableDataset)
    gone = reader.left_out if isinstance(reader, TableDataset) else ()
    notes: list[str] = []
    for one in kinds:
        results, found = load_results(predictions, truth, one, left_out=gone)
        limit = evaluator.max_detections or USUAL_LIMIT[one]
        if one == "bbox" and (odd := odd_convention(truth, results)) is not None:
            notes.append(f"{predictions}: {odd}")
        notes += [*found, *limit_notes(truth, results, one, limit, "eval.max_detections=")]
    for note in dict.fromkeys(notes):
        logger.warning("%s", note)
    evaluator.take(results, kinds)
    num_images = len({record["image_id"] for record in results})
    total = len(evaluator.ground_truth["images"])
    summary = f"{len(results)} results in {num_images} of {total} images"
    summary += "; images without results count as empty"
    return Scores(evaluator.compute(), evaluator.per_class(), summary)
