"""Which results are kept: from a score on, of some classes, the best few.

Legend: N instances or segments, C classes; H, W pixels.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from numbers import Real
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from van_dense.core.dataset_info import DatasetInfo
from van_dense.core.structures import IGNORE_LABEL, Prediction

P = TypeVar("P", bound=Prediction)


@dataclass(frozen=True)
class Selection:
    """A limit on results; None limits nothing."""

    min_score: float | None = None  #: lowest score of instances and panoptic segments, 0..1
    classes: Sequence[str | int] | None = None  #: names, or 0-based labels
    max_instances: int | None = None  #: the best so many of an image

    def __post_init__(self) -> None:
        if isinstance(self.classes, str | int):
            object.__setattr__(self, "classes", (self.classes,))
        score = self.min_score
        if score is not None and not (isinstance(score, Real) and 0 <= score <= 1):
            raise ValueError(f"min_score is {score!r}; scores are numbers in 0..1")
        if self.max_instances is not None and self.max_instances < 0:
            raise ValueError(f"max_instances is {self.max_instances}; give 0 or more")

    def __bool__(self) -> bool:
        """Whether anything is limited."""
        return self != Selection()

    def labels(self, info: DatasetInfo) -> list[int]:
        """Labels of the classes, or ValueError with the nearest name; all of them for None."""
        if self.classes is None:
            return list(range(info.num_classes))
        return [_label(one, info) for one in self.classes]

    def of(self, prediction: P, info: DatasetInfo) -> P:
        """What is left of a prediction.

        Instances keep their order. Segments that go leave void in a panoptic map, classes that go
        leave "ignored" in a label map.

        Raises:
            ValueError: For an unknown class, and where a task has nothing of the kind: label maps
                have no scores, classes and saliency nothing to leave out.
        """
        if not self:
            return prediction
        labels = self.labels(info)
        changes: dict[str, object] = {}
        if (found := prediction.instances) is not None:
            scores = torch.ones(len(found)) if found.scores is None else found.scores
            changes["instances"] = found[self._best(found.labels, scores, labels)]
        if prediction.panoptic is not None:
            segments = prediction.segments or []
            of_each = torch.tensor([s["label"] for s in segments], dtype=torch.int64)
            scores = torch.tensor([s["score"] for s in segments])
            kept = [segments[i] for i in self._best(of_each, scores, labels).tolist()]
            ids = [segment["id"] for segment in kept]
            changes["segments"] = kept
            changes["panoptic"] = np.where(
                np.isin(prediction.panoptic, ids), prediction.panoptic, np.int32(0)
            )
        if prediction.semantic is not None:
            if not changes and (self.min_score is not None or self.max_instances is not None):
                what = f"{prediction.image_id}: a label map has classes, but neither scores nor"
                raise ValueError(f"{what} instances; leave out all but classes")
            if self.classes is not None:
                semantic = prediction.semantic
                ignored = semantic.dtype.type(IGNORE_LABEL)
                changes["semantic"] = np.where(np.isin(semantic, labels), semantic, ignored)
        elif not changes:
            what = f"{prediction.image_id}: only instances, segments and label maps can be limited"
            raise ValueError(f"{what}; use the scores or the saliency as they are")
        return replace(prediction, **changes)  # type: ignore[arg-type]  # fields of Prediction

    def _best(self, of_each: Tensor, scores: Tensor, labels: Sequence[int]) -> Tensor:
        """Positions, in order, of what is kept of N labels and scores."""
        keep = torch.isin(of_each, torch.tensor(labels, dtype=torch.int64))
        if self.min_score is not None:
            keep &= scores >= self.min_score
        positions = keep.nonzero()[:, 0]
        if self.max_instances is not None:
            order = scores[positions].argsort(descending=True, stable=True)
            positions = positions[order[: self.max_instances]].sort().values
        return positions


def _label(one: str | int, info: DatasetInfo) -> int:
    names = info.class_names
    if isinstance(one, str):
        if one in names:
            return names.index(one)
        near = difflib.get_close_matches(one, names, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {list(names[:10])}"
        raise ValueError(f"{info.name!r} has no class {one!r}; {hint}")
    if not 0 <= one < len(names):
        raise ValueError(f"label {one} is none of 0..{len(names) - 1} of {info.name!r}")
    return int(one)
