"""Large scale jitter: what it draws, and what it does to image and annotation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.boxed_sample import box_of, boxed_sample

from van_dense.core.segments import thing_instances
from van_dense.core.structures import Sample
from van_dense.data.collate import collate
from van_dense.data.transforms.detection import DetectionTrain, crop, resize
from van_dense.data.transforms.large_scale_jitter import LargeScaleJitter, resize_window
from van_dense.models.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocess

JITTER = LargeScaleJitter((64, 96), (0.1, 2.0))


def square(size: tuple[int, int] = (60, 80), at: tuple[int, int] = (20, 30)) -> Sample:
    """A white square of 20 pixels on black: an instance, and segment 7 of class 1."""
    image = np.zeros((*size, 3), dtype=np.uint8)
    (top, left), mask = at, np.zeros((1, *size), dtype=np.uint8)
    image[top : top + 20, left : left + 20] = 255
    mask[0, top : top + 20, left : left + 20] = 1
    return Sample(
        image,
        1,
        "a.jpg",
        size,
        boxes=np.array([[left, top, left + 20, top + 20]], dtype=np.float32),
        labels=np.array([1]),
        crowd=np.array([False]),
        masks=mask,
        panoptic=mask[0].astype(np.int32) * 7,
        segments=[{"id": 7, "label": 1, "score": 1.0}],
    )


def bare(height: int, width: int) -> Sample:
    return Sample(np.zeros((height, width, 3), np.uint8), 1, "a.jpg", (height, width))


@pytest.mark.parametrize("size, longest", [((60, 80), (64, 85)), ((30, 90), (32, 96))])
def test_scale_1_is_the_largest_image_that_fits(size, longest):
    jitter = replace(JITTER, scale=(1.0, 1.0))
    assert jitter(bare(*size), np.random.default_rng(0)).size == longest


def test_sizes_follow_the_range_of_the_scale_and_never_exceed_the_window():
    rng = np.random.default_rng(0)
    sizes = [JITTER(bare(60, 80), rng).size for _ in range(2000)]
    assert max(sizes) == (64, 96)
    heights = np.array([height for height, _ in sizes])
    assert heights.min() in range(6, 10)  # a tenth of 64
    # Uniform in 0.1..2: 47 % of the images are shrunk.
    assert 0.43 < (heights < 64).mean() < 0.51
    small = [(height, width) for height, width in sizes if height < 64]
    assert all(abs(width - height * 80 / 60) <= 1.2 for height, width in small)  # rounded


def test_a_tiny_image_keeps_a_pixel():
    out = replace(JITTER, scale=(0.1, 0.1))(bare(2, 2000), np.random.default_rng(0))
    assert out.size == (1, 10)


def test_windows_lie_anywhere():
    jitter = replace(JITTER, scale=(2.0, 2.0))
    found = [jitter(square(), np.random.default_rng(seed)).boxes for seed in range(100)]
    corners = np.concatenate(found)[:, :2]
    assert (corners.max(axis=0) - corners.min(axis=0) > 40).all()


@pytest.mark.parametrize("seed", range(20))
def test_the_annotation_follows_the_image(seed: int) -> None:
    train = DetectionTrain((1,), 1, flip=0.5, color_jitter=0.0, large_scale_jitter=JITTER)
    out = train(square(), np.random.default_rng(seed))
    white = out.image[..., 0] >= 128
    if not len(out.boxes):  # the window shows nothing of it
        assert not white.any() and not out.panoptic.any()
        assert out.masks.shape == (0, *out.size)
        return
    assert (out.masks[0] != white).mean() < 0.02  # OpenCV interpolates at 1/32 pixel
    assert ((out.panoptic == 7) != white).mean() < 0.02
    assert set(np.unique(out.panoptic)) <= {0, 7}
    if white.any():
        assert np.abs(out.boxes[0] - box_of(out.masks[0])).max() <= 1
        things = [True] * (1 + max(s["label"] for s in out.segments))
        (from_map,) = thing_instances(torch.from_numpy(out.panoptic), out.segments, things).boxes
        assert np.abs(out.boxes[0] - from_map.numpy()).max() <= 1


@pytest.mark.parametrize("seed", range(10))
def test_a_window_is_the_resized_image_cropped(seed: int) -> None:
    sample = boxed_sample((60, 80), 6, sides=(5, 20), seed=seed)
    rng = np.random.default_rng(seed)
    size = (int(rng.integers(20, 200)), int(rng.integers(20, 200)))
    height, width = (int(rng.integers(10, side + 1)) for side in size)
    top, left = int(rng.integers(size[0] - height + 1)), int(rng.integers(size[1] - width + 1))
    out = resize_window(sample, size, (left, top, left + width, top + height))
    plain = crop(resize(sample, size), (height, width), top=top, left=left)
    for name in ("boxes", "labels", "crowd", "semantic", "saliency"):
        assert np.array_equal(getattr(out, name), getattr(plain, name))
    assert out.size == plain.size and out.masks.shape == plain.masks.shape
    assert (out.masks != plain.masks).mean() < 0.01
    # Noise changes by up to 1/32 of its contrast where OpenCV interpolates at 1/32 pixel.
    difference = np.abs(out.image.astype(int) - plain.image.astype(int))
    assert difference.max() <= 16 and difference.mean() < 4


def test_the_generator_alone_decides() -> None:
    train = DetectionTrain((1,), 1, flip=0.5, color_jitter=0.4, large_scale_jitter=JITTER)
    first, again = (train(square(), np.random.default_rng((42, 7))) for _ in range(2))
    for name in ("image", "boxes", "masks", "panoptic"):
        assert np.array_equal(getattr(first, name), getattr(again, name))
    other = train(square(), np.random.default_rng((42, 8)))
    assert other.size != first.size or not np.array_equal(other.image, first.image)


def test_padding_is_zero_after_normalising() -> None:
    sample = replace(square(), image=np.full((60, 80, 3), 200, dtype=np.uint8))
    small = replace(JITTER, scale=(0.5, 0.5))(sample, np.random.default_rng(0))
    batch = collate([small], 32, min_size=JITTER.size)
    assert batch.images.shape == (1, 3, 64, 96) and batch.sizes == [(32, 43)]
    images = Preprocess(IMAGENET_MEAN, IMAGENET_STD)(batch)
    assert not images[:, :, 32:].any() and not images[:, :, :, 43:].any()
    assert not batch.panoptic[:, 32:].any()  # void
