"""Colours of features: computed by hand where there are one, two or no directions."""

import numpy as np
import pytest
import torch

from van_dense.explain.features import Components


def principal_colors(maps: list[torch.Tensor]) -> list[np.ndarray]:
    components = Components.of(maps)
    return [components.colors(one) for one in maps]


def test_two_kinds_of_features_get_two_colours():
    # The line from (0, 0) to (1, 2): the second channel has the larger weight, so it decides the
    # sign, and there is nothing left for green and blue.
    maps = torch.zeros(2, 2, 3)
    maps[0, :, 2], maps[1, :, 2] = 1.0, 2.0
    colors = principal_colors([maps])[0]
    assert colors[:, :2].tolist() == [[[0, 128, 128]] * 2] * 2
    assert colors[:, 2].tolist() == [[255, 128, 128]] * 2


def test_components_come_by_the_size_of_their_variance():
    maps = torch.zeros(3, 1, 8)
    maps[1, 0] = torch.tensor([-9.0, -9, 9, 9, -9, -9, 9, 9])
    maps[2, 0] = torch.tensor([-3.0, 3, -3, 3, -3, 3, -3, 3])
    colors = principal_colors([maps])[0][0]
    assert colors[:, 0].tolist() == [0, 0, 255, 255] * 2
    assert colors[:, 1].tolist() == [0, 255] * 4
    assert colors[:, 2].tolist() == [128] * 8


def test_colours_compare_across_the_images_of_a_call():
    low, high = torch.zeros(4, 2, 2), torch.full((4, 3, 1), 5.0)
    first, second = principal_colors([low, high])
    assert first.shape == (2, 2, 3) and second.shape == (3, 1, 3)
    assert (first[..., 0] == 0).all() and (second[..., 0] == 255).all()


def test_colours_do_not_depend_on_the_order_of_the_channels_signs_or_scale():
    maps = torch.randn(6, 5, 7, generator=torch.Generator().manual_seed(0))
    colors = principal_colors([maps])[0]
    np.testing.assert_array_equal(principal_colors([maps * 10 + 3])[0], colors)
    np.testing.assert_array_equal(principal_colors([maps.flip(0)])[0], colors)


def test_constant_features_are_grey():
    assert (principal_colors([torch.full((5, 3, 3), 0.1)])[0] == 128).all()


def test_one_outlier_takes_no_colours():
    maps = torch.linspace(0, 1, 400).reshape(1, 20, 20).repeat(2, 1, 1)
    maps[:, 0, 0] = 50.0
    assert np.unique(principal_colors([maps])[0][..., 0]).size > 200


def test_a_broken_feature_is_an_error():
    with pytest.raises(ValueError, match="NaN or infinity"):
        principal_colors([torch.full((2, 2, 2), float("nan"))])


def test_pixels_have_the_colour_of_their_cell():
    cells = torch.zeros(3, 2, 2)
    cells[:, :, 1] = 1.0
    colors = Components.of([cells]).colors(cells, size=(8, 8))
    assert colors.shape == (8, 8, 3)
    assert (colors[:, :4, 0] == 0).all() and (colors[:, 4:, 0] == 255).all()


def test_other_maps_are_coloured_by_the_same_components():
    low, high = torch.zeros(4, 2, 2), torch.full((4, 3, 1), 5.0)
    components = Components.of([low, high])
    between, beyond = (components.colors(torch.full((4, 1, 1), value)) for value in (2.5, 9.0))
    assert between[0, 0].tolist() == [128] * 3 and beyond[0, 0].tolist() == [255, 128, 128]
