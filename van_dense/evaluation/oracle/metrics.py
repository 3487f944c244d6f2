"""Report of an oracle check, and the check of label maps, saliency maps and image classes.

A crop, a flip or a resize that image and map do not share, a label map that ignores everything, or
labels of other images end in a useless model after hours; here they are found in seconds.
"""

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from van_dense.core.counting import counted
from van_dense.core.structures import Batch, Prediction, Sample
from van_dense.data.collate import collate
from van_dense.data.dataset import DenseDataset, ReadError, Transform
from van_dense.evaluation.evaluator import Evaluator

logger = logging.getLogger(__name__)

ToPrediction = Callable[[Batch], list[Prediction]]  # targets as predictions of a perfect model
MAP_CAUSE = "the test size is too small for the maps, or image and map are not transformed alike"
LABEL_CAUSE = "images do not arrive with the label they are listed by"


@dataclass(frozen=True)
class OracleReport:
    """Outcome of the oracle check."""

    ok: bool  # whether the pipeline keeps the ground truth
    num_images: int  # number of images that went through
    metrics: dict[str, float]  # of the arrived ground truth; empty when the evaluator refused it
    ceiling: dict[str, float]  # metrics that decide, as the annotations themselves score
    diagnosis: str  # what breaks; when ok, a remark or nothing

    def __str__(self) -> str:
        scores = ", ".join(
            f"{name} {self.metrics[name]:.3f} (ceiling {ceiling:.3f})"
            for name, ceiling in self.ceiling.items()
            if name in self.metrics
        )
        scores = scores if self.metrics else "no scores"
        verdict = "passed" if self.ok else "FAILED"
        remark = f"; {self.diagnosis}" if self.diagnosis else ""
        return f"oracle check {verdict} on {counted(self.num_images, 'image')}: {scores}{remark}"


def readable(dataset: DenseDataset, indices: Sequence[int]) -> Iterator[Sample]:
    """Untransformed samples, without those that cannot be read; ReadError when none can."""
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


def check_metrics(
    dataset: DenseDataset,
    transform: Transform,
    *,
    to_prediction: ToPrediction,
    evaluator: Evaluator,
    num_images: int,
    size_divisor: int,
    limits: Mapping[str, tuple[float, float]],
    cause: str = MAP_CAUSE,
) -> OracleReport:
    """Score the ground truth of some images after the test transform and back, or ReadError.

    Args:
        dataset: Data set to read the images from, usually the validation part.
        transform: Test transform.
        to_prediction: From a batch to its maps in original-image pixels, or its sure labels.
        evaluator: Fresh evaluator of the whole data set.
        num_images: Number of images to try, evenly spread, since folders come class by class.
        size_divisor: Number that padded sides are multiples of, in pixels, as for the model.
        limits: Best and worst value of each of these metrics; resizing costs some outline pixels.
        cause: What is probably wrong with a metric outside of its limits.
    """
    count = 0
    indices = np.linspace(0, len(dataset) - 1, min(num_images, len(dataset))).round().astype(int)
    for sample in readable(dataset, indices.tolist()):
        transformed = transform(sample, np.random.default_rng(0))
        evaluator.update(to_prediction(collate([transformed], size_divisor)))
        count += 1
    metrics = evaluator.compute()
    problems = []
    for name, (best, worst) in limits.items():
        value = metrics[name]
        if math.isnan(value):
            problems.append(f"{name} is undefined: no pixel of these images belongs to a class")
        elif not min(best, worst) <= value <= max(best, worst):
            at_worst = "" if worst == best else f", or {worst:g} at worst"
            problems.append(f"{name} is {value:.3f} instead of {best:g}{at_worst}: {cause}")
    ceiling = {name: best for name, (best, _) in limits.items()}
    return OracleReport(not problems, count, metrics, ceiling, "; ".join(problems))
