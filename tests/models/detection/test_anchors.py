import pytest
import torch
from torchvision.models.detection._utils import Matcher
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList

from van_dense.core.structures import Instances
from van_dense.models.detection.anchors import (
    OCTAVE_SCALES,
    Anchors,
    BoxCoder,
    BoxMatcher,
    match_anchors,
    match_boxes,
    without_crowd,
)


def boxes(*rows) -> Instances:
    return Instances(torch.tensor(rows).view(-1, 4), torch.zeros(len(rows), dtype=torch.int64))


def test_anchors_are_centred_on_the_cells_corners_and_not_rounded():
    anchors = Anchors([33.0], [8], ratios=[1.0], rounded=False)([torch.zeros(1, 1, 2, 3)])[0]
    assert anchors.shape == (6, 4)
    assert anchors[0].tolist() == [-16.5, -16.5, 16.5, 16.5]
    assert anchors[1].tolist() == [8 - 16.5, -16.5, 8 + 16.5, 16.5]  # row by row
    assert anchors[3].tolist() == [-16.5, 8 - 16.5, 16.5, 8 + 16.5]


def test_the_stride_is_the_levels_own_even_where_the_image_does_not_divide():
    # 800 px give 13 cells on P6; 800 // 13 would be 61, as torchvision has it.
    anchors = Anchors([256.0], [64], ratios=[1.0], rounded=False)([torch.zeros(1, 1, 13, 13)])[0]
    assert (anchors[1, 0] - anchors[0, 0]).item() == 64


def test_every_ratio_and_scale_keeps_its_area():
    cell = Anchors([32.0], [8], scales=OCTAVE_SCALES, rounded=False).base_0
    width, height = cell[:, 2] - cell[:, 0], cell[:, 3] - cell[:, 1]
    expected = torch.tensor([32.0 * s for s in OCTAVE_SCALES]).repeat(3)
    assert torch.allclose((width * height).sqrt(), expected)
    assert torch.allclose(height / width, torch.tensor([0.5, 1.0, 2.0]).repeat_interleave(3))


def test_one_size_for_each_level_is_demanded():
    with pytest.raises(ValueError, match="2 entries for 3 pyramid levels"):
        Anchors([1.0, 2.0], [4, 8, 16], rounded=False)


def test_matching_knows_foreground_background_and_neither():
    target = boxes([0.0, 0, 10, 10])
    candidates = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 4.5], [20, 20, 30, 30]])
    matched = match_boxes(BoxMatcher(0.5, 0.4), target, candidates)
    assert matched.tolist() == [0, -2, -1]


def test_a_box_takes_its_best_candidate_only_from_the_minimum_on():
    target = boxes([0.0, 0, 10, 10])
    candidates = torch.tensor([[0.0, 0, 10, 3.5], [0, 0, 10, 2.0]])  # IoU 0.35 and 0.2
    assert match_boxes(BoxMatcher(0.7, 0.3, min_positive_iou=0.3), target, candidates).tolist() == [
        0,
        -1,
    ]
    assert match_boxes(
        BoxMatcher(0.7, 0.3, min_positive_iou=0.3), target, candidates[1:]
    ).tolist() == [-1]
    assert match_boxes(
        BoxMatcher(0.5, 0.4, min_positive_iou=0.0), target, candidates[1:]
    ).tolist() == [0]


def test_a_box_that_touches_no_candidate_takes_none():
    target = boxes([100.0, 100, 110, 110])
    candidates = torch.tensor([[0.0, 0, 10, 10]])
    assert match_boxes(BoxMatcher(0.5, 0.4, min_positive_iou=0.0), target, candidates).tolist() == [
        -1
    ]


def test_without_targets_everything_is_background():
    matched = match_boxes(
        BoxMatcher(0.7, 0.3, min_positive_iou=0.3), Instances.empty(), torch.rand(5, 4)
    )
    assert matched.tolist() == [-1] * 5


def test_crowds_are_not_targets_and_missing_targets_are_an_error():
    crowd = Instances(torch.rand(2, 4), torch.tensor([0, 1]), crowd=torch.tensor([True, False]))
    assert without_crowd([crowd])[0].labels.tolist() == [1]
    with pytest.raises(ValueError, match="no targets"):
        without_crowd(None)


def test_a_box_takes_its_best_candidate_even_from_one_that_overlaps_it_more():
    targets = boxes([0.0, 0, 10, 10], [0.0, 0, 10, 8])
    candidates = torch.tensor([[0.0, 0, 10, 9.9]])  # IoU 0.99 and 0.81: mmdet gives it the second
    matcher = BoxMatcher(0.7, 0.3, min_positive_iou=0.3)
    assert match_boxes(matcher, targets, candidates).tolist() == [1]


def test_many_boxes_are_matched_as_few_are():
    generator = torch.Generator().manual_seed(0)
    corners = torch.rand(40, 2, generator=generator) * 100
    targets = Instances(
        torch.cat([corners, corners + 20], dim=1), torch.zeros(40, dtype=torch.int64)
    )
    matched = match_boxes(BoxMatcher(0.5, 0.5), targets, targets.boxes)
    assert matched.tolist() == list(range(40))


def test_anchors_in_the_padding_are_neither_foreground_nor_background():
    anchors = Anchors([16.0], [8], ratios=[1.0], rounded=False)([torch.zeros(1, 1, 8, 12)])[
        0
    ]  # of 64x96
    matched = match_anchors(BoxMatcher(0.7, 0.3), Instances.empty(), anchors, size=(60, 40))
    grid = matched.view(8, 12)
    assert (grid[:, :8] == -1).all()  # 40 pixels, alone padded to 64
    assert (grid[:, 8:] == -2).all()


# ------------------------------------------------------------------------- beside other libraries


def test_anchors_of_torchvision_are_rounded_and_their_strides_depend_on_the_image() -> None:
    feature = torch.zeros(1, 1, 13, 13)  # P6 of an image of 800 pixels
    images = ImageList(torch.zeros(1, 3, 800, 800), [(800, 800)])
    theirs = AnchorGenerator(((33,),), ((1.0,),))(images, [feature])[0]
    ours = Anchors([33.0], [64], ratios=[1.0], rounded=False)([feature])[0]
    assert theirs[:2].tolist() == [[-16, -16, 16, 16], [61 - 16, -16, 61 + 16, 16]]
    assert ours[:2].tolist() == [[-16.5, -16.5, 16.5, 16.5], [64 - 16.5, -16.5, 64 + 16.5, 16.5]]


def test_the_matcher_of_torchvision_keeps_the_box_of_highest_iou_and_matches_at_iou_0() -> None:
    theirs = Matcher(0.7, 0.3, allow_low_quality_matches=True)
    ours = BoxMatcher(0.7, 0.3, min_positive_iou=0.0)
    shared = torch.tensor([[0.99], [0.81]])  # the only anchor of two boxes
    assert theirs(shared).tolist() == [0] and ours(shared).tolist() == [1]
    apart = torch.tensor([[0.0, 0.0]])  # a box that touches no anchor
    assert theirs(apart).tolist() == [0, 0] and ours(apart).tolist() == [-1, -1]


def test_the_box_coder_limits_growth_and_not_shrinking() -> None:
    """mmdet clamps both at a factor of 1000 / 16: 0.16 pixels of 10 would be left."""
    deltas, anchors = torch.tensor([[0.0, 0, 99, -99]]), torch.tensor([[0.0, 0, 10, 10]])
    left, top, right, bottom = BoxCoder((1.0, 1.0, 1.0, 1.0)).decode_single(deltas, anchors)[0]
    assert (right - left).item() == pytest.approx(625, rel=1e-3)
    assert (bottom - top).item() == pytest.approx(0, abs=1e-5)
