"""Colours stay the same, differ from each other, and carry readable text."""

import cv2
import numpy as np
import pytest

from van_dense.dataset_info import DatasetInfo
from van_dense.visualize.palette import (
    class_colors,
    distinct_colors,
    relative_luminance,
    text_color,
)


def info(num: int, **fields) -> DatasetInfo:
    names = tuple(f"class {i}" for i in range(num))
    return DatasetInfo("test", names, tuple(range(num)), **fields)


def smallest_difference(colors) -> float:
    lab = cv2.cvtColor(np.array([colors], dtype=np.float32) / 255, cv2.COLOR_RGB2LAB)[0]
    distance = np.linalg.norm(lab[:, None] - lab[None], axis=2)
    np.fill_diagonal(distance, np.inf)
    return float(distance.min())


def test_first_colors_do_not_depend_on_how_many_follow():
    assert distinct_colors(150)[:20] == distinct_colors(20)


@pytest.mark.parametrize(("num", "difference"), [(10, 40), (20, 25), (80, 12), (150, 8)])
def test_colors_are_far_apart_in_cielab(num, difference):
    assert smallest_difference(distinct_colors(num)) > difference


def test_more_colors_than_candidates_repeat_instead_of_failing():
    assert len(distinct_colors(5000)) == 5000


def test_no_color_at_all_for_nothing():
    assert distinct_colors(0) == ()


def test_a_data_set_keeps_its_own_colors():
    assert class_colors(info(2, colors=((1, 2, 3), (4, 5, 6)))) == ((1, 2, 3), (4, 5, 6))


def test_a_class_keeps_its_color_when_classes_are_appended():
    assert class_colors(info(5))[:3] == class_colors(info(3))


def test_luminance_of_the_primaries_is_that_of_wcag():
    assert relative_luminance((255, 255, 255)) == pytest.approx(1)
    assert relative_luminance((0, 255, 0)) == pytest.approx(0.7152)
    # 128 / 255 = 0.50196; ((0.50196 + 0.055) / 1.055) ** 2.4 = 0.21586
    assert relative_luminance((128, 128, 128)) == pytest.approx(0.21586, abs=1e-5)


def test_text_is_white_on_dark_and_black_on_bright():
    assert text_color((0, 0, 120)) == (255, 255, 255)
    assert text_color((255, 230, 0)) == (0, 0, 0)


def test_text_reaches_the_wcag_contrast_on_every_palette_color():
    for color in distinct_colors(150):
        ink, paper = relative_luminance(text_color(color)), relative_luminance(color)
        low, high = sorted((ink, paper))
        assert (high + 0.05) / (low + 0.05) >= 4.5
