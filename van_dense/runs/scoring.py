"""Evaluate trained runs and published weights on the validation part of a data set."""

import logging
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from accelerate import Accelerator

from van_dense.config import Config
from van_dense.core.counting import counted
from van_dense.core.digest import sha256_of
from van_dense.data.dataset import DenseDataset
from van_dense.engine.checksum import checksum
from van_dense.engine.device import make_accelerator
from van_dense.engine.lock import RunLock
from van_dense.engine.log import setup_logging
from van_dense.engine.parts import UNFINISHED, Parts
from van_dense.engine.processes import Processes
from van_dense.inference.load import file_of, load
from van_dense.inference.loaded import Loaded
from van_dense.models.dense_model import DenseModel
from van_dense.runs.evaluation import Evaluation
from van_dense.tasks import task_of
from van_dense.tasks.build import build_model, load_weights, with_statistics

log = logging.getLogger(__name__)


def evaluate_run(
    run: str | Path,
    *,
    checkpoint: str = "best",
    fragments: Sequence[str | Path] = (),
    overrides: Sequence[str] = (),
    output: str | Path,
    resume: bool = False,
) -> dict[str, float]:
    """Evaluate a trained run on its validation part, and draw.

    Args:
        run: Run folder or checkpoint file.
        checkpoint: "best", "last" or a file.
        fragments: YAML files, such as another data set, laid over the stored config.
        overrides: ``key.path=value`` on top of them.
        output: Folder for metrics.json, predictions and pictures/, on a disk that all processes of
            ``torchrun`` see.
        resume: Keep predictions on the disk until all are there, and go on from those of an
            evaluation that ended before.

    Returns:
        The metrics; nothing on all processes of ``torchrun`` but the first.

    Raises:
        ValueError: When checkpoint or data do not fit, or another evaluation was begun there.
    """
    loaded = load(
        run, checkpoint=checkpoint, fragments=fragments, overrides=overrides, device="cpu"
    )
    weights = sha256_of(file_of(run, checkpoint)) if resume else None
    return evaluate_loaded(loaded, output=output, weights=weights)


def evaluate_loaded(
    loaded: Loaded, *, output: str | Path, weights: str | None = None
) -> dict[str, float]:
    """Evaluate a network that is loaded, as ``evaluate_run``.

    ``weights`` is a digest of the network, for an evaluation that can be resumed.
    """
    accelerator, dataset = _validation_part(loaded.config)
    task = task_of(loaded.config)
    there = task.label_names(dataset.info)
    for what, known in task.label_names(loaded.info).items():
        if known != (found := there[what]):
            raise ValueError(
                f"the model knows the {what} {known}, but the data set has {found}; its labels "
                "would be compared with the wrong names"
            )
    model = loaded.model.to(accelerator.device)
    evaluation = Evaluation(loaded.config, dataset, accelerator)
    if weights is None:
        return evaluation.run(model, Path(output))
    return _resumed(evaluation, model, Path(output), weights)


def evaluate_weights(
    config: Config, *, output: str | Path, resume: bool = False
) -> dict[str, float]:
    """Evaluate the weights that a classification config names, such as published ones.

    Args:
        config: Experiment whose ``model.backbone.weights`` fill the whole network.
        output: Folder for metrics.json, predictions and pictures/.
        resume: As ``evaluate_run``.

    Returns:
        The metrics; nothing on all processes of ``torchrun`` but the first.

    Raises:
        ValueError: When there are no such weights, or they lack the classifier.
    """
    if not task_of(config).backbone_is_model or config.model.backbone.weights is None:
        raise ValueError(
            "only a classification project that names model.backbone.weights can be evaluated "
            "without a run: other networks have parts that these weights do not fill; train first"
        )
    config = with_statistics(config)
    accelerator, dataset = _validation_part(config)
    model = build_model(config, dataset.info)
    report = load_weights(model, config)
    assert report is not None  # there are weights
    log.info("%s", report)
    if missing := report.random_head():
        raise ValueError(
            f"the weights {config.model.backbone.weights} do not fill the classifier of "
            f"{counted(dataset.info.num_classes, 'class')}: {', '.join(missing)}; train it first"
        )
    evaluation, model = Evaluation(config, dataset, accelerator), model.to(accelerator.device)
    if not resume:
        return evaluation.run(model, Path(output))
    return _resumed(evaluation, model, Path(output), checksum(model.state_dict()))


def _resumed(
    evaluation: Evaluation, model: DenseModel, output: Path, weights: str
) -> dict[str, float]:
    """Evaluate through predictions on the disk, some of which may be there."""
    parts, processes = Parts(output / UNFINISHED), Processes(evaluation.accelerator)
    with ExitStack() as held:

        def begin() -> None:
            parts.begin({"weights": weights[:12], **evaluation.identity}, resume=True)
            held.enter_context(RunLock(parts.folder, enabled=True))

        processes.from_main(begin)
        metrics = evaluation.run(model, output, parts=parts)
        if processes.is_main:
            parts.remove()
    return metrics


def _validation_part(config: Config) -> tuple[Accelerator, DenseDataset]:
    accelerator = make_accelerator(config.train.precision)
    setup_logging(accelerator.is_main_process)
    task = task_of(config)
    if accelerator.is_main_process:
        task.prepare_data(config)
    accelerator.wait_for_everyone()
    return accelerator, task.build_dataset(config, "val")
