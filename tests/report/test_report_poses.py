"""Errors of single joints, one hand-made case each."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from test_report_objects import annotation, source_of

from van_dense.core.dataset_info import DatasetInfo
from van_dense.report.poses import KINDS, joint_errors, judge

AREA, SIGMA = 10000.0, 0.05  # KS = exp(-d^2 / 200)
PERSON = np.array([[50.0, 50, 2], [30, 100, 2], [70, 100, 2]])  # nose, left and right hand
OTHER = PERSON + np.array([300, 0, 0])
TWINS = np.array([0, 2, 1])


def kinds_of(found: np.ndarray, truth: np.ndarray) -> list[str]:
    areas = np.full(len(truth), AREA)
    kinds, _ = judge(found, truth, areas, 0, sigmas=[SIGMA] * 3, twins=TWINS)
    return ["unlabelled" if kind < 0 else KINDS[kind] for kind in kinds]


@pytest.mark.parametrize(
    ("joint", "place", "kind"),
    [
        (0, (50, 55), "good"),  # KS 0.88
        (0, (50, 58), "jitter"),  # 0.73
        (0, (50, 62), "missing"),  # 0.49
        (1, (70, 104), "inversion"),  # the right hand, 0.92
        (0, (350, 50), "swap"),  # the other's nose
        (1, (370, 100), "swap"),  # the other's right hand
        (0, (330, 100), "missing"),  # the other's left hand is no nose
    ],
)
def test_joints_are_judged(joint: int, place: tuple[float, float], kind: str) -> None:
    found = PERSON.copy()
    found[joint, :2] = place
    kinds = kinds_of(found, np.stack([PERSON, OTHER]))
    assert kinds[joint] == kind
    assert all(other == "good" for k, other in enumerate(kinds) if k != joint)


def test_only_annotated_places_count() -> None:
    unseen = PERSON.copy()
    unseen[2, 2] = 0
    found = PERSON.copy()
    found[1, :2] = PERSON[2, :2]
    assert kinds_of(found, unseen[None]) == ["good", "missing", "unlabelled"]


def test_the_similarity_is_one_term_of_oks() -> None:
    found = PERSON + np.array([0, 8, 0])
    _, similarity = judge(found, PERSON[None], np.array([AREA]), 0, sigmas=[SIGMA] * 3, twins=TWINS)
    np.testing.assert_allclose(similarity, np.exp(-64 / 200))


def test_errors_are_counted_over_persons_and_cost_ap() -> None:
    info = DatasetInfo(
        "p", ("person",), (1,), keypoint_names=("nose", "left", "right"),
        flip_pairs=(("left", "right"),), sigmas=(SIGMA,) * 3,
    )  # fmt: skip
    flipped = PERSON.copy()
    flipped[1:, :2] = PERSON[:0:-1, :2]

    def entry(image: int, pose: np.ndarray) -> dict[str, Any]:
        box = [0.0, 0.0, 100.0, 100.0]
        return annotation(image, 1, box, keypoints=pose.ravel().tolist())

    truth = [entry(1, PERSON), entry(2, PERSON), entry(3, PERSON)]
    found: list[Any] = [
        {"image_id": i, "category_id": 1, "keypoints": pose.ravel().tolist(), "score": 0.9}
        for i, pose in ((1, PERSON), (2, flipped))
    ]
    names = ("person",)
    source = source_of(truth, found, num_images=3, names=names, kind="keypoints")
    errors = joint_errors(type(source)(source.ground_truth, source.results, "keypoints", info))
    assert errors.count[:, KINDS.index("good")].tolist() == [2, 1, 1]
    assert errors.count[:, KINDS.index("inversion")].tolist() == [0, 1, 1]
    assert errors.unfound.tolist() == [1, 1, 1]
    # Of three persons one is found (34 of 101 levels of recall), and two with the hands put right.
    assert errors.gain["inversion"] == pytest.approx(33 / 101)
    assert errors.gain["swap"] == errors.gain["jitter"] == errors.gain["missing"] == 0
