"""Outcome of an oracle check, and the samples that every one of them reads."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from van_dense.core.structures import Batch, Prediction, Sample
from van_dense.data.dataset import DenseDataset, ReadError

logger = logging.getLogger(__name__)

ToPrediction = Callable[[Batch], list[Prediction]]  # targets as predictions of a perfect model


@dataclass(frozen=True)
class OracleReport:
    """Outcome of the oracle check.

    Attributes:
        ok: Whether the pipeline keeps the ground truth.
        num_images: Number of images that went through.
        metrics: Metrics of the arrived ground truth, empty when the evaluator refused it.
        ceiling: Metrics that decide, as the annotations themselves score.
        diagnosis: What breaks; when ok, a remark or nothing.
    """

    ok: bool
    num_images: int
    metrics: dict[str, float]
    ceiling: dict[str, float]
    diagnosis: str

    def __str__(self) -> str:
        scores = ", ".join(
            f"{name} {self.metrics[name]:.3f} (ceiling {ceiling:.3f})"
            for name, ceiling in self.ceiling.items()
            if name in self.metrics
        )
        if not self.metrics:
            scores = "no scores"
        verdict = "passed" if self.ok else "FAILED"
        remark = f"; {self.diagnosis}" if self.diagnosis else ""
        return f"oracle check {verdict} on {self.num_images} images: {scores}{remark}"


def readable(dataset: DenseDataset, indices: Sequence[int]) -> Iterator[Sample]:
    """Untransformed samples, without those that cannot be read.

    Raises:
        ReadError: When none of them can be read.
    """
    failure: ReadError | None = None
    num_read = 0
    for index in indices:
        try:
            sample = dataset.raw(index)
        except ReadError as error:
            logger.warning("left out of the oracle check: %s", error)
            failure = error
            continue
        num_read += 1
        yield sample
    if failure is not None and num_read == 0:
        raise failure
