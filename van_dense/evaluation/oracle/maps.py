"""Oracle check of label and saliency maps: what the pipeline does to the ground truth.

A crop, a flip or a resize that image and map do not share, or a label map that ignores everything,
ends in a useless model after hours; here it is found in seconds.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping

import numpy as np

from van_dense.core.structures import Batch, Prediction
from van_dense.data.collate import collate
from van_dense.data.dataset import DenseDataset, ReadError, Transform
from van_dense.evaluation.evaluator import Evaluator
from van_dense.evaluation.oracle.instances import OracleReport

logger = logging.getLogger(__name__)


def check_maps(
    dataset: DenseDataset,
    transform: Transform,
    *,
    to_prediction: Callable[[Batch], list[Prediction]],
    evaluator: Evaluator,
    num_images: int,
    limits: Mapping[str, tuple[float, float]],
) -> OracleReport:
    """Push the ground truth of some images through the test transform and back, and score it.

    Args:
        dataset: Where the images come from, usually the validation part.
        transform: The test transform.
        to_prediction: Takes a batch and returns its maps in original-image pixels.
        evaluator: Fresh, of the whole data set.
        num_images: How many to try, evenly spread.
        limits: Best and worst value that each of these metrics may have; resizing there and back
            loses some pixels of every outline.

    Raises:
        ReadError: When none of the images can be read.
    """
    count = 0
    failure: ReadError | None = None
    indices = np.linspace(0, len(dataset) - 1, min(num_images, len(dataset))).round().astype(int)
    for index in indices.tolist():
        try:
            sample = dataset.raw(index)
        except ReadError as error:
            logger.warning("left out of the oracle check: %s", error)
            failure = error
            continue
        batch = collate([transform(sample, np.random.default_rng(0))])
        evaluator.update(to_prediction(batch))
        count += 1
    if failure is not None and count == 0:
        raise failure
    metrics = evaluator.compute()
    problems = []
    for name, (best, worst) in limits.items():
        value = metrics[name]
        if math.isnan(value):
            problems.append(f"{name} is undefined: no pixel of these images belongs to a class")
        elif not min(best, worst) <= value <= max(best, worst):
            problems.append(
                f"{name} is {value:.3f} instead of {best:g}, or {worst:g} at worst: the test size "
                "is too small for what the maps show, or image and map are not transformed alike"
            )
    ceiling = {name: best for name, (best, _) in limits.items()}
    return OracleReport(not problems, count, metrics, ceiling, "; ".join(problems))
