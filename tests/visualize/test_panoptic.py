"""Panoptic segments: stuff by class, things by colours of their own, void hatched."""

from dataclasses import replace

import numpy as np
import pytest

from van_dense.core.dataset_info import DatasetInfo
from van_dense.core.structures import Prediction, Segment
from van_dense.visualize.draw import draw, draw_panel
from van_dense.visualize.palette import class_colors
from van_dense.visualize.panoptic import stuff_fractions

INFO = DatasetInfo("street", ("road", "car", "sky"), (1, 2, 3), is_thing=(False, True, False))
GREY = 100
FAR = 2**24 - 1  # the largest id of COCO's files


def scene(scores=(1.0, 1.0, 1.0, 1.0), size=(640, 640)) -> Prediction:
    """Sky above a road, two cars on it, and void in the lower left corner."""
    height, width = size
    panoptic = np.full(size, 7, dtype=np.int32)
    panoptic[height // 2 :] = 300
    panoptic[height * 5 // 8 : height * 7 // 8, width // 4 : width // 2] = 9
    panoptic[height * 5 // 8 : height * 7 // 8, width // 2 : width * 3 // 4] = FAR
    panoptic[-height // 10 :, : width // 10] = 0
    labels = {7: 2, 300: 0, 9: 1, FAR: 1}
    segments = [
        Segment(id=i, label=label, score=score)
        for (i, label), score in zip(labels.items(), scores, strict=True)
    ]
    return Prediction("p", size, panoptic=panoptic, segments=segments)


def photo(height=640, width=640) -> np.ndarray:
    return np.full((height, width, 3), GREY, dtype=np.uint8)


def test_stuff_has_the_color_of_its_class():
    picture = draw_panel(photo(), scene(), INFO)
    for place, label in (((20, 20), 2), ((340, 600), 0)):
        expected = 0.45 * GREY + 0.55 * np.array(class_colors(INFO)[label])
        assert np.abs(picture[place] - expected).max() <= 1


def test_things_of_one_class_have_colors_of_their_own_with_a_border_between_them():
    picture = draw_panel(photo(), scene(), INFO).astype(int)
    left, right, road = picture[500, 220], picture[500, 420], picture[340, 600]
    for a, b in ((left, right), (left, road), (right, road)):
        assert np.abs(a - b).max() > 60
    borders = picture[500, 319], picture[500, 320]  # opaque, inside both
    assert np.abs((borders[0] - left) - 0.45 * (borders[0] - GREY)).max() <= 1
    assert np.abs((borders[1] - right) - 0.45 * (borders[1] - GREY)).max() <= 1


def test_void_keeps_the_photo_and_is_hatched():
    corner = draw_panel(photo(), scene(), INFO)[-50:, :50]
    assert np.ptp(corner, axis=2).max() == 0
    assert 0.4 < (corner[..., 0] == GREY).mean() < 0.6


def test_things_are_labelled_stuff_is_named_and_its_share_is_explained(texts):
    draw(photo(), scene(), INFO)
    assert texts[:4].count("car") == 2 and {"sky", "road"} <= set(texts[:4])
    assert texts[4:] == ["sky 50.0%", "road 36.5%", "no segment 1.0%"]


def test_results_are_labelled_with_their_scores(texts):
    draw_panel(photo(), scene(scores=(0.9, 0.8, 0.75, 0.5)), INFO)
    assert {"car 75%", "car 50%"} <= set(texts)


def test_without_a_word_about_stuff_everything_is_a_thing(texts):
    picture = draw(photo(), scene(), replace(INFO, is_thing=()))
    assert texts.count("sky") == 1
    assert texts[-1] == "no segment 1.0%"
    assert len(picture) > 640


def test_small_images_are_enlarged():
    assert draw_panel(photo(48, 64), scene(size=(48, 64)), INFO).shape == (640, 853, 3)


def test_shares_of_stuff_and_void():
    result = scene(size=(20, 20))
    shares = stuff_fractions(result, INFO)
    assert shares[[2, 1]].tolist() == [0.5, 0]
    assert shares[255] == (result.panoptic == 0).mean()


def test_more_segments_than_a_byte_holds_are_drawn():
    panoptic = np.arange(1, 401, dtype=np.int32).reshape(20, 20)
    segments = [Segment(id=i, label=i % 2 * 2, score=1.0) for i in range(1, 401)]
    result = Prediction("p", (20, 20), panoptic=panoptic, segments=segments)
    picture = draw_panel(photo(20, 20), result, INFO, scale=1)
    assert tuple(picture[19, 19]) == class_colors(INFO)[0]  # a border, opaque


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"segments": None}, "one is missing"),
        (
            {"segments": [Segment(id=7, label=0, score=1.0)]},
            r"no segment has: \[9, 300, 16777215\]",
        ),
        ({"segments": [Segment(id=7, label=0, score=1.0)] * 2}, "share an id"),
        ({"segments": [Segment(id=0, label=0, score=1.0)]}, "0 is void"),
        ({"segments": [Segment(id=7, label=3, score=1.0)]}, "label 3 is none of the 3 classes"),
        ({"panoptic": np.full((640, 640), -1, np.int32)}, "0 is void"),
        ({"panoptic": np.zeros((64, 64), np.int32)}, "original image"),
    ],
)
def test_map_and_segments_that_do_not_fit_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        draw_panel(photo(), replace(scene(), **change), INFO)
