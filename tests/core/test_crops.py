"""Geometry of crops: regions have the aspect of the crop, and maps lead there and back."""

import numpy as np
import pytest

from van_dense.core.crops import apply, fit_aspect, invert, regions_of_boxes, to_crop

SIZE = (256, 192)


def test_a_region_is_the_box_enlarged_to_the_aspect_and_by_the_padding():
    tall, wide = [10.0, 20.0, 40.0, 100.0], [0.0, 0.0, 90.0, 30.0]
    regions = regions_of_boxes(np.array([tall, wide]), SIZE, 1.25)
    assert regions.tolist() == [[25, 60, 60 * 1.25, 80 * 1.25], [45, 15, 90 * 1.25, 120 * 1.25]]


def test_a_box_without_extent_has_a_region_all_the_same():
    regions = regions_of_boxes(np.array([[5.0, 5.0, 5.0, 5.0]]), SIZE, 1.25)
    assert (regions[:, 2:] > 0).all() and np.isfinite(to_crop(regions, SIZE)).all()


def test_fitting_never_shrinks_a_side():
    sides = np.random.default_rng(0).uniform(1, 300, (50, 2))
    fitted = fit_aspect(sides, SIZE)
    assert (fitted >= sides - 1e-9).all()
    assert np.allclose(fitted[:, 0] / fitted[:, 1], 0.75)


def test_the_corners_of_the_region_become_those_of_the_crop():
    maps = to_crop(np.array([[100.0, 80.0, 96.0, 128.0]]), SIZE)
    corners = np.array([[[52.0, 16.0], [148.0, 144.0]]])
    assert np.allclose(apply(maps, corners), [[[0, 0], [192, 256]]])


def test_a_turned_region_shows_its_right_side_where_the_map_says():
    # Turned by 90 degrees clockwise on the screen, the region's own right looks down.
    maps = to_crop(np.array([[50.0, 50.0, 20.0, 20.0]]), (20, 20), degrees=90)
    below, centre = [50.0, 58.0], [50.0, 50.0]
    assert np.allclose(apply(maps, np.array([[centre, below]])), [[[10, 10], [18, 10]]])


@pytest.mark.parametrize("degrees", [0.0, 33.0, -80.0])
def test_crop_and_way_back_are_the_identity_to_a_thousandth_of_a_pixel(degrees):
    rng = np.random.default_rng(1)
    boxes = rng.uniform(-200, 3000, (20, 2))
    boxes = np.concatenate([boxes, boxes + rng.uniform(1, 900, (20, 2))], axis=1)
    maps = to_crop(regions_of_boxes(boxes, SIZE, 1.25), SIZE, degrees)
    points = rng.uniform(-100, 4000, (20, 17, 2))
    there = apply(maps, points)
    assert not np.allclose(there, points)
    assert np.abs(apply(invert(maps), there) - points).max() < 1e-3


@pytest.mark.parametrize("factor", [0.25, 0.8, 1.0, 2.0, 5.0])
def test_crops_lie_less_than_half_a_pixel_from_mmposes(factor):
    """Of the crop where it reduces the image, of the image where it enlarges it."""
    x, y, width, height = 70.0, 90.0, SIZE[1] / factor, SIZE[0] / factor
    indices = np.array([[[0.0, 0.0], [63.0, 101.0]]])  # of pixels, as mmpose and COCO count
    # mmpose's get_affine_transform: the centre of the box goes to half of the crop's sides.
    theirs = (indices - [x, y]) * factor + np.array([SIZE[1], SIZE[0]]) / 2
    ours = apply(to_crop(np.array([[x, y, width, height]]), SIZE), indices + 0.5) - 0.5
    assert np.allclose(ours - theirs, (factor - 1) / 2)
    assert np.abs(ours - theirs).max() < 0.5 * max(factor, 1)
