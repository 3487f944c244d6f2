"""What several windows show becomes one list: which are one object, what stands for it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from van_dense.core.structures import Instances, decode_masks, encode_masks
from van_dense.inference.tile_merge import View, merge_views

SIZE = (100, 220)
LEFT, RIGHT = (0, 0, 120, 100), (100, 0, 220, 100)  # they share 20 columns
WHOLE = (0, 0, 220, 100)


def view(window, *found) -> View:
    """Boxes given as (x0, y0, x1, y1, label, score), with masks that fill them."""
    boxes = torch.tensor([f[:4] for f in found], dtype=torch.float32).reshape(-1, 4)
    masks = torch.zeros(len(found), *SIZE, dtype=torch.uint8)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes.int().tolist(), strict=True):
        mask[y0:y1, x0:x1] = 1
    instances = Instances(
        boxes=boxes,
        labels=torch.tensor([f[4] for f in found], dtype=torch.int64),
        scores=torch.tensor([f[5] for f in found], dtype=torch.float32),
        masks=encode_masks(masks),
    )
    return View(window, instances)


def merged(*views: View) -> list[tuple]:
    """The result in the form in which ``view`` takes it; its masks must fill its boxes."""
    found = merge_views(views, SIZE)
    drawn = np.zeros((len(found), *SIZE), dtype=np.uint8)
    for mask, (x0, y0, x1, y1) in zip(drawn, found.boxes.int().tolist(), strict=True):
        mask[y0:y1, x0:x1] = 1
    assert np.array_equal(decode_masks(found.masks, SIZE), drawn)
    scores = [round(score, 4) for score in found.scores.tolist()]
    return [
        (*box, label, score)
        for box, label, score in zip(
            found.boxes.tolist(), found.labels.tolist(), scores, strict=True
        )
    ]


def test_an_object_that_two_windows_show_complete_is_found_once_with_the_better_score():
    assert merged(
        view(LEFT, (102, 20, 116, 50, 0, 0.7)), view(RIGHT, (103, 20, 117, 50, 0, 0.8))
    ) == [(103, 20, 117, 50, 0, 0.8)]


def test_a_cut_object_is_taken_from_the_window_that_shows_all_of_it():
    piece = (100, 20, 115, 50, 0, 0.95)  # even where the piece is surer
    assert merged(view(LEFT, (60, 20, 115, 50, 0, 0.6)), view(RIGHT, piece)) == [
        (60, 20, 115, 50, 0, 0.6)
    ]


def test_pieces_that_no_window_shows_complete_become_one():
    left, right = view(LEFT, (60, 20, 120, 50, 0, 0.8)), view(RIGHT, (100, 21, 180, 50, 0, 0.6))
    found = merge_views([left, right], SIZE)
    assert found.boxes.tolist() == [[60, 20, 180, 50]]
    assert found.scores.tolist() == pytest.approx([0.8])
    pixels = decode_masks([*left.found.masks, *right.found.masks], SIZE).any(axis=0)
    assert np.array_equal(decode_masks(found.masks, SIZE)[0], pixels)


def test_an_object_larger_than_a_window_is_taken_from_the_view_of_the_whole_image():
    assert merged(
        view(LEFT, (10, 10, 120, 90, 0, 0.5)),
        view(RIGHT, (100, 10, 210, 90, 0, 0.6)),
        view(WHOLE, (9, 10, 210, 91, 0, 0.4)),
    ) == [(9, 10, 210, 91, 0, 0.6)]  # as sure as a piece that is most of it


def test_small_pieces_give_the_mean_of_their_scores():
    middle = (90, 0, 150, 100)
    found = merged(
        view(LEFT, (60, 20, 120, 50, 0, 0.9)),
        view(middle, (90, 20, 150, 50, 0, 0.6)),
        view(RIGHT, (100, 20, 200, 50, 0, 0.3)),
    )
    assert found == [(60, 20, 200, 50, 0, 0.3)]  # the last piece is most of it
    found = merged(
        view((0, 0, 70, 100), (10, 20, 70, 50, 0, 0.9)),
        view((60, 0, 130, 100), (60, 20, 130, 50, 0, 0.6)),
        view((120, 0, 190, 100), (120, 20, 190, 50, 0, 0.3)),
    )
    assert found == [(10, 20, 190, 50, 0, 0.6)]


def test_two_objects_that_touch_inside_the_overlap_stay_two():
    one, other = (60, 20, 110, 50), (110, 20, 160, 50)
    assert merged(
        view(LEFT, (*one, 0, 0.9), (110, 20, 120, 50, 0, 0.6)),
        view(RIGHT, (100, 20, 110, 50, 0, 0.5), (*other, 0, 0.8)),
        view(WHOLE, (*one, 0, 0.3), (*other, 0, 0.2)),
    ) == [(*one, 0, 0.9), (*other, 0, 0.8)]


def test_what_one_view_holds_apart_is_never_joined():
    one, other = (102, 20, 112, 60, 0, 0.9), (106, 20, 118, 60, 0, 0.8)
    between = (104, 20, 115, 60, 0, 0.7)  # agrees with both
    found = merged(view(LEFT, one, other), view(RIGHT, between))
    assert found == [one, other]


def test_objects_of_different_classes_are_never_joined():
    found = merged(view(LEFT, (104, 20, 116, 50, 0, 0.7)), view(RIGHT, (104, 20, 116, 50, 1, 0.8)))
    assert len(found) == 2


def test_a_small_object_before_a_large_one_of_its_class_stays():
    large, small = (20, 10, 90, 90, 0, 0.9), (40, 40, 60, 60, 0, 0.5)
    assert merged(view(LEFT, small), view(WHOLE, large)) == [large, small]


def test_a_detection_that_ends_before_a_border_is_no_part_of_one_that_crosses_it():
    # They agree in the 20 columns both windows show, by an IoU of 0.7.
    ends, crosses = (50, 20, 114, 50, 0, 0.9), (100, 20, 170, 50, 0, 0.4)
    assert merged(view(LEFT, ends), view(RIGHT, crosses)) == [ends, crosses]


def test_a_cut_detection_is_left_out_where_a_neighbour_shows_all_of_it_and_finds_nothing():
    piece = (104, 20, 120, 50, 0, 0.9)  # as wide as the overlap allows
    assert merged(view(LEFT, piece), view(RIGHT)) == []
    assert merged(view(LEFT, piece)) == [piece]  # nobody contradicts
    wide = (60, 20, 120, 50, 0, 0.9)
    assert merged(view(LEFT, wide), view(RIGHT)) == [wide]  # the neighbour sees a part


def test_the_border_of_the_image_cuts_nothing():
    upper = (104, 0, 112, 50, 0, 0.9)  # touches the image's border in both windows
    assert merged(view(LEFT, upper), view(RIGHT)) == [upper]


def test_a_cut_piece_inside_a_surer_complete_detection_of_its_class_goes():
    complete, piece = (30, 10, 200, 90, 0, 0.8), (100, 40, 140, 60, 0, 0.6)
    assert merged(view(RIGHT, piece), view(WHOLE, complete)) == [complete]
    surer = (*piece[:5], 0.9)
    assert merged(view(RIGHT, surer), view(WHOLE, complete)) == [surer, complete]


def test_one_view_stays_as_it_is():
    found = [(10, 10, 30, 30, 0, 0.9), (12, 10, 30, 32, 0, 0.8), (12, 10, 30, 32, 1, 0.8)]
    assert merged(view(WHOLE, *found)) == found


def test_nothing_found_is_an_empty_result_of_the_same_kind():
    found = merge_views([view(LEFT), view(RIGHT)], SIZE)
    assert len(found) == 0 and found.masks == [] and found.scores is not None


def test_boxes_without_masks_are_merged_as_well():
    boxes = [
        View(v.window, Instances(v.found.boxes, v.found.labels, v.found.scores))
        for v in (view(LEFT, (60, 20, 120, 50, 0, 0.8)), view(RIGHT, (100, 20, 180, 50, 0, 0.6)))
    ]
    found = merge_views(boxes, SIZE)
    assert found.masks is None and found.boxes.tolist() == [[60, 20, 180, 50]]
