"""Metrics of boxes, masks and poses with their intervals, all from one matching.

Reference: ``evaluate_results``, whose numbers these are with each image once, see
``tests/report/test_report_objects.py``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from van_dense.evaluation import federated as lvis
from van_dense.evaluation.coco import (
    RECALL_LIMITS,
    joint_sigmas,
    metrics_of,
    names_of,
    recall_name,
    rules_of,
)
from van_dense.report.evidence import (
    RESAMPLES,
    Difference,
    Evidence,
    Interval,
    differences_of,
    intervals_of,
    resampled,
)
from van_dense.report.objects_curves import ALL_THRESHOLDS, Asked, Curves
from van_dense.report.objects_matches import Found, match_all
from van_dense.report.sources import Objects

BOUNDARY = "boundary"  # what the names of boundary AP begin with, as those of the evaluator
# Images by their number of objects, crowds left out.
_CROWDING = {"1-3 objects": (1, 3), "4-10 objects": (4, 10), "11 or more objects": (11, np.inf)}
_AT_ONCE = 1 << 23  # weights of images, or of annotations of a class, in memory together


@dataclass(frozen=True)
class ObjectsEvidence:
    """The metrics of one model, which can be drawn again.

    Attributes:
        source: Annotations and results.
        found: Which of them belong together.
        outlines: The same by boundary IoU, where the source asks for it.
    """

    source: Objects
    found: Found
    outlines: Found | None = None

    @property
    def image_ids(self) -> Sequence[int | str]:
        """Ids of the images, ascending."""
        return self.source.results.image_ids

    @cached_property
    def class_names(self) -> list[str]:
        """Name of each category, by ascending id."""
        names = names_of(self.source.ground_truth["categories"])
        return [names[key] for key in sorted(names)]

    @cached_property
    def protocol(self) -> Mapping[str, Any]:
        """What must be equal for a comparison."""
        f, source = self.found, self.source
        rules = {"looked-for classes (SHA-256)": self._looked_for()} if source.federated else {}
        return {
            "kind": source.kind,
            "classes": self.class_names,
            "number of images": len(self.image_ids),
            "annotations (SHA-256)": digest_of(f.truth),
            "counting rules": self.rules,
            "detections of an image and class": f.limit,
            "OKS constants": list(joint_sigmas(source.kind, source.info.sigmas)),
        } | rules

    @property
    def rules(self) -> str:
        """By which rules the metrics count, in words."""
        if self.source.federated:
            return "LVIS"
        return "COCO" if self.outlines is None else "COCO, with boundary AP beside AP"

    def _looked_for(self) -> str:
        truth = self.source.ground_truth
        often = {c["id"]: c["frequency"] for c in truth["categories"]}
        lists = [sorted(lvis.listed_pairs(truth, key).tolist()) for key in lvis.LISTS]
        return hashlib.sha256(repr((sorted(often.items()), lists)).encode()).hexdigest()

    @property
    def recall(self) -> str:
        """The recall that is told of each class, such as "AR100"."""
        return recall_name(self.source.kind, rules_of(federated=self.source.federated))

    @cached_property
    def among(self) -> dict[str, np.ndarray]:
        """Images of each slice, bool (N,), without slices that have none."""
        f = self.found
        counts = np.bincount(f.truth_image[~f.ignored[0]], minlength=len(self.image_ids))
        found = {n: (counts >= low) & (counts <= high) for n, (low, high) in _CROWDING.items()}
        return {name: images for name, images in found.items() if images.any()}

    @cached_property
    def asked(self) -> dict[str, Asked]:
        """What each metric measures, by flat name."""
        kind, f = self.source.kind, self.found
        names = metrics_of(kind, rules_of(federated=self.source.federated))
        usual = {metric: self._plain(metric) for metric in names}
        found = {f"{kind}/{metric}": asked for metric, asked in usual.items()}
        for position, name in enumerate(f.groups):
            if len(name) > 1:
                whole = Asked(False, position, ALL_THRESHOLDS, f.limit)
                found[f"{kind}/AP of {name} objects"] = whole
        for name in self.among:
            where = Asked(False, 0, ALL_THRESHOLDS, f.limit, among=name)
            found[f"{kind}/AP of images with {name}"] = where
        found |= self._of_classes(kind, usual)
        if self.outlines is not None:
            found |= {f"{BOUNDARY}/{metric}": asked for metric, asked in usual.items()}
            found |= self._of_classes(BOUNDARY, usual)
        return found

    def _of_classes(self, kind: str, usual: Mapping[str, Asked]) -> dict[str, Asked]:
        return {
            f"{kind}/{metric} of {name}": replace(usual[metric], categories=(position,))
            for position, name in enumerate(self.class_names)
            for metric in ("AP", "AP50", self.recall)
        }

    def _plain(self, metric: str) -> Asked:
        f, rest = self.found, metric[2:]
        is_recall = metric.startswith("AR")
        limit = f.limit
        if is_recall and self.source.kind != "keypoints":
            limit = RECALL_LIMITS.get(metric, limit)
        group = f.groups.index(rest) if rest in f.groups else 0
        thresholds = {"50": (0,), "75": (5,)}.get(rest, ALL_THRESHOLDS)
        categories = None
        if self.source.federated:
            truth = sorted(self.source.ground_truth["categories"], key=lambda c: c["id"])
            if (chosen := lvis.frequencies(truth).get(rest)) is not None:
                categories = tuple(np.flatnonzero(chosen).tolist())
        return Asked(is_recall, group, thresholds, limit, categories)

    def images_with(self, name: str) -> int:
        """Number of images with annotated objects of the class, size or slice of a metric."""
        f, asked = self.found, self.asked[name]
        those = ~f.ignored[asked.group]
        if asked.categories is not None:
            those = those & np.isin(f.truth_category, asked.categories)
        if asked.among:
            those = those & self.among[asked.among][f.truth_image]
        return len(np.unique(f.truth_image[those]))

    @cached_property
    def _curves(self) -> dict[str, Curves]:
        """By what the names of metrics begin with."""
        curves: dict[str, Curves] = {self.source.kind: Curves(self.found, self.among)}
        if self.outlines is not None:
            curves[BOUNDARY] = Curves(self.outlines, self.among)
        return curves

    def measure(self, weights: np.ndarray, names: Sequence[str]) -> dict[str, np.ndarray]:
        """Some metrics (B,) by name, NaN where there is nothing to measure.

        Args:
            weights: How often each image counts, whole numbers (B, N).
            names: What to measure.
        """
        found: dict[str, np.ndarray] = {}
        for kind, curves in self._curves.items():
            asked = {name: self.asked[name] for name in names if name.startswith(f"{kind}/")}
            found |= curves.measure(weights, asked)
        return {name: found[name] for name in names}

    @cached_property
    def _values(self) -> dict[str, float]:
        values = self.measure(np.ones((1, len(self.image_ids))), list(self.asked))
        return {name: float(value[0]) for name, value in values.items()}

    def values(self) -> dict[str, float]:
        """The metrics, each image once."""
        return dict(self._values)

    def intervals(self, names: Sequence[str], *, seed: int = 0) -> dict[str, Interval]:
        """Quantiles over the resamples."""
        return intervals_of(self, names, seed)

    def differences(
        self, other: Evidence, names: Sequence[str], *, seed: int = 0
    ) -> dict[str, Difference]:
        """Quantiles of the differences over the same resamples; see ``comparable`` first."""
        return differences_of(self, other, names, seed)

    def drawn(self, names: Sequence[str], seed: int) -> dict[str, np.ndarray]:
        """Values of the resamples by name, (B,)."""
        num = len(self.image_ids)
        if not num:
            return {name: np.zeros(0) for name in names}
        blocks = resampled(num, seed=seed)
        most = _AT_ONCE // max(num, 2 * self._curves[self.source.kind].most_truth, 1)
        num_groups = -(-RESAMPLES // max(most, 1))
        joined = -(-len(blocks) // num_groups)  # groups of about equal size
        groups = [blocks[i : i + joined] for i in range(0, len(blocks), joined)]
        parts = [self.measure(np.concatenate(group), names) for group in groups]
        return {name: np.concatenate([part[name] for part in parts]) for name in names}


def evidence_of(source: Objects) -> ObjectsEvidence:
    """Match results with annotations; ValueError for those that cannot be measured."""
    outlines = match_all(source, boundary=True) if source.boundary else None
    return ObjectsEvidence(source, match_all(source), outlines)


def digest_of(annotations: Iterable[Mapping[str, Any]]) -> str:
    """Digest (SHA-256) that differs where COCO annotations do."""
    lines = (json.dumps(one, sort_keys=True, default=_plain) for one in annotations)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _plain(value: Any) -> Any:
    """What JSON has no form for: bytes of run lengths."""
    return value.decode("ascii") if isinstance(value, bytes) else float(value)
