"""Transforms of label maps and saliency masks: the recipes' numbers, and no invented label."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import cv2
import numpy as np
import pytest

from van_dense.core.structures import Sample
from van_dense.data.collate import collate
from van_dense.data.dataset import Transform
from van_dense.data.transforms.detection import fit_size, flip_horizontally, resize
from van_dense.data.transforms.maps import (
    PhotoMetric,
    SaliencyTest,
    SaliencyTrain,
    SemanticTest,
    SemanticTrain,
    resize_inside,
)

Size = tuple[int, int]
PLAIN = SemanticTrain(
    scale=(256, 64), ratio=(0.5, 2.0), crop=(64, 64), cat_max_ratio=1.0, flip=0.0, photometric=None
)
COLOUR = PhotoMetric(brightness=32, contrast=(0.5, 1.5), saturation=(0.5, 1.5), hue=18)
saliency_train = partial(SaliencyTrain, border_crop=12, flip=0.5, vertical_flip=0.0)
LABELS = [3, 70, 149, 255]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def smooth_image(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Blurred noise, smoother than photographs: 1/32 pixel is less than a grey level."""
    noise = rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 1.5)


def semantic_sample(height: int = 64, width: int = 90, seed: int = 0) -> Sample:
    labels = rng(seed).choice(np.array(LABELS, np.uint8), (height, width))
    return Sample(smooth_image(height, width, seed), 1, "a.jpg", (height, width), semantic=labels)


def saliency_sample(height: int = 60, width: int = 80) -> Sample:
    mask = np.zeros((height, width), np.uint8)
    mask[height // 4 : height // 2, width // 8 : width // 2] = 255
    return Sample(smooth_image(height, width), 1, "a.jpg", (height, width), saliency=mask)


def assert_same(a: Sample, b: Sample) -> None:
    for name in ("image", "semantic", "saliency"):
        assert np.array_equal(getattr(a, name), getattr(b, name)), name


# ------------------------------------------------------------------------- resize, then crop


@pytest.mark.parametrize("seed", range(12))
def test_a_crop_is_the_one_of_the_whole_image_resized(seed: int) -> None:
    sample = semantic_sample(50 + 7 * seed, 90 + 3 * seed, seed)
    out = PLAIN(sample, rng(seed))

    draw = rng(seed)  # the recipe, step by step: the ratio, then the corner
    ratio = draw.uniform(0.5, 2.0)
    whole = resize(sample, fit_size(sample.size, int(64 * ratio), int(256 * ratio)))
    height, width = min(64, whole.size[0]), min(64, whole.size[1])
    top, left = draw.integers(whole.size[0] - height + 1), draw.integers(whole.size[1] - width + 1)
    window = np.s_[top : top + height, left : left + width]
    assert np.array_equal(out.semantic, whole.semantic[window])
    assert np.abs(out.image.astype(int) - whole.image[window]).max() <= 1
    assert out.orig_size == sample.size


@pytest.mark.parametrize(
    "size", [(64, 90), (128, 180), (80, 113), (33, 46), (20, 28), (50, 40), (300, 421)]
)
def test_any_part_can_be_computed_alone(size: Size) -> None:
    image = smooth_image(64, 90)
    whole = resize(Sample(image, 1, "a.jpg", (64, 90)), size).image.astype(int)
    height, width = size
    for box in [
        (0, 0, width, height),
        (0, 0, 1, 1),
        (width - 1, height - 1, width, height),
        *(
            (x, y, x + 11, y + 12)
            for x in range(0, width - 11, 7)
            for y in range(0, height - 12, 9)
        ),
    ]:
        part = resize_inside(image, size, box)
        assert np.abs(part - whole[box[1] : box[3], box[0] : box[2]]).max() <= 1, box


def test_a_sharp_edge_moves_by_no_more_than_the_steps_of_opencv() -> None:
    """1/32 pixel of black against white on each axis, and the rounding."""
    image = (rng().integers(0, 2, (64, 90, 3)) * 255).astype(np.uint8)
    whole = resize(Sample(image, 1, "a.jpg", (64, 90)), (103, 145)).image.astype(int)
    part = resize_inside(image, (103, 145), (20, 30, 120, 100))
    assert np.abs(part - whole[30:100, 20:120]).max() <= 2 * 255 / 64 + 1


def test_ratios_are_drawn_evenly_from_their_range() -> None:
    train = replace(PLAIN, crop=(1000, 1000))
    sides = [train(semantic_sample(64, 64), rng(seed)).size[0] for seed in range(300)]
    assert min(sides) >= 31 and max(sides) <= 128
    assert abs(np.mean(sides) - 80) < 5 and abs(np.std(sides) - 96 / 12**0.5) < 3


def test_crops_come_from_everywhere_with_equal_chances() -> None:
    train = replace(PLAIN, scale=(64, 64), ratio=(1.0, 1.0), crop=(16, 16))
    ramp = np.arange(64, dtype=np.uint8)
    image = np.stack(np.broadcast_arrays(ramp[:, None], ramp[None], np.uint8(0)), axis=-1)
    sample = Sample(np.ascontiguousarray(image), 1, "a.jpg", (64, 64))
    corners = np.array([train(sample, rng(seed)).image[0, 0, :2] for seed in range(500)])
    assert corners.min(axis=0).tolist() == [0, 0] and corners.max(axis=0).tolist() == [48, 48]
    np.testing.assert_allclose(corners.mean(axis=0), 24, atol=2)


# ------------------------------------------------------------------------------ varied crops


def largest_share(labels: np.ndarray) -> float:
    values, counts = np.unique(labels[labels != 255], return_counts=True)
    return 1.0 if len(values) < 2 else counts.max() / counts.sum()


def striped() -> Sample:
    """One class on 9 of 10 pixels; the other one, and pixels to ignore, at the left."""
    labels = np.full((32, 256), 7, np.uint8)
    labels[:, :20], labels[:16, 20:28] = 8, 255
    return Sample(np.zeros((32, 256, 3), np.uint8), 1, "a.jpg", (32, 256), semantic=labels)


def test_crops_obey_cat_max_ratio() -> None:
    train = SemanticTrain((256, 32), (1.0, 1.0), (32, 32), 0.75, flip=0.0, photometric=None)
    sample = striped()
    windows = [sample.semantic[:, left : left + 32] for left in range(256 - 32 + 1)]
    share = np.mean([largest_share(window) < 0.75 for window in windows])
    assert 0.04 < share < 0.1
    # Eleven draws, of which the first varied one is kept, end well in 1 - (1 - share)^11 cases.
    for limit, expected in ((1.0, share), (0.75, 1 - (1 - share) ** 11)):
        limited = replace(train, cat_max_ratio=limit)
        crops = [limited(sample, rng(seed)).semantic for seed in range(500)]
        varied = np.mean([largest_share(crop) < 0.75 for crop in crops])
        assert abs(varied - expected) < 0.07  # three standard deviations


@pytest.mark.parametrize(
    ("labels", "draws"),
    [
        ([7, 7, 7, 8], 11),  # 75 % is too much for "less than 0.75"
        ([7, 7, 8, 9], 1),
        ([7, 7, 7, 7], 11),  # one class only
        ([255, 255, 255, 255], 11),  # none at all
        ([255, 255, 255, 255, 255, 255, 7, 8], 1),  # 50 % of what is not ignored
        ([255, 255, 255, 7], 11),
    ],
)
def test_ten_crops_are_judged_and_an_eleventh_is_taken_as_it_is(labels, draws) -> None:
    """All crops of this image are the same, so that the number of draws can be counted."""

    class Counting:
        def __init__(self) -> None:
            self.draws = 0

        def uniform(self, low: float, high: float) -> float:
            return 1.0

        def integers(self, high: int) -> int:
            self.draws += 1
            return 0

        def random(self) -> float:
            return 0.9

    semantic = np.array([labels] * 8, np.uint8)
    size = semantic.shape
    sample = Sample(np.zeros((*size, 3), np.uint8), 1, "a.jpg", size, semantic=semantic)
    train = SemanticTrain((8, len(labels)), (1.0, 1.0), size, 0.75, 0.0, photometric=None)
    counting = Counting()
    out = train(sample, counting)
    assert counting.draws == 2 * draws  # top and left
    assert np.array_equal(out.semantic, semantic)


# ---------------------------------------------------------------------- what must not happen


@pytest.mark.parametrize("seed", range(20))
def test_labels_are_never_interpolated_and_follow_the_image(seed: int) -> None:
    """The image shows its own labels, so that both can be compared after any geometry."""
    coarse = rng(seed).choice(np.array(LABELS, np.uint8), (6, 8))
    labels = np.kron(coarse, np.ones((16, 16), np.uint8))
    sample = Sample(np.stack([labels] * 3, axis=-1), 1, "a.jpg", (96, 128), semantic=labels)
    train = replace(PLAIN, scale=(256, 96), flip=0.5, cat_max_ratio=0.75)
    out = train(sample, rng(seed))
    assert set(np.unique(out.semantic)) <= set(LABELS) and out.semantic.dtype == np.uint8
    clear = np.isin(out.image[..., 0], LABELS)  # between two fields the image is a mixture
    assert clear.mean() > 0.7
    agree = out.image[..., 0] == out.semantic
    assert (agree | ~clear).mean() > 0.99


def test_ignored_pixels_stay_ignored_through_padding() -> None:
    sample = semantic_sample(40, 60)
    sample.semantic[:] = 255
    train = replace(PLAIN, flip=0.5, photometric=COLOUR, cat_max_ratio=0.75)
    outs = [train(sample, rng(seed)) for seed in range(8)]
    assert len({out.size for out in outs}) > 1
    assert (collate(outs).semantic == 255).all()


def test_a_sample_smaller_than_the_crop_is_padded_by_the_batch_and_labelled_ignore() -> None:
    train = replace(PLAIN, scale=(64, 32), ratio=(1.0, 1.0))
    small = semantic_sample(16, 24)
    small.semantic[:] = 3
    batch = collate([train(small, rng()), PLAIN(semantic_sample(128, 128), rng())])
    assert batch.images.shape[-2:] == (64, 64) and batch.sizes == [(32, 48), (64, 64)]
    assert (batch.semantic[0, :32, :48] == 3).all()
    assert (batch.semantic[0] == 255).sum() == 64 * 64 - 32 * 48
    assert collate([train(small, rng())], 32).images.shape[-2:] == (32, 64)  # not the crop


@pytest.mark.parametrize("size", [(1, 1), (3, 500), (500, 3), (1, 70), (5, 4), (1, 100_000)])
@pytest.mark.parametrize("seed", range(4))
def test_tiny_and_thin_images_pass(size: Size, seed: int) -> None:
    train = replace(PLAIN, cat_max_ratio=0.75, flip=0.5, photometric=COLOUR)
    out = train(semantic_sample(*size), rng(seed))
    assert out.size == out.semantic.shape and min(out.size) >= 1 and max(out.size) <= 64
    test = SemanticTest((256, 64), 32)(semantic_sample(*size), rng(seed))
    assert test.size[0] % 32 == test.size[1] % 32 == 0 and test.semantic.shape == test.size
    warped = saliency_train((32, 48))(saliency_sample(*size), rng(seed))
    assert warped.size == warped.saliency.shape == (32, 48)


@pytest.mark.parametrize(
    ("train", "make"),
    [
        (replace(PLAIN, flip=0.5, cat_max_ratio=0.75, photometric=COLOUR), semantic_sample),
        (saliency_train((48, 48), vertical_flip=0.5), saliency_sample),
    ],
)
def test_the_generator_alone_decides(train: Transform, make: Callable[[], Sample]) -> None:
    outs = []
    for seed in (0, 1, 2, 3, 0, 1, 2, 3):
        np.random.seed(seed + len(outs))  # global state must not matter
        outs.append(train(make(), rng(seed)))
    for a, b in zip(outs[:4], outs[4:], strict=True):
        assert_same(a, b)
    assert len({out.image.tobytes() for out in outs}) == 4


@pytest.mark.parametrize(
    "transform",
    [
        replace(PLAIN, flip=1.0, photometric=COLOUR),
        SemanticTest((128, 64), 32),
        saliency_train((48, 64), flip=1.0, vertical_flip=1.0),
        SaliencyTest((48, 64)),
    ],
)
def test_the_given_sample_stays_as_it_was(transform: Transform) -> None:
    sample, before = semantic_sample(), semantic_sample()
    sample.saliency = before.saliency = None
    if isinstance(transform, SaliencyTrain | SaliencyTest):
        sample, before = saliency_sample(), saliency_sample()
    for seed in range(5):
        transform(sample, rng(seed))
    assert_same(sample, before)


def test_a_flip_mirrors_map_and_image_and_twice_is_the_identity() -> None:
    train = replace(PLAIN, ratio=(1.0, 1.0), crop=(64, 90))
    kept = train(semantic_sample(), rng())
    flipped = replace(train, flip=1.0)(semantic_sample(), rng())
    assert np.array_equal(flipped.image, kept.image[:, ::-1])
    assert np.array_equal(flipped.semantic, kept.semantic[:, ::-1])
    assert_same(flip_horizontally(flipped), kept)


def test_labels_do_not_see_the_colours_change() -> None:
    sample = semantic_sample()
    coloured = replace(PLAIN, photometric=COLOUR)
    for seed in range(6):
        assert np.array_equal(
            coloured(sample, rng(seed)).semantic, PLAIN(sample, rng(seed)).semantic
        )


# -------------------------------------------------------------------------------------- test


@pytest.mark.parametrize(
    ("size", "scale", "multiple", "expected"),
    [
        ((512, 683), (2048, 512), 32, (512, 704)),
        ((683, 512), (2048, 512), 32, (704, 512)),
        ((300, 400), (2048, 512), 32, (512, 704)),
        ((100, 1000), (2048, 512), 32, (224, 2048)),
        ((360, 480), None, 32, (384, 480)),
        ((361, 481), None, 1, (361, 481)),
    ],
)
def test_sizes_of_evaluation(size: Size, scale: Size | None, multiple: int, expected: Size) -> None:
    """Inside long and short side, then enlarged to multiples: 512 x 683 becomes 512 x 704."""
    image = np.zeros((*size, 3), np.uint8)
    out = SemanticTest(scale, multiple)(Sample(image, 1, "a.jpg", size), rng())
    assert out.size == expected and out.orig_size == size and out.semantic is None


def test_an_evaluation_image_is_interpolated_once() -> None:
    """mmseg resizes into the scale and then, by ``ResizeToMultiple``, to multiples of 32."""
    image = smooth_image(60, 80)
    found = SemanticTest((256, 100), 32)(Sample(image, 1, "a.jpg", (60, 80)), rng()).image
    once = cv2.resize(image, (160, 128))
    twice = cv2.resize(cv2.resize(image, (133, 100)), (160, 128))
    assert np.array_equal(found, once) and not np.array_equal(found, twice)


@pytest.mark.parametrize(
    "transform",
    [PLAIN, SemanticTest((128, 64), 32), saliency_train((48, 64)), SaliencyTest((9, 7))],
)
def test_an_image_without_annotation_passes(transform: Transform) -> None:
    out = transform(Sample(smooth_image(40, 50), 1, "a.jpg", (40, 50)), rng(1))
    assert out.semantic is None and out.saliency is None and out.image.shape == (*out.size, 3)


# ---------------------------------------------------------------------------------- saliency


def test_saliency_masks_come_out_as_0_and_255_of_the_size_asked_for() -> None:
    sample = saliency_sample()
    sample.saliency[0, :4] = [1, 127, 128, 129]
    for seed in range(10):
        out = saliency_train((96, 72), border_crop=0, flip=0.0)(sample, rng(seed))
        assert out.size == out.saliency.shape == (96, 72)
        assert set(np.unique(out.saliency)) == {0, 255}
    same = saliency_train((60, 80), border_crop=0, flip=0.0)(sample, rng())
    assert same.saliency[0, :4].tolist() == [0, 0, 0, 255]  # above 128, as PySODMetrics


def test_borders_are_cut_evenly_half_of_the_time_by_up_to_twelve_pixels() -> None:
    """A ramp tells where its first and last pixel come from."""
    ramp = np.tile(np.linspace(0, 255, 100), (100, 1)).astype(np.uint8)
    image = np.stack([ramp, ramp.T, ramp], axis=-1)
    train = saliency_train((100, 100), border_crop=12, flip=0.0)
    cuts = []
    for seed in range(400):
        out = train(Sample(image, 1, "a.jpg", (100, 100)), rng(seed)).image.astype(int)
        for channel, first, last in ((0, (50, 0), (50, 99)), (1, (0, 50), (99, 50))):
            low, high = out[first][channel], 255 - out[last][channel]
            assert abs(low - high) <= 1  # as much at both ends
            cuts.append(round(low * 99 / 255))
    counts = np.bincount(cuts, minlength=14)
    assert counts[13:].sum() == 0 and (counts[1:13] > 10).all()
    assert abs(counts[0] / 800 - (1 / 2 + 1 / 26)) < 0.06
    pairs = np.reshape(cuts, (-1, 2))
    assert (pairs[:, 0] != pairs[:, 1]).any()  # each axis has its own


def test_flips_of_either_axis_move_image_and_mask_alike() -> None:
    sample = saliency_sample()
    plain = saliency_train(sample.size, border_crop=0, flip=0.0)
    kept = plain(sample, rng())
    mirrored = replace(plain, flip=1.0)(sample, rng())
    upside_down = replace(plain, vertical_flip=1.0)(sample, rng())
    for name in ("image", "saliency"):
        assert np.array_equal(getattr(mirrored, name), getattr(kept, name)[:, ::-1])
        assert np.array_equal(getattr(upside_down, name), getattr(kept, name)[::-1])


def test_evaluation_warps_to_the_size_alone() -> None:
    sample = saliency_sample()
    out = SaliencyTest((96, 96))(sample, rng())
    assert np.array_equal(out.image, cv2.resize(sample.image, (96, 96)))
    assert out.saliency.shape == (96, 96) and out.orig_size == (60, 80)
