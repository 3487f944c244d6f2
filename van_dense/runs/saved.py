"""Score saved predictions of objects against the validation part of a config, in any format."""

import logging
from pathlib import PureWindowsPath
from typing import Protocol, runtime_checkable

from van_dense.config import Config
from van_dense.data.dataset import DenseDataset, notes_of
from van_dense.data.io.json_file import read_json
from van_dense.evaluation.coco import CocoEvaluator
from van_dense.evaluation.ground_truth import Kind, unwrapped
from van_dense.evaluation.pose import PoseEvaluator
from van_dense.evaluation.results import load_results
from van_dense.evaluation.saved import Scores
from van_dense.tasks import task_of

logger = logging.getLogger(__name__)


@runtime_checkable
class HasPaths(Protocol):
    """A reader that knows the file of each image."""

    def path(self, index: int) -> str:
        """File of an image."""


def score_by_config(predictions: str, config: Config, kind: Kind | None) -> Scores:
    """Compare COCO results with what a run of the config evaluates, by the evaluator of a run.

    Args:
        predictions: COCO results file; its image ids are those of the data set, or paths whose
            file names are those of its images.
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
    ids = ids_by_name(dataset, predictions)
    for one in kinds:
        results = load_results(predictions, evaluator.ground_truth, one, ids=ids)
    evaluator.take(results, kinds)
    num_images = len({record["image_id"] for record in results})
    total = len(evaluator.ground_truth["images"])
    summary = f"{len(results)} results in {num_images} of {total} images"
    summary += "; images without results count as empty"
    return Scores(evaluator.compute(), evaluator.per_class(), summary)


def ids_by_name(dataset: DenseDataset, predictions: str) -> dict[str, int | str]:
    """Image ids of the data set by what a results file calls them; empty where both agree.

    ``van-dense predict`` writes paths where nobody told it ids: then the names of the files decide,
    if they are different ones.
    """
    data = read_json(predictions, "results file")
    records = [record for record in data if isinstance(record, dict)]
    named = {name for record in records if isinstance(name := record.get("image_id"), str)}
    known = {dataset.image_id(index) for index in range(len(dataset))}
    reader = unwrapped(dataset, HasPaths)
    if named <= known or not isinstance(reader, HasPaths):
        return {}
    found: dict[str, int | str] = {}
    for index in range(len(reader)):
        found[PureWindowsPath(reader.path(index)).name] = reader.image_id(index)
    ids = {
        name: found[file] for name in named - known if (file := PureWindowsPath(name).name) in found
    }
    if not ids or len(set(ids.values())) < len(ids) or len(found) < len(reader):
        return {}  # two files of one name: load_results says that the id is unknown
    logger.warning(
        "%s: %d image ids are no ids of the data set, but paths of its images: %r is image %r",
        *(predictions, len(ids), *next(iter(ids.items()))),
    )
    return ids
