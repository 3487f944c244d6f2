"""Tables of pictures: places, sizes and what is left empty."""

import numpy as np
import pytest

from van_dense.explain.grid import PAGE, Cell, Row, Table, grouped, side_by_side
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


def rows(count: int, *, goes_on: bool = False) -> list[Row]:
    """A red photo and a blue map each; all of one image, or each of its own."""
    cells = [Cell(picture(32, 48), "photo"), Cell(picture(32, 48, BLUE), "map")]
    return [Row(cells, goes_on=goes_on and i > 0) for i in range(count)]


def spots(page: np.ndarray, color) -> list[tuple[int, int]]:
    """(top, left) of all rectangles of a colour, column by column."""
    is_color = np.pad((page == color).all(axis=2), 1)
    corner = is_color[1:, 1:] & ~is_color[:-1, 1:] & ~is_color[1:, :-1]
    return sorted(map(tuple, np.argwhere(corner).tolist()), key=lambda spot: spot[::-1])


@pytest.mark.parametrize("count", [1, 3, 6])
def test_few_rows_stand_below_each_other_as_in_a_single_table(count):
    (page,) = Table(["image", "A"], scale=("low", "high")).pages(rows(count))
    photos, maps = [picture(32, 48)] * count, [picture(32, 48, BLUE)] * count
    table = side_by_side(
        {"image": photos, "A": maps},
        captions={"image": ["photo"] * count, "A": ["map"] * count},
        scale=("low", "high"),
    )
    np.testing.assert_array_equal(page, table)


@pytest.mark.parametrize("count", [7, 30, 100])
def test_many_rows_fill_columns_and_pages(count):
    pages = list(Table(["image", "A"], "van_b0", ("low", "high")).pages(rows(count)))
    assert sum(len(spots(page, RED)) for page in pages) == count
    assert [len(spots(page, BLUE)) for page in pages] == [len(spots(page, RED)) for page in pages]
    for page in pages:
        assert page.shape[0] <= PAGE[0] and page.shape[1] <= PAGE[1]
    for page in pages[:-1]:
        assert page.shape[1] / page.shape[0] == pytest.approx(4 / 3, rel=0.15)


def test_columns_of_a_page_are_as_even_as_possible():
    (page,) = Table(["image", "A"]).pages(rows(8))
    lefts = [left for _, left in spots(page, RED)]
    assert [lefts.count(left) for left in sorted(set(lefts))] == [4, 4]


def test_columns_are_balanced_once_a_page_is_full(monkeypatch):
    """Not for every row that may still come: 120 flat rows took half a minute."""
    balanced = []
    columns = Table._columns
    monkeypatch.setattr(Table, "_columns", lambda *given: balanced.append(1) or columns(*given))
    flat = [Row([Cell(picture(8, 320)), Cell(picture(8, 320, BLUE))])] * 120
    assert len(list(Table(["image", "A"]).pages(flat))) == len(balanced) == 1


def test_the_photo_of_an_image_is_drawn_again_where_a_column_begins():
    pages = list(Table(["image", "A"]).pages(rows(30, goes_on=True)))
    for page in pages:
        tops = {top for top, _ in spots(page, RED)}
        assert tops == {min(top for top, _ in spots(page, BLUE))}
    assert sum(len(spots(page, BLUE)) for page in pages) == 30


def test_a_row_larger_than_a_page_has_one_of_its_own():
    wide = [Row([Cell(picture(9, 9))] * 10)] * 20
    pages = list(Table([f"{i}" for i in range(10)]).pages(wide))
    assert len(pages) > 1 and all(len(page) <= PAGE[0] < page.shape[1] for page in pages)


def test_a_page_is_drawn_before_the_rows_of_the_next_are_made():
    made = []

    def making():
        for i, row in enumerate(rows(100)):
            made.append(i)
            yield row

    first = next(Table(["image", "A"]).pages(making()))
    assert len(made) == len(spots(first, RED)) + 1


def test_columns_without_name_and_pictures_take_no_place_and_named_ones_do():
    cells = [Cell(picture(9, 9)), Cell(None, "nothing found")]
    nameless, named = (next(Table(["", name]).pages([Row(cells)])) for name in ("", "A"))
    assert named.shape[1] > nameless.shape[1] + 100
    assert (named[:, nameless.shape[1] :] != PAPER).any()  # title and caption


def test_what_was_made_before_a_failure_is_given():
    def failing():
        yield from (1, 2, 3)
        raise ValueError("broken")

    groups = grouped(failing(), lambda group: len(group) <= 2)
    assert [next(groups), next(groups)] == [[1, 2], [3]]
    with pytest.raises(ValueError, match="broken"):
        next(groups)
