"""Transforms: exact boxes, aligned masks, and randomness from the generator alone."""

import importlib
from dataclasses import replace
from functools import partial
from types import ModuleType

import cv2
import numpy as np
import pytest
import torch
from helpers.boxed_sample import box_of, boxed_sample
from PIL import Image

from van_dense.core.structures import Instances, Sample, Size
from van_dense.data.transforms.detection import (
    DetectionTest,
    DetectionTrain,
    crop,
    fit_size,
    flip_horizontally,
    nearest,
    resize,
    resize_image,
)


def make_sample(size: Size = (48, 64), seed: int = 0) -> Sample:
    """Five rectangles with three keypoints each, of which one is not labelled."""
    keypoints = np.random.default_rng(seed).uniform(1, 40, (5, 3, 3)).astype(np.float32)
    keypoints[..., 2] = 2
    keypoints[0, 1] = 0
    return replace(boxed_sample(size, 5, sides=(4, 9), seed=seed), keypoints=keypoints)


def assert_equal(a: Sample, b: Sample) -> None:
    names = ("image", "boxes", "labels", "crowd", "masks", "keypoints", "semantic", "saliency")
    for name in names:
        assert np.array_equal(getattr(a, name), getattr(b, name)), name


# Short side 800 unless the long side would pass 1333; rounded as int(side * scale + 0.5).
@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((480, 640), (800, 1067)),
        ((640, 480), (1067, 800)),
        ((640, 428), (1196, 800)),
        ((400, 1000), (533, 1333)),
        ((800, 800), (800, 800)),
        ((1, 4000), (1, 1333)),
    ],
)
def test_sizes_follow_mmdet(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert fit_size(size, 800, 1333) == expected


def test_boxes_are_scaled_exactly_and_nothing_is_lost() -> None:
    sample = make_sample()
    sample.boxes[0] = [0, 0, 64, 48]
    out = resize(sample, (101, 203))
    assert out.size == (101, 203) and out.orig_size == (48, 64)
    assert out.boxes.dtype == np.float32
    assert out.boxes[0].tolist() == [0, 0, 203, 101]
    scale = np.array([203 / 64, 101 / 48] * 2)
    np.testing.assert_allclose(out.boxes, sample.boxes * scale, rtol=1e-6)
    assert np.array_equal(out.labels, sample.labels) and np.array_equal(out.crowd, sample.crowd)
    np.testing.assert_allclose(out.keypoints[..., :2], sample.keypoints[..., :2] * scale[:2], 1e-6)
    assert out.semantic.shape == (101, 203) and set(np.unique(out.semantic)) == {0, 1}
    assert out.saliency.shape == (101, 203) and set(np.unique(out.saliency)) == {0, 200}


@pytest.mark.parametrize("size", [(101, 203), (48, 80), (96, 128), (31, 40), (24, 32), (12, 16)])
@pytest.mark.parametrize("seed", range(5))
def test_masks_stay_within_a_pixel_of_their_boxes(size: tuple[int, int], seed: int) -> None:
    out = resize(make_sample(seed=seed), size)
    assert out.masks.dtype == np.uint8 and out.masks.shape == (5, *size)
    for mask, box in zip(out.masks, out.boxes, strict=True):
        assert np.abs(box_of(mask) - box).max() <= 1


@pytest.mark.parametrize("size", [(80, 107), (53, 71), (37, 50)])
def test_masks_are_those_of_a_bilinear_resize_of_the_whole_mask(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    noise = cv2.GaussianBlur(rng.random((48, 64)), (0, 0), 3)
    mask = (noise > np.median(noise)).astype(np.uint8)
    out = resize(replace(make_sample(), masks=mask[None]), size).masks[0]
    share = cv2.resize(mask.astype(np.float32), size[::-1], interpolation=cv2.INTER_LINEAR)
    # OpenCV interpolates at 1/32 pixel, on two axes.
    clear = np.abs(share - 0.5) > 2 / 32
    assert clear.mean() > 0.9
    assert np.array_equal(out[clear], share[clear] > 0.5)


def test_a_mask_without_a_pixel_stays_empty() -> None:
    sample = make_sample()
    sample.masks[:] = 0
    assert not resize(sample, (96, 128)).masks.any()


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (2, 4, [0, 0, 1, 1]),
        (4, 2, [1, 3]),  # the centre lies between 0 and 1, and belongs to the pixel it begins
        (3, 5, [0, 0, 1, 2, 2]),  # centres at 0.3, 0.9, 1.5, 2.1, 2.7
        (5, 3, [0, 2, 4]),
        (4, 1, [2]),
        (1, 3, [0, 0, 0]),
    ],
)
def test_maps_take_the_pixel_that_holds_the_centre(old, new, expected) -> None:
    assert nearest(old, new).tolist() == expected
    row = np.arange(old, dtype=np.uint8)[None]
    sample = Sample(np.zeros((1, old, 3), np.uint8), 1, "a.jpg", (1, old), semantic=row)
    assert resize(sample, (1, new)).semantic.tolist() == [expected]


@pytest.mark.parametrize("side", [32768, 40000, 65535, 100_000])
def test_maps_longer_than_opencv_can_count_keep_their_values(side: int) -> None:
    """Its exact nearest neighbours read outside of the map from 32768 pixels on."""
    labels = np.repeat(np.array([[3, 5]], np.uint8), [side // 2, side - side // 2], axis=1)
    sample = Sample(np.zeros((1, side, 3), np.uint8), 1, "a.jpg", (1, side), semantic=labels)
    out = resize(sample, (2, 100)).semantic
    assert out.tolist() == [[3] * 50 + [5] * 50] * 2
    assert nearest(side, 70_000)[[0, -1]].tolist() == [0, side - 1]


def test_its_own_size_changes_nothing() -> None:
    sample = make_sample()
    assert_equal(resize(sample, (48, 64)), sample)
    test = DetectionTest(short_side=48, max_long_side=64)
    assert_equal(test(sample, np.random.default_rng(0)), sample)


def test_flipping_twice_is_the_identity_and_the_input_stays_as_it_was() -> None:
    sample, before = make_sample(), make_sample()
    once = flip_horizontally(sample, [0, 2, 1])
    twice = flip_horizontally(once, [0, 2, 1])
    assert_equal(sample, before)
    np.testing.assert_allclose(twice.keypoints, sample.keypoints, atol=1e-5)
    assert_equal(replace(twice, keypoints=sample.keypoints), sample)


def test_a_flip_mirrors_everything_about_the_middle() -> None:
    sample = make_sample()
    out = flip_horizontally(sample, [0, 2, 1])
    for name in ("image", "semantic", "saliency"):
        assert np.array_equal(getattr(out, name), getattr(sample, name)[:, ::-1])
    for mask, box in zip(out.masks, out.boxes, strict=True):
        assert box_of(mask) == box.tolist()
    assert out.keypoints[1, 1, 0] == 64 - sample.keypoints[1, 2, 0]  # swapped, and mirrored
    assert out.keypoints[0, 2].tolist() == [0, 0, 0]  # not labelled: no place to mirror


def test_flipping_keypoints_without_an_order_is_refused() -> None:
    with pytest.raises(ValueError, match=r"a\.jpg.*flip_order"):
        flip_horizontally(make_sample())


def test_samples_without_instances_pass_through() -> None:
    empty = replace(
        make_sample(),
        boxes=np.zeros((0, 4), np.float32),
        labels=np.zeros(0, np.int64),
        crowd=np.zeros(0, bool),
        masks=np.zeros((0, 48, 64), np.uint8),
        keypoints=np.zeros((0, 3, 3), np.float32),
    )
    train = DetectionTrain((96,), 200, flip=1.0, flip_order=[0, 2, 1], color_jitter=0.0)
    out = train(empty, np.random.default_rng(0))
    assert out.boxes.shape == (0, 4) and out.masks.shape == (0, 96, 128)
    bare = Sample(empty.image, 1, "a.jpg", (48, 64))
    assert train(bare, np.random.default_rng(0)).boxes is None


def test_all_randomness_comes_from_the_generator() -> None:
    train = DetectionTrain((64, 80, 96), 200, flip=0.5, color_jitter=0.4, flip_order=(0, 2, 1))
    outs = []
    for seed in (0, 1, 2, 3, 0, 1, 2, 3):
        np.random.seed(seed + len(outs))  # global state must not matter
        outs.append(train(make_sample(), np.random.default_rng((7, seed))))
    for a, b in zip(outs[:4], outs[4:], strict=True):
        assert_equal(a, b)
    assert len({out.image.tobytes() for out in outs}) == 4
    assert {out.size[0] for out in outs} <= {64, 80, 96}


def test_flip_happens_as_often_as_asked() -> None:
    sample = make_sample((12, 16))
    train = DetectionTrain((12,), 16, flip=0.25, flip_order=(0, 2, 1), color_jitter=0.0)
    outs = [train(sample, np.random.default_rng(seed)) for seed in range(400)]
    flips = sum(not np.array_equal(out.image, sample.image) for out in outs)
    assert 70 < flips < 130
    assert_equal(
        DetectionTrain((12,), 16, flip=0.0, color_jitter=0.0)(sample, np.random.default_rng(0)),
        sample,
    )


def test_colour_changes_leave_geometry_alone_and_stay_within_their_strength() -> None:
    sample = make_sample()
    sample.image[:] = 100
    jitter = DetectionTrain((48,), 64, flip=0.0, color_jitter=0.2)
    outs = [jitter(sample, np.random.default_rng(seed)) for seed in range(20)]
    values = np.array([out.image[0, 0, 0] for out in outs])
    assert values.min() >= 79 and values.max() <= 121 and values.std() > 3
    assert_equal(replace(outs[0], image=sample.image), sample)


def test_large_pictures_are_averaged_when_shrunk() -> None:
    """A bilinear shrink by 8 would see pixels 3 and 4 of eight alone: twice too bright."""
    stripes = np.zeros((256, 256, 3), dtype=np.uint8)
    stripes[:, ::4] = 255
    out = resize(Sample(stripes, 1, "a.jpg", (256, 256)), (32, 32))
    assert np.abs(out.image.astype(int) - 64).max() <= 1


# ------------------------------------------------------------------------- beside other libraries


@pytest.fixture
def albumentations(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setenv("NO_ALBUMENTATIONS_UPDATE", "1")  # importing it would ask the network
    return importlib.import_module("albumentations")


def test_shrinking_to_more_than_half_is_opencvs_and_not_pillows() -> None:
    """Pillow, which Detectron2 resizes with, widens its filter as soon as it shrinks."""
    image = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    ours = resize_image(image, (30, 30))
    assert np.array_equal(ours, cv2.resize(image, (30, 30), interpolation=cv2.INTER_LINEAR))
    theirs = np.array(Image.fromarray(image).resize((30, 30), Image.Resampling.BILINEAR))
    assert np.abs(ours.astype(int) - theirs).max() > 20


def test_maps_are_resized_about_pixel_centres_and_not_as_opencvs_nearest(
    albumentations: ModuleType,
) -> None:
    labels = np.arange(5, dtype=np.uint8)[None].repeat(5, axis=0)
    sample = Sample(np.zeros((5, 5, 3), np.uint8), 1, "a.jpg", (5, 5), semantic=labels)
    assert resize(sample, (3, 3)).semantic[0].tolist() == [0, 2, 4]
    mmseg = cv2.resize(labels, (3, 3), interpolation=cv2.INTER_NEAREST)
    theirs = albumentations.Resize(3, 3)(image=sample.image, mask=labels)["mask"]
    assert mmseg[0].tolist() == theirs[0].tolist() == [0, 1, 3]


def test_a_flip_of_albumentations_mirrors_pixel_indices_and_swaps_no_names(
    albumentations: ModuleType,
) -> None:
    sample = make_sample((12, 20))
    sample.keypoints = np.array([[[3, 4, 2], [15, 4, 2], [9, 4, 2]]], np.float32)
    compose = albumentations.Compose(
        [albumentations.HorizontalFlip(p=1.0)], keypoint_params=albumentations.KeypointParams("xy")
    )
    theirs = compose(image=sample.image, keypoints=sample.keypoints[0, :, :2])["keypoints"]
    ours = flip_horizontally(sample, [1, 0, 2]).keypoints[0]
    assert theirs[:, 0].tolist() == [19 - 3, 19 - 15, 19 - 9]
    assert ours[:, 0].tolist() == [20 - 15, 20 - 3, 20 - 9]


def test_a_box_outside_by_a_rounding_error_passes_where_albumentations_raises(
    albumentations: ModuleType,
) -> None:
    sample = make_sample((12, 20))
    sample.boxes[0] = [0, 0, 20.001, 12]
    out = DetectionTrain((24,), 40, flip=0.0, color_jitter=0.0)(sample, np.random.default_rng(0))
    assert out.boxes[0].tolist() == pytest.approx([0, 0, 40.002, 24], abs=1e-3)
    params = albumentations.BboxParams("pascal_voc", label_fields=["labels"])
    with pytest.raises(ValueError, match="Expected x_max"):
        albumentations.Compose([albumentations.NoOp()], bbox_params=params)(
            image=sample.image, bboxes=sample.boxes[:1], labels=[0]
        )


def test_proposals_follow_a_resize_and_nothing_else_moves_the_image_below_them():
    proposals = Instances(torch.tensor([[2.0, 4, 10, 20]]), torch.tensor([0]))
    sample = replace(boxed_sample((40, 60), 1, sides=(4, 9), seed=0), proposals=proposals)
    resized = resize(sample, (80, 30))
    assert resized.proposals is not None
    assert resized.proposals.boxes.tolist() == [[1, 8, 5, 40]]
    for change in (partial(crop, size=(20, 20), top=3, left=2), flip_horizontally):
        with pytest.raises(ValueError, match="proposals would stay where they are"):
            change(sample)
