"""Masks handled by their runs equal masks handled by their pixels, to the byte."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pycocotools import mask as mask_utils

from van_dense.core.rle import decode_crop, place_mask, run_lengths, unite_masks
from van_dense.core.structures import decode_masks, encode_masks


def encoded(mask: np.ndarray):
    return encode_masks(torch.from_numpy(np.ascontiguousarray(mask, dtype=np.uint8))[None])[0]


def placed_pixels(mask: np.ndarray, size, top: int, left: int) -> np.ndarray:
    image = np.zeros(size, dtype=np.uint8)
    image[top : top + mask.shape[0], left : left + mask.shape[1]] = mask
    return image


@pytest.mark.parametrize(
    ("columns", "runs"),
    [
        (np.zeros((2, 3)), [6]),
        (np.ones((2, 3)), [0, 6]),
        ([[0, 1, 0], [1, 1, 1]], [1, 3, 1, 1]),
        # The fourth run is stored as a difference, here a negative one; 400 takes two characters.
        ([[0] * 100 + [1] * 400 + [0] * 20 + [1] * 3], [100, 400, 20, 3]),
    ],
)
def test_runs_alternate_down_the_columns_zeros_first(columns, runs):
    found = run_lengths(encoded(np.array(columns))["counts"])
    assert found.dtype == np.int64 and found.tolist() == runs


def test_no_text_holds_no_run():
    assert run_lengths(b"").tolist() == []


@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.98, 1.0])
@pytest.mark.parametrize("seed", range(8))
def test_random_masks_land_where_their_pixels_do(share, seed):
    rng = np.random.default_rng(seed)
    height, width = (int(side) for side in rng.integers(1, 40, 2))
    top, left, below, right = (int(gap) for gap in rng.integers(0, 3, 4) * rng.integers(0, 50))
    size = (top + height + below, left + width + right)
    mask = (rng.random((height, width)) < share).astype(np.uint8)
    found = place_mask(encoded(mask), size, top=top, left=left)
    assert found == encoded(placed_pixels(mask, size, top, left))


def test_long_runs_of_a_large_window_survive():
    mask = np.zeros((700, 900), dtype=np.uint8)
    mask[100:600, 50:850] = 1
    mask[:, 400:500] = 1  # runs that go on in the next column
    found = place_mask(encoded(mask), (4000, 3000), top=3300, left=2100)
    assert found == encoded(placed_pixels(mask, (4000, 3000), 3300, 2100))


def test_a_mask_placed_on_its_own_image_stays_as_it_is():
    rle = encoded(np.eye(7))
    assert place_mask(rle, (7, 7), top=0, left=0) == rle


@pytest.mark.parametrize("place", [(-1, 0), (0, -1), (4, 0), (0, 4)])
def test_a_window_beyond_the_image_is_refused(place):
    with pytest.raises(ValueError, match="reaches beyond the image"):
        place_mask(encoded(np.ones((7, 7))), (10, 10), top=place[0], left=place[1])


def test_united_masks_hold_the_pixels_of_all():
    masks = np.random.default_rng(0).random((3, 20, 30)) < 0.2
    united = unite_masks([encoded(mask) for mask in masks])
    assert np.array_equal(decode_masks([united], (20, 30))[0], masks.any(axis=0))


@pytest.mark.parametrize("share", [0.0, 0.002, 0.05, 0.5, 0.98, 1.0])
def test_a_decoded_crop_equals_the_whole_mask_of_pycocotools(share):
    noise = np.random.default_rng(0).random((20, 97, 133)) < share
    for mask in noise:
        x, y, crop = decode_crop(encoded(mask))
        assert np.array_equal(placed_pixels(crop, (97, 133), y, x), mask)


def test_runs_without_length_are_part_of_a_decoded_crop():
    runs = [3, 0, 500, 5, 0, 4, 688]  # a run of no ones in the column before, and one of no zeros
    rle = mask_utils.frPyObjects({"size": [300, 4], "counts": runs}, 300, 4)
    x, y, crop = decode_crop(rle)
    assert np.array_equal(placed_pixels(crop, (300, 4), y, x), mask_utils.decode(rle))


def test_a_decoded_crop_is_as_small_as_the_object():
    mask = np.zeros((1000, 2000))
    mask[300:305, 700:710] = 1
    x, y, crop = decode_crop(encoded(mask))
    assert (x, y) == (700, 300)
    assert crop.shape == (5, 10)
    assert crop.all()
