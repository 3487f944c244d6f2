"""The public functions: build a model from a config, load a trained run, evaluate it."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from accelerate import Accelerator

from van_dense.config import Config, load_config
from van_dense.config.engine import has_detectron2
from van_dense.config.load import RawConfig, parse_override, validate
from van_dense.config.segmentation import SemanticData
from van_dense.data.collate import collate
from van_dense.data.dataset import DenseDataset, ReadError
from van_dense.data.label_map import LabelMap
from van_dense.data.loader import resolve_workers
from van_dense.data.sources import (
    Given,
    Source,
    named_sources,
    read_source,
    source_bytes,
    source_name,
)
from van_dense.dataset_info import DatasetInfo
from van_dense.engine.checkpoint import choose_checkpoint, load_checkpoint
from van_dense.engine.device import make_accelerator
from van_dense.engine.log import setup_logging
from van_dense.models.dense_model import DenseModel
from van_dense.result import Result
from van_dense.structures import Instances, Prediction, Sample
from van_dense.tasks import TASKS
from van_dense.tasks.common import load_weights
from van_dense.tasks.evaluation import Evaluation
from van_dense.tasks.stream import predict_stream

log = logging.getLogger(__name__)

Precision = Literal["fp32", "bf16", "fp16"]

__all__ = ["Loaded", "build_model", "load", "load_config", "proposals_from"]


def build_model(config: Config, info: DatasetInfo | None = None) -> DenseModel:
    """Build the network of a config, with random weights.

    Args:
        config: From ``load_config``.
        info: Classes of the data set; by default those the config names, or COCO's 80.
    """
    task = TASKS[config.task]
    return task.build_model(config, info or task.dataset_info(config))


@dataclass(repr=False)
class Loaded:
    """A trained model with everything needed to use it."""

    model: DenseModel
    config: Config
    info: DatasetInfo
    step: int
    device: torch.device

    def __repr__(self) -> str:
        """One line; that of the model alone has hundreds."""
        config = self.config
        return (
            f"Loaded({config.task} on {config.model.backbone.name}, {self.info.num_classes} classes "
            f"of {self.info.name!r}, step {self.step}, {self.device})"
        )

    def predict(
        self,
        images: Given | Iterable[Given],
        proposals: Instances | Iterable[Instances] | None = None,
        *,
        batch_size: int = 1,
        precision: Precision = "fp32",
    ) -> list[Result]:
        """Predict images.

        Args:
            images: A path, a folder (its images in all depths), a pattern such as ``a/**/*.jpg``,
                a uint8 (H, W, 3) RGB array, a Pillow image of any mode, or several of these.
            proposals: For pose: the instances of each image to look at, such as
                ``proposals_from`` makes of a detector's prediction. By default an image is taken
                for the crop of one instance.
            batch_size: Images that the model sees at a time, of one size after the transform.
            precision: Of autocast: "fp32", "bf16", or on a GPU "fp16".

        Returns:
            One result for each image, in its own pixels. ``stream`` needs no room for all.

        Raises:
            ReadError: When a file cannot be read; it is named.
            ValueError: When an array is no RGB image, a folder holds none, or the proposals are
                not one for each image.
        """
        sources = list(named_sources(images))
        given = [proposals] if isinstance(proposals, Instances) else proposals
        given = None if given is None else list(given)
        if given is not None and len(given) != len(sources):
            raise ValueError(f"{len(given)} proposals for {len(sources)} images; give one for each")
        results = []
        for result in self._stream(sources, given, batch_size=batch_size, precision=precision):
            if isinstance(result, ReadError):
                raise result
            results.append(result)
        return results

    def stream(
        self,
        images: Given | Iterable[Given],
        proposals: Iterable[Instances] | None = None,
        *,
        batch_size: int = 1,
        precision: Precision = "fp32",
        predict_image: Callable[[np.ndarray], Prediction] | None = None,
    ) -> Iterator[Result | ReadError]:
        """Predict any number of images, in order, while the next ones are read in threads.

        Args:
            images: As in ``predict``; an iterator, such as the frames of a video, is taken as it
                goes.
            proposals: As in ``predict``, as many as there are images.
            batch_size: As in ``predict``.
            precision: As in ``predict``.
            predict_image: Stands in for the model: from uint8 (H, W, 3) RGB to a prediction in
                its pixels, such as one made of tiles. Image id and transform are not its concern.

        Yields:
            A result, or the error of an image that cannot be read.

        Raises:
            ValueError: As ``predict`` does, but for files.
        """
        return self._stream(
            named_sources(images),
            proposals,
            batch_size=batch_size,
            precision=precision,
            predict_image=predict_image,
        )

    def _stream(
        self,
        named: Iterable[tuple[str, Source]],
        proposals: Iterable[Instances] | None,
        *,
        batch_size: int,
        precision: Precision,
        predict_image: Callable[[np.ndarray], Prediction] | None = None,
    ) -> Iterator[Result | ReadError]:
        """Like ``stream``, for sources with the names of what is saved of them."""
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; give 1 or more")
        predict = partial(self._predict, _autocast(self.device, precision), predict_image)
        transform = TASKS[self.config.task].build_transform(self.config, train=False)

        def prepare(item: tuple[int, tuple[str, Source], Instances | None]) -> Sample:
            index, (_, source), wanted = item
            name = source_name(source, index)
            image = read_source(source, name)
            size = (image.shape[0], image.shape[1])
            sample = Sample(image, name, path=name, orig_size=size, proposals=wanted)
            if predict_image is not None:
                return sample
            return transform(sample, np.random.default_rng(0))

        # The shorter one ends it; predict() has compared the lengths.
        wanted = itertools.repeat(None) if proposals is None else proposals
        items = ((i, *pair) for i, pair in enumerate(zip(named, wanted, strict=False)))
        threads = max(1, resolve_workers("auto"))
        for (_, (name, source), _), found in predict_stream(
            items,
            prepare,
            predict,
            batch_size=batch_size,
            threads=threads,
            weigh=lambda item: source_bytes(item[1][1]),
        ):
            yield found if isinstance(found, ReadError) else self.result(found, source, name)

    def result(self, prediction: Prediction, source: Source, name: str | None = None) -> Result:
        """Add what this model knows to a prediction, where its image is, and how to call it."""
        return Result.of(
            prediction,
            source,
            self.info,
            min_score=self.config.eval.lowest_drawn_score,
            label_map=self._label_map,
            name=name,
        )

    @cached_property
    def _label_map(self) -> LabelMap | None:
        data = self.config.data
        if not isinstance(data, SemanticData):
            return None
        return LabelMap.parse(data.label_map, self.info.num_classes)

    def _predict(
        self,
        autocast: Callable[[], AbstractContextManager[object]],
        predict_image: Callable[[np.ndarray], Prediction] | None,
        samples: Sequence[Sample],
    ) -> list[Prediction]:
        with torch.inference_mode(), autocast():
            if predict_image is not None:
                found = [(sample, predict_image(sample.image)) for sample in samples]
                return [replace(one, image_id=sample.image_id) for sample, one in found]
            batch = collate(samples, self.config.data.size_divisor).to(self.device)
            return self.model.predict(batch)


def _autocast(
    device: torch.device, precision: Precision
) -> Callable[[], AbstractContextManager[object]]:
    if precision == "fp32":
        return nullcontext
    if precision not in ("bf16", "fp16"):
        raise ValueError(f"precision is {precision!r}; give fp32, bf16 or fp16")
    if precision == "fp16" and device.type == "cpu":
        raise ValueError("precision fp16 needs a GPU; take bf16 or fp32")
    dtype = torch.bfloat16 if precision == "bf16" else torch.float16
    return partial(torch.autocast, device.type, dtype)


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
