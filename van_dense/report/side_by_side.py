"""Several models on one image: their scores, and their predictions beside the ground truth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from van_dense.core.structures import Prediction, size_of
from van_dense.report import shown
from van_dense.report.evidence import Evidence, WeightedEvidence
from van_dense.report.objects_errors import count_images
from van_dense.report.objects_evidence import ObjectsEvidence
from van_dense.report.objects_pictures import results_of, truth_of
from van_dense.report.objects_scores import best_threshold
from van_dense.report.sources import Images, Objects, Panoptic, Source
from van_dense.visualize.draw import draw_panel
from van_dense.visualize.page import Panel, draw_page

_SIDE = 480  # pixels of the longer side of a panel
_AT_ONCE = 64  # images whose weights are in memory together
# Metrics of single images, by the names of the evaluators; of MAE less is better.
_OF_IMAGE = {
    "semantic": "semantic/mIoU",
    "saliency": "pysod/MAE",
    "classification": "classification/top1",
    "panoptic": "panoptic/PQ",
}


class Measured(NamedTuple):
    """A model with what it predicted."""

    source: Source
    evidence: Evidence


def kind_of(source: Source) -> str:
    """What a source holds: "bbox", "segm", "keypoints", "semantic", "saliency" ..."""
    if isinstance(source, Images):
        return "classification"
    return "panoptic" if isinstance(source, Panoptic) else source.kind


def image_scores(model: Measured) -> tuple[str, np.ndarray]:
    """What each image is scored by, and its scores, (N,); better models have higher ones.

    Objects are scored by F1 at IoU 0.5 and the confidence of the best F1 of all images.
    """
    if isinstance(model.evidence, ObjectsEvidence):
        return _scores_of_objects(model.evidence)
    metric = _OF_IMAGE[kind_of(model.source)]
    if isinstance(model.source, Images):
        return metric, (model.source.best[:, 0] == model.source.labels).astype(np.float64)
    assert isinstance(model.evidence, WeightedEvidence)
    num = len(model.evidence.image_ids)
    parts = []
    for start in range(0, num, _AT_ONCE):
        alone = np.eye(min(_AT_ONCE, num - start), num, k=start)  # each image by itself
        parts.append(model.evidence.measure(alone)[metric])
    scores = np.concatenate(parts)
    return (f"1 - {metric}", 1 - scores) if metric == "pysod/MAE" else (metric, scores)


def _scores_of_objects(evidence: ObjectsEvidence) -> tuple[str, np.ndarray]:
    return "F1 at IoU 0.5", count_images(evidence, _threshold(evidence)).f1


def _threshold(evidence: ObjectsEvidence) -> float:
    found = evidence.found
    kept, objects = found.counted(), int((~found.ignored[0]).sum())
    best = best_threshold(found.score[kept], found.right()[kept], objects).threshold
    return 0.0 if np.isnan(best) else best


def side_by_side(models: Mapping[str, Measured], image_id: int | str) -> np.ndarray | None:
    """Ground truth, then the prediction of each model, RGB uint8; None without the image.

    Args:
        models: Models by name, of one data set.
        image_id: Id of the image.
    """
    first = next(iter(models.values()))
    photo = first.source.read(image_id)
    if photo is None:
        return None
    cases = {"ground truth": _truth(first, image_id)}
    cases |= {name: _prediction(model, image_id) for name, model in models.items()}
    scale = min(2.0, _SIDE / max(photo.shape[:2]))
    if isinstance(first.source, Images):  # bars of scores would hide the photo
        names = first.source.info.class_names
        words = {name: _words(case, names) for name, case in cases.items()}
        plain = Prediction(image_id, size_of(photo))
        caption = "; ".join(f"{name}: {text}" for name, text in words.items())
        return draw_page([Panel(caption, draw_panel(photo, plain, first.source.info))], "")
    panels = [
        Panel(name, draw_panel(photo, case, first.source.info, scale=scale))
        for name, case in cases.items()
    ]
    return draw_page(panels, str(image_id))


def _words(case: Prediction, names: tuple[str, ...]) -> str:
    assert case.class_scores is not None
    best = int(case.class_scores.argmax())
    return f"{names[best]} {float(case.class_scores[best]):.0%}"


def _truth(model: Measured, image_id: int | str) -> Prediction:
    source, evidence = model
    if isinstance(source, Objects):
        assert isinstance(evidence, ObjectsEvidence)
        position = list(evidence.image_ids).index(image_id)
        return Prediction(image_id, _size(source, image_id), truth_of(evidence, position))
    return shown.truth_of(source, image_id)


def _prediction(model: Measured, image_id: int | str) -> Prediction:
    source, evidence = model
    if isinstance(source, Objects):
        assert isinstance(evidence, ObjectsEvidence)
        position = list(evidence.image_ids).index(image_id)
        found = results_of(evidence, position, _threshold(evidence))
        return Prediction(image_id, _size(source, image_id), found)
    return shown.prediction_of(source, image_id)


def _size(source: Objects, image_id: int | str) -> tuple[int, int]:
    photo = source.read(image_id)
    assert photo is not None  # the caller has read it
    return size_of(photo)
