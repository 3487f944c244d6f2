"""Photometric distortion: the recipe's numbers, beside a plain statement of it."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from van_dense.data.transforms.maps import PhotoMetric

COLOUR = PhotoMetric(brightness=32, contrast=(0.5, 1.5), saturation=(0.5, 1.5), hue=18)


def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def plainly_distorted(image: np.ndarray, photometric: PhotoMetric, seed: int) -> np.ndarray:
    """The recipe in floating point, one change after the other, each cut to 0..255."""
    draw = rng(seed)
    brighten, scale, saturate, turn, contrast_first = draw.random(5) < 0.5

    def cut(values: np.ndarray) -> np.ndarray:
        return np.clip(values, 0, 255).astype(np.uint8)

    factor = draw.uniform(*photometric.contrast) if scale else 1.0
    if brighten:
        image = cut(image + draw.uniform(-photometric.brightness, photometric.brightness))
    if contrast_first:
        image = cut(image * factor)
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
    if turn:
        shift = draw.integers(-photometric.hue, photometric.hue + 1)
        hsv[..., 0] = (hsv[..., 0].astype(int) + shift) % 180
    if saturate:
        hsv[..., 1] = cut(hsv[..., 1] * draw.uniform(*photometric.saturation))
    if turn or saturate:
        image = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
    return image if contrast_first else cut(image * factor)


@pytest.mark.parametrize("seed", range(32))
def test_colours_change_as_the_recipe_says(seed: int) -> None:
    image = rng(seed).integers(0, 256, (16, 20, 3), dtype=np.uint8)
    out = COLOUR(image, rng(seed))
    assert out.dtype == np.uint8
    assert np.array_equal(out, plainly_distorted(image, COLOUR, seed))


OFF = PhotoMetric(brightness=0, contrast=(1.0, 1.0), saturation=(1.0, 1.0), hue=0)
GREY = np.full((4, 4, 3), 100, np.uint8)


def results(photometric: PhotoMetric, image: np.ndarray = GREY) -> np.ndarray:
    return np.array([photometric(image, rng(seed))[0, 0] for seed in range(400)]).astype(int)


def test_each_change_happens_half_of_the_time_and_within_its_range() -> None:
    brighter = results(replace(OFF, brightness=32))[:, 0]
    assert 68 <= brighter.min() < 75 and 125 < brighter.max() <= 132
    scaled = results(replace(OFF, contrast=(0.5, 1.5)))[:, 0]
    assert 50 <= scaled.min() < 55 and 145 < scaled.max() <= 150
    for values in (brighter, scaled):
        assert abs((values != 100).mean() - 0.5) < 0.08
    red = np.array([[[200, 100, 100]]], np.uint8)
    assert (results(OFF, red) == [200, 100, 100]).all()
    less_or_more = results(replace(OFF, saturation=(0.5, 1.5)), red)
    assert (less_or_more[:, 0] == 200).all()  # the value stays, the others move
    assert 49 <= less_or_more[:, 1].min() < 60 and 140 < less_or_more[:, 1].max() <= 151
    turned = results(replace(OFF, hue=18), red)
    hues = [
        cv2.cvtColor(c[None, None].astype(np.uint8), cv2.COLOR_RGB2HSV)[0, 0, 0] for c in turned
    ]
    assert all(hue <= 18 or hue >= 162 for hue in hues)
    assert max(h for h in hues if h <= 18) >= 16 and min(h for h in hues if h > 18) <= 164


def test_contrast_comes_before_or_after_saturation() -> None:
    """Bright colours are cut at 255 before or after their saturation changes."""
    bright = np.array([[[250, 200, 180]]], np.uint8)
    seen = results(PhotoMetric(0, (1.4, 1.4), (0.5, 0.5), 0), bright).tolist()
    # Before: 255, 255, 252, then half as saturated; after: 250, 225, 215 times 1.4, all cut.
    assert [255, 255, 253] in seen or [255, 255, 254] in seen
    assert [255, 255, 255] in seen


def test_the_hue_turns_as_far_to_either_side() -> None:
    """mmseg draws with NumPy's ``randint(-18, 18)``, which never gives 18."""
    red = np.array([[[255, 0, 0]]], np.uint8)
    turned = results(replace(OFF, hue=1), red).tolist()
    steps = [
        cv2.cvtColor(np.array([[[hue, 255, 255]]], np.uint8), cv2.COLOR_HSV2RGB)[0, 0].tolist()
        for hue in (179, 0, 1)
    ]
    assert all(step in turned for step in steps)
    assert all(colour in steps for colour in turned)
