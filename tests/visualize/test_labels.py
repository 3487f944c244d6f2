"""Labels stay in the picture and never cover each other."""

import matplotlib
import numpy as np
import pytest

from van_dense.visualize import labels
from van_dense.visualize.labels import MIN_FONT, Label, draw_labels, font, font_size, place_labels


def overlap(a, b, sizes) -> bool:
    (ax, ay), (aw, ah) = a, sizes[0]
    (bx, by), (bw, bh) = b, sizes[1]
    return ax < bx + bw and bx < ax + aw and ay < by + bh and by < ay + ah


def test_a_label_sits_on_top_of_its_box():
    assert place_labels([(50, 60, 150, 160)], [(40, 10)], (200, 200)) == [(50, 50)]


@pytest.mark.parametrize(
    "box", [(0, 0, 10, 10), (190, 0, 200, 10), (0, 190, 10, 200), (190, 190, 200, 200)]
)
def test_a_label_at_a_corner_is_shifted_into_the_picture(box):
    ((x, y),) = place_labels([box], [(60, 12)], (200, 200))
    assert 0 <= x <= 140
    assert 0 <= y <= 188


def test_labels_of_the_same_box_do_not_overlap():
    sizes = [(40, 10)] * 4
    places = place_labels([(50, 60, 150, 160)] * 4, sizes, (200, 200))
    for i in range(4):
        for j in range(i):
            assert not overlap(places[i], places[j], (sizes[i], sizes[j]))


def test_a_label_prefers_not_to_cover_another_object():
    large, small = (50, 50, 150, 150), (55, 38, 80, 48)  # the small one is where the label goes
    (place, _) = place_labels([large, small], [(40, 12), (40, 12)], (200, 200))
    assert not overlap(place, small[:2], ((40, 12), (25, 10)))


def test_a_label_without_a_free_place_is_left_out():
    boxes = [(0, 0, 20, 20), (0, 0, 20, 20)]
    assert place_labels(boxes, [(20, 20), (20, 20)], (20, 20)) == [(0, 0), None]


def test_letters_grow_with_the_picture_and_shrink_in_a_crowd():
    assert font_size((2160, 3840), 5) > font_size((640, 853), 5) > font_size((640, 853), 60)
    assert font_size((640, 853), 1000) >= MIN_FONT
    assert font_size((5, 3000), 1) == font_size((3000, 5), 1) > 1.5 * MIN_FONT  # seen as a whole


def test_letters_are_never_too_small_to_read():
    assert font_size((100, 100), 100) == MIN_FONT


def test_drawn_tiles_have_the_color_and_hold_letters():
    canvas = np.full((100, 200, 3), 127, dtype=np.uint8)
    drawn = draw_labels(canvas, [Label("ground", (10, 40, 180, 90), (255, 255, 0))])
    assert drawn == 1
    assert (canvas == (255, 255, 0)).all(axis=2).sum() > 200
    assert (canvas == (0, 0, 0)).all(axis=2).any()


def test_a_label_larger_than_the_picture_is_cut_and_does_not_fail():
    canvas = np.zeros((8, 8, 3), dtype=np.uint8)
    assert draw_labels(canvas, [Label("hippopotamus", (0, 0, 8, 8), (255, 0, 0))]) == 1


def test_no_labels_leave_the_picture_alone():
    canvas = np.zeros((8, 8, 3), dtype=np.uint8)
    assert draw_labels(canvas, []) == 0
    assert not canvas.any()


def test_the_font_has_letters_beyond_ascii():
    missing = bytes(font(20).getmask("\uffff"))
    assert all(bytes(font(20).getmask(letter)) != missing for letter in "éßłДλ≥…")


@pytest.fixture
def installed(monkeypatch) -> list[str]:
    """Paths of the fonts that are installed."""
    paths: list[str] = []
    monkeypatch.setattr("matplotlib.font_manager.findSystemFonts", lambda: paths)
    labels._other_font.cache_clear()
    yield paths
    labels._other_font.cache_clear()


def test_letters_that_the_font_lacks_are_taken_from_an_installed_one(installed, caplog):
    """STIX, which matplotlib ships as well, has a schwa with a hook."""
    installed += [matplotlib.get_data_path() + "/fonts/ttf/STIXGeneral.ttf", "no/such/font.ttf"]
    assert font(20, text="cat \u1d8a").getname()[0] == "STIXGeneral"
    assert font(20, text="cat").getname()[0] == "DejaVu Sans"
    assert not caplog.text


def test_letters_that_no_font_has_are_reported_once(installed, caplog):
    for _ in range(2):
        assert font(20, text="\u732b 90%").getname()[0] == "DejaVu Sans"
    assert caplog.text.count("no installed font has the letters \u732b") == 1


def test_the_letters_of_200_labels_do_not_hide_the_photo():
    boxes = [(x, y, x + 8, y + 8) for x in range(0, 400, 20) for y in range(0, 200, 20)]
    places = place_labels(boxes, [(40, 12)] * len(boxes), (200, 400))
    placed = [place is not None for place in places]
    assert 0.25 <= sum(placed) * 40 * 12 / (200 * 400) < 0.26
    assert not any(placed[-50:])  # the least important


def test_a_label_keeps_away_from_other_writing():
    (place,) = place_labels([(50, 60, 150, 160)], [(40, 10)], (200, 200), taken=[(60, 40, 80, 55)])
    assert not overlap(place, (60, 40), ((40, 10), (20, 15)))


def test_a_label_covers_no_joint_where_there_is_a_better_place():
    box, joint = (50, 60, 150, 160), np.array([[60.0, 50, 64, 54]])
    assert place_labels([box], [(40, 10)], (200, 200)) == [(50, 50)]
    assert place_labels([box], [(40, 10)], (200, 200), avoided=joint) == [(50, 60)]
    everywhere = np.array([[0.0, 0, 200, 200]])
    assert place_labels([box], [(40, 10)], (200, 200), avoided=everywhere) == [(50, 50)]
