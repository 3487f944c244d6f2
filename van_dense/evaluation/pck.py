"""PCK: the fraction of labelled joints that a prediction finds, and how far off the joints are.

PCK@0.2 accepts a joint within 0.2 of the longer side of the annotated box (Yang and Ramanan, TPAMI
2013, as AP-10K and mmpose count it), PCKh@0.5 one within half of the head. The head is the largest
distance between two labelled joints of ``DatasetInfo.head``; MPII, where PCKh comes from (Andriluka
et al., CVPR 2014), takes 0.6 of the diagonal of an annotated head box instead, which COCO files do
not have. Fractions run over all labelled joints of all persons, so that each joint counts the same.

Legend: G annotated and D predicted persons of one image and class, P persons in all, K joints.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from van_dense.core.dataset_info import DatasetInfo
from van_dense.core.oks import oks
from van_dense.data.readers.coco_json import CocoDict
from van_dense.evaluation.coco_truth import TruthTable
from van_dense.evaluation.evaluator import by_name, ratio
from van_dense.evaluation.result_table import ResultTable
from van_dense.evaluation.results import CocoResult

BOX_FRACTION, HEAD_FRACTION = 0.2, 0.5
PCK, PCKH = f"PCK@{BOX_FRACTION}", f"PCKh@{HEAD_FRACTION}"
# Predictions less alike than this to every person are of something else. Joints that are all off by
# 3.7 times their constant, 2 sigma sqrt(area), are just as alike.
MIN_OKS = 1e-3
_PAIRS_AT_ONCE = 1 << 14  # of a prediction and a person, each of which takes some kB


@dataclass(frozen=True)
class PckScores:
    """What ``evaluate_pck`` measures; NaN where there is nothing to measure."""

    metrics: dict[str, float]  # PCK@0.2, and PCKh@0.5 where the data set names joints of the head
    # PCK of each joint by its name, "error" (mean distance of the joints of found persons, in
    # longer sides of the box) and "count" (labelled joints)
    per_joint: dict[str, dict[str, float]]


def evaluate_pck(
    ground_truth: CocoDict, results: Iterable[CocoResult] | ResultTable, info: DatasetInfo
) -> PckScores:
    """Find the prediction of each person and measure the distances of its joints.

    Predictions come by falling score, and each goes to the person of its image and class that it
    is most alike (highest OKS), unless that one is taken. So a second prediction of one person
    never stands for its neighbour. All joints of a person without prediction count as wrong.
    Crowds and persons without a labelled joint are left out.

    Args:
        ground_truth: COCO annotations with "keypoints", "bbox" and "area".
        results: COCO records with "keypoints", or a table of them; scores of single joints are
            ignored.
        info: Names of the K joints, joints of the head, and OKS sigmas (none: the 17 of COCO).
    """
    persons = _labelled(TruthTable(ground_truth, "keypoints", len(info.keypoint_names)).columns)
    table = results if isinstance(results, ResultTable) else ResultTable.of(results, ground_truth)
    distances = _distances(persons, table, sigmas=info.sigmas)
    box = persons["bbox"][:, 2:].max(axis=1)
    units = {PCK: BOX_FRACTION * box}
    if info.head:
        joints = [info.keypoint_names.index(name) for name in info.head]
        units[PCKH] = HEAD_FRACTION * _head_lengths(_poses(persons)[:, joints])

    labelled = ~np.isnan(distances)
    columns: dict[str, np.ndarray] = {}
    metrics: dict[str, float] = {}
    for name, unit in units.items():
        measured = labelled & (unit > 0)[:, None]
        right = measured & (distances <= unit[:, None])
        columns[name] = ratio(right.sum(0), measured.sum(0))
        metrics[name] = float(ratio(right.sum(), measured.sum()))
    is_found = labelled & np.isfinite(distances) & (box > 0)[:, None]
    relative = np.divide(distances, box[:, None], out=np.zeros_like(distances), where=is_found)
    columns["error"] = ratio(relative.sum(0), is_found.sum(0))
    columns["count"] = labelled.sum(0)
    return PckScores(metrics, by_name(info.keypoint_names, columns))


def match(similarity: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Assign predictions to persons by falling score, as ``evaluate_pck`` says.

    OKS (..., D, G) in 0..1 and scores (..., D), of which equal ones go in order -> position 0..D-1
    of each person's prediction, int (..., G); -1 for a person without one.
    """
    order = np.argsort(-scores, axis=-1, kind="stable")
    ranked = np.take_along_axis(similarity, order[..., None], axis=-2)
    is_best = np.arange(similarity.shape[-1]) == ranked.argmax(axis=-1)[..., None]
    goes_to = is_best & (ranked >= MIN_OKS)
    first = np.take_along_axis(order, goes_to.argmax(axis=-2), axis=-1)
    return np.where(goes_to.any(axis=-2), first, -1)


def _labelled(columns: np.ndarray) -> np.ndarray:
    """Persons to find, those of an image and class together."""
    seen = (columns["keypoints"][:, 2::3] > 0).any(axis=1)
    persons = columns[~columns["crowd"] & (columns["category"] >= 0) & seen]
    _, first, group = np.unique(
        persons[["image", "category"]], return_index=True, return_inverse=True
    )
    return persons[np.argsort(first[group], kind="stable")]


def _distances(persons: np.ndarray, results: ResultTable, *, sigmas: Sequence[float]) -> np.ndarray:
    """Pixels, (P, K); NaN where a joint is not labelled, infinite where a person is not found."""
    distances = np.full((len(persons), len(sigmas)), np.inf)
    for category in np.unique(persons["category"]).tolist():
        rows, chosen = results.select([category]), np.flatnonzero(persons["category"] == category)
        for theirs, found in _same_numbers(persons["image"][chosen], rows["image"]):
            people, poses = persons[chosen[theirs]], rows[found]
            truth, guesses = _poses(people), _poses(poses)
            areas, labelled = people["area"][:, None], truth[..., 2] > 0
            similarity = oks(guesses, truth, areas=areas, sigmas=sigmas, labelled=labelled)
            partner = match(similarity, poses["score"])
            partners = np.take_along_axis(guesses, np.maximum(partner, 0)[..., None, None], axis=1)
            offsets = partners - truth
            found_at = np.hypot(offsets[..., 0], offsets[..., 1])
            distances[chosen[theirs]] = np.where(partner[..., None] >= 0, found_at, np.inf)
    return np.where(_poses(persons)[..., 2] > 0, distances, np.nan)


def _same_numbers(
    persons: np.ndarray, results: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Positions of the persons (B, G) and results (B, D) of B images with as many of both.

    Args:
        persons: Image of each person; those of an image are together.
        results: Image of each result, ascending.
    """
    starts = np.flatnonzero(np.diff(persons, prepend=-1))
    counts = np.diff(starts, append=len(persons))
    first, last = (np.searchsorted(results, persons[starts], side=s) for s in ("left", "right"))
    for people, number in np.unique(np.stack([counts, last - first], axis=1), axis=0).tolist():
        alike = np.flatnonzero((counts == people) & (last - first == number))
        for some in np.array_split(alike, -(-len(alike) * people * number // _PAIRS_AT_ONCE) or 1):
            if number:
                theirs = starts[some][:, None] + np.arange(people)
                yield theirs, first[some][:, None] + np.arange(number)


def _poses(rows: np.ndarray) -> np.ndarray:
    """Joints (..., K, 3) as x, y and visibility or score."""
    numbers = rows["keypoints"]
    return numbers.reshape(*numbers.shape[:-1], numbers.shape[-1] // 3, 3)


def _head_lengths(joints: np.ndarray) -> np.ndarray:
    """Largest distances between two labelled joints of each person (P, J, 3), in pixels (P,).

    0, which is no unit, if fewer are labelled.
    """
    offsets = joints[:, :, None, :2] - joints[:, None, :, :2]
    is_labelled = joints[..., 2] > 0
    both = is_labelled[:, :, None] & is_labelled[:, None]
    lengths = np.where(both, np.hypot(offsets[..., 0], offsets[..., 1]), 0)
    return lengths.max(axis=(1, 2))
