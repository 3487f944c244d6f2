"""The public functions: build a model from a config, load a trained run, evaluate it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import torch
from accelerate import Accelerator

from van_dense.config import Config, load_config
from van_dense.config.engine import has_detectron2
from van_dense.config.load import RawConfig, parse_override, validate
from van_dense.core.dataset_info import DatasetInfo
from van_dense.data.dataset import DenseDataset
from van_dense.engine.checkpoint import choose_checkpoint, load_checkpoint
from van_dense.engine.device import make_accelerator
from van_dense.engine.log import setup_logging
from van_dense.inference.loaded import Loaded, proposals_from
from van_dense.models.dense_model import DenseModel
from van_dense.runs.evaluation import Evaluation
from van_dense.tasks import TASKS
from van_dense.tasks.common import load_weights

log = logging.getLogger(__name__)

__all__ = ["Loaded", "build_model", "load", "load_config", "proposals_from"]


def build_model(config: Config, info: DatasetInfo | None = None) -> DenseModel:
    """Build the network of a config, with random weights.

    Args:
        config: From ``load_config``.
        info: Classes of the data set; by default those the config names, or COCO's 80.
    """
    task = TASKS[config.task]
    return task.build_model(config, info or task.dataset_info(config))


def load(
    run: str | Path,
    *,
    checkpoint: str = "best",
    fragments: Sequence[str | Path] = (),
    overrides: Sequence[str] = (),
    device: str | torch.device | None = None,
    engine: str | None = None,
) -> Loaded:
    """Load a trained run: averaged weights if the run kept some, in evaluation mode.

    Args:
        run: Run folder or checkpoint file; nothing else is needed.
        checkpoint: "best", "last" or a file.
        fragments: YAML files, such as another data set, laid over the stored config.
        overrides: ``key.path=value`` on top of them.
        device: A GPU where there is one, otherwise the CPU.
        engine: Instead of the one that a detector was trained on; other tasks have none.

    Raises:
        ValueError: When there is no checkpoint, or when it does not fit the config.
    """
    path = choose_checkpoint(run, checkpoint)
    state = load_checkpoint(path)
    raw = RawConfig()
    raw.merge(state["config"], str(path))
    trained_on = raw.values["model"].get("engine")
    if engine is None and trained_on == "detectron2" and not has_detectron2():
        log.warning("%s was trained on Detectron2, which is missing: engine torchvision", path)
        engine = "torchvision"  # the same network
    if engine is not None and trained_on is not None:
        raw.merge({"model": {"engine": engine}}, "load")
    for fragment in fragments:
        raw.merge_file(fragment)
    for override in overrides:
        raw.merge(parse_override(override), "command line")
    if raw.values["model"]["backbone"]["norm_mode"] == "sync":  # trains on GPUs only; same results
        raw.merge({"model": {"backbone": {"norm_mode": "batch"}}}, "load")
    config = validate(raw)
    info = DatasetInfo.from_dict(state["info"])
    model = build_model(config, info)
    try:
        model.load_state_dict(state["ema"] or state["model"])
    except RuntimeError as error:
        raise ValueError(f"{path} does not fit its model after the overrides: {error}") from error
    target = _device(device)
    return Loaded(model.to(target).eval(), config, info, state["step"], target)


def _device(name: str | torch.device | None) -> torch.device:
    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
    except RuntimeError as error:
        raise ValueError(
            f"device {name!r} is none that PyTorch knows; use cpu or cuda:0"
        ) from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device {name!r}: PyTorch sees no GPU here; use cpu")
    return device


def evaluate_run(
    run: str | Path,
    *,
    checkpoint: str = "best",
    fragments: Sequence[str | Path] = (),
    overrides: Sequence[str] = (),
    output: str | Path,
) -> dict[str, float]:
    """Evaluate a trained run on its validation part, and draw.

    Args:
        run: Run folder or checkpoint file.
        checkpoint: "best", "last" or a file.
        fragments: YAML files, such as another data set, laid over the stored config.
        overrides: ``key.path=value`` on top of them.
        output: Folder for metrics.json, predictions and pictures/.

    Returns:
        The metrics; nothing on all processes of ``torchrun`` but the first.

    Raises:
        ValueError: When checkpoint or data do not fit.
    """
    loaded = load(
        run, checkpoint=checkpoint, fragments=fragments, overrides=overrides, device="cpu"
    )
    accelerator, dataset = _validation_part(loaded.config)
    for what, known, found in (
        ("classes", loaded.info.class_names, dataset.info.class_names),
        ("keypoints", loaded.info.keypoint_names, dataset.info.keypoint_names),
    ):
        if loaded.config.task != "pose" and what == "keypoints":
            continue  # a file of detection data may hold some
        if known != found:
            raise ValueError(
                f"the model knows the {what} {known}, but the data set has {found}; its labels "
                "would be compared with the wrong names"
            )
    model = loaded.model.to(accelerator.device)
    return Evaluation(loaded.config, dataset, accelerator).run(model, Path(output))


def evaluate_weights(config: Config, *, output: str | Path) -> dict[str, float]:
    """Evaluate the weights that a classification config names, such as published ones.

    Args:
        config: Its ``model.backbone.weights`` fill the whole network.
        output: Folder for metrics.json, predictions and pictures/.

    Returns:
        The metrics; nothing on all processes of ``torchrun`` but the first.

    Raises:
        ValueError: When there are no such weights, or they lack the classifier.
    """
    if config.task != "classification" or config.model.backbone.weights is None:
        raise ValueError(
            "only a classification project that names model.backbone.weights can be evaluated "
            "without a run: other networks have parts that these weights do not fill; train first"
        )
    accelerator, dataset = _validation_part(config)
    model = build_model(config, dataset.info)
    report = load_weights(model, config)
    assert report is not None  # there are weights
    log.info("%s", report)
    if missing := report.random_head():
        raise ValueError(
            f"the weights {config.model.backbone.weights} do not fill the classifier of "
            f"{dataset.info.num_classes} classes: {', '.join(missing)}; train it first"
        )
    return Evaluation(config, dataset, accelerator).run(model.to(accelerator.device), Path(output))


def _validation_part(config: Config) -> tuple[Accelerator, DenseDataset]:
    accelerator = make_accelerator(config.train.precision)
    setup_logging(accelerator.is_main_process)
    task = TASKS[config.task]
    if accelerator.is_main_process:
        task.prepare_data(config)
    accelerator.wait_for_everyone()
    return accelerator, task.build_dataset(config, "val")
