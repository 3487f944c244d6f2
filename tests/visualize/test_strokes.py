"""Lines grow with the picture."""

import numpy as np

from van_dense.visualize.strokes import line_thickness, stripe_width, stripes


def test_lines_and_stripes_are_wider_on_larger_pictures():
    assert [line_thickness(size) for size in ((64, 64), (640, 853), (2160, 3840))] == [1, 2, 5]
    assert line_thickness((2160, 3840), thin=True) == 3
    assert [stripe_width(size) for size in ((64, 64), (640, 853))] == [3, 8]


def test_stripes_are_as_wide_as_their_gaps():
    np.testing.assert_array_equal(stripes((2, 6), 2), [[0, 0, 1, 1, 0, 0], [0, 1, 1, 0, 0, 1]])
