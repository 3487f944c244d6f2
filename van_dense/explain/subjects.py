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
from torchvision.ops import masks_to_boxes

from van_dense.core.attributes import attribute_set
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


def subjects_of(
    loaded: Loaded, inputs: NetworkInput, targets: Sequence[str], *, min_score: float
) -> list[Subject]:
    """Find what ``targets`` name in one image.

    Args:
        loaded: Run, from ``van_dense.load``.
        inputs: Image as the network sees it.
        targets: Each is the name of a class or joint, a rank from 1 on, "all", or for label maps
            and panoptic maps a point "x,y" of a region or segment, in pixels of the image as it
            was read; with "mask:" before it for the mask of an instance.
        min_score: Detections and segments below are left out.

    Raises:
        ValueError: For names that the model does not know, and for models that cannot be asked.
    """
    model, batch = loaded.model, inputs.batch
    if isinstance(model, SemanticSegmenter):
        found = list(_regions(loaded, model, inputs, _points(targets)))
    elif isinstance(model, Classifier):
        found = list(_classes(loaded, model, batch))
    elif isinstance(model, TopDownPose):
        found = list(_joints(loaded, model, batch))
    elif isinstance(model, SaliencyModel):
        found = [_salient(model, batch)]
    elif isinstance(model, SegmentExplainable):
        found = list(_segments(loaded, model, inputs, _points(targets), min_score))
    elif isinstance(model, Explainable):
        found = list(_instances(loaded, model, batch, min_score))
    else:
        raise ValueError(
            f"{type(model).__name__} gives no logits to explain; a run of the Detectron2 "
            "engine can with overrides model.engine=torchvision"
        )
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
    missing = [target for target, subjects in named.items() if not subjects]
    if missing and len(missing) < len(named):  # a caller sees by itself that nothing was found
        _log.warning("%s: nothing found for target %s", batch.image_ids[0], ", ".join(missing))
    chosen = [subject for subjects in named.values() for subject in subjects]
    return list({id(subject): subject for subject in chosen}.values())  # each of them once


def _points(targets: Sequence[str]) -> list[tuple[int, int]]:
    """Those targets that are points (x, y)."""
    matches = [match for target in targets if (match := _POINT.fullmatch(target))]
    return [(int(match[1]), int(match[2])) for match in matches]


def _named(found: Sequence[Subject], target: str, loaded: Loaded) -> list[Subject]:
    kind, _, what = target.rpartition(":")
    of_kind = [subject for subject in found if subject.kind == kind]
    if what == "all":
        return of_kind
    if what.isdigit() and int(what) > 0:
        return of_kind[int(what) - 1 : int(what)]
    if any(subject.name == what for subject in of_kind):  # also a point
        return [subject for subject in of_kind if subject.name == what]
    if _POINT.fullmatch(what) and isinstance(loaded.model, SegmentExplainable):
        return []  # void
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


def _classes(loaded: Loaded, model: Classifier, batch: Batch) -> Iterator[Subject]:
    scores = _predict(model, batch).class_scores
    assert scores is not None

    def logit(label: int, images: Tensor) -> Tensor:
        return model.backbone(images)[0, label]

    for label in scores.argsort(descending=True).tolist():
        name = loaded.info.class_names[label]
        title = f"{readable_name(name)} {float(scores[label]):.0%}"
        yield Subject(name, title, partial(logit, label))


def _instances(loaded: Loaded, model: Any, batch: Batch, min_score: float) -> Iterator[Subject]:
    prediction = _predict(model, batch)
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
            title = f"{kind} {readable_name(name)} {score:.0%}".strip()
            region = None
            if kind and one.masks is not None:
                assert not isinstance(one.masks, Tensor)  # predictions have RLE
                region = decode_masks(one.masks, prediction.size)[0] > 0
            yield Subject(name, title, partial(logit, kind, one), kind, shown, region)


def _segments(
    loaded: Loaded,
    model: Any,
    inputs: NetworkInput,
    points: Sequence[tuple[int, int]],
    min_score: float,
) -> Iterator[Subject]:
    """Segments of things and stuff, the surest first, then those at points."""
    with attribute_set([model], "types", ("panoptic",)):
        prediction = _predict(model, inputs.batch)
    panoptic, segments = prediction.panoptic, prediction.segments
    assert panoptic is not None and segments is not None  # the type that was asked for

    def logit(kind: str, region: np.ndarray, label: int, images: Tensor) -> Tensor:
        mask = torch.from_numpy(region).to(images.device)[None]
        labels = torch.tensor([label], device=images.device)
        if not kind:
            return model.segment_logits(images, mask, labels)[0]
        box = masks_to_boxes(mask) + images.new_tensor([0, 0, 1, 1])  # theirs end at pixels
        return model.mask_logits(images, box, labels)[0]

    def subject(segment: Segment, kind: str = "", at: str = "") -> Subject:
        region, label = panoptic == segment["id"], segment["label"]
        name = loaded.info.class_names[label]
        title = f"{kind} {readable_name(name)} {segment['score']:.0%} {at and f'at {at}'}".strip()
        return Subject(at or name, title, partial(logit, kind, region, label), kind, region=region)

    is_thing = loaded.info.is_thing or (True,) * loaded.info.num_classes
    for segment in sorted(segments, key=lambda segment: -segment["score"]):
        if segment["score"] >= min_score:
            yield subject(segment)
            if is_thing[segment["label"]] and isinstance(model, MaskExplainable):
                yield subject(segment, "mask")
    of_id = {segment["id"]: segment for segment in segments}
    for x, y in points:
        row, column = _place(x, y, inputs.original, panoptic.shape)
        if (found := of_id.get(int(panoptic[row, column]))) is not None:
            yield subject(found, at=f"{x},{y}")


def _place(x: int, y: int, original: Size, shape: tuple[int, ...]) -> tuple[int, int]:
    """Row and column, in a map of the image the network sees, of a point of the image as read."""
    height, width = original
    if not (x < width and y < height):
        raise ValueError(f"target {x},{y} lies outside the image of {width}x{height} pixels")
    return y * shape[0] // height, x * shape[1] // width


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
        title = f"{readable_name(name)} {score:.0%}"
        yield Subject(name, title, partial(peak, joint), shown=shown)


def _regions(
    loaded: Loaded,
    model: SemanticSegmenter,
    inputs: NetworkInput,
    points: Sequence[tuple[int, int]],
) -> Iterator[Subject]:
    """Classes by the area they fill, the largest first, then regions around points."""
    labels = _predict(model, inputs.batch).semantic
    assert labels is not None
    counts = np.bincount(labels.reshape(-1), minlength=IGNORE_LABEL + 1)
    counts[IGNORE_LABEL] = 0

    def logit(label: int, region: np.ndarray, images: Tensor) -> Tensor:
        return _mean_inside(model.logits(images)[0, label], images, region)

    for label in np.argsort(-counts, kind="stable")[: np.count_nonzero(counts)].tolist():
        name, region = loaded.info.class_names[label], labels == label
        title = f"{readable_name(name)}, {counts[label] / labels.size:.0%} of the image"
        yield Subject(name, title, partial(logit, label, region), region=region)
    for x, y in points:
        row, column = _place(x, y, inputs.original, labels.shape)
        label = int(labels[row, column])
        _, parts = cv2.connectedComponents((labels == label).astype(np.uint8))
        region = parts == parts[row, column]
        title = f"{readable_name(loaded.info.class_names[label])} at {x},{y}"
        yield Subject(f"{x},{y}", title, partial(logit, label, region), region=region)


def _salient(model: SaliencyModel, batch: Batch) -> Subject:
    saliency = _predict(model, batch).saliency
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
    (prediction,) = model.predict(batch)
    assert isinstance(prediction, Prediction)
    return prediction
