"""The public functions: build a model from a config, load a trained run, evaluate it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from van_dense.config import Config, load_config
from van_dense.config.load import RawConfig, parse_override, validate
from van_dense.data.image import read_image
from van_dense.dataset_info import DatasetInfo
from van_dense.engine.checkpoint import best_path, latest_intact, load_checkpoint
from van_dense.engine.device import make_accelerator
from van_dense.engine.log import setup_logging
from van_dense.models.dense_model import DenseModel
from van_dense.structures import Prediction, Sample, collate
from van_dense.tasks import TASKS
from van_dense.tasks.evaluation import Evaluation

log = logging.getLogger(__name__)

Source = str | Path | np.ndarray

__all__ = ["Loaded", "build_model", "load", "load_config"]


def build_model(config: Config, info: DatasetInfo | None = None) -> DenseModel:
    """Build the network of a config, with random weights.

    Args:
        config: From ``load_config``.
        info: Classes of the data set; by default those the config names, or COCO's 80.
    """
    task = TASKS[config.task]
    return task.build_model(config, info or task.dataset_info(config))


@dataclass
class Loaded:
    """A trained model with everything needed to use it."""

    model: DenseModel
    config: Config
    info: DatasetInfo
    step: int
    device: torch.device

    def predict(self, images: Source | Sequence[Source]) -> list[Prediction]:
        """Predict images one by one.

        Args:
            images: A path or a uint8 (H, W, 3) RGB array, or several of them.

        Returns:
            One prediction for each image, in its own pixels.

        Raises:
            ValueError: When a file cannot be read, or an array is no RGB image.
        """
        several = [images] if isinstance(images, str | Path | np.ndarray) else list(images)
        transform = TASKS[self.config.task].build_transform(self.config, train=False)
        predictions: list[Prediction] = []
        for index, source in enumerate(several):
            name = f"image {index}" if isinstance(source, np.ndarray) else str(source)
            image = source if isinstance(source, np.ndarray) else read_image(Path(source))
            _check_image(image, name)
            sample = Sample(image=image, image_id=name, path=name, orig_size=image.shape[:2])
            sample = transform(sample, np.random.default_rng(0))
            batch = collate([sample], self.config.data.size_divisor).to(self.device)
            with torch.inference_mode():
                predictions += self.model.predict(batch)
        return predictions


def _check_image(image: np.ndarray, name: str) -> None:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or image.size == 0:
        raise ValueError(
            f"{name}: expected uint8 (height, width, 3) in RGB order, got {image.dtype} "
            f"{image.shape}"
        )


def choose_checkpoint(run: str | Path, which: str = "best") -> Path:
    """Checkpoint of a run folder.

    Args:
        run: Run folder, or a checkpoint file, which is returned as it is.
        which: "best" (the last one if no evaluation chose a best), "last", or a path.

    Raises:
        ValueError: When there is none, with the places looked at.
    """
    run = Path(run)
    if run.is_file():
        return run
    if which not in ("best", "last"):
        if Path(which).is_file():
            return Path(which)
        raise ValueError(f"{which}: no such checkpoint; give best, last or a file")
    if which == "best" and best_path(run).is_file():
        return best_path(run)
    newest = latest_intact(run)
    if newest is None:
        raise ValueError(f"{run}: no checkpoint under {best_path(run).parent}; is it a run folder?")
    return newest


def load(
    run: str | Path,
    *,
    checkpoint: str = "best",
    fragments: Sequence[str | Path] = (),
    overrides: Sequence[str] = (),
    device: str | torch.device | None = None,
) -> Loaded:
    """Load a trained run: averaged weights if the run kept some, in evaluation mode.

    Args:
        run: Run folder or checkpoint file; nothing else is needed.
        checkpoint: "best", "last" or a file.
        fragments: YAML files, such as another data set, laid over the stored config.
        overrides: ``key.path=value`` on top of them.
        device: A GPU where there is one, otherwise the CPU.

    Raises:
        ValueError: When there is no checkpoint, or when it does not fit the config.
    """
    path = choose_checkpoint(run, checkpoint)
    state = load_checkpoint(path)
    raw = RawConfig()
    raw.merge(state["config"], str(path))
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
    target = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    return Loaded(model.to(target).eval(), config, info, state["step"], target)


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
    accelerator = make_accelerator(loaded.config.train.precision)
    setup_logging(accelerator.is_main_process)
    task = TASKS[loaded.config.task]
    if accelerator.is_main_process:
        task.prepare_data(loaded.config)
    accelerator.wait_for_everyone()
    dataset = task.build_dataset(loaded.config, "val")
    if dataset.info.class_names != loaded.info.class_names:
        raise ValueError(
            f"the model knows the classes {loaded.info.class_names}, but the data set has "
            f"{dataset.info.class_names}; its labels would be compared with the wrong names"
        )
    model = loaded.model.to(accelerator.device)
    return Evaluation(loaded.config, dataset, accelerator).run(model, Path(output))
