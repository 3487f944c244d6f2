"""What can be explained of one image, for every task: numbers, by names that a user can write.

Legend: C classes, K joints, h x w positions of logits; pixels are those of the network's input.
"""

from __future__ import annotations

import difflib
import logging
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import torch
from torch import Tensor

from van_dense.core.attributes import attribute_set
from van_dense.core.plain_text import one_line
from van_dense.core.segments import boxes_around
from van_dense.core.structures import (
    IGNORE_LABEL,
    Batch,
    Instances,
    Prediction,
    Segment,
    Size,
    decode_masks,
)
from van_dense.data.readers.class_words import readable_name
from van_dense.models.classifier import Classifier
from van_dense.models.explainable import (
    Explainable,
    MaskExplainable,
    SegmentExplainable,
    mean_inside,
)
from van_dense.models.pose.top_down import TopDownPose
from van_dense.models.segmentation.saliency import SaliencyModel
from van_dense.models.segmentation.semantic import SemanticSegmenter

if TYPE_CHECKING:
    from van_dense.explain.views import NetworkInput
    from van_dense.inference.loaded import Loaded

_log = logging.getLogger(__name__)
_POINT = re.compile(r"(\d+),(\d+)")


@dataclass(frozen=True)
class Subject:
    """One thing to explain."""

    name: str  # of its class or joint
    title: str  # for a picture, such as "cat 87%"
    score: Callable[[Tensor], Tensor]  # a scalar tensor of normalised images (1, 3, H, W)
    kind: str = ""  # or "mask" for the mask of an instance
    shown: Prediction | None = None  # drawn over the map, such as one box
    region: np.ndarray | None = None  # bool (H, W), outlined


@dataclass(frozen=True)
class _Found:
    """What one image offers."""

    ranked: Sequence[Subject]  # what ranks, names and "all" stand for
    # Kind and pixel (x, y) of the image as it was read to what is there, or why there is nothing.
    at: Callable[[str, int, int], Subject | str] | None = None


def subjects_of(
    loaded: Loaded,
    inputs: NetworkInput,
    targets: Sequence[str],
    *,
    min_score: float,
    prediction: Prediction | None = None,
) -> list[Subject]:
    """Find what ``targets`` name in one image.

    Args:
        loaded: Run, from ``van_dense.load``.
        inputs: Image as the network sees it.
        targets: Each is the name of a class or joint, a rank from 1 on, "all", or for label maps
            and panoptic maps a point "x,y" of a region or segment, in pixels of the image as it
            was read; with "mask:" before it for the mask of an instance. What several targets
            name is explained once.
        min_score: Detections and segments below are left out.
        prediction: What was predicted, in pixels of ``inputs``; None predicts it. Joints come from
            the network in any case.

    Raises:
        ValueError: For names that the model does not know, and for models that cannot be asked.
    """
    model, batch = loaded.model, inputs.batch
    found = _found(loaded, inputs, min_score, prediction)
    has_masks = isinstance(model, MaskExplainable)
    for target in targets:
        kind = target.rpartition(":")[0]
        if kind == "mask" and not has_masks:
            raise ValueError(
                f"target {target!r}: this network ({loaded.config.task}) finds no masks of "
                f"instances; write {target.removeprefix('mask:')!r}"
            )
        if kind not in ("", "mask"):
            raise ValueError(f"target {target!r}: before the name stands 'mask:' or nothing")
    named = {target: _named(found, target, loaded) for target in targets}
    for why in (answer for answer in named.values() if isinstance(answer, str)):
        _log.warning("%s: %s", batch.image_ids[0], why)
    missing = [target for target, subjects in named.items() if subjects == []]
    if missing and len(missing) < len(named):  # a caller sees by itself that nothing was found
        _log.warning("%s: nothing found for target %s", batch.image_ids[0], ", ".join(missing))
    chosen = [one for answer in named.values() if not isinstance(answer, str) for one in answer]
    return list({id(subject): subject for subject in chosen}.values())  # each of them once


def _found(
    loaded: Loaded, inputs: NetworkInput, min_score: float, prediction: Prediction | None
) -> _Found:
    """What the image offers, by the kind of network."""
    model, batch = loaded.model, inputs.batch
    if isinstance(model, TopDownPose):
        return _Found(list(_joints(loaded, model, batch)))
    explained = Classifier, SemanticSegmenter, SaliencyModel, SegmentExplainable, Explainable
    if not isinstance(model, explained):
        raise ValueError(
            f"{type(model).__name__} gives no logits to explain; a run of the Detectron2 "
            "engine can with overrides model.engine=torchvision"
        )
    known = _predict(model, batch) if prediction is None else prediction
    if isinstance(model, SemanticSegmenter):
        return _regions(loaded, model, inputs, known)
    if isinstance(model, Classifier):
        return _Found(list(_classes(loaded, model, known)))
    if isinstance(model, SaliencyModel):
        return _Found([_salient(model, known)])
    if isinstance(model, SegmentExplainable):
        return _segments(loaded, model, inputs, min_score, known)
    return _Found(list(_instances(loaded, model, known, min_score)))


def _named(found: _Found, target: str, loaded: Loaded) -> list[Subject] | str:
    """What a target names; of a point without anything, why."""
    kind, _, what = target.rpartition(":")
    point = _POINT.fullmatch(what)
    if found.at is not None and point is not None:
        answer = found.at(kind, int(point[1]), int(point[2]))
        return answer if isinstance(answer, str) else [answer]
    of_kind = [subject for subject in found.ranked if subject.kind == kind]
    if what == "all":
        return of_kind
    if what.isdigit() and int(what) > 0:
        return of_kind[int(what) - 1 : int(what)]
    if any(subject.name == what for subject in of_kind):  # "salient" is no class
        return [subject for subject in of_kind if subject.name == what]
    name = _known_name(target, what, loaded)
    return [subject for subject in of_kind if subject.name == name]


def _known_name(target: str, what: str, loaded: Loaded) -> str:
    """The class or joint that is meant: spelled so, as it is written on pictures, or in any case.

    Raises:
        ValueError: With the nearest names, for one that means nothing, or several.
    """
    known = [*loaded.info.class_names, *loaded.info.keypoint_names]
    readable = {readable_name(name): name for name in reversed(known)}
    spellings = readable | {name: name for name in known}
    if what in spellings:
        return spellings[what]
    alike = {name for text, name in spellings.items() if text.casefold() == what.casefold()}
    if len(alike) == 1:
        return alike.pop()
    if alike:
        raise ValueError(f"target {target!r} may be any of {sorted(alike)}; write one of them")
    lower = {text.casefold(): text for text in readable}
    near = difflib.get_close_matches(what.casefold(), list(lower), n=5, cutoff=0.4)
    raise ValueError(
        f"target {target!r}: no class or joint of that name, no rank and not 'all'; nearest "
        f"names: {[lower[text] for text in near] or list(readable)[:5]}"
    )


def _classes(loaded: Loaded, model: Classifier, prediction: Prediction) -> Iterator[Subject]:
    scores = prediction.class_scores
    assert scores is not None

    def logit(label: int, images: Tensor) -> Tensor:
        return model.backbone(images)[0, label]

    for label in scores.argsort(descending=True).tolist():
        name = loaded.info.class_names[label]
        title = f"{one_line(readable_name(name))} {float(scores[label]):.0%}"
        yield Subject(name, title, partial(logit, label))


def _instances(
    loaded: Loaded, model: Any, prediction: Prediction, min_score: float
) -> Iterator[Subject]:
    found = prediction.instances
    assert found is not None and found.scores is not None
    kinds = {"": model.box_logits}
    if isinstance(model, MaskExplainable):
        kinds["mask"] = model.mask_logits

    def logit(kind: str, one: Instances, images: Tensor) -> Tensor:
        return kinds[kind](images, one.boxes.to(images.device), one.labels.to(images.device))[0]

    for index in found.scores.argsort(descending=True, stable=True).tolist():
        score, name = float(found.scores[index]), loaded.info.class_names[found.labels[index]]
        if score < min_score:
            break
        one = found[torch.tensor([index])]
        for kind in kinds:
            bare = Instances(one.boxes, one.labels, one.scores)
            shown = Prediction(prediction.image_id, prediction.size, instances=bare)
            title = f"{kind} {one_line(readable_name(name))} {score:.0%}".strip()
            region = None
            if kind and one.masks is not None:
                assert not isinstance(one.masks, Tensor)  # predictions have RLE
                region = decode_masks(one.masks, prediction.size)[0] > 0
            yield Subject(name, title, partial(logit, kind, one), kind, shown, region)


def _segments(
    loaded: Loaded, model: Any, inputs: NetworkInput, min_score: float, prediction: Prediction
) -> _Found:
    """Segments of things and stuff, the surest first; at a point also those of a low score."""
    panoptic, segments = prediction.panoptic, prediction.segments
    assert panoptic is not None and segments is not None  # the type that was asked for

    def logit(kind: str, region: np.ndarray, label: int, images: Tensor) -> Tensor:
        mask = torch.from_numpy(region).to(images.device)[None]
        labels = torch.tensor([label], device=images.device)
        if not kind:
            return model.segment_logits(images, mask, labels)[0]
        return model.mask_logits(images, boxes_around(mask), labels)[0]

    def subject(segment: Segment, kind: str) -> Subject:
        region, label = panoptic == segment["id"], segment["label"]
        name = loaded.info.class_names[label]
        title = f"{kind} {one_line(readable_name(name))} {segment['score']:.0%}".strip()
        return Subject(name, title, partial(logit, kind, region, label), kind, region=region)

    def kinds(segment: Segment) -> tuple[str, ...]:
        is_thing = loaded.info.thing_flags[segment["label"]]
        return ("", "mask") if is_thing and isinstance(model, MaskExplainable) else ("",)

    ordered = sorted(segments, key=lambda segment: -segment["score"])
    subjects = {(s["id"], kind): subject(s, kind) for s in ordered for kind in kinds(s)}
    sure = {segment["id"] for segment in segments if segment["score"] >= min_score}

    def at(kind: str, x: int, y: int) -> Subject | str:
        row, column = _place(x, y, inputs.original, panoptic.shape)
        key = int(panoptic[row, column])
        if key == 0:
            return _void(x, y)
        stuff = readable_name(subjects[key, ""].name)
        why = f"{stuff} at {x},{y} is stuff, which has no mask to ask; write '{x},{y}'"
        return subjects.get((key, kind), why)

    return _Found([one for (key, _), one in subjects.items() if key in sure], at)


def _place(x: int, y: int, original: Size, shape: tuple[int, ...]) -> tuple[int, int]:
    """Row and column, in a map of the image the network sees, of a point of the image as read."""
    height, width = original
    if not (x < width and y < height):
        raise ValueError(f"target {x},{y} lies outside the image of {width}x{height} pixels")
    return y * shape[0] // height, x * shape[1] // width


def _void(x: int, y: int) -> str:
    return f"void at {x},{y}, which is nothing to explain"


def _joints(loaded: Loaded, model: TopDownPose, batch: Batch) -> Iterator[Subject]:
    """The joints of the instance that fills the image, highest score first."""

    def heatmaps(images: Tensor) -> Tensor:
        return model.head(model.backbone(images)[-1]).float()

    def peak(joint: int, images: Tensor) -> Tensor:
        """How far the place of the joint stands out: what lifts the whole map speaks for none."""
        own = heatmaps(images)[0, joint]
        return own.flatten()[places[joint]] - own.mean()

    with torch.no_grad():
        maps = heatmaps(model.preprocess(batch))
        points, scores = model.codec.decode(maps, batch.sizes[0])
        places = maps[0].flatten(1).argmax(dim=1)
    height, width = batch.sizes[0]
    whole = torch.tensor([[0.0, 0.0, width, height]])
    for joint in scores[0].argsort(descending=True).tolist():
        keypoints = torch.zeros(1, len(loaded.info.keypoint_names), 3)
        keypoints[0, joint, :2] = points[0, joint].cpu()
        keypoints[0, joint, 2] = 1.0
        pose = Instances(whole, torch.zeros(1, dtype=torch.int64), keypoints=keypoints)
        name, score = loaded.info.keypoint_names[joint], float(scores[0, joint])
        shown = Prediction(batch.image_ids[0], batch.sizes[0], instances=pose)
        title = f"{one_line(readable_name(name))} {score:.0%}"
        yield Subject(name, title, partial(peak, joint), shown=shown)


def _regions(
    loaded: Loaded, model: SemanticSegmenter, inputs: NetworkInput, prediction: Prediction
) -> _Found:
    """Classes by the area they fill, the largest first; at a point the connected region."""
    labels = prediction.semantic
    assert labels is not None
    counts = np.bincount(labels.reshape(-1), minlength=IGNORE_LABEL + 1)
    counts[IGNORE_LABEL] = 0

    def logit(label: int, region: np.ndarray, images: Tensor) -> Tensor:
        return _mean_inside(model.logits(images)[0, label], images, region)

    def whole(label: int) -> Subject:
        name, region = loaded.info.class_names[label], labels == label
        title = f"{one_line(readable_name(name))}, {counts[label] / labels.size:.0%} of the image"
        return Subject(name, title, partial(logit, label, region), region=region)

    def at(kind: str, x: int, y: int) -> Subject | str:
        row, column = _place(x, y, inputs.original, labels.shape)
        label = int(labels[row, column])
        if label == IGNORE_LABEL:
            return _void(x, y)
        _, parts = cv2.connectedComponents((labels == label).astype(np.uint8))
        region = parts == parts[row, column]
        name = loaded.info.class_names[label]
        title = f"{one_line(readable_name(name))} at {x},{y}"
        subject = Subject(name, title, partial(logit, label, region), region=region)
        return of_region.setdefault(region.tobytes(), subject)

    largest = np.argsort(-counts, kind="stable")[: np.count_nonzero(counts)].tolist()
    of_region = {(labels == label).tobytes(): whole(label) for label in largest}
    return _Found(list(of_region.values()), at)


def _salient(model: SaliencyModel, prediction: Prediction) -> Subject:
    saliency = prediction.saliency
    assert saliency is not None
    region = saliency > 0.5 if (saliency > 0.5).any() else saliency == saliency.max()

    def score(images: Tensor) -> Tensor:
        """How far the region stands out: a map that is high everywhere shows nothing salient."""
        logits = model.decoder(model.backbone(images))[0][0, 0]
        inside = _mean_inside(logits, images, region)
        return inside if region.all() else inside - _mean_inside(logits, images, ~region)

    return Subject("salient", f"salient, {region.mean():.0%} of the image", score, region=region)


def _mean_inside(logits: Tensor, images: Tensor, region: np.ndarray) -> Tensor:
    """Mean of logits (h, w) over a region (H, W) of the image, weighted where positions are cut."""
    mask = torch.from_numpy(region).to(logits.device)
    return mean_inside(logits[None], mask[None], (images.shape[-2], images.shape[-1]))[0]


def _predict(model: Any, batch: Batch) -> Prediction:
    only = [model] if isinstance(model, SegmentExplainable) else []
    with attribute_set(only, "types", ("panoptic",)):
        (prediction,) = model.predict(batch)
    assert isinstance(prediction, Prediction)
    return prediction
