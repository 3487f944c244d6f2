"""Joints and bones lie where the keypoints say, in the colour of their side, and only if known."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from van_dense.core.dataset_info import DatasetInfo
from van_dense.core.structures import Instances, Prediction
from van_dense.visualize.draw import draw, draw_panel
from van_dense.visualize.keypoints import SIDE_COLORS, draw_keypoints, side_entries, side_of

NAMES = ("nose", "left_hand", "right_hand", "left_foot")
BONES = (("nose", "left_hand"), ("nose", "right_hand"), ("left_hand", "right_hand"))
INFO = DatasetInfo("figures", ("figure",), (1,), keypoint_names=NAMES, skeleton=BONES)
BOX = [100.0, 100.0, 500.0, 500.0]
NOSE, LEFT, RIGHT, FOOT = [300.5, 200.5], [450.5, 400.5], [150.5, 400.5], [450.5, 480.5]
GREY = 100


def pose(third, scores=None, places=(NOSE, LEFT, RIGHT, FOOT), boxes=(BOX,)) -> Instances:
    """One instance whose joints have these visibilities or scores."""
    joints = [[[*place, value] for place, value in zip(places, third, strict=True)]]
    return Instances(
        torch.tensor(boxes),
        torch.zeros(len(boxes), dtype=torch.int64),
        scores=scores if scores is None else torch.tensor(scores),
        keypoints=torch.tensor(joints),
    )


def picture(instances: Instances, info=INFO, side=640, scale=1.0) -> np.ndarray:
    canvas = np.full((side, side, 3), GREY, dtype=np.uint8)
    draw_keypoints(canvas, instances, info, scale=scale)
    return canvas


def color(canvas: np.ndarray, place) -> tuple[int, ...]:
    return tuple(canvas[int(place[1]), int(place[0])].tolist())


def between(a, b, share=0.5):
    return [x + share * (y - x) for x, y in zip(a, b, strict=True)]


@pytest.mark.parametrize(
    ("name", "side"),
    [
        ("left_eye", "left"),
        ("R_F_Paw", "right"),
        ("hind right paw", "right"),
        ("leftShoulder", "left"),
        ("LEar", "left"),
        ("RIGHT_HIP", "right"),
        ("elbow.l", "left"),
        ("nose", "middle"),
        ("root_of_tail", "middle"),
        ("TAIL", "middle"),
        ("collar", "middle"),
        ("bright spot", "middle"),
        ("between left and right", "middle"),
        ("thumb1", "middle"),
    ],
)
def test_the_side_is_a_word_of_the_name(name, side):
    assert side_of(name) == side


def test_joints_have_the_color_of_their_side():
    canvas = picture(pose([2.0, 2, 2, 2]))
    found = [color(canvas, place) for place in (NOSE, LEFT, RIGHT, FOOT)]
    assert found == [SIDE_COLORS[side] for side in ("middle", "left", "right", "left")]


def test_a_bone_has_the_color_of_its_side_and_one_across_that_of_the_middle():
    canvas = picture(pose([2.0, 2, 2, 2]))
    assert color(canvas, between(NOSE, LEFT)) == SIDE_COLORS["left"]
    assert color(canvas, between(NOSE, RIGHT)) == SIDE_COLORS["right"]
    assert color(canvas, between(LEFT, RIGHT)) == SIDE_COLORS["middle"]
    assert color(canvas, between(LEFT, FOOT)) == (GREY,) * 3  # no bone of this skeleton


def test_joints_that_are_not_annotated_are_left_out_with_their_bones():
    canvas = picture(pose([2.0, 0, 2, 0]))
    assert color(canvas, LEFT) == color(canvas, between(NOSE, LEFT)) == (GREY,) * 3
    assert color(canvas, between(NOSE, RIGHT)) == SIDE_COLORS["right"]


def test_a_hidden_joint_of_the_ground_truth_is_white_inside_a_ring_of_its_color():
    canvas = picture(pose([2.0, 1, 2, 0]))
    assert color(canvas, LEFT) == (255, 255, 255)
    around = canvas[int(LEFT[1]) - 8 : int(LEFT[1]) + 9, int(LEFT[0]) - 8 : int(LEFT[0]) + 9]
    assert (around == SIDE_COLORS["left"]).all(axis=2).any()
    assert color(canvas, RIGHT) == SIDE_COLORS["right"]


def test_joints_of_a_result_need_a_score_above_a_threshold_and_are_never_hollow():
    canvas = picture(pose([1.0, 0.31, 0.29, 0.0], scores=[0.9]))
    assert color(canvas, NOSE) == SIDE_COLORS["middle"]
    assert color(canvas, LEFT) == SIDE_COLORS["left"]
    assert color(canvas, RIGHT) == color(canvas, FOOT) == (GREY,) * 3


def test_pixels_are_counted_from_their_corner():
    """The centre of the first pixel is at 0.5: a joint there colours its corner evenly."""
    canvas = picture(
        pose([2.0], places=[[20.5, 20.5]]), replace(INFO, keypoint_names=("nose",), skeleton=())
    )
    drawn = (canvas != GREY).any(axis=2)
    rows, columns = np.nonzero(drawn)
    assert rows.min() + rows.max() == columns.min() + columns.max() == 40


def test_places_follow_the_enlargement():
    canvas = picture(pose([2.0, 2, 2, 2]), side=1280, scale=2.0)
    assert color(canvas, [2 * v for v in FOOT]) == SIDE_COLORS["left"]


def width_of_bone(instances: Instances, side=640, scale=1.0) -> int:
    canvas = picture(instances, side=side, scale=scale)
    x = int(between(LEFT, RIGHT, 0.3)[0] * scale)
    return int((canvas[:, x] != GREY).any(axis=1).sum())


def test_lines_grow_with_the_instance_and_with_the_picture():
    joints = pose([0.0, 2, 2, 0])
    tiny = replace(joints, boxes=torch.tensor([[0.0, 0, 30, 30]]))
    huge = replace(joints, boxes=torch.tensor([[0.0, 0, 640, 640]]))
    sizes = (tiny, replace(joints, boxes=tiny.boxes * 6), huge)
    widths = [width_of_bone(instances) for instances in sizes]
    assert (
        widths[0] <= 3 < widths[1] < widths[2] <= 12
    )  # smoothing and a dark rim add to both sides
    assert width_of_bone(huge, side=1920, scale=3.0) >= 15


def test_small_instances_lie_on_top_of_large_ones():
    large, small = pose([2.0, 0, 0, 0]), pose([0.0, 2, 0, 0], places=[LEFT, NOSE, RIGHT, FOOT])
    small = replace(small, boxes=torch.tensor([[250.0, 150, 350, 300]]))
    for order in ([large, small], [small, large]):
        assert color(picture(Instances.cat(order)), NOSE) == SIDE_COLORS["left"]


@pytest.mark.parametrize("size", [(1, 1), (48, 64), (2160, 3840)])
def test_any_image_can_be_drawn_with_joints_beyond_it(size):
    joints = pose([2.0, 2, 1, 2], places=[[-50.0, 3], [1e5, 1e5], [0.0, 0], [size[1], size[0]]])
    image = np.full((*size, 3), GREY, np.uint8)
    draw(image, Prediction("7", size, joints), INFO)


def test_no_instance_leaves_the_image_as_it_was():
    nothing = replace(Instances.empty(), keypoints=torch.zeros(0, 4, 3))
    image = np.full((640, 640, 3), GREY, np.uint8)
    assert (draw(image, Prediction("7", (640, 640), nothing), INFO) == image).all()


def test_a_skeleton_is_drawn_over_its_box_and_explained_below():
    result = Prediction(
        "7", (640, 640), pose([2.0, 1, 2, 2], places=[NOSE, LEFT, RIGHT, [100.5, 300.5]])
    )
    image = np.full((640, 640, 3), GREY, np.uint8)
    panel = draw_panel(image, result, INFO)
    assert color(panel, [100, 300]) == SIDE_COLORS["left"]  # on the line of the box
    with_legend = draw(image, result, INFO)
    assert (with_legend[:640] == panel).all()
    below = with_legend[640:].reshape(-1, 3)
    assert all((below == side).all(axis=1).any() for side in SIDE_COLORS.values())


def test_the_legend_names_what_occurs():
    def texts(info, *drawn):
        return [entry.text for entry in side_entries(info, drawn)]

    truth, result = pose([2.0, 1, 2, 2]), pose([1.0, 1, 1, 1], scores=[0.9])
    assert texts(INFO, truth, None) == ["left", "right", "middle", "○ hidden"]
    assert texts(INFO, result) == ["left", "right", "middle"]
    fingers = replace(INFO, keypoint_names=("a", "b", "c", "d"), skeleton=())
    assert texts(fingers, result) == []
    assert texts(fingers, truth) == ["○ hidden"]
    assert texts(INFO, None, Instances.empty()) == []
    assert texts(INFO, pose([0.1, 0.29, 0.2, 0.0], scores=[0.9])) == []  # no joint is drawn
    assert texts(INFO, pose([0.0, 0, 0, 0])) == []


def test_keypoints_of_another_data_set_are_refused():
    other = replace(INFO, keypoint_names=NAMES[:3])
    with pytest.raises(ValueError, match="4 keypoints for the 3 of 'figures'"):
        draw(np.zeros((9, 9, 3), np.uint8), Prediction("7", (9, 9), pose([2.0, 2, 2, 2])), other)


def test_poses_that_are_not_drawn_are_not_explained():
    result = Prediction("7", (640, 640), pose([1.0, 1, 1, 1], scores=[0.2]))
    image = np.full((640, 640, 3), GREY, np.uint8)
    assert (draw(image, result, INFO, min_score=0.3) == image).all()


def test_it_tells_where_the_joints_are():
    canvas = np.full((640, 640, 3), GREY, dtype=np.uint8)
    boxes = draw_keypoints(canvas, pose([2.0, 0, 2, 0]), INFO, scale=0.5)
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    assert centres.tolist() == [[x / 2, y / 2] for x, y in (NOSE, RIGHT)]
    assert (boxes[:, 2:] > boxes[:, :2]).all()
    nobody = replace(Instances.empty(), keypoints=torch.zeros(0, 4, 3))
    assert draw_keypoints(canvas, nobody, INFO, scale=1.0).shape == (0, 4)
