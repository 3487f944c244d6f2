"""Does an exported file give what the run gives? Compared on real images, in three stages.

First the outputs number by number, with those of the network that was written, then results (boxes,
labels, masks, maps, joints), with those of the trained model itself, then the metric of the task.
Whatever drifts beyond its tolerance is an error that names stage and image.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torchvision.ops import box_iou

from van_dense.core.structures import RLE, Batch, Instances, Prediction
from van_dense.data.readers.segmentation import mask_areas
from van_dense.deploy.network import Network, Run
from van_dense.models.dense_model import DenseModel

Outputs = Mapping[str, torch.Tensor]


class Drift(ValueError):
    """An exported file gives something else than the run; the message names stage and image."""


@dataclass(frozen=True)
class Tolerance:
    """How much a file of some precision may differ from its run.

    Attributes:
        outputs: Difference of single numbers, as a part of the largest of them.
        results: Part of the instances, pixels or joints of an image that may differ.
        score: Difference of scores and probabilities, in 0..1.
        iou: Lowest overlap of two boxes or masks that are the same.
        metric: Difference of the metric, in its units.
    """

    outputs: float
    results: float
    score: float
    iou: float
    metric: float


TOLERANCES: Mapping[str, Tolerance] = {
    "fp32": Tolerance(outputs=1e-3, results=0.02, score=0.01, iou=0.98, metric=0.002),
    "bf16": Tolerance(outputs=0.1, results=0.2, score=0.1, iou=0.8, metric=0.01),
    "int8": Tolerance(outputs=0.3, results=0.4, score=0.2, iou=0.7, metric=0.02),
}
_EDGE = 4  # pixels that two masks of any size may differ by
_SURE = 0.05  # score from which on a detection of either side must be found on the other


@dataclass
class Differences:
    """The largest differences that were seen."""

    outputs: dict[str, float] = field(default_factory=dict)  #: as a part of the largest number
    results: float = 0.0  #: part of an image's instances, pixels or joints
    #: number of instances of the run that were looked for in the file; None where it gives none
    instances: int | None = None

    def summary(self) -> dict[str, float]:
        """By name, for the card of a file."""
        return {**{f"output {k}": v for k, v in self.outputs.items()}, "results": self.results}


class Gate:
    """Compares a file with its run, batch by batch.

    Args:
        network: What was written, with the weights of the run.
        file: Function that computes all outputs of the file.
        tolerance: What may differ.
        model: Trained model in evaluation mode, as it predicts without any export. Results are
            compared with its own, so that a mistake of ``network`` is found as well.
    """

    def __init__(
        self, network: Network, file: Run, tolerance: Tolerance, *, model: DenseModel
    ) -> None:
        self._network, self._file, self._tolerance = network, file, tolerance
        self._model = model
        self.differences = Differences()

    @torch.inference_mode()
    def compare(self, batch: Batch) -> tuple[list[Prediction], list[Prediction]]:
        """Predictions of the trained model and of the file, or ``Drift``.

        A ValueError is the trained model's own, such as one of weights that hold NaN.
        """

        def compared(images: torch.Tensor, sizes: torch.Tensor, **more: torch.Tensor) -> Outputs:
            file = self._file(images, sizes, **more)
            if not self._network.dense and not self._network.maps:
                return file  # results alone can be compared, and the network would take its time
            run = self._network.run(images, sizes, **more)
            here = f"of the images {list(batch.image_ids)[:4]}"
            self._compare_shapes(run, file, here)
            self._compare_numbers(run, file, here)
            self._compare_maps(run, file, here, sizes=sizes)
            return file

        expected = self._model.predict(batch)
        try:
            found = self._network.predict(compared, batch)
        except Drift:
            raise
        except ValueError as error:  # the trained model could, so the file is what is wrong
            raise Drift(f"stage outputs: in the file, {error}") from error
        for one, other in zip(expected, found, strict=True):
            self._compare_results(one, other)
        return expected, found

    def _compare_shapes(self, run: Outputs, file: Outputs, here: str) -> None:
        for name in self._network.outputs:
            if run[name].shape != file[name].shape:
                shapes = (
                    f"{tuple(file[name].shape)} in the file, {tuple(run[name].shape)} in the run"
                )
                raise Drift(f"stage outputs: output {name!r} {here} has shape {shapes}")

    def _compare_numbers(self, run: Outputs, file: Outputs, here: str) -> None:
        for name in self._network.dense:
            one, other = run[name].double(), file[name].double()
            largest = max(float(one.abs().max()), 1e-12)
            difference = float((one - other).abs().max()) / largest
            self._saw(name, difference)
            if not difference <= self._tolerance.outputs:
                limit = f"{self._tolerance.outputs:g} are allowed"
                what = f"differs by {difference:.3g} of its largest number {largest:.3g}; {limit}"
                raise Drift(f"stage outputs: output {name!r} {here} {what}")

    def _compare_maps(self, run: Outputs, file: Outputs, here: str, *, sizes: torch.Tensor) -> None:
        """Of integers, whose size says nothing; what they are in padding is nobody's concern."""
        for name in self._network.maps:
            for one, other, (height, width) in zip(
                run[name], file[name], sizes.tolist(), strict=True
            ):
                apart = (one != other)[:height, :width]
                differ = float(apart.double().mean())
                self._saw(name, differ)
                if not differ <= self._tolerance.results:
                    limit = f"{100 * self._tolerance.results:g} % are allowed"
                    what = f"differs in {100 * differ:.3g} % of the pixels of an image; {limit}"
                    raise Drift(f"stage outputs: output {name!r} {here} {what}")

    def _saw(self, name: str, difference: float) -> None:
        known = self.differences.outputs
        known[name] = max(known.get(name, 0.0), difference)

    def _compare_results(self, run: Prediction, file: Prediction) -> None:
        differ, what = differing(run, file, self._tolerance)
        self.differences.results = max(self.differences.results, differ)
        if not differ <= self._tolerance.results:
            limit = f"{100 * self._tolerance.results:g} % are allowed"
            where = f"image {run.image_id!r}"
            raise Drift(
                f"stage results: {100 * differ:.3g} % of the {what} of {where} differ; {limit}"
            )
        if run.instances is not None:
            sure = len(_sure(run.instances, self._tolerance))
            self.differences.instances = (self.differences.instances or 0) + sure


def differing(run: Prediction, file: Prediction, tolerance: Tolerance) -> tuple[float, str]:
    """The part of an image's results that differ, in 0..1, and what they are.

    Of several kinds of results it is the one that differs most.

    Raises:
        Drift: When one side has a kind of results that the other lacks, or a map of another size.
    """
    worst: tuple[float, str] | None = None
    for name, (what, part) in _PARTS.items():
        one, other = getattr(run, name), getattr(file, name)
        if one is None and other is None:
            continue
        if one is None or other is None:
            has, lacks = ("file", "run") if one is None else ("run", "file")
            both = f"the {has} gives {what} of image {run.image_id!r}, the {lacks} gives none"
            raise Drift(f"stage results: {both}")
        if name != "instances" and one.shape != other.shape:
            shapes = f"{tuple(other.shape)} in the file, {tuple(one.shape)} in the run"
            raise Drift(f"stage results: {what} of image {run.image_id!r} are {shapes}")
        differ = part(run, file, tolerance)
        if worst is None or not differ <= worst[0]:
            worst = differ, what
    assert worst is not None, "a prediction has no result"
    return worst


def _differing_labels(run: Prediction, file: Prediction, tolerance: Tolerance) -> float:
    assert run.semantic is not None and file.semantic is not None
    return float((run.semantic != file.semantic).mean())


def _differing_saliency(run: Prediction, file: Prediction, tolerance: Tolerance) -> float:
    assert run.saliency is not None and file.saliency is not None
    near = np.abs(run.saliency - file.saliency) <= tolerance.score  # NaN is not near
    return float((~near).mean())


def _differing_classes(run: Prediction, file: Prediction, tolerance: Tolerance) -> float:
    assert run.class_scores is not None and file.class_scores is not None
    near = (run.class_scores - file.class_scores).abs() <= tolerance.score
    return float((~near).double().mean())


def _differing_panoptic(run: Prediction, file: Prediction, tolerance: Tolerance) -> float:
    """The part of pixels whose segments of both sides are not partners.

    Partners have one class and nearly one score, and share more pixels than either shares with any
    other such segment; ids say nothing. What has no segment is one itself, of no class.
    """
    (one, labels, scores), (other, others, other_scores) = _segments(run), _segments(file)
    pairs = one.astype(np.int64) * len(others) + other
    shared = np.bincount(pairs.ravel(), minlength=len(labels) * len(others))
    shared = shared.reshape(len(labels), len(others))
    near = np.abs(scores[:, None] - other_scores) <= tolerance.score
    shared = np.where(near & (labels[:, None] == others), shared, 0)
    rows, partners = np.arange(len(labels)), shared.argmax(axis=1)
    is_mutual = shared.argmax(axis=0)[partners] == rows
    return 1 - float(shared[rows, partners][is_mutual].sum()) / max(one.size, 1)


def _segments(found: Prediction) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Segment (H, W) of each pixel, 0 for none, and class and score (S + 1) of each segment."""
    assert found.panoptic is not None
    segments = found.segments or []
    ids = [segment["id"] for segment in segments]
    places = np.zeros(max([int(found.panoptic.max(initial=0)), *ids]) + 1, dtype=np.int64)
    places[ids] = np.arange(1, len(ids) + 1)
    labels = np.array([-1, *(segment["label"] for segment in segments)])
    scores = np.array([1.0, *(segment["score"] for segment in segments)])
    return places[found.panoptic], labels, scores


def _differing_instances(run: Prediction, file: Prediction, tolerance: Tolerance) -> float:
    """The part of sure instances of either side that the other lacks."""
    assert run.instances is not None and file.instances is not None
    one, other = run.instances, file.instances
    found = [*_found(one, other, tolerance), *_found(other, one, tolerance)]
    return found.count(False) / max(len(found), 1)


# By field of a prediction: in which units it is compared, and the part of them that differs.
_PARTS: Mapping[str, tuple[str, Callable[[Prediction, Prediction, Tolerance], float]]] = {
    "instances": ("instances", _differing_instances),
    "semantic": ("pixels of the label map", _differing_labels),
    "panoptic": ("pixels of the panoptic map", _differing_panoptic),
    "saliency": ("pixels of the saliency map", _differing_saliency),
    "class_scores": ("classes", _differing_classes),
}


def sure_from(tolerance: Tolerance) -> float:
    """Score above which an instance must be found: what stands near may be on either side."""
    return _SURE + tolerance.score


def _sure(instances: Instances, tolerance: Tolerance) -> Instances:
    """Those that must be found; ground truth, which has no scores, has none."""
    scores = torch.zeros(len(instances)) if instances.scores is None else instances.scores
    return instances[scores > sure_from(tolerance)]


def _found(wanted: Instances, others: Instances, tolerance: Tolerance) -> list[bool]:
    """Whether each sure instance has one of its class, place and score among others."""
    sure = _sure(wanted, tolerance)
    has_same_fields = all(
        (getattr(sure, name) is None) == (getattr(others, name) is None)
        for name in ("scores", "masks", "keypoints")
    )
    if len(sure) == 0 or len(others) == 0 or not has_same_fields:
        return [False] * len(sure)
    assert sure.scores is not None and others.scores is not None
    same = sure.labels[:, None] == others.labels[None]
    near = (sure.scores[:, None] - others.scores[None]).abs() <= tolerance.score
    at = box_iou(sure.boxes, others.boxes) >= tolerance.iou
    if sure.keypoints is not None and others.keypoints is not None:
        apart = (sure.keypoints[:, None, :, :2] - others.keypoints[None, :, :, :2]).norm(dim=-1)
        side = (sure.boxes[:, 2:] - sure.boxes[:, :2]).amax(dim=1)
        at = at & (apart.median(dim=-1).values <= (1 - tolerance.iou) * side[:, None])
    if isinstance(sure.masks, list) and isinstance(others.masks, list):
        at = at & _alike(sure.masks, others.masks, tolerance.iou)
    return (same & near & at).any(dim=1).tolist()


def _alike(masks: Sequence[RLE], others: Sequence[RLE], iou: float) -> torch.Tensor:
    """Which masks are the same but for their edges, bool (N, M); two empty ones are."""
    from pycocotools import mask as mask_utils

    first, second = np.array(mask_areas(masks)), np.array(mask_areas(others))
    total = first[:, None] + second[None]
    overlap = mask_utils.iou(list(masks), list(others), [0] * len(others)).reshape(total.shape)
    union = total / (1 + overlap)
    return torch.from_numpy(union * (1 - overlap) <= np.maximum(_EDGE, (1 - iou) * union) + 0.5)
