"""Errors of single joints: jitter, inversion, swap, missing.

Source: Ronchi and Perona, "Benchmarking and Error Diagnosis in Multi-Instance Pose Estimation",
ICCV 2017, section 3.1. The keypoint similarity of a predicted joint and an annotated place is
``KS = exp(-d^2 / (2 area (2 sigma)^2))``, one term of OKS. With the place of the joint itself KS
of at least 0.85 is good, and 0.5 to 0.85 jitter. Below that it is an inversion where KS of at least
0.5 is reached with the mirror twin of the joint, the other side of the same person, a swap where it
is with this joint or its twin of another person, and else missing; where both are reached the
nearer place decides. Only the joints that are annotated count.

Legend: P persons, K joints.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from van_dense.core.oks import oks
from van_dense.evaluation.coco import evaluate_results, joint_sigmas
from van_dense.evaluation.pck import match
from van_dense.evaluation.results import CocoResult
from van_dense.report.sources import Objects

GOOD, NEAR = 0.85, 0.5
FOUND = 0.1  # OKS of a result that is of a person at all
KINDS = ("good", "jitter", "inversion", "swap", "missing")


@dataclass(frozen=True)
class JointErrors:
    """What became of the annotated joints of persons that were found.

    Attributes:
        count: Joints of each kind of ``KINDS``, int (K, 5).
        similarity: Mean KS of each joint with its own place, (K,); NaN where none is annotated.
        unfound: Annotated joints of persons without a result, int (K,).
        gain: AP that the right places for the joints of each kind alone would add.
    """

    count: np.ndarray
    similarity: np.ndarray
    unfound: np.ndarray
    gain: dict[str, float]


def joint_errors(source: Objects) -> JointErrors:
    """Match results with persons of OKS 0.1 and more, by falling score, and judge each joint."""
    sigmas = joint_sigmas("keypoints", source.info.sigmas)
    num = len(sigmas)
    twins = _twins(source)
    records: list[CocoResult] = list(source.results)
    groups: dict[Any, list[int]] = defaultdict(list)
    for index, record in enumerate(records):
        groups[record["image_id"], record["category_id"]].append(index)
    persons: dict[Any, list[dict[str, Any]]] = defaultdict(list)
    for entry in source.ground_truth["annotations"]:
        if not entry.get("iscrowd", 0) and any(entry["keypoints"][2::3]):
            persons[entry["image_id"], entry["category_id"]].append(entry)
    count, unfound = np.zeros((num, len(KINDS)), dtype=np.int64), np.zeros(num, dtype=np.int64)
    sums = np.zeros(num)
    right: dict[int, tuple[np.ndarray, np.ndarray]] = {}  # kinds and places of joints of a result
    for key, group in persons.items():
        truth = np.stack([_pose(entry["keypoints"]) for entry in group])
        areas = np.array([entry["area"] for entry in group], dtype=np.float64)
        own = groups.get(key, [])
        chosen = _chosen([records[i] for i in own], truth, areas, sigmas)
        for person, position in enumerate(chosen):
            seen = truth[person, :, 2] > 0
            if position < 0:
                unfound += seen
                continue
            found = _pose(records[own[position]]["keypoints"])
            kinds, similarity = judge(found, truth, areas, person, sigmas=sigmas, twins=twins)
            right[own[position]] = kinds, truth[person]
            count[np.flatnonzero(seen), kinds[seen]] += 1
            sums += np.where(seen, similarity, 0)
    total = count.sum(axis=1)
    similarity = np.divide(sums, total, out=np.full(num, np.nan), where=total > 0)
    return JointErrors(count, similarity, unfound, _gains(source, records, right))


def judge(
    found: np.ndarray,
    truth: np.ndarray,
    areas: np.ndarray,
    person: int,
    *,
    sigmas: Sequence[float],
    twins: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Kind of each joint, a position in ``KINDS``, -1 without annotation, (K,), and its KS (K,).

    Args:
        found: Predicted joints (K, 3) of one person: x and y in pixels, and a score.
        truth: Annotated joints (P, K, 3) of all persons of the image: x, y in pixels, visibility.
        areas: Square pixels of each of them, (P,).
        person: Position of the person that was predicted.
        sigmas: OKS constants of the K joints.
        twins: Mirror twin of each joint, int (K,); the joint itself without one.
    """
    variances = (2 * np.asarray(sigmas, dtype=np.float64)) ** 2

    def similarity(joints: np.ndarray, area: Any) -> np.ndarray:
        squared = ((found[:, :2] - joints[..., :2]) ** 2).sum(axis=-1)
        near = np.exp(-squared / (2 * (area + np.spacing(1)) * variances))
        return np.where(joints[..., 2] > 0, near, 0.0)

    own = similarity(truth[person], areas[person])
    mirrored = np.where(
        twins != np.arange(len(twins)), similarity(truth[person][twins], areas[person]), 0.0
    )
    others = np.delete(truth, person, axis=0)
    other_areas = np.delete(areas, person)[:, None]
    both = [similarity(others, other_areas), similarity(others[:, twins], other_areas)]
    swapped = np.maximum(*both).max(axis=0, initial=0.0)
    kinds = np.full(len(own), KINDS.index("missing"))
    is_swap = (swapped >= NEAR) & (swapped > mirrored)
    kinds[mirrored >= NEAR] = KINDS.index("inversion")
    kinds[is_swap] = KINDS.index("swap")
    kinds[own >= NEAR] = KINDS.index("jitter")
    kinds[own >= GOOD] = KINDS.index("good")
    kinds[truth[person, :, 2] <= 0] = -1
    return kinds, own


def _chosen(
    records: Sequence[CocoResult], truth: np.ndarray, areas: np.ndarray, sigmas: Sequence[float]
) -> np.ndarray:
    """Position of the result of each person, (P,); -1 without one."""
    if not records:
        return np.full(len(truth), -1)
    found = np.stack([_pose(record["keypoints"]) for record in records])
    alike = oks(found, truth, areas=areas, sigmas=sigmas, labelled=truth[..., 2] > 0)
    scores = np.array([record["score"] for record in records])
    return match(np.where(alike >= FOUND, alike, 0.0), scores)


def _gains(
    source: Objects,
    records: Sequence[CocoResult],
    right: dict[int, tuple[np.ndarray, np.ndarray]],
) -> dict[str, float]:
    """AP that joints of one kind moved to their places add."""
    settings: Any = {"backend": "hotcoco", "max_detections": source.max_detections}
    settings["sigmas"] = source.info.sigmas
    usual = evaluate_results(source.ground_truth, source.results, "keypoints", **settings)
    gains = {}
    for number, kind in enumerate(KINDS[1:], 1):
        moved: list[CocoResult] = []
        for index, record in enumerate(records):
            pose = _pose(record["keypoints"])
            if index in right:
                kinds, places = right[index]
                pose[kinds == number, :2] = places[kinds == number, :2]
            moved.append({**record, "keypoints": pose.ravel().tolist()})
        better = evaluate_results(source.ground_truth, moved, "keypoints", **settings)
        gains[kind] = better.metrics["AP"] - usual.metrics["AP"]
    return gains


def _twins(source: Objects) -> np.ndarray:
    """Mirror twin of each joint; the joint itself where pairs are unknown."""
    info = source.info
    if info.flip_pairs is None or not info.keypoint_names:
        return np.arange(len(joint_sigmas("keypoints", info.sigmas)))
    return np.array(info.flip_order())


def _pose(values: Sequence[float]) -> np.ndarray:
    return np.array(values, dtype=np.float64).reshape(-1, 3)
