"""Train an experiment from its config to the pictures: what ``van-dense train`` calls."""

import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import nn

from van_dense.config import Config, dump_config
from van_dense.config.load import RawConfig, validate
from van_dense.config.ready import lacks_config, ready_config
from van_dense.core.allocator import keep_freed_memory
from van_dense.core.paths import expand_path
from van_dense.core.seeding import Streams
from van_dense.core.structures import Batch
from van_dense.core.writing import write_whole, writing
from van_dense.data.io.outputs import require_folder
from van_dense.data.loader import LoaderPlan, build_train_loader, resolve_workers
from van_dense.engine.checkpoint import (
    checkpoints,
    evaluation_folder,
    latest_intact,
    load_checkpoint,
)
from van_dense.engine.device import make_accelerator
from van_dense.engine.job import Job, TrainResult
from van_dense.engine.log import is_error, read_log, setup_logging
from van_dense.engine.state import find_checkpoint
from van_dense.engine.trainer import train
from van_dense.inference.load import load
from van_dense.inference.loaded import Loaded
from van_dense.models.dense_model import DenseModel
from van_dense.runs.evaluation import Evaluation
from van_dense.runs.experiment import Experiment, describe, prepare
from van_dense.visualize.curves import plot_curves

log = logging.getLogger(__name__)


def plan_run(config: Config) -> str:
    """Describe the run without training: what ``--dry-run`` prints."""
    accelerator = make_accelerator(config.train.precision)
    return describe(prepare(config, accelerator, needs_weights=False), accelerator)


def train_run(config: Config, run_dir: Path, *, resume: bool = False) -> TrainResult:
    """Train, evaluate and draw.

    Args:
        config: Complete experiment.
        run_dir: Run folder; see docs/design.md for what it holds.
        resume: Continue from the newest intact checkpoint there.

    Raises:
        ValueError: When data, weights or config do not fit, or the oracle check fails.
        NonFiniteLoss: When a loss is not finite.
        TooManyBadImages: When too many images are unreadable.
    """
    if not resume:
        find_checkpoint(run_dir, resume)  # before an old run's files are touched
    accelerator = make_accelerator(config.train.precision)
    setup_logging(accelerator.is_main_process)
    experiment = prepare(config, accelerator, resume=resume and bool(checkpoints(run_dir)))
    config = experiment.config
    log.info("plan\n%s", describe(experiment, accelerator))
    evaluation = Evaluation(config, experiment.val_set, accelerator)
    if accelerator.is_main_process:
        check_pipeline(experiment, evaluation)
    accelerator.wait_for_everyone()

    def evaluate(model: nn.Module, step: int, should_stop: Callable[[], bool]) -> dict[str, float]:
        assert isinstance(model, DenseModel)  # the loop hands back what it was given
        folder = evaluation_folder(run_dir, step)
        with writing(folder):
            metrics = evaluation.run(model, folder, should_stop)
        if accelerator.is_main_process:
            this = {"kind": "eval", "step": step, "metrics": metrics}
            entries = [*read_log(run_dir / "log.jsonl"), this]
            with writing(run_dir / "curves.png"):
                plot_curves(entries, run_dir / "curves.png", is_error=is_error)
        return metrics

    def begin() -> None:
        run_dir.mkdir(parents=True, exist_ok=True)
        write_whole(run_dir / "config.yaml", dump_config(config))

    job = Job(
        model=experiment.model,
        make_loader=lambda step, streams: _loader(experiment, accelerator, step, streams),
        evaluate=evaluate,
        plan=experiment.plan,
        run_dir=run_dir,
        streams=Streams(config.seed),
        best_metric=experiment.task.best_metric(config),
        config=config.model_dump(mode="json"),
        info=experiment.train_set.info.to_dict(),
        eval_images=len(experiment.val_set),
        begin=begin,
    )
    return train(job, accelerator, resume=resume)


def begin_run(config: Config, run_dir: Path, *, resume: bool = False) -> TrainResult:
    """``train_run`` of a process that is there to train: its folder checked, its memory kept."""
    require_folder(run_dir)
    if not torch.cuda.is_available():
        keep_freed_memory()
    return train_run(config, run_dir, resume=resume)


def train_and_load(
    config: Config | str | Path,
    output: str | Path,
    *,
    overrides: Sequence[str] = (),
    sample: bool = False,
    resume: bool = False,
) -> Loaded:
    """Train as ``van-dense train`` does, and load the run, ready to predict: ``van_dense.train``.

    Under ``torchrun`` every process calls this and gets the network, each on its own device.
    Notebooks train on one device. Ctrl-C, a notebook's "interrupt" and SIGTERM end the run after
    the step under way, with a checkpoint.

    Args:
        config: Project file, name of a packaged project, or a config that is loaded already.
        output: Run folder; a folder that holds a run is an error without ``resume``.
        overrides: ``key.path=value`` strings on top of the config.
        sample: Small generated data and a short run, on top of a project.
        resume: Continue from the newest intact checkpoint there, or begin where there is none.

    Returns:
        What ``van_dense.load(output)`` returns: the best checkpoint.

    Raises:
        ConfigError: A ValueError that names what is wrong with the config, or which data miss.
        KeyboardInterrupt: When the run was told to stop; ``resume=True`` goes on with it.
        ValueError: When data, weights or config do not fit, or the folder holds a run.
    """
    run_dir = Path(expand_path(str(output)))
    if resume and isinstance(config, str | Path) and lacks_config(Path(config)):
        restore_config(Path(config).parent)
    ready = ready_config(config, overrides, sample=sample)
    result = begin_run(ready, run_dir, resume=resume)
    if result.interrupted:  # not a return: what follows would take the run for complete
        fix = "the same call with resume=True goes on"
        raise KeyboardInterrupt(f"{run_dir} stopped after step {result.step}; {fix}")
    return load(run_dir)


def restore_config(run_dir: Path) -> None:
    """Write the config.yaml of a run anew from its newest intact checkpoint, if it has one."""
    path = latest_intact(run_dir)
    if path is not None:
        config = validate(RawConfig(load_checkpoint(path)["config"]))
        write_whole(run_dir / "config.yaml", dump_config(config))
        log.warning("%s was missing or empty; written from %s", run_dir / "config.yaml", path)


def check_pipeline(experiment: Experiment, evaluation: Evaluation) -> None:
    """Push ground truth through transform, post-processing and evaluator before training.

    Raises:
        ValueError: When it does not reach its ceiling; the message names what breaks.
    """
    config, task = experiment.config, experiment.task
    if config.eval.oracle_images == 0:
        return
    report = task.oracle_check(
        experiment.val_set,
        task.build_transform(config, train=False),
        evaluator=evaluation.make_evaluator(),
        config=config,
    )
    if not report.ok:
        raise ValueError(f"{report}\n(eval.oracle_images=0 skips this check)")
    log.info("%s", report)


def _loader(
    experiment: Experiment, accelerator: Accelerator, start_step: int, streams: Streams
) -> Iterator[Batch]:
    config = experiment.config
    loader_plan = LoaderPlan(
        batch_size=config.train.batch_size,
        micro_batch=experiment.plan.micro_batch,
        rank=accelerator.process_index,
        world=accelerator.num_processes,
        workers=resolve_workers(config.data.workers),
        streams=streams,
        size_divisor=config.data.size_divisor,
        min_size=experiment.task.smallest_input(config),
        group_by_aspect=config.data.group_by_aspect,
        max_bad_fraction=config.data.max_bad_fraction,
    )
    data, transform = experiment.train_set, experiment.task.build_transform(config, train=True)
    return build_train_loader(data, transform, plan=loader_plan, start_step=start_step)
