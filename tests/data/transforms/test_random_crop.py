"""Crops of detection samples: what is inside stays exact, what is outside goes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from helpers.boxed_sample import box_of, boxed_sample

from van_dense.core.structures import Sample
from van_dense.data.transforms.detection import DetectionTrain, RandomCrop, crop, fit_size

WIDE = RandomCrop(short_sides=(400, 500, 600), max_long_side=1333, sides=(384, 600), prob=1.0)


def make_sample(seed: int = 0) -> Sample:
    """Six rectangles on 60 x 80 pixels with a keypoint in their corner, and one not labelled."""
    sample = boxed_sample((60, 80), 6, sides=(5, 20), seed=seed)
    keypoints = np.zeros((6, 2, 3), dtype=np.float32)
    keypoints[:, 0, :2] = sample.boxes[:, :2]
    keypoints[:, 0, 2] = 1
    return replace(sample, keypoints=keypoints)


def bare(height: int, width: int) -> Sample:
    return Sample(np.zeros((height, width, 3), np.uint8), 1, "a.jpg", (height, width))


@pytest.mark.parametrize("seed", range(8))
def test_what_remains_is_what_the_window_shows(seed: int) -> None:
    sample = make_sample(seed=seed)
    rng = np.random.default_rng(seed)
    height, width = int(rng.integers(10, 60)), int(rng.integers(10, 80))
    top, left = int(rng.integers(61 - height)), int(rng.integers(81 - width))
    out = crop(sample, (height, width), top=top, left=left)
    rows, columns = slice(top, top + height), slice(left, left + width)
    for name in ("image", "semantic", "saliency"):
        assert np.array_equal(getattr(out, name), getattr(sample, name)[rows, columns])
    # The masks fill their boxes, so those with a pixel in the window are those that remain.
    visible = [i for i in range(6) if sample.masks[i, rows, columns].any()]
    assert out.labels.tolist() == visible
    assert out.crowd.tolist() == sample.crowd[visible].tolist()
    assert np.array_equal(out.masks, sample.masks[visible][:, rows, columns])
    for box, mask in zip(out.boxes, out.masks, strict=True):
        assert box.tolist() == box_of(mask)
    assert (out.boxes.dtype, out.keypoints.shape) == (np.float32, (len(visible), 2, 3))


def test_keypoints_outside_lose_their_label() -> None:
    sample = make_sample()
    sample.boxes = np.array([[10, 10, 50, 50]], np.float32).repeat(6, axis=0)
    points = np.zeros((6, 2, 3), np.float32)
    points[:, 0] = [[25, 25, 2], [19, 25, 2], [25, 41, 1], [20, 20, 1], [40, 40, 2], [41, 25, 1]]
    out = crop(replace(sample, keypoints=points), (20, 20), top=20, left=20)
    expected = [[5, 5, 2], [0, 0, 0], [0, 0, 0], [0, 0, 1], [20, 20, 2], [0, 0, 0]]
    assert out.keypoints[:, 0].tolist() == expected
    assert not out.keypoints[:, 1].any()  # unlabelled points stay at (0, 0)


def test_a_box_that_only_touches_the_window_goes() -> None:
    sample = replace(make_sample(), masks=None, keypoints=None)
    sample.boxes = np.array([[0, 0, 20, 20], [0, 0, 20.5, 20.5], [40, 0, 50, 60]] * 2, np.float32)
    out = crop(sample, (20, 20), top=20, left=20)
    assert out.boxes.tolist() == [[0, 0, 0.5, 0.5]] * 2
    assert out.labels.tolist() == [1, 4]


def test_a_window_may_show_no_object() -> None:
    sample = make_sample()
    sample.boxes = np.array([[0, 0, 5, 5]], np.float32).repeat(6, axis=0)
    out = crop(sample, (10, 10), top=40, left=40)
    assert out.boxes.shape == (0, 4) and out.masks.shape == (0, 10, 10)
    assert len(out.labels) == len(out.crowd) == len(out.keypoints) == 0


def test_the_input_stays_as_it_was_and_a_window_outside_is_refused() -> None:
    sample, before = make_sample(), make_sample()
    crop(sample, (20, 20), top=5, left=5)
    assert np.array_equal(sample.boxes, before.boxes)
    assert np.array_equal(sample.masks, before.masks)
    with pytest.raises(ValueError, match=r"a\.jpg.*leaves the image"):
        crop(sample, (20, 20), top=50, left=0)
    with pytest.raises(ValueError, match="leaves the image"):
        crop(sample, (20, 20), top=-1, left=0)


def test_samples_without_instances_are_cut_too() -> None:
    out = crop(bare(60, 80), (20, 30), top=1, left=2)
    assert out.size == (20, 30) and out.boxes is None and out.masks is None


# After a resize to a short side of 400..600 the window is 384..600 a side, limited by the image.
@pytest.mark.parametrize("size", [(480, 640), (640, 480), (300, 1600)])
def test_sizes_of_the_window_follow_the_recipe(size: tuple[int, int]) -> None:
    sample = bare(*size)
    outs = [WIDE(sample, np.random.default_rng(seed)).size for seed in range(150)]
    limits = np.array([fit_size(size, short, 1333) for short in (400, 500, 600)]).max(axis=0)
    sides = np.array(outs)
    lowest = [
        min(384, min(fit_size(size, s, 1333)[axis] for s in (400, 500, 600))) for axis in (0, 1)
    ]
    assert (sides >= lowest).all() and (sides <= np.minimum(limits, 600)).all()
    free = [axis for axis in (0, 1) if limits[axis] > 600]
    for axis in free:  # both ends are reached
        assert sides[:, axis].min() < 400 and sides[:, axis].max() > 585


def test_a_small_image_limits_the_window_to_itself() -> None:
    small = RandomCrop(short_sides=(40,), max_long_side=100, sides=(384, 600), prob=1.0)
    assert small(bare(20, 30), np.random.default_rng(0)).size == (40, 60)


def test_half_of_the_images_are_cropped_and_all_end_at_a_drawn_short_side() -> None:
    crops = RandomCrop(short_sides=(40, 50), max_long_side=100, sides=(24, 40), prob=0.5)
    train = DetectionTrain(
        (48, 56, 64), 90, flip=0.5, flip_order=(0, 1), crop=crops, color_jitter=0.0
    )
    sample, num_cropped = make_sample(), 0
    for seed in range(300):
        out = train(sample, np.random.default_rng(seed))
        assert min(out.size) in (48, 56, 64) or max(out.size) == 90
        num_cropped += abs(out.size[1] / out.size[0] - 80 / 60) > 0.05
        limit = np.array([*out.size[::-1], *out.size[::-1]]) + 1e-3
        assert (out.boxes >= 0).all() and (out.boxes <= limit).all()
        assert (out.boxes[:, 2:] > out.boxes[:, :2]).all()
        assert len(out.boxes) == len(out.labels) == len(out.crowd) == len(out.masks)
        assert out.masks.shape[1:] == out.size
    assert 100 < num_cropped < 160  # a few windows keep about the shape of the image


def test_masks_stay_on_their_boxes_through_crop_and_resize() -> None:
    crops = RandomCrop(short_sides=(60, 90), max_long_side=200, sides=(40, 60), prob=1.0)
    train = DetectionTrain((64, 96), 200, flip=0.5, flip_order=(0, 1), crop=crops, color_jitter=0.0)
    for seed in range(40):
        out = train(make_sample(seed=seed), np.random.default_rng(seed))
        for box, mask in zip(out.boxes, out.masks, strict=True):
            if min(box[2:] - box[:2]) < 4:  # a thin rest may lose its mask
                continue
            assert np.abs(box - box_of(mask)).max() <= 2.5  # one pixel of each of two resizes


def test_all_randomness_comes_from_the_generator_and_none_is_used_without_a_crop() -> None:
    crops = RandomCrop(short_sides=(40, 50), max_long_side=100, sides=(24, 40), prob=0.5)
    train = DetectionTrain((48, 56), 90, flip=0.5, flip_order=(0, 1), crop=crops, color_jitter=0.0)
    outs = [train(make_sample(), np.random.default_rng((3, s))) for s in (0, 1, 2, 3, 0, 1, 2, 3)]
    for a, b in zip(outs[:4], outs[4:], strict=True):
        assert np.array_equal(a.image, b.image) and np.array_equal(a.boxes, b.boxes)
    assert len({out.image.tobytes() for out in outs}) == 4
    plain, never = replace(train, crop=None), replace(train, crop=replace(crops, prob=0.0))
    for seed in range(4):
        a = plain(make_sample(), np.random.default_rng(seed))
        assert np.array_equal(a.image, never(make_sample(), np.random.default_rng(seed)).image)
