"""Crops and colours for classification: timm's, from the given generator alone."""

import pickle
import random
from functools import partial
from typing import Any

import numpy as np
import PIL
import pytest
import torch
from PIL import Image
from timm.data import create_transform
from timm.data.auto_augment import posterize

from van_dense.core.seeding import seeded
from van_dense.core.structures import Sample
from van_dense.data.collate import collate
from van_dense.data.transforms.classification import ClassTest, ClassTrain

class_test = partial(ClassTest, mode="shorter", interpolation="bicubic")
class_train = partial(
    ClassTrain,
    crop="random_resized",
    scale=(0.08, 1.0),
    ratio=(3 / 4, 4 / 3),
    interpolation="random",
    resizing=None,
    flip=0.5,
    auto_augment=None,
    color_jitter=None,
    fill=(0.485, 0.456, 0.406),
)
RECIPE: dict[str, Any] = {"auto_augment": "rand-m9-mstd0.5-inc1", "color_jitter": 0.4}  # of 1K


def picture(height: int = 60, width: int = 90) -> np.ndarray:
    """A gradient in red and green, noise in blue."""
    rows, columns = np.mgrid[:height, :width]
    noise = np.random.default_rng(0).integers(0, 256, (height, width))
    return np.stack([rows * 255 // height, columns * 255 // width, noise], -1).astype(np.uint8)


def sample(image: np.ndarray) -> Sample:
    return Sample(image, image_id="cat/1.jpg", path="", orig_size=image.shape[:2], label=3)


def run(transform: ClassTest | ClassTrain, image: np.ndarray, seed: int = 0) -> np.ndarray:
    return transform(sample(image), np.random.default_rng(seed)).image


# -------------------------------------------------------------------------------- evaluation


@pytest.mark.parametrize(
    ("size", "crop_pct", "resize"),
    [(224, 0.9, 248), (224, 0.875, 256), (384, 1.0, 384)],  # VAN 1K; 22K at 224 and at 384
)
@pytest.mark.parametrize(("mode", "timm_mode"), [("shorter", "center"), ("squash", "squash")])
def test_evaluation_is_that_of_timm(
    size: int, crop_pct: float, resize: int, mode: Any, timm_mode: str
) -> None:
    expected = create_transform(
        size, crop_pct=crop_pct, crop_mode=timm_mode, interpolation="bicubic", normalize=False
    )(Image.fromarray(picture()))
    image = run(class_test(size, resize=resize, mode=mode), picture())
    np.testing.assert_array_equal(image.transpose(2, 0, 1), expected.numpy())


def test_the_shorter_side_is_resized_and_the_middle_kept() -> None:
    image = np.zeros((40, 100, 3), np.uint8)
    image[:, 40:60] = 255  # a white strip in the middle
    kept = run(class_test(20, resize=20), image)  # 20x50, of which columns 15..35 stay
    assert kept.shape == (20, 20, 3)
    assert (kept[:, 7:13] == 255).all() and (kept[:, :3] == 0).all() and (kept[:, -3:] == 0).all()


def test_squashing_keeps_the_whole_image() -> None:
    image = np.zeros((40, 100, 3), np.uint8)
    image[:, :50] = 255
    kept = run(class_test(20, resize=20, mode="squash"), image)
    assert (kept[:, :8] == 255).all() and (kept[:, 12:] == 0).all()


def test_evaluation_draws_nothing() -> None:
    rng = np.random.default_rng(5)
    class_test(20, resize=24)(sample(picture()), rng)
    assert rng.random() == np.random.default_rng(5).random()


def test_a_crop_larger_than_the_image_is_refused() -> None:
    with pytest.raises(ValueError, match="resize 20 is smaller than the crop of 24"):
        class_test(24, resize=20)


# ---------------------------------------------------------------------------------- training


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(RECIPE, id="1K"),
        pytest.param({**RECIPE, "interpolation": "bicubic"}, id="22K"),
        pytest.param({"color_jitter": 0.4}, id="jitter"),
        pytest.param({"auto_augment": "augmix-m3-w3"}, id="augmix"),
        pytest.param({"auto_augment": "original"}, id="autoaugment"),
        pytest.param({"scale": (0.5, 0.6), "ratio": (1.0, 1.2), "flip": 1.0}, id="geometry"),
    ],
)
def test_training_is_that_of_timm(options: dict[str, Any]) -> None:
    mean = (0.5, 0.4, 0.3)
    timm_words = {"hflip": "flip", "scale": "scale", "ratio": "ratio"}
    known = {word: options[ours] for word, ours in timm_words.items() if ours in options}
    expected = create_transform(
        48,
        is_training=True,
        auto_augment=options.get("auto_augment"),
        color_jitter=options.get("color_jitter", 0.0),
        interpolation=options.get("interpolation", "random"),
        mean=mean,
        normalize=False,
        **known,
    )
    transform = class_train(48, fill=mean, **options)
    for seed in range(10):
        with seeded(int(np.random.default_rng(seed).integers(2**63 - 1))):
            theirs = expected(Image.fromarray(picture())).numpy()
        ours = run(transform, picture(), seed)
        np.testing.assert_array_equal(ours.transpose(2, 0, 1), theirs)


def test_the_generator_alone_decides_and_the_global_ones_stay() -> None:
    transform = class_train(32, **RECIPE)
    seen = []
    for disturbance in (1, 2):
        random.seed(disturbance)
        np.random.seed(disturbance)
        torch.manual_seed(disturbance)
        seen.append([run(transform, picture(), seed) for seed in range(5)])
        drawn = random.random(), np.random.random(), torch.rand(1).item()
        random.seed(disturbance)
        np.random.seed(disturbance)
        torch.manual_seed(disturbance)
        assert drawn == (random.random(), np.random.random(), torch.rand(1).item())
    np.testing.assert_array_equal(*seen)
    assert len({image.tobytes() for image in seen[0]}) == 5


def test_training_changes_the_image_alone() -> None:
    before = sample(picture())
    after = class_train(32, **RECIPE)(before, np.random.default_rng(0))
    assert after.image.shape == (32, 32, 3) and after.image.dtype == np.uint8
    assert (after.label, after.image_id, after.orig_size) == (3, "cat/1.jpg", (60, 90))
    np.testing.assert_array_equal(before.image, picture())
    after.image[:] = 0  # it belongs to nobody else


@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 400), (400, 3), (32, 32)])
def test_any_shape_of_image_becomes_a_square(height: int, width: int) -> None:
    for transform in (
        class_train(32, **RECIPE),
        class_test(32, resize=36),
    ):
        assert run(transform, picture(height, width)).shape == (32, 32, 3)


def test_the_share_of_the_area_is_kept_within_its_range() -> None:
    columns = np.tile(np.arange(200, dtype=np.uint8), (200, 1))
    image = np.stack([columns, columns.T, columns], -1)
    transform = class_train(50, scale=(0.25, 0.36), ratio=(1.0, 1.0), flip=0, color_jitter=None)
    for seed in range(30):
        crop = run(transform, image, seed).astype(int)
        width, height = np.ptp(crop[..., 0]), np.ptp(crop[..., 1])
        assert 95 <= width <= 122 and 95 <= height <= 122  # 100 to 120 of 200 pixels


@pytest.mark.parametrize(("flip", "falling"), [(0.0, 0), (1.0, 20), (0.5, 10)])
def test_flips_come_as_often_as_asked(flip: float, falling: int) -> None:
    transform = class_train(24, flip=flip, interpolation="bilinear")
    crops = [run(transform, picture(), seed).astype(int) for seed in range(20)]
    count = sum(crop[:, 0, 1].mean() > crop[:, -1, 1].mean() for crop in crops)
    assert abs(count - falling) <= 5 and (flip == 0.5 or count == falling)


@pytest.mark.parametrize("policy", ["rand-m10-inc1", "rand-m0", "v0"])
def test_posterizing_without_any_bit_makes_an_image_black(policy: str) -> None:
    transform = class_train(8, auto_augment=policy)  # Pillow 13 refuses 0 bits, which timm asks for
    images = [run(transform, picture(8, 8), seed) for seed in range(150)]
    assert any(image.max() == 0 for image in images)


@pytest.mark.skipif(int(PIL.__version__.split(".")[0]) < 13, reason="Pillow took 0 bits until 12")
def test_timm_itself_cannot_posterize_without_any_bit() -> None:
    with pytest.raises(ValueError, match="bits"):
        posterize(Image.fromarray(picture(8, 8)), 0)


# ---------------------------------------------------------------------------- random crop (CUB)


def test_a_random_crop_keeps_the_pixels_of_the_resized_image() -> None:
    resizing = class_test(24, resize=30, mode="squash")
    transform = class_train(24, crop="random", resizing=resizing, flip=0.0)
    whole = run(class_test(30, resize=30, mode="squash"), picture())
    places = set()
    for seed in range(40):
        crop = run(transform, picture(), seed)
        (place,) = [
            (y, x)
            for y in range(7)
            for x in range(7)
            if np.array_equal(whole[y : y + 24, x : x + 24], crop)
        ]
        places.add(place)
    assert {y for y, _ in places} == {x for _, x in places} == set(range(7))


def test_a_random_crop_can_be_flipped_and_coloured() -> None:
    resizing = class_test(30, resize=30, mode="squash")
    flipped = run(class_train(30, crop="random", resizing=resizing, flip=1.0), picture())
    np.testing.assert_array_equal(flipped[:, ::-1], run(resizing, picture()))
    transform = class_train(30, crop="random", resizing=resizing, flip=0.0, color_jitter=0.4)
    assert not np.array_equal(run(transform, picture()), run(resizing, picture()))


def test_a_random_crop_needs_to_know_the_resizing() -> None:
    with pytest.raises(ValueError, match="needs resizing"):
        class_train(24, crop="random")


# ------------------------------------------------------------------------------------- borders


@pytest.mark.parametrize("policy", ["rnd-m9", "rand-x9", "random", "augmix-q1"])
def test_a_policy_that_timm_does_not_know_is_refused(policy: str) -> None:
    with pytest.raises(ValueError, match=f"auto_augment '{policy}': timm does not know"):
        class_train(24, auto_augment=policy)


def test_transforms_travel_to_loader_processes() -> None:
    resizing = class_test(24, resize=30)
    for transform in (resizing, class_train(24, **RECIPE)):
        copy = pickle.loads(pickle.dumps(transform))
        assert copy == transform
        np.testing.assert_array_equal(run(copy, picture()), run(transform, picture()))


def test_crops_make_a_batch_with_labels() -> None:
    transform = class_train(24, **RECIPE)
    crops = [transform(sample(picture()), np.random.default_rng(s)) for s in range(3)]
    batch = collate(crops, size_divisor=1)
    assert batch.images.shape == (3, 3, 24, 24) and batch.images.dtype == torch.uint8
    assert batch.labels is not None and batch.labels.tolist() == [3, 3, 3]
