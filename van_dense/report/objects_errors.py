"""What goes wrong: the six errors of TIDE, classes that are confused, and doubtful annotations.

Bolya, Foley, Hays and Hoffman, "TIDE: A General Toolbox for Identifying Object Detection Errors",
ECCV 2020, by hotcoco. Counts are those of the package tidecv. Its AP differs: it takes classes
which have results and no annotation into the mean, with AP 0, and drops them once an error's
correction has emptied them, so that it books more on wrong classes. Here as in COCO only classes
with annotations have an AP.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from van_dense.evaluation.coco import joint_sigmas
from van_dense.evaluation.coco_engines import Settings, evaluation_of
from van_dense.report.objects_evidence import ObjectsEvidence
from van_dense.report.objects_matches import overlap_of, shapes_of

# hotcoco's names of errors, and ours.
ERRORS = {
    "Cls": "wrong class",
    "Loc": "badly placed",
    "Both": "wrong class and badly placed",
    "Dupe": "found twice",
    "Bkg": "nothing there",
    "Miss": "missed",
}
RIGHT_IOU, NEAR_IOU = 0.5, 0.1  # of a right result, and of one that is about an object at all
_SUSPECTS = 200  # confident wrong results that are looked at


@dataclass(frozen=True)
class Split:
    """AP50 and what each error costs.

    Attributes:
        base: AP at IoU 0.5, the mean over classes with annotations.
        cost: AP that the correction of each error alone would add, by the names of ``ERRORS``.
        count: Number of results, or of missed objects, with each error.
    """

    base: float
    cost: dict[str, float]
    count: dict[str, int]


@dataclass(frozen=True)
class Suspect:
    """A confident result that contradicts the annotations.

    Attributes:
        result: Position among the results.
        image: Position of the image.
        predicted: Position of the category that was predicted.
        annotated: Position of the category that is annotated there; None where nothing is.
        score: Confidence of the result.
        overlap: IoU with that annotation; 0 without one.
    """

    result: int
    image: int
    predicted: int
    annotated: int | None
    score: float
    overlap: float


class Diagnosis:
    """Errors of one model.

    Args:
        evidence: Results, annotations, and which belong together.
    """

    def __init__(self, evidence: ObjectsEvidence) -> None:
        self._evidence = evidence
        self._sigmas = joint_sigmas(evidence.source.kind, evidence.source.info.sigmas)

    @cached_property
    def _evaluation(self) -> Any:
        f = self._evidence.found
        # hotcoco splits errors by the rules of COCO, so that what counts as no error must go.
        counts = np.ones(len(f.part.rows), dtype=bool)
        counts[f.row[~f.inside[0] & ~f.counted()]] = False
        part = replace(f.part, rows=f.part.rows[counts])
        return evaluation_of(part, Settings([f.limit], f.limit, self._sigmas))

    @cached_property
    def _is_found(self) -> np.ndarray:
        return self._evidence.found.found_truth()

    @cached_property
    def split(self) -> Split:
        """AP50 and what each error costs."""
        found = self._evaluation.tide_errors(pos_thr=RIGHT_IOU, bg_thr=NEAR_IOU)
        cost = {name: float(found["delta_ap"][key]) for key, name in ERRORS.items()}
        count = {name: int(found["counts"][key]) for key, name in ERRORS.items()}
        has_truth = bool((~self._evidence.found.ignored[0]).any())
        return Split(float(found["ap_base"]) if has_truth else np.nan, cost, count)

    def confusion(self, min_score: float) -> np.ndarray:
        """Counts (C + 1, C + 1) of annotated rows and predicted columns; the last is neither.

        Results of any class are matched with annotations of any class, at IoU 0.5. Not for poses,
        of which hotcoco matches none.

        Args:
            min_score: Lowest confidence of the results.
        """
        found = self._evaluation.confusion_matrix(
            iou_thr=RIGHT_IOU, max_det=2**31 - 1, min_score=min_score
        )
        return np.asarray(found["matrix"], dtype=np.int64)

    def suspects(self, min_score: float) -> list[Suspect]:
        """Confident results that contradict the annotations, the surest first.

        Either an object of another class is annotated where they are (IoU 0.5 or more) and no
        result of that class found it, or nothing is (below 0.1). hotcoco's ``label_errors``
        compares boxes, also for masks and poses, and finds nothing where annotations have none;
        here masks are compared, and poses by OKS.

        Args:
            min_score: Lowest confidence of the results.
        """
        f = self._evidence.found
        wrong = np.flatnonzero(f.counted() & ~f.right() & (f.score >= min_score))
        wrong = wrong[np.argsort(-f.score[wrong], kind="stable")][:_SUSPECTS]
        found = [self._suspect(int(result)) for result in wrong]
        return [suspect for suspect in found if suspect is not None]

    def _suspect(self, result: int) -> Suspect | None:
        f = self._evidence.found
        image, category = int(f.image[result]), int(f.category[result])
        score = float(f.score[result])
        start, end = np.searchsorted(f.truth_image, [image, image + 1])
        nothing = Suspect(result, image, category, None, score, 0.0)
        if start == end:
            return nothing
        shape = shapes_of(f.part, f.part.rows[f.row[result : result + 1]])
        truth = f.truth[start:end]
        overlap = overlap_of(shape, truth, self._evidence.source.kind, self._sigmas)[0]
        best = int(overlap.argmax())
        theirs = int(f.truth_category[start + best])
        if overlap[best] < NEAR_IOU:
            return nothing
        own = overlap[f.truth_category[start:end] == category]
        is_ours = len(own) and own.max() >= NEAR_IOU
        is_sure = f.ignored[0, start + best] or self._is_found[start + best]
        if overlap[best] < RIGHT_IOU or is_ours or is_sure:
            return None
        return Suspect(result, image, category, theirs, score, float(overlap[best]))


@dataclass(frozen=True)
class ImageCounts:
    """Right and wrong results of each image and its missed objects, at a threshold, int (N,)."""

    right: np.ndarray
    wrong: np.ndarray
    missed: np.ndarray

    @property
    def f1(self) -> np.ndarray:
        """F1 of each image (N,); NaN without objects and results."""
        total = 2 * self.right + self.wrong + self.missed
        return np.divide(2 * self.right, total, out=np.full(len(total), np.nan), where=total > 0)


def count_images(evidence: ObjectsEvidence, min_score: float) -> ImageCounts:
    """Count over the results of a confidence and more, at IoU 0.5.

    Args:
        evidence: Results, annotations, and which belong together.
        min_score: Lowest confidence of the results.
    """
    f, num = evidence.found, len(evidence.image_ids)
    kept = f.counted() & (f.score >= min_score)
    right = np.bincount(f.image[kept & f.right()], minlength=num)
    wrong = np.bincount(f.image[kept & ~f.right()], minlength=num)
    objects = np.bincount(f.truth_image[~f.ignored[0]], minlength=num)
    return ImageCounts(right, wrong, objects - right)
