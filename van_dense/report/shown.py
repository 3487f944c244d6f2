"""Truth and predictions of one image of a source, both in the form of predictions, to be drawn."""

from __future__ import annotations

import numpy as np
import torch

from van_dense.core.structures import Prediction, size_of
from van_dense.report.sources import Images, Maps, Panoptic


def truth_of(source: Maps | Images | Panoptic, image_id: int | str) -> Prediction:
    """Ground truth of an image as a perfect prediction; that of classes has the size (1, 1)."""
    if isinstance(source, Panoptic):
        return source.truth(image_id)
    if isinstance(source, Images):
        label = source.labels[list(source.image_ids).index(image_id)]
        return _classes(source, image_id, np.array([label]), np.ones(1))
    truth = source.truth(image_id)
    if source.kind == "semantic":
        return Prediction(image_id, size_of(truth), semantic=truth)
    scaled = truth.astype(np.float32) / np.float32(255)
    return Prediction(image_id, size_of(truth), saliency=scaled)


def prediction_of(source: Maps | Images | Panoptic, image_id: int | str) -> Prediction:
    """Prediction of an image; that of classes has the size (1, 1)."""
    if not isinstance(source, Images):
        return source.predicted(image_id)
    index = list(source.image_ids).index(image_id)
    return _classes(source, image_id, source.best[index], source.scores[index])


def _classes(
    source: Images, image_id: int | str, labels: np.ndarray, scores: np.ndarray
) -> Prediction:
    every = torch.zeros(source.info.num_classes)
    every[torch.from_numpy(labels)] = torch.from_numpy(scores).float()
    return Prediction(image_id, (1, 1), class_scores=every)
