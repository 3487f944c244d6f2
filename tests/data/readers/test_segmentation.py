"""Segmentations: what is sound equals pycocotools, what is broken never reaches it."""

from typing import Any

import numpy as np
import pytest
from pycocotools import mask as mask_utils

from van_dense.core.rle import run_lengths
from van_dense.data.readers.segmentation import (
    decode_into,
    plain_form,
    to_rle,
    usable_segmentation,
)

SIZE = (12, 20)
TRIANGLE = [1.0, 1.0, 9.5, 1.0, 9.5, 8.25]


def decoded(value: Any) -> np.ndarray:
    usable, problem = usable_segmentation(value, SIZE)
    assert usable is not None and problem is None
    mask = np.zeros(SIZE, dtype=np.uint8)
    decode_into(to_rle(usable, SIZE), mask)
    return mask


def test_polygons_give_the_masks_of_pycocotools() -> None:
    rng = np.random.default_rng(0)
    for _ in range(30):
        polygons = [(rng.random(2 * rng.integers(3, 9)) * 24 - 2).tolist() for _ in range(2)]
        expected = mask_utils.decode(mask_utils.merge(mask_utils.frPyObjects(polygons, *SIZE)))
        assert np.array_equal(decoded(polygons), expected)


def test_run_lengths_as_list_text_and_bytes_give_the_same_mask() -> None:
    mask = (np.random.default_rng(0).random(SIZE) < 0.5).astype(np.uint8)
    rle = mask_utils.encode(np.asfortranarray(mask))
    counts = run_lengths(rle["counts"]).tolist()
    size = list(SIZE)
    for form in (counts, rle["counts"], rle["counts"].decode()):
        assert np.array_equal(decoded({"size": size, "counts": form}), mask)


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (None, "neither polygons nor RLE"),
        ("text", "neither polygons nor RLE"),
        ([], "empty"),
        ([1, 2, 3, 4, 5, 6], "not a list"),
        ([[]], "0 points"),
        ([[1, 1, 5, 5]], "2 points"),
        ([[1, 1, 5, 1, 5, 5, 3]], "odd number"),
        ([[1, 1, 5, 1, 5, None]], "finite number"),
        ([[1, 1, 5, 1, 5, float("nan")]], "finite number"),
        ([[1, 1, 5, 1, 5, "5"]], "finite number"),
        ([[0, 0, 1e9, 0, 5, 5]], "beyond"),
        ({}, "size None"),
        ({"size": [20, 12], "counts": [240]}, r"size \[20, 12\], its image \[12, 20\]"),
        ({"size": [12, 20]}, "no counts"),
        ({"size": [12, 20], "counts": 7}, "no counts"),
        ({"size": [12, 20], "counts": [3, 4]}, "covers 7 pixels, its image has 240"),
        ({"size": [12, 20], "counts": [240, 1]}, "covers 241 pixels"),
        ({"size": [12, 20], "counts": [250, -10]}, "not a length"),
        ({"size": [12, 20], "counts": [120.5, 119.5]}, "not a length"),
        ({"size": [12, 20], "counts": ""}, "covers 0 pixels"),
        ({"size": [12, 20], "counts": "11"}, "covers 2 pixels"),
        ({"size": [12, 20], "counts": "é%"}, "alphabet"),
        ({"size": [12, 20], "counts": "ooooooooooo"}, "alphabet"),
        ({"size": [12, 20], "counts": "ooooooo0"}, "alphabet"),
        ({"size": [12, 20], "counts": "N"}, "negative"),
    ],
)
def test_broken_segmentations_are_refused_with_the_reason(value: Any, problem: str) -> None:
    import re

    usable, found = usable_segmentation(value, SIZE)
    assert usable is None
    assert found is not None and re.search(problem, found)


def test_sound_polygons_survive_beside_broken_ones() -> None:
    usable, problem = usable_segmentation([[1, 1, 5, 5], TRIANGLE], SIZE)
    assert usable == [TRIANGLE]
    assert problem is not None and "2 points" in problem


def test_an_object_outside_of_the_image_has_an_empty_mask() -> None:
    assert decoded([[30.0, 30, 40, 30, 40, 40]]).sum() == 0


def test_other_forms_that_mean_one_thing_become_cocos() -> None:
    pairs = [[1, 1], [5, 1], [5, 5]]
    named = [{"x": x, "y": y} for x, y in pairs]
    for value in ([1, 1, 5, 1, 5, 5], pairs, [pairs], named, [named]):
        assert plain_form(value) == [[1, 1, 5, 1, 5, 5]]
    run_lengths = {"size": [12, 20], "counts": [240]}
    assert plain_form([run_lengths]) == run_lengths


def test_other_values_keep_their_form() -> None:
    for value in (None, [], [[]], "x", [[1, 1, 5, 5]], [TRIANGLE], [[1, 1], [2, 2]], [None]):
        assert plain_form(value) is value or plain_form(value) == value
