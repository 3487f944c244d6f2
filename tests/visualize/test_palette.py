"""Colours stay the same, differ from each other, and carry readable text."""

import cv2
import numpy as np
import pytest

from van_dense.core.dataset_info import DatasetInfo
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


@pytest.mark.parametrize("missing", ["red", "green"])
@pytest.mark.parametrize(("num", "difference"), [(5, 25), (10, 16), (20, 10)])
def test_colors_differ_for_eyes_without_red_or_green_cones(missing, num, difference):
    """By the matrices of Machado et al. 2009, as colour science has them."""
    red = [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216]]
    red += [[-0.003882, -0.048116, 1.051998]]
    green = [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413]]
    green += [[-0.01182, 0.04294, 0.968881]]
    srgb = np.array(distinct_colors(num)) / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ np.transpose(red if missing == "red" else green), 0, 1)
    seen = np.where(seen <= 0.0031308, seen * 12.92, 1.055 * seen ** (1 / 2.4) - 0.055)
    assert smallest_difference(seen * 255) > difference


def test_new_colors_keep_away_from_those_in_use():
    taken = distinct_colors(10)
    assert smallest_difference([*taken, *distinct_colors(10, taken)]) > 25


def test_data_sets_with_the_same_classes_have_the_same_colors():
    assert class_colors(info(80)) == class_colors(
        DatasetInfo("b", info(80).class_names, (*range(80),))
    )
