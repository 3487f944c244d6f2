"""A run and files made of it, side by side on the same images: equal, as good, how fast."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from van_dense.config import Config
from van_dense.core.counting import counted
from van_dense.core.structures import Batch, Prediction, Sample, size_of
from van_dense.data.collate import collate
from van_dense.data.dataset import DenseDataset
from van_dense.data.io.sources import ImageSource, named_sources, read_source, source_name
from van_dense.deploy.network import Network, Run
from van_dense.deploy.runtime import open_file
from van_dense.evaluation.evaluator import Evaluator
from van_dense.inference.gate import TOLERANCES, Drift, Gate, differing, sure_from
from van_dense.inference.loaded import Loaded
from van_dense.tasks import task_of

log = logging.getLogger(__name__)

Predict = Callable[[Batch], list[Prediction]]


@dataclass(frozen=True)
class Compared:
    """What the gate saw of a file that passed.

    Attributes:
        images: Number of images.
        differences: The largest ones, by name.
        metrics: Those of the run and of the file, by name.
        instances: Number of instances of the run that the file had to find, those of hardly any
            score aside; None for a task without instances.
    """

    images: int
    differences: Mapping[str, float]
    metrics: Mapping[str, tuple[float, float]]
    instances: int | None = None


@dataclass(frozen=True)
class Measured:
    """One way to predict, measured.

    Attributes:
        runtime: "torch" for the run itself, "onnxruntime" or "openvino".
        precision: "fp32", "bf16" or "int8".
        metric: Main metric of the task, in 0..1; None without annotations.
        milliseconds: Median time of an image after its transform, up to final results.
        speedup: Median of how many times as fast as the run it is, image by image.
    """

    runtime: str
    precision: str
    metric: float | None
    milliseconds: float
    speedup: float

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return asdict(self)


@dataclass(frozen=True)
class Comparison:
    """Images that a run and files of it are compared on.

    Attributes:
        loaded: The run.
        network: What its files compute.
        images: Images to take, in place of some of the validation part; there is no metric then.
        number: Number of images of the validation part; all of them are kept in memory.
    """

    loaded: Loaded
    network: Network
    images: Sequence[str | Path]
    number: int

    @cached_property
    def batches(self) -> list[Batch]:
        """The images, prepared once and in memory: many files are compared on them.

        ValueError when the validation part has none.
        """
        if self.images:
            sources = named_sources([str(one) for one in self.images])
            return [_given(self.loaded, source, i) for i, (_, source) in enumerate(sources)]
        dataset = self._dataset
        if len(dataset) == 0:
            what = "the validation part has no image to compare file and run on"
            raise ValueError(f"{what}; give some with --images")
        return [batch_of(self.loaded, dataset.raw(index)) for index in range(len(dataset))]

    @cached_property
    def _config(self) -> Config:
        """That of the run, for the first images of each part alone."""
        data = self.loaded.config.data
        number = min(self.number, data.max_images or self.number)
        data = data.model_copy(update={"max_images": number})
        return self.loaded.config.model_copy(update={"data": data})

    @cached_property
    def _dataset(self) -> DenseDataset:
        return task_of(self._config).build_dataset(self._config, "val")

    def check(self, path: Path) -> Compared:
        """Compare a file with the trained model, or raise ``Drift``; see ``Gate``."""
        opened = open_file(path)
        tolerance = TOLERANCES[opened.card.precision]
        gate = Gate(self.network, opened.runner(()), tolerance, model=self.loaded.model)
        run, file = self._evaluator(), self._evaluator()
        for batch in self.batches:
            expected, found = gate.compare(batch)
            if run is not None and file is not None:
                run.update(expected)
                file.update(found)
        instances = gate.differences.instances
        for batch in self._otherwise_shaped():
            gate.compare(batch)
        metrics: dict[str, tuple[float, float]] = {}
        if run is not None and file is not None:
            name = self.metric
            metrics[name] = (run.compute()[name], file.compute()[name])
            if not _near(*metrics[name], tolerance.metric):
                values = "{} is {:.4f} with the run and {:.4f} with the file"
                limit = f"{tolerance.metric:g} is allowed"
                raise Drift(f"stage metric: {values.format(name, *metrics[name])}; {limit}")
        if instances == 0:
            log.warning(
                "the run finds nothing with a score above %g in %s, so no instance of it was "
                "looked for in the file; give images of what it finds with --images",
                sure_from(tolerance),
                counted(len(self.batches), "image"),
            )
        return Compared(len(self.batches), gate.differences.summary(), metrics, instances)

    def error(self, run: Run) -> float:
        """Mean part of an image's results, in 0..1, that are not quite the trained model's.

        Outputs that are no results, such as NaN, count as 1.
        """
        each = []
        with torch.inference_mode():
            for expected, batch in zip(self._expected, self.batches, strict=True):
                try:
                    found = self.network.predict(run, batch)
                except ValueError:
                    each += [1.0] * len(expected)
                    continue
                pairs = zip(expected, found, strict=True)
                each += [differing(one, other, TOLERANCES["fp32"])[0] for one, other in pairs]
        return float(np.mean(each))

    @cached_property
    def _expected(self) -> list[list[Prediction]]:
        """Of the trained model; many files are compared with them, and it is slow."""
        with torch.inference_mode():
            return [self.loaded.model.predict(batch) for batch in self.batches]

    def measure(self, ways: Mapping[tuple[str, str], Run]) -> list[Measured]:
        """Metric and time of the run and of files, which take turns at every image.

        Args:
            ways: From runtime and precision to the function that computes the outputs.
        """
        predict: dict[tuple[str, str], Predict] = {("torch", "fp32"): self.loaded.network.predict}
        predict |= {way: partial(self.network.predict, run) for way, run in ways.items()}
        seconds: dict[tuple[str, str], list[float]] = {way: [] for way in predict}
        metrics: dict[tuple[str, str], float | None] = {}
        with torch.inference_mode():
            for way, one in predict.items():  # the first calls are slower
                metrics[way] = self._metric_of(one)
            for batch in self.batches:
                for way, one in predict.items():
                    began = perf_counter()
                    one(batch)
                    seconds[way].append(perf_counter() - began)
        first = np.array(seconds["torch", "fp32"])
        return [
            Measured(
                *way,
                metric=metrics[way],
                milliseconds=round(1000 * median(seconds[way]), 2),
                speedup=round(float(np.median(first / seconds[way])), 2),
            )
            for way in predict
        ]

    @property
    def metric(self) -> str:
        """Name of the main metric."""
        return task_of(self._config).best_metric(self._config)

    def _metric_of(self, predict: Predict) -> float | None:
        evaluator = self._evaluator()
        for batch in self.batches:
            found = predict(batch)
            if evaluator is not None:
                evaluator.update(found)
        return None if evaluator is None else evaluator.compute()[self.metric]

    def _evaluator(self) -> Evaluator | None:
        """A new evaluator of the validation part, or None for given images."""
        if self.images:
            return None
        return task_of(self._config).evaluator_factory(self._dataset, self._config)()

    def _otherwise_shaped(self) -> Iterator[Batch]:
        """An image in other shapes that a file must take: with black below and beside, and twice.

        Exporters fix what they cannot keep variable to the sizes of their example, without a word.
        """
        batch, divisor = self.batches[0], self.loaded.config.data.size_divisor
        if self.network.takes_any_size:
            images = F.pad(batch.images, (0, divisor, 0, 2 * divisor))
            yield replace(batch, images=images, sizes=[(images.shape[2], images.shape[3])])
        if self.network.takes_batches:
            yield Batch(
                images=batch.images.repeat(2, 1, 1, 1),
                sizes=[*batch.sizes] * 2,
                orig_sizes=[*batch.orig_sizes] * 2,
                image_ids=[*batch.image_ids] * 2,
                proposals=None if batch.proposals is None else [*batch.proposals] * 2,
            )


def _near(one: float, other: float, limit: float) -> bool:
    """Whether two metrics are the same; both are NaN where nothing is annotated."""
    if math.isnan(one) or math.isnan(other):
        return math.isnan(one) and math.isnan(other)
    return abs(one - other) <= limit


def _given(loaded: Loaded, source: ImageSource, index: int) -> Batch:
    name = source_name(source, index)
    image = read_source(source, name)
    return batch_of(loaded, Sample(image, name, path=name, orig_size=size_of(image)))


def batch_of(loaded: Loaded, sample: Sample) -> Batch:
    """An image prepared as for predictions."""
    transform = task_of(loaded.config).build_transform(loaded.config, train=False)
    prepared = transform(sample, np.random.default_rng(0))
    return collate([prepared], task_of(loaded.config).multiple(loaded.config))
