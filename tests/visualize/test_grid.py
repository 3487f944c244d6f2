"""Tables of pictures: places, sizes and what is left empty."""

import numpy as np
import pytest

from van_dense.visualize.grid import side_by_side
from van_dense.visualize.palette import PAPER

RED, BLUE = (200, 0, 0), (0, 0, 200)


def picture(height: int, width: int, color=RED) -> np.ndarray:
    return np.full((height, width, 3), color, dtype=np.uint8)


def extent(page: np.ndarray, color) -> tuple[int, int]:
    """(height, width) of the rectangle of a colour."""
    rows, columns = np.where((page == color).all(axis=2))
    return int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1


@pytest.mark.parametrize(
    ("size", "expected"), [((50, 100), (40, 80)), ((300, 30), (80, 8)), ((1, 1), (80, 80))]
)
def test_the_longer_side_of_a_picture_fills_the_tile(size, expected):
    page = side_by_side({"A": [picture(*size)]}, tile=80)
    assert extent(page, RED) == expected


def test_columns_stand_side_by_side_and_rows_below_each_other():
    page = side_by_side(
        {"image": [picture(9, 9), picture(9, 9)], "B": [None, picture(9, 9, BLUE)]},
        rows=["one", "two"],
        tile=40,
    )
    red, blue = (np.where((page == color).all(axis=2)) for color in (RED, BLUE))
    assert blue[1].min() > red[1].max()
    assert blue[0].min() > red[0].min() + 40
    assert blue[0].max() == red[0].max()


def test_small_pictures_keep_sharp_pixels():
    chess = np.array([[RED, BLUE], [BLUE, RED]], dtype=np.uint8)
    page = side_by_side({"": [chess]}, tile=64)
    colors = {tuple(color) for color in page.reshape(-1, 3).tolist()}
    assert colors == {RED, BLUE, PAPER}


def test_titles_captions_and_scale_are_drawn_on_paper():
    plain = side_by_side({"": [picture(9, 9)]}, tile=40)
    full = side_by_side(
        {"A long title of a column": [picture(9, 9)]},
        rows=["image.jpg"],
        captions={"A long title of a column": ["first line\nsecond line"]},
        title="all",
        tile=40,
        scale=("low", "high"),
    )
    assert full.shape[0] > plain.shape[0] + 80 and full.shape[1] > plain.shape[1] + 100
    assert tuple(full[-1, -1]) == PAPER


@pytest.mark.parametrize(
    ("columns", "rows"),
    [
        ({}, []),
        ({"A": []}, []),
        ({"A": [picture(2, 2)], "B": []}, []),
        ({"A": [picture(2, 2)]}, ["one", "two"]),
    ],
)
def test_what_is_no_table_is_refused(columns, rows):
    with pytest.raises(ValueError, match="make no table"):
        side_by_side(columns, rows=rows)
