"""Label maps and saliency are blended over the photo pixel by pixel, ignored pixels hatched."""

import numpy as np
import pytest

from van_dense.core.dataset_info import DatasetInfo
from van_dense.core.structures import IGNORE_LABEL
from van_dense.visualize.maps import (
    WRONG,
    class_counts,
    draw_classes,
    draw_errors,
    draw_saliency,
    roomiest,
)
from van_dense.visualize.palette import class_colors

INFO = DatasetInfo("street", ("road", "sky"), (1, 2))
COLORS = np.array(class_colors(INFO))
GREY = 100


def photo(height: int = 200, width: int = 200) -> np.ndarray:
    return np.full((height, width, 3), GREY, dtype=np.uint8)


def halves(left: int, right: int, dtype=np.uint8) -> np.ndarray:
    labels = np.full((200, 200), left, dtype=dtype)
    labels[:, 100:] = right
    return labels


def assert_color(pixel: np.ndarray, expected: np.ndarray) -> None:
    assert np.abs(pixel.astype(float) - expected).max() <= 1


def is_grey(picture: np.ndarray) -> np.ndarray:
    return np.ptp(picture, axis=2) == 0


@pytest.mark.parametrize("dtype", [np.uint8, np.int16])
def test_each_class_tints_the_photo_with_its_color(dtype):
    canvas = photo()
    draw_classes(canvas, halves(0, 1, dtype), INFO)
    assert_color(canvas[10, 10], 0.45 * GREY + 0.55 * COLORS[0])
    assert_color(canvas[10, 190], 0.45 * GREY + 0.55 * COLORS[1])


def test_the_border_between_classes_has_their_full_colors():
    canvas = photo()
    draw_classes(canvas, halves(0, 1), INFO)
    assert (canvas[:, 99] == COLORS[0]).all()
    assert (canvas[:, 100] == COLORS[1]).all()


def test_ignored_pixels_are_not_tinted_but_hatched_by_halves():
    canvas = photo()
    draw_classes(canvas, halves(0, IGNORE_LABEL), INFO)
    ignored = canvas[:, 110:]
    assert is_grey(ignored).all()
    assert 0.4 < (ignored[..., 0] == GREY).mean() < 0.6


def test_a_name_is_written_where_there_is_room_and_nowhere_else():
    labels = halves(0, 0)
    labels[150:153, 20:80] = 1  # three rows hold no letters
    canvas = photo()
    draw_classes(canvas, labels, INFO)
    white = (canvas == 255).all(axis=2)
    assert white.any()
    assert not white[145:158].any()


def test_a_map_of_another_size_is_brought_to_the_canvas_without_mixing_labels():
    canvas = photo()
    draw_classes(canvas, np.array([[0, IGNORE_LABEL]], dtype=np.uint8), INFO)
    whole = photo()
    draw_classes(whole, halves(0, IGNORE_LABEL), INFO)
    assert (canvas == whole).all()


def test_a_single_pixel_does_not_fail():
    for draw in (
        lambda canvas: draw_classes(canvas, np.zeros((1, 1), np.uint8), INFO),
        lambda canvas: draw_errors(canvas, np.ones((1, 1), np.uint8), np.zeros((1, 1), np.uint8)),
        lambda canvas: draw_saliency(canvas, np.ones((1, 1), np.float32)),
    ):
        canvas = photo(1, 1)
        draw(canvas)
        assert (canvas != GREY).any()


def test_wrong_pixels_are_red_right_ones_grey_and_ignored_ones_hatched():
    canvas = np.full((200, 200, 3), (40, 90, 200), dtype=np.uint8)
    luma = 0.299 * 40 + 0.587 * 90 + 0.114 * 200
    truth, prediction = halves(0, 1), halves(0, 0)
    truth[100:] = IGNORE_LABEL
    draw_errors(canvas, truth, prediction)
    assert_color(canvas[50, 50], np.full(3, luma))
    assert_color(canvas[50, 150], 0.25 * luma + 0.75 * np.array(WRONG))
    assert is_grey(canvas[100:]).all()
    assert len(np.unique(canvas[100:])) == 2  # stripes, alike for right and wrong


def test_a_pixel_predicted_as_ignore_is_wrong():
    canvas = photo()
    draw_errors(canvas, halves(0, 0), halves(0, IGNORE_LABEL))
    assert_color(canvas[50, 150], 0.25 * GREY + 0.75 * np.array(WRONG))


def test_saliency_of_zero_darkens_and_more_is_brighter():
    canvas = photo(10, 101)
    draw_saliency(canvas, np.repeat(np.linspace(0, 1, 101, dtype=np.float32)[None], 10, axis=0))
    luma = canvas[5].astype(float) @ (0.2126, 0.7152, 0.0722)
    assert luma[0] == pytest.approx(0.4 * GREY, abs=2)  # the darkest colour is black
    assert (np.diff(luma) > -1.5).all()
    assert luma[-1] > 150


def test_labels_are_counted_where_the_mask_is():
    labels = np.array([[0, 0, 3], [3, 3, 255]], dtype=np.int16)
    counts = class_counts(labels)
    assert counts[[0, 1, 3, 255]].tolist() == [2, 0, 3, 1]
    assert counts.sum() == 6
    assert class_counts(labels, np.array([[True] * 3, [False] * 3]))[[0, 3, 255]].tolist() == [
        2,
        1,
        0,
    ]


@pytest.mark.parametrize("label", [-1, 256])
def test_a_label_beyond_a_byte_is_refused(label):
    with pytest.raises(ValueError, match=str(label)):
        class_counts(np.array([[0, label]], dtype=np.int16))


def test_the_roomiest_place_is_the_middle_of_a_rectangle():
    region = np.zeros((60, 100), dtype=np.uint8)
    region[10:41, 20:81] = 1
    assert roomiest(region, (5, 15)) == (50, 25)


def test_a_central_place_is_better_than_a_slightly_roomier_one_at_the_end():
    region = np.zeros((40, 200), dtype=np.uint8)
    region[10:31] = 1
    region[8:33, :40] = 1
    x, _ = roomiest(region, (5, 15))
    assert 90 < x < 105


def test_a_tile_is_placed_inside_a_region_of_two_parts():
    region = np.zeros((60, 100), dtype=np.uint8)
    region[:, :20] = region[:, 70:] = 1  # the middle of both is outside
    x, y = roomiest(region, (5, 15))
    assert region[y - 2 : y + 3, x - 7 : x + 8].all()


def test_no_place_where_the_tile_does_not_fit():
    region = np.zeros((60, 100), dtype=np.uint8)
    region[:, 10:20] = 1
    assert roomiest(region, (5, 15)) is None
    assert roomiest(np.ones((4, 100), np.uint8), (5, 15)) is None
