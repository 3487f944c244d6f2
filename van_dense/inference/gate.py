"""Does an exported file give what the run gives? Compared on real images, in three stages.

First the outputs number by number, then results (boxes, labels, masks, maps, joints), then the
metric of the task. Whatever drifts beyond its tolerance is an error that names stage and image.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torchvision.ops import box_iou

from van_dense.core.structures import RLE, Batch, Instances, Prediction, Segment
from van_dense.data.readers.segmentation import mask_areas
from van_dense.deploy.network import Network, Run

log = logging.getLogger(__name__)

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
_SURE = 0.05  # score from which on a detection of the run must be found in the file


@dataclass
class Differences:
    """The largest differences that were seen."""

    outputs: dict[str, float] = field(default_factory=dict)  #: as a part of the largest number
    results: float = 0.0  #: part of an image's instances, pixels or joints

    def summary(self) -> dict[str, float]:
        """By name, for the card of a file."""
        return {**{f"output {k}": v for k, v in self.outputs.items()}, "results": self.results}


class Gate:
    """Compares a file with its run, batch by batch.

    Args:
        network: Network of the run, with its weights.
        file: Function that computes all outputs of the file.
        tolerance: What may differ.
    """

    def __init__(self, network: Network, file: Run, tolerance: Tolerance) -> None:
        self._network, self._file, self._tolerance = network, file, tolerance
        self.differences = Differences()

    def compare(self, batch: Batch) -> tuple[list[Prediction], list[Prediction]]:
        """Predictions of the run and of the file, or ``Drift``."""
        seen: list[tuple[Outputs, Outputs]] = []

        def both(images: torch.Tensor, sizes: torch.Tensor, **others: torch.Tensor) -> Outputs:
            run = self._network.run(images, sizes, **others)
            seen.append((run, self._file(images, sizes, **others)))
            return run

        def replay(images: torch.Tensor, sizes: torch.Tensor, **others: torch.Tensor) -> Outputs:
            return next(files)

        expected = self._network.predict(both, batch)
        for run, file in seen:
            self._compare_outputs(run, file, batch.image_ids)
        files = iter([file for _, file in seen])
        found = self._network.predict(replay, batch)
        for one, other in zip(expected, found, strict=True):
            self._compare_results(one, other)
        return expected, found

    def _compare_outputs(
        self,
        run: Outputs,
        file: Outputs,
        image_ids: Sequence[int | str],
    ) -> None:
        for name in self._network.outputs:
            here = f"output {name!r} of the images {list(image_ids)[:4]}"
            if run[name].shape != file[name].shape:
                shapes = (
                    f"{tuple(file[name].shape)} in the file, {tuple(run[name].shape)} in the run"
                )
                raise Drift(f"stage outputs: {here} has shape {shapes}")
        for name in self._network.dense:
            one, other = run[name].double(), file[name].double()
            largest = max(float(one.abs().max()), 1e-12)
            difference = float((one - other).abs().max()) / largest
            known = self.differences.outputs
            known[name] = max(known.get(name, 0.0), difference)
            if not difference <= self._tolerance.outputs:
                limit = f"{self._tolerance.outputs:g} are allowed"
                here = f"output {name!r} of the images {list(image_ids)[:4]}"
                what = f"differs by {difference:.3g} of its largest number {largest:.3g}; {limit}"
                raise Drift(f"stage outputs: {here} {what}")

    def _compare_results(self, run: Prediction, file: Prediction) -> None:
        differ, what = differing(run, file, self._tolerance)
        self.differences.results = max(self.differences.results, differ)
        if not differ <= self._tolerance.results:
            limit = f"{100 * self._tolerance.results:g} % are allowed"
            where = f"image {run.image_id!r}"
            raise Drift(
                f"stage results: {100 * differ:.3g} % of the {what} of {where} differ; {limit}"
            )


def differing(run: Prediction, file: Prediction, tolerance: Tolerance) -> tuple[float, str]:
    """The part of an image's results that differ, in 0..1, and what they are."""
    if run.panoptic is not None and file.panoptic is not None:
        labels = [_labels(one.panoptic, one.segments) for one in (run, file)]
        return float((labels[0] != labels[1]).mean()), "pixels"
    if run.semantic is not None and file.semantic is not None:
        return float((run.semantic != file.semantic).mean()), "pixels"
    if run.saliency is not None and file.saliency is not None:
        apart = np.abs(run.saliency - file.saliency) > tolerance.score
        return float(apart.mean()), "pixels"
    if run.class_scores is not None and file.class_scores is not None:
        apart = (run.class_scores - file.class_scores).abs() > tolerance.score
        return float(apart.double().mean()), "classes"
    assert run.instances is not None and file.instances is not None
    return _differing_instances(run.instances, file.instances, tolerance), "instances"


def _labels(panoptic: np.ndarray | None, segments: Sequence[Segment] | None) -> np.ndarray:
    """Class of each pixel of a panoptic map, -1 for none."""
    assert panoptic is not None and segments is not None
    classes = np.full(int(panoptic.max()) + 1, -1)
    for segment in segments:
        classes[segment["id"]] = segment["label"]
    return classes[panoptic]


def _differing_instances(run: Instances, file: Instances, tolerance: Tolerance) -> float:
    """The part of sure instances of either side that the other lacks."""
    pairs = ((run, file), (file, run))
    lacking = [sum(not found for found in _found(one, other, tolerance)) for one, other in pairs]
    sure = [len(list(_found(one, other, tolerance))) for one, other in pairs]
    return sum(lacking) / max(sum(sure), 1)


def _found(wanted: Instances, others: Instances, tolerance: Tolerance) -> list[bool]:
    """Whether each sure instance has one of its class, place and score among others."""
    if wanted.scores is None:  # of no instance at all
        return []
    # What stands near the limit may be on either side of it.
    sure = wanted[wanted.scores > _SURE + tolerance.score]
    if len(sure) == 0 or len(others) == 0:
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
