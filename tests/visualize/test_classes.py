"""The best classes are bars in order, the true one green, a wrong first one red."""

import numpy as np
import pytest
import torch

from van_dense.core.dataset_info import DatasetInfo
from van_dense.core.structures import Prediction
from van_dense.visualize.classes import RIGHT, WRONG, score_bars
from van_dense.visualize.draw import draw, draw_panel
from van_dense.visualize.labels import font

NAMES = ("ant", "bee", "cat", "dog", "elk", "fox", "gnu")
INFO = DatasetInfo("animals", NAMES, tuple(range(1, 8)))
SCORES = np.array([0.02, 0.5, 0.1, 0.2, 0.05, 0.1, 0.03], dtype=np.float32)
ORDER = ["bee", "dog", "cat", "fox", "elk"]  # of equal scores the first class comes first


def bars(truth=None, scores=SCORES, info=INFO, width=400):
    return score_bars(scores, info, width=width, letter_size=16, truth=truth)


def longest_run(strip: np.ndarray, color) -> int:
    """Length of the bar of a colour; letters are no longer than some pixels in a row."""
    same = (strip == color).all(axis=2)
    runs = [np.diff(np.flatnonzero(np.diff([0, *row, 0])))[::2].max(initial=0) for row in same]
    return int(max(runs))


def test_the_best_five_classes_are_listed_with_their_scores(texts):
    bars()
    assert texts[::2] == ORDER
    assert texts[1::2] == ["50.0%", "20.0%", "10.0%", "10.0%", "5.0%"]


def test_the_length_of_a_bar_is_the_score():
    assert longest_run(bars(truth=1), RIGHT) == 0.5 * 400


def test_the_true_class_is_green_and_a_wrong_first_one_red():
    strip = bars(truth=3)
    assert longest_run(strip, RIGHT) == 0.2 * 400
    assert longest_run(strip, WRONG) == 0.5 * 400
    assert longest_run(bars(truth=1), WRONG) == 0


def test_without_a_truth_nothing_is_right_or_wrong():
    assert longest_run(bars(), RIGHT) == longest_run(bars(), WRONG) == 0


def test_a_true_class_beyond_the_five_follows_with_its_place(texts):
    bars(truth=0)
    assert texts[::2] == [*ORDER, "number 7: ant"]
    assert texts[-1] == "2.0%"


def test_fewer_classes_than_five_are_all_listed(texts):
    two = DatasetInfo("two", ("no", "yes"), (0, 1))
    bars(scores=np.array([0.25, 0.75], np.float32), info=two, truth=0)
    assert texts == ["yes", "75.0%", "no", "25.0%"]


def test_long_names_are_cut_to_the_width(texts):
    long = DatasetInfo("long", ("x" * 300, "yes"), (0, 1))
    assert bars(scores=np.array([0.75, 0.25], np.float32), info=long).shape[1] == 400
    assert texts[0].endswith("…")
    number = font(16).getlength(" 75.0%")
    assert 330 < font(16, bold=True).getlength(texts[0]) + number <= 400


def test_a_bar_never_leaves_the_strip():
    """Scores of any program may be logits."""
    assert longest_run(bars(truth=1, scores=SCORES * 10), RIGHT) == 400
    assert longest_run(bars(truth=1, scores=-SCORES), RIGHT) < 20  # of letters alone


def test_the_bars_stand_below_the_photo():
    image = np.full((128, 160, 3), 100, np.uint8)
    result = Prediction("7", (128, 160), class_scores=torch.from_numpy(SCORES))
    picture = draw(image, result, INFO)
    assert picture.shape[1] == 800 and len(picture) > 700
    assert (picture[:640] == 100).all()
    assert (draw_panel(image, result, INFO) == 100).all()


def test_ids_of_the_files_do_not_shift_the_names(texts):
    """CUB counts from 1; scores count from 0."""
    image = np.zeros((64, 64, 3), np.uint8)
    scores = torch.eye(7)[6]
    draw(image, Prediction("7", (64, 64), class_scores=scores), INFO)
    assert texts[:2] == ["gnu", "100.0%"]


def test_scores_of_another_data_set_are_refused():
    result = Prediction("7", (64, 64), class_scores=torch.ones(1000))
    with pytest.raises(ValueError, match="7 classes of 'animals'"):
        draw(np.zeros((64, 64, 3), np.uint8), result, INFO)
