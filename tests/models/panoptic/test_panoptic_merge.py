"""Instances and stuff in one map: hand-made cases of every rule."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from van_dense.core.structures import Instances, encode_masks
from van_dense.models.panoptic.merge import MergeRules, merge

RULES = MergeRules(score_threshold=0.5, overlap_threshold=0.5, stuff_area=4)
SIZE = (4, 6)
Rows = list[str]


def bitmap(rows: Rows) -> torch.Tensor:
    return torch.tensor([[letter == "#" for letter in row] for row in rows]).to(torch.uint8)


def things(*found: tuple[Rows, int, float]) -> Instances:
    """Masks, labels and scores; boxes play no part."""
    masks = encode_masks(torch.stack([bitmap(rows) for rows, _, _ in found])) if found else []
    return Instances(
        torch.zeros(len(found), 4),
        torch.tensor([label for _, label, _ in found], dtype=torch.int64),
        torch.tensor([score for _, _, score in found]),
        masks,
    )


def merged(
    found: Instances, stuff: Rows | None = None, rules: MergeRules = RULES
) -> tuple[Rows, list[tuple[int, int, float]]]:
    """The map as digits, and (id, label, score) of the segments; "." of ``stuff`` has none."""
    rows = stuff or ["." * SIZE[1]] * SIZE[0]
    labels = [[255 if letter == "." else int(letter) for letter in row] for row in rows]
    probability = np.linspace(0, 1, SIZE[0] * SIZE[1], dtype=np.float32).reshape(SIZE)
    ids, segments = merge(found, np.array(labels, dtype=np.uint8), probability, rules)
    assert ids.dtype == np.int32 and ids.shape == SIZE
    listed = [(s["id"], s["label"], round(s["score"], 4)) for s in segments]
    return ["".join(map(str, row)) for row in ids], listed


LEFT = ["###...", "###...", "......", "......"]


def test_nothing_found_is_void() -> None:
    assert merged(things()) == (["000000"] * 4, [])


def test_the_surer_instance_keeps_what_both_claim() -> None:
    right = ["..####", "..####", "......", "......"]
    ids, segments = merged(things((LEFT, 3, 0.6), (right, 2, 0.9)))
    assert ids == ["221111", "221111", "000000", "000000"]
    assert segments == [(1, 2, 0.9), (2, 3, 0.6)]


def test_of_equal_scores_the_first_keeps_it() -> None:
    right = ["..####", "..####", "......", "......"]
    assert merged(things((LEFT, 3, 0.75), (right, 2, 0.75)))[0][0] == "111222"


@pytest.mark.parametrize("columns, is_kept", [(2, True), (3, False)])
def test_an_instance_that_is_covered_by_more_than_the_threshold_goes(columns, is_kept) -> None:
    """Four pixels in a row, of which two are exactly one half."""
    front = ["#" * columns + "." * (6 - columns), *["......"] * 3]
    back = ["####..", "......", "......", "......"]
    ids, segments = merged(things((front, 0, 0.9), (back, 1, 0.8)))
    assert len(segments) == 1 + is_kept
    assert ids[0] == ("112200" if is_kept else "111000")


def test_an_instance_without_any_free_pixel_is_no_segment() -> None:
    rules = replace(RULES, overlap_threshold=1.0)
    assert merged(things((LEFT, 0, 0.9), (LEFT, 1, 0.8)), rules=rules)[1] == [(1, 0, 0.9)]


def test_an_empty_mask_is_no_segment() -> None:
    assert merged(things((["......"] * 4, 0, 0.9)))[1] == []


@pytest.mark.parametrize("score, is_kept", [(0.5, True), (0.49, False)])
def test_instances_below_the_score_threshold_go(score, is_kept) -> None:
    assert len(merged(things((LEFT, 0, score)))[1]) == is_kept


def test_stuff_lies_below_things_and_its_pieces_are_one_segment() -> None:
    stuff = ["444444", "4.....", ".....5", "555555"]
    ids, segments = merged(things((LEFT, 2, 0.9)), stuff)
    assert ids == ["111000", "111000", "000002", "222222"]  # of 4, three pixels are left
    # Pixel p of 24 has the probability p / 23: pixel 17, and 18 to 23.
    assert segments == [(1, 2, 0.9), (2, 5, round((17 + sum(range(18, 24))) / 7 / 23, 4))]


def test_the_smallest_area_of_stuff_is_kept() -> None:
    stuff = ["4444..", "......", "555...", "......"]
    assert merged(things(), stuff)[0] == ["111100", "000000", "000000", "000000"]


def test_no_limit_of_the_area_makes_no_empty_segment() -> None:
    ids, segments = merged(things(), ["4.....", *["......"] * 3], replace(RULES, stuff_area=0))
    assert ids[0] == "100000" and segments == [(1, 4, 0.0)]


@pytest.mark.parametrize("seed", range(5))
def test_many_instances_agree_with_the_plain_loop(seed: int) -> None:
    """The same rules over whole bitmaps, as Detectron2 has them."""
    rng = np.random.default_rng(seed)
    masks = np.zeros((12, 40, 50), dtype=np.uint8)
    for mask in masks:
        y, x = rng.integers(0, 30, 2)
        mask[y : y + rng.integers(2, 20), x : x + rng.integers(2, 20)] = 1
    scores, labels = rng.random(12).astype(np.float32), rng.integers(0, 3, 12)
    stuff = np.repeat(np.repeat(rng.integers(3, 8, (8, 10)), 5, 0), 5, 1).astype(np.uint8)
    rules = MergeRules(score_threshold=0.2, overlap_threshold=0.4, stuff_area=150)
    expected, listed = np.zeros((40, 50), dtype=np.int32), []
    for i in np.argsort(-scores):
        mask = masks[i] == 1
        if scores[i] < 0.2 or (mask & (expected > 0)).sum() / mask.sum() > 0.4:
            continue
        listed.append(labels[i])
        expected[mask & (expected == 0)] = len(listed)
    for label in np.unique(stuff):
        mask = (stuff == label) & (expected == 0)
        if mask.sum() >= 150:
            listed.append(label)
            expected[mask] = len(listed)
    found = Instances(
        torch.zeros(12, 4),
        torch.from_numpy(labels),
        torch.from_numpy(scores),
        encode_masks(torch.from_numpy(masks)),
    )
    ids, segments = merge(found, stuff, np.full((40, 50), 0.5, np.float32), rules)
    assert np.array_equal(ids, expected)
    assert [s["label"] for s in segments] == listed
    assert [s["id"] for s in segments] == list(range(1, len(listed) + 1))
