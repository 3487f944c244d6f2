"""An experiment ready to run: its data read, its network built, its weights loaded, its plan."""

import logging
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator

from van_dense.backbones.build import resolve_norm_mode
from van_dense.backbones.download import DownloadError
from van_dense.backbones.weights import LoadReport
from van_dense.config import Config
from van_dense.config.load import load_raw
from van_dense.config.presets import small_projects
from van_dense.core.counting import counted
from van_dense.core.plain_text import one_line
from van_dense.data.dataset import DenseDataset, index_notes_of, notes_of
from van_dense.engine.memory import estimate_memory
from van_dense.engine.optim import describe_groups, parameter_groups
from van_dense.engine.plan import TrainPlan, make_plan
from van_dense.models.dense_model import DenseModel
from van_dense.runs.start import StartReport, start_from
from van_dense.tasks import task_of
from van_dense.tasks.base import Task
from van_dense.tasks.build import load_weights, with_statistics

log = logging.getLogger(__name__)

SMALL_DATA = 2000  # training images up to which the plan names the projects for few of them
_SHOWN_CATEGORIES = 200  # ADE20K's 150 are shown, ImageNet's 1,000 are not
RESUMED = "those of the run that is resumed"

Weights = LoadReport | StartReport | DownloadError | str | None


@dataclass(frozen=True)
class Experiment:
    """What a run needs, and what a dry run describes."""

    config: Config  # with the statistics of the backbone written out
    task: Task[Any]
    train_set: DenseDataset
    val_set: DenseDataset
    model: DenseModel
    weights: Weights
    plan: TrainPlan


def prepare(
    config: Config, accelerator: Accelerator, *, needs_weights: bool = True, resume: bool = False
) -> Experiment:
    """Read the data, build the network and load its weights.

    Args:
        config: Complete experiment.
        accelerator: Processes and devices of the run.
        needs_weights: False goes on where weights cannot be downloaded, to describe the rest.
        resume: Will a checkpoint replace the weights? Then none are loaded; where they came from
            may be gone.

    Raises:
        ValueError: When data, weights or the batch split do not fit.
    """
    task = task_of(config)
    config = with_statistics(config)
    if accelerator.is_main_process:
        task.prepare_data(config)
    accelerator.wait_for_everyone()
    task.build_transform(config, train=True)  # a mistake shows before anything is read
    train_set, val_set = task.build_dataset(config, "train"), task.build_dataset(config, "val")
    if train_set.info.class_names != val_set.info.class_names:
        raise ValueError(
            "the training and validation parts have different classes: "
            f"{train_set.info.class_names} and {val_set.info.class_names}; a label would mean "
            "two things"
        )
    torch.manual_seed(config.seed)  # initial weights; every later draw is seeded by its step
    model = task.build_model(config, train_set.info)
    weights: Weights
    try:
        if resume:
            weights = RESUMED
        elif (source := config.train.start_from) is None:
            weights = load_weights(model, config)
        else:
            name = config.model.backbone.name
            weights = start_from(model, source, backbone=name, info=train_set.info)
    except DownloadError as error:
        if needs_weights:
            raise
        weights = error
    plan = make_plan(config.train, num_images=len(train_set), world_size=accelerator.num_processes)
    if not resume:  # it goes on as it was planned, with a note
        try:
            plan.check()
        except ValueError as error:  # as a warm-up that is longer than a run on few images
            if (small := small_data_note(config, task, len(train_set))) is None:
                raise
            raise ValueError(f"{error}; {small}") from None
    return Experiment(config, task, train_set, val_set, model, weights, plan)


def describe(experiment: Experiment, accelerator: Accelerator) -> str:
    """Everything to check before a long run, one "name: value" a line."""
    config, model = experiment.config, experiment.model
    norm = resolve_norm_mode(
        config.model.backbone.norm_mode, accelerator.device.type, accelerator.num_processes
    )
    small = small_data_note(config, experiment.task, len(experiment.train_set))
    weights = str(experiment.weights or "none, the backbone starts from random weights")
    if isinstance(experiment.weights, DownloadError):
        weights = f"NOT AVAILABLE: {weights}"
    report = experiment.weights if isinstance(experiment.weights, LoadReport) else None
    total = sum(p.numel() for p in model.parameters())
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    groups = describe_groups(parameter_groups(model, config.train.optimizer))
    lines = {
        "model": f"{config.model.title}, on {config.model.backbone.name}, {total:,} parameters, "
        f"{trainable:,} of them trained",
        "device": f"{accelerator.device}, {counted(accelerator.num_processes, 'process')}",
        **experiment.plan.describe(),
        "norm mode": f"{norm.mode} ({norm.reason})",
        "weights": weights,
        **experiment.task.describe_weights(config, report),
        "parameter groups": groups.replace("\n", "\n" + " " * 20),
        "memory": _memory(experiment),
        "data": f"{len(experiment.train_set)} training {experiment.task.training_items} and "
        f"{counted(len(experiment.val_set), 'validation image')}",
        **({} if small is None else {"small data": small}),
        **_left_out(experiment),
        "categories": _categories(experiment.train_set),
    }
    return "\n".join(f"{name + ':':<20}{value}" for name, value in lines.items())


def small_data_note(config: Config, task: Task[Any], count: int) -> str | None:
    """A sentence that names the projects for few images, where this one is made for many.

    Those who start from one of them keep the shape of its schedule, whatever else they change;
    the published recipes, made for 10,000 images and more, have another one.
    """
    if count > SMALL_DATA or config.data.sample is not None:
        return None
    names = small_projects(config.task)
    small = [load_raw(name).values for name in names]
    shapes = {values["train"]["schedule"]["name"] for values in small}
    if not small or config.train.schedule.name in shapes:
        return None
    kinds = {values["model"].get("kind"): name for name, values in zip(names, small, strict=True)}
    kind = getattr(config.model, "kind", None)
    named = kinds.get(kind) or " or ".join(names)
    items = f"{count} training {task.training_items}"
    fix = f"for so few: van-dense train --config {named}"
    return f"this project is made for far more than {items}; {fix}"


def _left_out(experiment: Experiment) -> dict[str, str]:
    """A line for each part of whose files something is left out, changed, unknown or indexed."""
    parts = {"train": experiment.train_set, "val": experiment.val_set}
    found = {f"read of {name}": notes_of(dataset) for name, dataset in parts.items()}
    found |= {f"index of {name}": index_notes_of(dataset) for name, dataset in parts.items()}
    found["limits of val"] = experiment.task.limit_notes(experiment.config, experiment.val_set)
    found["quarantine"] = experiment.task.quarantine_notes(experiment.config)
    return {
        name: ("\n" + " " * 20).join(map(one_line, notes)) for name, notes in found.items() if notes
    }


def _memory(experiment: Experiment) -> str:
    config, task = experiment.config, experiment.task
    with torch.device("meta"):
        model = task.build_model(config, experiment.train_set.info)
    size = task.largest_input(config)
    micro_batch = experiment.plan.micro_batch
    estimate = estimate_memory(
        model, lambda: model.flops_forward(size), train=config.train, micro_batch=micro_batch
    )
    return f"{estimate.describe()} (images of {size[1]}x{size[0]})"


def _categories(dataset: DenseDataset) -> str:
    info = dataset.info
    pairs = [
        f"{category_id} -> {label} {one_line(info.class_names[label])}"
        for category_id, label in info.label_of.items()
    ]
    if len(pairs) > _SHOWN_CATEGORIES:
        pairs = [*pairs[: _SHOWN_CATEGORIES - 1], "...", pairs[-1]]
    return f"{info.num_classes}, annotation id -> label name: {', '.join(pairs)}"
