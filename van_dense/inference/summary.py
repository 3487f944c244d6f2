"""What a prediction holds, in a few words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from van_dense.core.dataset_info import DatasetInfo
from van_dense.core.structures import Prediction
from van_dense.evaluation.classification import best_classes
from van_dense.visualize.maps import class_counts

_SALIENT = 0.5
_SHOWN = 6  # classes


def summarize(
    prediction: Prediction, info: DatasetInfo, min_score: float, num_hidden: int = 0
) -> str:
    """Such as "instances: 2 cat, 1 dog, 3 more below score 0.3".

    Args:
        prediction: What a model of any task found in one image.
        info: What its labels mean.
        min_score: Instances below are not counted by class.
        num_hidden: Number of instances below ``min_score``.
    """
    names = info.class_names
    if prediction.segments is not None:
        counts = np.bincount([s["label"] for s in prediction.segments], minlength=len(names))
        return f"segments: {_list_counts(counts, names)}"
    if (found := prediction.instances) is not None:
        what = "instances" if found.keypoints is None else "poses"
        shown = found if found.scores is None else found[found.scores >= min_score]
        counts = np.bincount(shown.labels.numpy(), minlength=len(names))
        below = f", {num_hidden} more below score {min_score:g}" if num_hidden else ""
        return f"{what}: {_list_counts(counts, names)}{below}"
    if prediction.semantic is not None:
        parts = class_counts(prediction.semantic)[: len(names)] / prediction.semantic.size
        order = [k for k in np.argsort(-parts, kind="stable") if parts[k] > 0]
        return f"label map: {_listed([f'{names[k]} {parts[k]:.0%}' for k in order])}"
    if prediction.saliency is not None:
        return f"saliency map: {(prediction.saliency > _SALIENT).mean():.0%} salient"
    assert prediction.class_scores is not None
    labels, scores = best_classes(prediction.class_scores.numpy())
    pairs = zip(labels, scores, strict=True)
    return f"classes: {_listed([f'{names[k]} {score:.0%}' for k, score in pairs])}"


def _list_counts(counts: np.ndarray, names: Sequence[str]) -> str:
    """Classes that occur, the most frequent first."""
    order = np.argsort(-counts, kind="stable")[: int((counts > 0).sum())]
    return _listed([f"{counts[k]} {names[k]}" for k in order]) or "none"


def _listed(words: Sequence[str]) -> str:
    more = len(words) - _SHOWN
    return ", ".join(words[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
