"""A legend lists what is there, the largest first, and stays short."""

import numpy as np
import pytest

from van_dense.core.dataset_info import DatasetInfo
from van_dense.visualize.legend import (
    Entry,
    class_entries,
    heat,
    legend,
    saliency_scale,
    short_name,
    stack,
)
from van_dense.visualize.palette import CROWD, PAPER, class_colors

INFO = DatasetInfo("street", ("road", "sky", "car"), (1, 2, 3))
NOTHING = np.full(256, np.nan)


def shares(values: dict[int, float]) -> np.ndarray:
    array = np.zeros(256)
    array[list(values)] = list(values.values())
    return array


def test_classes_that_occur_are_listed_by_size_with_color_and_percentage():
    found = shares({0: 0.25, 2: 0.75})
    assert class_entries(INFO, found, found) == [
        Entry("car 75.0%", class_colors(INFO)[2]),
        Entry("road 25.0%", class_colors(INFO)[0]),
    ]


def test_a_class_without_a_value_is_named_only():
    assert [entry.text for entry in class_entries(INFO, shares({1: 1}), NOTHING)] == ["sky"]


def test_ignored_pixels_come_after_the_classes_and_are_hatched():
    *_, last = class_entries(INFO, shares({255: 0.9, 1: 0.1}), NOTHING)
    assert last == Entry("ignored", CROWD, hatched=True)


def test_from_the_25th_class_on_they_are_only_counted():
    info = DatasetInfo("many", tuple(f"class {i}" for i in range(150)), tuple(range(150)))
    entries = class_entries(info, shares({i: 1 / (i + 1) for i in range(150)}), NOTHING)
    assert [entry.text for entry in entries[:2]] == ["class 0", "class 1"]
    assert entries[23].text == "class 23"
    assert entries[24:] == [Entry("and 126 more")]


def test_a_long_name_is_cut():
    assert short_name("traffic light") == "traffic light"
    assert short_name("computer, computing machine, device") == "computer, computing mac…"


def test_swatches_stand_in_columns_and_rows():
    red, blue = (255, 0, 0), (0, 0, 255)
    strip = legend([Entry("a", red), Entry("b", red), Entry("c", blue)], 110, 16, indent=7)
    assert strip.shape[1] == 110
    rows, columns = np.nonzero((strip == red).all(axis=2))
    assert columns.min() == 7
    assert np.ptp(rows) == 15  # both in the first row
    assert len(rows) == 2 * 16 * 16
    rows, columns = np.nonzero((strip == blue).all(axis=2))
    assert columns.min() == 7  # the second row begins below the first swatch
    assert rows.min() >= 16


def test_a_legend_wider_than_the_picture_is_not_cut():
    strip = legend([Entry("a rather long name", (255, 0, 0))], 10, 16, indent=4)
    assert strip.shape[1] > 16 + 16 * 8
    assert (strip[:, -1] == PAPER).all()


def test_a_hatched_swatch_is_striped():
    strip = legend([Entry("", (255, 0, 0), hatched=True)], 100, 20, indent=0)
    red = (strip == (255, 0, 0)).all(axis=2).sum()
    assert 0.4 * 400 < red < 0.6 * 400


@pytest.mark.parametrize(("width", "length"), [(20, 4 * 16), (1000, 20 * 16)])
def test_the_scale_runs_from_dark_to_bright_and_is_never_cut(width, length):
    strip = saliency_scale(width, 16, indent=4)
    assert strip.shape[1] >= width
    dark, bright = heat(np.array([[0, 255]], dtype=np.uint8))[0]
    first = np.flatnonzero((strip[16] == dark).all(axis=1))[0]
    last = np.flatnonzero((strip[16] == bright).all(axis=1))[-1]
    assert last - first + 1 == length
    words = strip[:, last + 1 :].max(axis=2) < 100
    assert words.any()
    assert not words[:, -1].any()


def test_stacked_pictures_are_filled_up_with_paper():
    wide, narrow = np.zeros((2, 5, 3), np.uint8), np.ones((3, 4, 3), np.uint8)
    page = stack([wide, narrow])
    assert page.shape == (5, 5, 3)
    assert (page[:2] == 0).all()
    assert (page[2:, :4] == 1).all()
    assert (page[2:, 4] == PAPER).all()
