"""Windows cut by a grid of tiles."""

import numpy as np
import pytest

from van_dense.data.io.tile_grid import pieces


@pytest.mark.parametrize(
    ("top", "left", "size"), [(0, 0, (9, 7)), (3, 2, (4, 4)), (4, 0, (4, 1)), (8, 6, (1, 1))]
)
def test_pieces_put_a_window_together_from_tiles(top, left, size):
    image = np.arange(9 * 7).reshape(9, 7)
    height, width = tile = (4, 3)
    window = np.full(size, -1)
    for piece in pieces(top, left, size, tile):
        y, x = piece.row * height, piece.column * width
        assert (window[piece.in_window] == -1).all()
        window[piece.in_window] = image[y : y + height, x : x + width][piece.in_tile]
    np.testing.assert_array_equal(window, image[top : top + size[0], left : left + size[1]])
