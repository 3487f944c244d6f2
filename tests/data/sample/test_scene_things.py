"""Sketches of things: outlines, joints, placement and paint."""

import numpy as np
import pytest

from van_dense.data.sample.scene_things import FACE_JOINTS, SKETCHES, Placement, paint, silhouette


def test_a_placement_turns_scales_and_shifts() -> None:
    placement = Placement.at((10.0, 20.0), height=4.0, angle=np.pi / 2)
    # 2 units are 4 pixels; a quarter turn takes right to down (y points down).
    np.testing.assert_allclose(placement.apply(np.array([[1.0, 0.0]])), [[10.0, 22.0]])


def test_a_ball_covers_the_area_of_its_disc() -> None:
    ball = SKETCHES["ball"](np.random.default_rng(0))
    mask = silhouette(ball, Placement.at((50.0, 50.0), 80.0, 0.0), (100, 100))
    assert mask.sum() == pytest.approx(np.pi * 40**2, rel=0.03)


def test_a_ring_has_a_hole() -> None:
    ring = SKETCHES["ring"](np.random.default_rng(0))
    mask = silhouette(ring, Placement.at((50.0, 50.0), 80.0, 0.0), (100, 100))
    assert not mask[50, 50]
    assert mask[50, 15]


@pytest.mark.parametrize("name", SKETCHES)
def test_paint_stays_inside_the_silhouette_and_fills_it(name: str) -> None:
    sketch = SKETCHES[name](np.random.default_rng(1))
    placement = Placement.at((30.0, 50.0), 90.0, 0.3)  # partly outside on the left
    canvas = np.full((100, 100, 3), 254, np.uint8)
    untouched = np.full_like(canvas, 1)
    paint(canvas, sketch, placement)
    paint(untouched, sketch, placement)
    mask = silhouette(sketch, placement, (100, 100))
    assert (canvas[~mask] == 254).all()
    np.testing.assert_array_equal(canvas[mask], untouched[mask])  # nothing shines through


def test_a_thing_outside_the_canvas_leaves_no_trace() -> None:
    canvas = np.zeros((20, 20, 3), np.uint8)
    paint(canvas, SKETCHES["star"](np.random.default_rng(0)), Placement.at((99.0, 99.0), 9.0, 0.0))
    assert not canvas.any()


def test_left_and_right_joints_follow_the_view_of_a_figure() -> None:
    views = set()
    for seed in range(20):
        figure = SKETCHES["person"](np.random.default_rng(seed))
        assert figure.joints is not None
        left_shoulder, right_shoulder = figure.joints[5], figure.joints[6]
        looks_away = figure.hidden == FACE_JOINTS
        assert (left_shoulder[0] < right_shoulder[0]) == looks_away
        views.add(looks_away)
    assert views == {False, True}
