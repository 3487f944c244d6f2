"""Panoptic maps taken apart."""

import numpy as np
import pytest
import torch

from van_dense.core.segments import (
    MOST_SEGMENTS,
    boxes_around,
    label_map,
    segment_index,
    segment_masks,
    thing_instances,
)
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


def test_boxes_end_behind_the_last_pixel_of_each_mask():
    masks = torch.zeros(2, 3, 4, dtype=torch.bool)
    masks[0, 1, 2] = masks[1, 0, 0] = masks[1, 2, 3] = True
    boxes = boxes_around(masks)
    assert boxes.tolist() == [[2, 1, 3, 2], [0, 0, 4, 3]] and boxes.dtype == torch.float32
    assert boxes_around(masks[:0]).shape == (0, 4)


def test_labels_of_pixels_keep_crowds_and_call_void_ignored():
    expected = np.uint8([[CAT, CAT, 255, SKY], [CAT, CAT, SKY, SKY], [255, DOG, SKY, SKY]])
    np.testing.assert_array_equal(label_map(MAP, SEGMENTS), expected)


def test_positions_count_from_one_in_the_order_of_the_segments():
    index = segment_index(MAP, SEGMENTS, "here")
    assert index.dtype == np.uint8
    assert index.tolist() == [[1, 1, 0, 2], [1, 1, 2, 2], [0, 3, 2, 2]]


def test_a_map_may_have_more_segments_than_a_byte_counts_and_no_pixel_at_all():
    panoptic = np.arange(400, 0, -1, dtype=np.int32).reshape(20, 20)
    segments = [Segment(id=i, label=CAT, score=1.0) for i in range(1, 401)]
    assert (segment_index(panoptic, segments, "here") == panoptic).all()
    assert segment_index(np.zeros((0, 4), np.int32), [], "here").shape == (0, 4)


def test_more_segments_than_two_bytes_count_are_refused():
    segments = [Segment(id=i, label=CAT, score=1.0) for i in range(1, MOST_SEGMENTS + 2)]
    index = segment_index(np.int32([[0, MOST_SEGMENTS]]), segments[:-1], "here")
    assert index.tolist() == [[0, MOST_SEGMENTS]] and index.dtype == np.uint16
    with pytest.raises(ValueError, match="here has 65535 segments; at most 65534 can be told"):
        segment_index(np.int32([[0, 1]]), segments, "here")


@pytest.mark.parametrize(
    ("value", "ids", "message"),
    [
        (8, [7, 9], r"here holds ids that no segment has: \[8\]"),
        (2**24 - 1, [7], r"no segment has: \[16777215\]"),
        (2**24, [7], "here holds ids from 0 to 16777216"),
        (-1, [7], "ids are 1 to 16777215, and 0 is void"),
        (7, [7, 0], "0 is void"),
        (7, [7, 9, 7], r"here has segments that share an id: \[7, 7, 9\]"),
    ],
)
def test_ids_that_do_not_fit_their_segments_are_refused(value, ids, message):
    segments = [Segment(id=i, label=CAT, score=1.0) for i in ids]
    with pytest.raises(ValueError, match=message):
        segment_index(np.int32([[0, value]]), segments, "here")
