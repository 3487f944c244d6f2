"""Panoptic maps taken apart."""

import numpy as np
import torch

from van_dense.core.segments import label_map, segment_masks, thing_instances
from van_dense.core.structures import Segment

CAT, SKY, DOG = 0, 1, 2
IS_THING = (True, False, True)
MAP = np.int32([[7, 7, 0, 3], [7, 7, 3, 3], [0, 900, 3, 3]])
SEGMENTS = [
    Segment(id=7, label=CAT, score=1.0),
    Segment(id=3, label=SKY, score=1.0),
    Segment(id=900, label=DOG, score=1.0, crowd=True),
    Segment(id=5, label=DOG, score=1.0),  # cropped away
]


def test_masks_are_those_of_the_segments_that_have_a_pixel():
    kept, masks = segment_masks(torch.from_numpy(MAP), SEGMENTS)
    assert [segment["id"] for segment in kept] == [7, 3, 900]
    assert masks.dtype == torch.uint8 and masks.sum(dim=(1, 2)).tolist() == [4, 5, 1]


def test_things_become_instances_with_boxes_that_hold_their_pixels():
    found = thing_instances(torch.from_numpy(MAP), SEGMENTS, IS_THING)
    assert found.labels.tolist() == [CAT, DOG] and found.crowd.tolist() == [False, True]
    assert found.boxes.tolist() == [[0, 0, 2, 2], [1, 2, 2, 3]]


def test_a_map_of_stuff_or_void_has_no_instance():
    for segments, is_thing in ((SEGMENTS[:2], (False,) * 3), ([], IS_THING)):
        found = thing_instances(torch.from_numpy(MAP), segments, is_thing)
        assert len(found) == 0 and found.masks.shape == (0, 3, 4)


def test_without_flags_every_class_is_a_thing():
    assert thing_instances(torch.from_numpy(MAP), SEGMENTS, ()).labels.tolist() == [CAT, SKY, DOG]


def test_labels_of_pixels_keep_crowds_and_call_void_ignored():
    expected = np.uint8([[CAT, CAT, 255, SKY], [CAT, CAT, SKY, SKY], [255, DOG, SKY, SKY]])
    np.testing.assert_array_equal(label_map(MAP, SEGMENTS), expected)
