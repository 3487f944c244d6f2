"""A run and files made of it, side by side on the same images: equal, as good, how fast."""

from __future__ import annotations

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
from van_dense.core.structures import Batch, Prediction, Sample, size_of
from van_dense.data.collate import collate
from van_dense.data.dataset import DenseDataset
from van_dense.data.io.sources import named_sources, read_source, source_name
from van_dense.deploy.network import Network, Run
from van_dense.deploy.runtime import open_file
from van_dense.inference.gate import TOLERANCES, Drift, Gate, differing
from van_dense.inference.loaded import Loaded
from van_dense.tasks import task_of

Predict = Callable[[Batch], list[Prediction]]


@dataclass(frozen=True)
class Compared:
    """What the gate saw of a file that passed.

    Attributes:
        images: Number of images.
        differences: The largest ones, by name.
        metrics: Those of the run and of the file, by name.
    """

    images: int
    differences: Mapping[str, float]
    metrics: Mapping[str, tuple[float, float]]


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
        number: Number of images of the validation part.
    """

    loaded: Loaded
    network: Network
    images: Sequence[str | Path]
    number: int

    @cached_property
    def batches(self) -> list[Batch]:
        """The images, one by one."""
        if self.images:
            return list(_given(self.loaded, self.images))
        indices = range(len(self._dataset))
        return [batch_of(self.loaded, self._dataset.raw(index)) for index in indices]

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
        """Compare a file with the run, or raise ``Drift``; see ``Gate``."""
        opened = open_file(path)
        tolerance = TOLERANCES[opened.card.precision]
        gate = Gate(self.network, opened.runner(()), tolerance)
        pairs = [gate.compare(batch) for batch in self.batches]
        for batch in self._otherwise_shaped():
            gate.compare(batch)
        metrics: dict[str, tuple[float, float]] = {}
        if not self.images:
            name = self.metric
            run, file = (self._metric([one for pair in pairs for one in pair[i]]) for i in (0, 1))
            metrics[name] = (run, file)
            if abs(run - file) > tolerance.metric:  # NaN, where nothing is annotated, passes
                values = f"{name} is {run:.4f} with the run and {file:.4f} with the file"
                raise Drift(f"stage metric: {values}; {tolerance.metric:g} is allowed")
        return Compared(len(self.batches), gate.differences.summary(), metrics)

    def error(self, run: Run) -> float:
        """Mean part of an image's results, in 0..1, that are not quite those of the run."""
        found = [self.network.predict(run, batch) for batch in self.batches]
        pairs = zip(self._expected, found, strict=True)
        each = [
            differing(one, other, TOLERANCES["fp32"])[0]
            for expected, predicted in pairs
            for one, other in zip(expected, predicted, strict=True)
        ]
        return float(np.mean(each))

    @cached_property
    def _expected(self) -> list[list[Prediction]]:
        return [self.network.predict(self.network.run, batch) for batch in self.batches]

    def measure(self, ways: Mapping[tuple[str, str], Run]) -> list[Measured]:
        """Metric and time of the run and of files, which take turns at every image.

        Args:
            ways: From runtime and precision to the function that computes the outputs.
        """
        predict: dict[tuple[str, str], Predict] = {("torch", "fp32"): self.loaded.network.predict}
        predict |= {way: partial(self.network.predict, run) for way, run in ways.items()}
        seconds: dict[tuple[str, str], list[float]] = {way: [] for way in predict}
        found: dict[tuple[str, str], list[Prediction]] = {}
        with torch.inference_mode():
            for way, one in predict.items():  # the first calls are slower
                found[way] = [image for batch in self.batches for image in one(batch)]
            for batch in self.batches:
                for way, one in predict.items():
                    began = perf_counter()
                    one(batch)
                    seconds[way].append(perf_counter() - began)
        first = np.array(seconds["torch", "fp32"])
        return [
            Measured(
                *way,
                metric=None if self.images else self._metric(found[way]),
                milliseconds=round(1000 * median(seconds[way]), 2),
                speedup=round(float(np.median(first / seconds[way])), 2),
            )
            for way in predict
        ]

    @property
    def metric(self) -> str:
        """Name of the main metric."""
        return task_of(self._config).best_metric(self._config)

    def _metric(self, predictions: list[Prediction]) -> float:
        task = task_of(self._config)
        evaluator = task.evaluator_factory(self._dataset, self._config)()
        evaluator.update(predictions)
        return evaluator.compute()[self.metric]

    def _otherwise_shaped(self) -> Iterator[Batch]:
        """An image in other shapes that a file must take: with black below and beside, and twice.

        Exporters fix what they cannot keep variable to the sizes of their example, without a word.
        """
        batch, divisor = self.batches[0], self.loaded.config.data.size_divisor
        if self.network.takes_any_size:
            images = F.pad(batch.images, (0, divisor, 0, 2 * divisor))
            yield replace(batch, images=images, sizes=[(images.shape[2], images.shape[3])])
        if self.network.takes_batches:
            yield replace(
                batch,
                images=batch.images.repeat(2, 1, 1, 1),
                sizes=[*batch.sizes] * 2,
                orig_sizes=[*batch.orig_sizes] * 2,
                image_ids=[*batch.image_ids] * 2,
            )


def _given(loaded: Loaded, images: Sequence[str | Path]) -> Iterator[Batch]:
    for index, (_, source) in enumerate(named_sources([str(one) for one in images])):
        name = source_name(source, index)
        image = read_source(source, name)
        yield batch_of(loaded, Sample(image, name, path=name, orig_size=size_of(image)))


def batch_of(loaded: Loaded, sample: Sample) -> Batch:
    """An image prepared as for predictions."""
    transform = task_of(loaded.config).build_transform(loaded.config, train=False)
    prepared = transform(sample, np.random.default_rng(0))
    return collate([prepared], loaded.config.data.size_divisor)
