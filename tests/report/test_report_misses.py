"""Why segments are missed: hand-made maps, one reason each."""

import numpy as np
import pytest

from van_dense.core.structures import Segment
from van_dense.report.panoptic_misses import (
    INEXACT,
    KINDS,
    MERGED,
    NEVER,
    OTHER_CLASS,
    SPLIT,
    count_misses,
)

CAT, DOG = 0, 1


def side(rows: list[str], labels: dict[str, int], crowd: str = "") -> tuple:
    """A map of letters; "." is void."""
    ids = np.array([[0 if c == "." else ord(c) for c in row] for row in rows], dtype=np.int32)
    return ids, [
        Segment(id=ord(c), label=label, score=1.0, crowd=c in crowd) for c, label in labels.items()
    ]


def misses(truth: tuple, found: tuple) -> dict[str, int]:
    counts = count_misses(truth, found, 2)
    return {kind: int(n) for kind, n in zip(KINDS, counts.sum(axis=1), strict=True) if n}


ONE = side(["aaaaaaaa.."] * 2, {"a": CAT})
TWO = side(["aaaabbbb.."] * 2, {"a": CAT, "b": CAT})


@pytest.mark.parametrize(
    ("truth", "rows", "labels", "expected"),
    [
        (ONE, ["xxxxxxxx.."] * 2, {"x": CAT}, {}),
        (ONE, [".........."] * 2, {}, {NEVER: 1}),
        (ONE, ["x.........", ".........."], {"x": CAT}, {NEVER: 1}),  # IoU 1/16
        (ONE, ["xxxxxxxx.."] * 2, {"x": DOG}, {OTHER_CLASS: 1}),
        (ONE, ["xxxx......"] * 2, {"x": CAT}, {INEXACT: 1}),  # 0.5 is no match
        (ONE, ["xxxx......"] * 2, {"x": DOG}, {NEVER: 1}),
        (ONE, ["xxxxyyyy.."] * 2, {"x": CAT, "y": CAT}, {SPLIT: 1}),
        (ONE, ["xxyy......"] * 2, {"x": CAT, "y": CAT}, {INEXACT: 1}),  # together 0.5
        (TWO, ["xxxxxxxx.."] * 2, {"x": CAT}, {MERGED: 2}),
        (TWO, ["xxxxxxx..."] * 2, {"x": CAT}, {MERGED: 1}),  # the first one matches, IoU 4/7
    ],
)
def test_each_reason_by_hand(truth, rows, labels, expected):
    assert misses(truth, side(rows, labels)) == expected


def test_reasons_are_counted_by_class_and_crowds_are_never_missed():
    truth = side(["aaaabbbbcc"] * 2, {"a": CAT, "b": DOG, "c": DOG}, crowd="c")
    counts = count_misses(truth, side(["xxxx......"] * 2, {"x": DOG}), 2)
    assert counts[KINDS.index(OTHER_CLASS)].tolist() == [1, 0]
    assert counts[KINDS.index(NEVER)].tolist() == [0, 1]


def test_void_of_the_ground_truth_is_in_no_union():
    assert misses(ONE, side(["xxxxxxxxxx"] * 2, {"x": CAT})) == {}
    few = side(["aaaaa....."] * 2, {"a": CAT})
    assert misses(few, side(["xxxyyyyyyy"] * 2, {"x": CAT, "y": CAT})) == {}  # x has 3/5
    half = side(["aaaa......"] * 2, {"a": CAT})
    assert misses(half, side(["xxyyyyyyyy"] * 2, {"x": CAT, "y": CAT})) == {SPLIT: 1}


def test_maps_that_do_not_fit_are_errors():
    with pytest.raises(ValueError, match="ground truth"):
        count_misses(side(["ab"], {"a": CAT}), side([".."], {}), 2)
