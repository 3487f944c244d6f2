"""The public functions: build a model from a config, load a trained run, evaluate it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator

from van_dense.config import Config, load_config
from van_dense.config.engine import has_detectron2
from van_dense.config.load import RawConfig, parse_override, validate
from van_dense.data.collate import collate
from van_dense.data.dataset import DenseDataset
from van_dense.data.image import read_image
from van_dense.dataset_info import DatasetInfo
from van_dense.engine.checkpoint import choose_checkpoint, load_checkpoint
from van_dense.engine.device import make_accelerator
from van_dense.engine.log import setup_logging
from van_dense.models.dense_model import DenseModel
from van_dense.structures import Instances, Prediction, Sample
from van_dense.tasks import TASKS
from van_dense.tasks.common import load_weights
from van_dense.tasks.evaluation import Evaluation

log = logging.getLogger(__name__)

Source = str | Path | np.ndarray

__all__ = ["Loaded", "build_model", "load", "load_config", "proposals_from"]


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

    def predict(
        self,
        images: Source | Sequence[Source],
        proposals: Instances | Sequence[Instances] | None = None,
    ) -> list[Prediction]:
        """Predict images one by one.

        Args:
            images: A path or a uint8 (H, W, 3) RGB array, or several of them.
            proposals: For pose: the instances of each image to look at, such as
                ``proposals_from`` makes of a detector's prediction. By default an image is taken
                for the crop of one instance.

        Returns:
            One prediction for each image, in its own pixels.

        Raises:
            ValueError: When a file cannot be read, an array is no RGB image, or the proposals are
                not one for each image.
        """
        several = [images] if isinstance(images, str | Path | np.ndarray) else list(images)
        given = [proposals] if isinstance(proposals, Instances) else proposals
        if given is not None and len(given) != len(several):
            raise ValueError(f"{len(given)} proposals for {len(several)} images; give one for each")
        transform = TASKS[self.config.task].build_transform(self.config, train=False)
        predictions: list[Prediction] = []
        for index, source in enumerate(several):
            name = f"image {index}" if isinstance(source, np.ndarray) else str(source)
            image = source if isinstance(source, np.ndarray) else read_image(Path(source))
            _check_image(image, name)
            sample = Sample(
                image=image,
                image_id=name,
                path=name,
                orig_size=image.shape[:2],
                proposals=None if given is None else given[index],
            )
            sample = transform(sample, np.random.default_rng(0))
            batch = collate([sample], self.config.data.size_divisor).to(self.device)
            with torch.inference_mode():
                predictions += self.model.predict(batch)
        return predictions


def proposals_from(
    prediction: Prediction, detector: DatasetInfo, pose: DatasetInfo, *, min_score: float = 0.0
) -> Instances:
    """Detections of the classes that a pose model knows, as its proposals.

    Args:
        prediction: Of a detector.
        detector: What its labels mean.
        pose: What those of the pose model mean; classes are matched by name.
        min_score: Detections below are left out.

    Raises:
        ValueError: When the two have no class in common.
    """
    label_of = {name: label for label, name in enumerate(pose.class_names)}
    labels = torch.tensor([label_of.get(name, -1) for name in detector.class_names])
    if (labels < 0).all():
        raise ValueError(
            f"the detector knows {list(detector.class_names)[:10]}, the pose model "
            f"{list(pose.class_names)[:10]}; they need a class of the same name"
        )
    found = prediction.instances or Instances.empty()
    found = replace(found, labels=labels[found.labels], masks=None)
    keep = found.labels >= 0
    return found[keep if found.scores is None else keep & (found.scores >= min_score)]


def _check_image(image: np.ndarray, name: str) -> None:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or image.size == 0:
        raise ValueError(
            f"{name}: expected uint8 (height, width, 3) in RGB order, got {image.dtype} "
            f"{image.shape}"
        )


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
    if raw.values["model"].get("engine") == "detectron2" and not has_detectron2():
        log.warning("%s was trained on Detectron2, which is missing: engine torchvision", path)
        raw.merge({"model": {"engine": "torchvision"}}, "load")  # the same network
    if engine is not None and "engine" in raw.values["model"]:
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
