"""Oracle check of label maps, saliency maps and image classes: is the truth kept?

A crop, a flip or a resize that image and map do not share, a label map that ignores everything, or
labels of other images end in a useless model after hours; here they are found in seconds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from van_dense.data.collate import collate
from van_dense.data.dataset import DenseDataset, Transform
from van_dense.evaluation.evaluator import Evaluator
from van_dense.evaluation.oracle.report import OracleReport, ToPrediction, readable

MAP_CAUSE = (
    "the test size is too small for what the maps show, or image and map are not transformed alike"
)
LABEL_CAUSE = "images do not arrive with the label they are listed by"


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
    """Push the ground truth of some images through the test transform and back, and score it.

    Args:
        dataset: Data set to read the images from, usually the validation part.
        transform: Test transform.
        to_prediction: Takes a batch and returns its maps in original-image pixels, or its labels
            as predictions that are sure of them.
        evaluator: Fresh evaluator of the whole data set.
        num_images: Number of images to try, evenly spread, since folders come class by class.
        size_divisor: Number that padded sides are multiples of, in pixels, as for the model.
        limits: Best and worst value that each of these metrics may have; resizing there and back
            loses some pixels of every outline.
        cause: What is probably wrong with a metric outside of its limits.

    Raises:
        ReadError: When none of the images can be read.
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
