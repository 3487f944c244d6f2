"""Geometry of training and test images of detectors and panoptic models, from their config."""

from dataclasses import replace
from functools import partial

import numpy as np

from van_dense.config.detection_data import DetectionTransforms
from van_dense.core.structures import Sample, Size
from van_dense.data.dataset import Transform
from van_dense.data.transforms.detection import DetectionTest, DetectionTrain, RandomCrop
from van_dense.data.transforms.extra import with_extra
from van_dense.data.transforms.large_scale_jitter import LargeScaleJitter


def build_transform(t: DetectionTransforms, *, train: bool) -> Transform:
    """Flip, crop or jitter, resize and colour for training; resize alone for evaluation."""
    if not train:
        return partial(_without_keypoints, DetectionTest(t.test_short_side, t.max_long_side))
    crop = jitter = None
    if (c := t.crop) is not None:
        crop = RandomCrop(c.short_sides, t.max_long_side, c.range, c.prob)
    if (lsj := t.large_scale_jitter) is not None:
        jitter = LargeScaleJitter(lsj.size, lsj.scale)
    own = DetectionTrain(
        t.short_sides,
        t.max_long_side,
        flip=t.flip,
        color_jitter=t.color_jitter,
        crop=crop,
        large_scale_jitter=jitter,
    )
    return partial(_without_keypoints, with_extra(own, t.extra))


def largest_input(t: DetectionTransforms, divisor: int) -> Size:
    """(height, width) of the largest training image, its sides rounded up to multiples."""
    height, width = max(t.short_sides), t.max_long_side
    if t.large_scale_jitter is not None:
        height, width = t.large_scale_jitter.size
    return -(-height // divisor) * divisor, -(-width // divisor) * divisor


def smallest_input(t: DetectionTransforms) -> Size:
    """(height, width) that training images are padded to: the window of the jitter, or nothing.

    Without jitter images are padded to the largest of their batch alone.
    """
    return (0, 0) if t.large_scale_jitter is None else t.large_scale_jitter.size


def _without_keypoints(transform: Transform, sample: Sample, rng: np.random.Generator) -> Sample:
    """Detectors learn no keypoints, so unknown flip pairs of a data set must not stop them."""
    return transform(replace(sample, keypoints=None), rng)
