"""Backgrounds of the sample scenes."""

import numpy as np

from van_dense.data.sample.scene_stuff import GRASS, OTHER, SKY, WALL, WATER, landscape


def test_a_landscape_names_every_pixel_and_ends_in_grass() -> None:
    found: set[int] = set()
    for seed in range(30):
        colors, stuff = landscape(np.random.default_rng(seed), 60, 80, horizon=0.4)
        assert colors.shape == (60, 80, 3)
        assert colors.dtype == stuff.dtype == np.uint8
        assert (stuff[-1] == GRASS).all()
        found |= set(np.unique(stuff).tolist())
    assert found == {OTHER, SKY, WALL, WATER, GRASS}


def test_sky_and_wall_stay_above_the_horizon_and_water_below() -> None:
    for seed in range(30):
        _, stuff = landscape(np.random.default_rng(seed), 100, 80, horizon=0.5)
        assert not np.isin(stuff[53:], (SKY, WALL, OTHER)).any()
        assert not (stuff[:50] == WATER).any()
