"""Crops and colours of classification: timm's, and a function of the generator alone."""

import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import create_transform

from van_dense.data.class_transforms import ClassTest, ClassTrain
from van_dense.seeding import seeded
from van_dense.structures import Sample

IMAGE = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
PLAIN = ClassTrain(32, interpolation="bilinear")


def sample(image: np.ndarray = IMAGE) -> Sample:
    return Sample(image=image, image_id=1, path="x", orig_size=image.shape[:2], label=3)


def run(transform, seed: int = 0, image: np.ndarray = IMAGE) -> Sample:
    return transform(sample(image), np.random.default_rng(seed))


@pytest.mark.parametrize("crop_pct", [0.9, 0.875, 1.0])
@pytest.mark.parametrize("shape", [(90, 120), (300, 200), (30, 31)])
def test_evaluation_is_timms(shape, crop_pct) -> None:
    image = np.random.default_rng(1).integers(0, 256, (*shape, 3), dtype=np.uint8)
    ours = run(ClassTest(64, resize=int(64 / crop_pct)), image=image)
    timms = create_transform(64, crop_pct=crop_pct, interpolation="bicubic", separate=False)
    pixels = timms.transforms[:2]  # without the tensor and its normalisation
    theirs = Image.fromarray(image)
    for step in pixels:
        theirs = step(theirs)
    assert np.array_equal(ours.image, np.asarray(theirs))
    assert ours.image.shape == (64, 64, 3) and ours.orig_size == shape and ours.label == 3


def test_squashing_shows_the_whole_image() -> None:
    image = np.zeros((40, 100, 3), dtype=np.uint8)
    image[:, 90:] = 255
    squashed = run(ClassTest(20, resize=20, mode="squash"), image=image).image
    cut = run(ClassTest(20, resize=20), image=image).image
    assert squashed[:, -1].min() > 200 and cut.max() == 0


@pytest.mark.parametrize(
    ("changes", "options"),
    [
        ({}, {}),
        ({"flip": 0.0}, {"hflip": 0.0}),
        ({"auto_augment": "rand-m9-mstd0.5-inc1"}, {"auto_augment": "rand-m9-mstd0.5-inc1"}),
        ({"interpolation": "random"}, {"interpolation": "random"}),
        ({"color_jitter": 0.4}, {"color_jitter": 0.4}),
        (
            {"auto_augment": "original", "color_jitter": 0.4},
            {"auto_augment": "original", "color_jitter": 0.4},
        ),
        ({"auto_augment": "augmix-m5-w4-d2"}, {"auto_augment": "augmix-m5-w4-d2"}),
    ],
    ids=["plain", "no flip", "rand", "random interpolation", "jitter", "original", "augmix"],
)
def test_training_is_timms_recipe_draw_by_draw(changes, options) -> None:
    ours = replace(PLAIN, scale=(0.3, 1.0), fill=(0.5, 0.4, 0.3), **changes)
    options = {"color_jitter": None, "interpolation": "bilinear", **options}
    theirs = create_transform(
        32, is_training=True, scale=(0.3, 1.0), mean=(0.5, 0.4, 0.3), **options
    )
    pixels = theirs.transforms[:-2]  # the last two make a normalised tensor
    for seed in range(8):
        rng = np.random.default_rng(seed)
        with seeded(int(rng.integers(2**63 - 1))):
            expected = Image.fromarray(IMAGE)
            for step in pixels:
                expected = step(expected)
        assert np.array_equal(run(ours, seed).image, np.asarray(expected))


def test_a_plain_random_crop_is_cut_from_the_resized_image() -> None:
    resizing = ClassTest(48, resize=60, mode="squash")
    crop = ClassTrain(48, crop="random", resizing=resizing, flip=0.0)
    whole = run(ClassTest(60, resize=60, mode="squash")).image
    places = set()
    for seed in range(20):
        image = run(crop, seed).image
        windows = [(y, x) for y in range(13) for x in range(13)]
        places |= {
            (y, x) for y, x in windows if np.array_equal(whole[y : y + 48, x : x + 48], image)
        }
    assert len(places) > 10
    with pytest.raises(ValueError, match="needs resizing"):
        ClassTrain(48, crop="random")


def test_equal_generators_give_equal_images_and_leave_the_global_ones_alone() -> None:
    wild = replace(PLAIN, auto_augment="rand-m9-mstd0.5-inc1", interpolation="random")
    states = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()
    one, two = run(wild, 5).image, run(wild, 5).image
    others = [run(wild, seed).image for seed in range(6, 9)]
    assert np.array_equal(one, two)
    assert not any(np.array_equal(one, other) for other in others)
    assert random.getstate() == states[0]
    assert np.array_equal(np.random.get_state()[1], states[1])
    assert torch.equal(torch.get_rng_state(), states[2])
