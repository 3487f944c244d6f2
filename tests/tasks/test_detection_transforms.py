"""Geometry of detectors and panoptic models, as their config has it."""

from __future__ import annotations

import numpy as np
import pytest

from van_dense.config.detection_data import DetectionTransforms
from van_dense.core.structures import Sample
from van_dense.data.collate import collate
from van_dense.tasks.detection.transforms import build_transform, largest_input, smallest_input

JITTERED = DetectionTransforms(large_scale_jitter={"size": (64, 100), "scale": (0.1, 2.0)})


def image(height: int, width: int) -> Sample:
    return Sample(np.zeros((height, width, 3), np.uint8), 1, "a.jpg", (height, width))


def test_without_jitter_images_are_padded_to_the_largest_of_their_batch() -> None:
    plain = DetectionTransforms(short_sides=(64, 90), max_long_side=150)
    assert largest_input(plain, 32) == (96, 160)
    assert smallest_input(plain) == (0, 0)


def test_with_jitter_every_batch_has_the_size_of_the_window() -> None:
    assert largest_input(JITTERED, 32) == (64, 128)
    transform = build_transform(JITTERED, train=True)
    for seed in range(20):
        sample = transform(image(50, 70), np.random.default_rng(seed))
        assert collate([sample], 32, smallest_input(JITTERED)).images.shape[2:] == (64, 128)


def test_evaluation_knows_no_jitter() -> None:
    sample = build_transform(JITTERED, train=False)(image(50, 70), np.random.default_rng(0))
    assert sample.size == (800, 1120)


def test_keypoints_of_a_data_set_do_not_stop_a_detector() -> None:
    bare = image(50, 70)
    bare.boxes, bare.keypoints = np.zeros((1, 4), np.float32), np.zeros((1, 2, 3), np.float32)
    always = DetectionTransforms(flip=1.0)
    for train in (True, False):
        out = build_transform(always, train=train)(bare, np.random.default_rng(0))
        assert out.keypoints is None


def test_two_ways_to_cut_windows_are_refused() -> None:
    with pytest.raises(ValueError, match="crop and large_scale_jitter both cut windows"):
        DetectionTransforms(crop={}, large_scale_jitter={})
