"""PCK: the fraction of labelled joints that a prediction finds, and how far off the joints are.

PCK@0.2 accepts a joint within 0.2 of the longer side of the annotated box (Yang and Ramanan, TPAMI
2013, as AP-10K and mmpose count it), PCKh@0.5 one within half of the head. The head is the largest
distance between two labelled joints of ``DatasetInfo.head``; MPII, where PCKh comes from (Andriluka
et al., CVPR 2014), takes 0.6 of the diagonal of an annotated head box instead, which COCO files do
not have. Fractions run over all labelled joints of all persons, so that each joint counts the same.

Legend: G annotated and D predicted persons of one image and class, P persons in all, K joints.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from van_dense.core.dataset_info import DatasetInfo
from van_dense.core.oks import oks
from van_dense.data.readers.coco_json import CocoDict
from van_dense.evaluation.evaluator import by_name, ratio
from van_dense.evaluation.results import CocoResult

BOX_FRACTION, HEAD_FRACTION = 0.2, 0.5
_Group = tuple[Any, Any]  # image id and category id
PCK, PCKH = f"PCK@{BOX_FRACTION}", f"PCKh@{HEAD_FRACTION}"
# Predictions less alike than this to every person are of something else. Joints that are all off by
# 3.7 times their constant, 2 sigma sqrt(area), are just as alike.
MIN_OKS = 1e-3


@dataclass(frozen=True)
class PckScores:
    """What ``evaluate_pck`` measures; NaN where there is nothing to measure."""

    metrics: dict[str, float]  # PCK@0.2, and PCKh@0.5 where the data set names joints of the head
    # PCK of each joint by its name, "error" (mean distance of the joints of found persons, in
    # longer sides of the box) and "count" (labelled joints)
    per_joint: dict[str, dict[str, float]]


def evaluate_pck(
    ground_truth: CocoDict, results: Iterable[CocoResult], info: DatasetInfo
) -> PckScores:
    """Find the prediction of each person and measure the distances of its joints.

    Predictions come by falling score, and each goes to the person of its image and class that it
    is most alike (highest OKS), unless that one is taken. So a second prediction of one person
    never stands for its neighbour. All joints of a person without prediction count as wrong.
    Crowds and persons without a labelled joint are left out.

    Args:
        ground_truth: COCO annotations with "keypoints", "bbox" and "area".
        results: COCO records with "keypoints"; scores of single joints are ignored.
        info: Names of the K joints, joints of the head, and OKS sigmas (none: the 17 of COCO).
    """
    persons = _labelled(ground_truth["annotations"])
    distances = _distances(persons, results, sigmas=info.sigmas)
    box = np.array([max(person["bbox"][2:]) for group in persons.values() for person in group])
    units = {PCK: BOX_FRACTION * box}
    if info.head:
        joints = [info.keypoint_names.index(name) for name in info.head]
        poses = [_pose(person) for group in persons.values() for person in group]
        units[PCKH] = HEAD_FRACTION * np.array([_head_length(pose[joints]) for pose in poses])

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

    OKS (D, G) in 0..1 and scores (D,), of which equal ones go in order -> position 0..D-1 of each
    person's prediction, int (G,); -1 for a person without one.
    """
    chosen = np.full(similarity.shape[1], -1)
    for position in np.argsort(-scores, kind="stable"):
        person = similarity[position].argmax()
        if chosen[person] < 0 and similarity[position, person] >= MIN_OKS:
            chosen[person] = position
    return chosen


def _labelled(annotations: Iterable[Mapping[str, Any]]) -> dict[_Group, list[Mapping[str, Any]]]:
    """Persons to find, by image and class."""
    groups: dict[_Group, list[Mapping[str, Any]]] = defaultdict(list)
    for entry in annotations:
        if not entry.get("iscrowd", 0) and any(entry["keypoints"][2::3]):
            groups[entry["image_id"], entry["category_id"]].append(entry)
    return groups


def _distances(
    persons: Mapping[_Group, Sequence[Mapping[str, Any]]],
    results: Iterable[CocoResult],
    *,
    sigmas: Sequence[float],
) -> np.ndarray:
    """Pixels, (P, K); NaN where a joint is not labelled, infinite where a person is not found."""
    predictions = defaultdict(list)
    for record in results:
        predictions[record["image_id"], record["category_id"]].append(record)
    rows = [np.empty((0, len(sigmas)))]
    for key, group in persons.items():
        truth = np.stack([_pose(person) for person in group])
        distance = np.full(truth.shape[:2], np.inf)
        if records := predictions[key]:
            found = np.stack([_pose(record) for record in records])
            areas = np.array([person["area"] for person in group], dtype=np.float64)
            labelled = truth[:, :, 2] > 0
            similarity = oks(found, truth, areas=areas, sigmas=sigmas, labelled=labelled)
            chosen = match(similarity, np.array([record["score"] for record in records]))
            offsets = found[chosen] - truth
            distance[chosen >= 0] = np.hypot(offsets[..., 0], offsets[..., 1])[chosen >= 0]
        rows.append(np.where(truth[:, :, 2] > 0, distance, np.nan))
    return np.concatenate(rows)


def _pose(entry: Mapping[str, Any]) -> np.ndarray:
    return np.array(entry["keypoints"], dtype=np.float64).reshape(-1, 3)


def _head_length(joints: np.ndarray) -> float:
    """Largest distance between two labelled joints; 0, which is no unit, if fewer are labelled."""
    points = joints[joints[:, 2] > 0, :2]
    return max((math.dist(a, b) for a in points for b in points), default=0.0)
