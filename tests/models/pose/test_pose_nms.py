"""Similarity of poses and suppression of doubles."""

from __future__ import annotations

import contextlib
import io
import math

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from van_dense.core.oks import oks
from van_dense.models.pose.pose_nms import SOFT_MAX, oks_nms

AREA = 10_000.0
SIGMAS = [0.05, 0.1]  # variances 0.01 and 0.04


def person(x: float, y: float = 0.0) -> np.ndarray:
    """Two joints at one place."""
    return np.array([[x, y, 1.0], [x, y, 1.0]])


def persons(*xs: float) -> np.ndarray:
    return np.stack([person(x) for x in xs])


def similarity(distance: float, area: float = AREA) -> float:
    return (
        math.exp(-(distance**2) / (2 * area * 0.01)) + math.exp(-(distance**2) / (2 * area * 0.04))
    ) / 2


def test_similarity_is_the_mean_over_joints():
    value = oks(persons(0.0), persons(0.0, 10.0, 1e6), areas=np.full(3, AREA), sigmas=SIGMAS)
    assert value.tolist() == [[pytest.approx(1), pytest.approx(similarity(10)), 0]]


def test_areas_are_those_of_the_second_or_of_each_pair():
    a, b = persons(0.0, 5.0), persons(10.0)
    of_b = oks(a, b, areas=np.array([400.0]), sigmas=SIGMAS)
    of_pairs = oks(a, b, areas=np.array([[400.0], [900.0]]), sigmas=SIGMAS)
    assert of_b[0, 0] == of_pairs[0, 0] == pytest.approx(similarity(10, 400))
    assert of_pairs[1, 0] == pytest.approx(similarity(5, 900))


def test_similarity_agrees_with_pycocotools():
    rng = np.random.default_rng(0)
    sigmas = rng.uniform(0.02, 0.1, 17)
    truth = rng.uniform(0, 100, (6, 17, 3))
    truth[..., 2] = 2  # pycocotools leaves unlabelled joints out; suppression knows none
    found = truth[rng.integers(0, 6, 15)] + rng.normal(0, 4, (15, 17, 3))
    areas, scores = rng.uniform(400, 9000, 6), rng.permutation(15) / 15
    coco = COCO()
    coco.dataset = {
        "images": [{"id": 1, "height": 100, "width": 100}],
        "categories": [{"id": 1, "name": "person"}],
        "annotations": [
            {"id": i + 1, "image_id": 1, "category_id": 1, "keypoints": joints.ravel().tolist()}
            | {"num_keypoints": 17, "area": area, "iscrowd": 0, "bbox": [0, 0, 100, 100]}
            for i, (joints, area) in enumerate(zip(truth, areas, strict=True))
        ],
    }
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
        results = coco.loadRes(
            [
                {"image_id": 1, "category_id": 1, "keypoints": k.ravel().tolist(), "score": s}
                for k, s in zip(found, scores, strict=True)
            ]
        )
        reference = COCOeval(coco, results, "keypoints")
        reference.params.kpt_oks_sigmas = sigmas
        reference.params.imgIds = [1]
        reference._prepare()
    expected = reference.computeOks(1, 1)  # best first
    ours = oks(found, truth, areas=areas, sigmas=sigmas)[np.argsort(-scores)]
    assert 0.1 < expected.max() and np.allclose(ours, expected, atol=1e-12)


def test_joints_nowhere_are_alike_to_nothing():
    nowhere = np.full((1, 2, 3), np.inf)
    areas = np.array([AREA])
    assert oks(nowhere, nowhere, areas=areas, sigmas=SIGMAS).tolist() == [[0]]
    assert oks(nowhere * np.nan, persons(0.0), areas=areas, sigmas=SIGMAS).tolist() == [[0]]


@pytest.mark.parametrize("soft", [False, True])
def test_nobody_stays_of_nobody(soft):
    kept, scores = oks_nms(
        np.zeros((0, 2, 3)), np.zeros(0), areas=np.zeros(0), sigmas=SIGMAS, threshold=0.9, soft=soft
    )
    assert kept.shape == scores.shape == (0,) and kept.dtype == np.int64


def suppressed(threshold: float, *xs: float, scores: list[float], areas=None) -> list[int]:
    areas = np.full(len(xs), AREA) if areas is None else np.array(areas)
    kept, left = oks_nms(
        persons(*xs), np.array(scores), areas=areas, sigmas=SIGMAS, threshold=threshold, soft=False
    )
    assert left.tolist() == [scores[i] for i in kept]
    return kept.tolist()


def test_of_persons_more_alike_than_the_threshold_the_best_stays():
    limit = similarity(5)
    assert suppressed(limit - 0.01, 0.0, 5.0, 900.0, scores=[0.5, 0.9, 0.7]) == [1, 2]
    assert suppressed(limit + 0.01, 0.0, 5.0, 900.0, scores=[0.5, 0.9, 0.7]) == [1, 2, 0]


def test_who_is_suppressed_suppresses_nobody():
    assert similarity(10) < 0.8 < similarity(5)
    assert suppressed(0.8, 0.0, 5.0, 10.0, scores=[0.9, 0.8, 0.7]) == [0, 2]


def test_of_equals_the_first_stays():
    assert suppressed(0.9, 0.0, 0.0, 0.0, scores=[0.5, 0.5, 0.5]) == [0]


def test_the_area_of_a_pair_is_the_mean_of_both():
    areas, limit = [400.0, 1600.0], similarity(5, 1000)
    assert suppressed(limit - 1e-6, 0.0, 5.0, scores=[0.5, 0.9], areas=areas) == [1]
    assert suppressed(limit + 1e-6, 0.0, 5.0, scores=[0.5, 0.9], areas=areas) == [1, 0]


def test_soft_suppression_lowers_scores_by_a_gaussian_of_the_similarity():
    given = np.array([0.9, 0.8, 0.7])
    kept, scores = oks_nms(
        persons(0.0, 5.0, 900.0),
        given,
        areas=np.full(3, AREA),
        sigmas=SIGMAS,
        threshold=0.9,
        soft=True,
    )
    lowered = 0.8 * math.exp(-(similarity(5) ** 2) / 0.9)
    assert kept.tolist() == [0, 2, 1]  # the lowered one comes last
    assert scores.tolist() == pytest.approx([0.9, 0.7, lowered])
    assert given.tolist() == [0.9, 0.8, 0.7]  # those of the caller stay


def test_soft_suppression_lowers_again_at_every_pick():
    kept, scores = oks_nms(
        persons(0.0, 0.0, 0.0),
        np.array([0.9, 0.8, 0.7]),
        areas=np.full(3, AREA),
        sigmas=SIGMAS,
        threshold=0.5,
        soft=True,
    )
    assert kept.tolist() == [0, 1, 2]
    assert scores.tolist() == pytest.approx([0.9, 0.8 * math.exp(-2), 0.7 * math.exp(-4)])


def test_soft_suppression_leaves_the_best_twenty():
    xs = [1000.0 * i for i in range(SOFT_MAX + 5)]
    scores = np.linspace(0.1, 0.9, len(xs))
    kept, _ = oks_nms(
        persons(*xs), scores, areas=np.full(len(xs), AREA), sigmas=SIGMAS, threshold=0.9, soft=True
    )
    assert SOFT_MAX == 20 and kept.tolist() == list(range(len(xs)))[::-1][:20]
