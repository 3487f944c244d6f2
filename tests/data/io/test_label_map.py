"""Label maps: what a line means, which mistakes are named, and the way back to raw values."""

import pickle
import re

import numpy as np
import pytest

from van_dense.data.io.label_map import LabelMap, count_values, suggest_lines

ADE20K = ("0 -> ignore", "1..150 -> 0..149")


def test_single_values_ranges_and_ignore_are_mapped() -> None:
    labels = LabelMap.parse(["0 -> ignore", "7..8 -> 0..1", "11 -> 2", "34..39 -> ignore"], 3)
    raw = np.array([[0, 7, 8], [11, 34, 39]], dtype=np.uint8)
    mapped = labels.apply(raw)
    assert mapped.tolist() == [[255, 0, 1], [2, 255, 255]]
    assert mapped.dtype == np.uint8


def test_ade20k_puts_class_1_at_0_and_class_150_at_149() -> None:
    mapped = LabelMap.parse(ADE20K, 150).apply(np.array([[0, 1, 150]], dtype=np.uint8))
    assert mapped.tolist() == [[255, 0, 149]]


def test_a_range_may_go_to_one_class() -> None:
    labels = LabelMap.parse(["0 -> 0", "1..3 -> 1"], 2)
    assert labels.apply(np.array([[0, 1, 2, 3]], dtype=np.uint8)).tolist() == [[0, 1, 1, 1]]


def test_16_bit_values_are_mapped() -> None:
    labels = LabelMap.parse(["1000 -> 0", "65535 -> ignore"], 1)
    assert labels.apply(np.array([[1000, 65535]], dtype=np.uint16)).tolist() == [[0, 255]]


def test_colors_are_mapped_by_their_hexadecimal_code() -> None:
    labels = LabelMap.parse(["#804080 -> 0", "#0000ff -> 1", "#000000 -> ignore"], 2)
    colors = np.array([[[128, 64, 128], [0, 0, 255], [0, 0, 0]]], dtype=np.uint8)
    assert labels.is_color
    assert labels.apply(colors).tolist() == [[0, 1, 255]]
    np.testing.assert_array_equal(labels.invert(labels.apply(colors)), colors)


@pytest.mark.parametrize(
    ("lines", "num_classes", "message"),
    [
        (["0 => 1"], 1, r"'0 => 1' cannot be read"),
        (["-1 -> 0"], 1, r"'-1 -> 0' cannot be read"),
        (["#80408 -> 0"], 1, "cannot be read"),
        (["0 -> void"], 1, "cannot be read"),
        (["1..3 -> 0..1"], 2, r"'1\.\.3 -> 0\.\.1' maps 3 values to 2 classes"),
        (["0 -> 0..1"], 2, "maps 1 value to 2 classes"),
        (["3..1 -> ignore", "0 -> 0"], 1, r"the range 3\.\.1 is empty"),
        (["0..65536 -> ignore"], 1, "beyond 65535"),
        (["0..2 -> 0", "2 -> ignore"], 1, r"'2 -> ignore' names 2 again, after '0\.\.2 -> 0'"),
        (["#0000ff -> 0", "#0000FF -> 1"], 2, "names #0000ff again"),
        (["0..2 -> 0..2"], 2, r"'0\.\.2 -> 0\.\.2' names class 2, but there are only 2"),
        (["0 -> 0", "255 -> 255"], 1, r'names class 255; .*"ignore"'),
        (["0 -> 0", "1 -> 2"], 3, r"nothing maps to the classes \[1\]"),
        (["0 -> 0", "#000000 -> 0"], 1, "either colours or numbers"),
        (["0 -> ignore"], None, "0 classes"),
        ([], 2, "nothing maps"),
    ],
)
def test_mistakes_are_named_with_their_line(
    lines: list[str], num_classes: int | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        LabelMap.parse(lines, num_classes)
    assert str(caught.value).startswith("data.label_map: ")


def test_the_number_of_classes_is_the_largest_that_is_named() -> None:
    assert LabelMap.parse(["0 -> ignore", "5..7 -> 0..2"]).num_classes == 3


def test_values_without_a_line_are_an_error_that_counts_them_and_says_what_to_add() -> None:
    labels = LabelMap.parse(["0 -> 0"], 1)
    raw = np.array([[0, 0, 3], [255, 255, 255]], dtype=np.uint8)
    expected = '255 (3 pixels), 3 (1 pixel); add for example "255 -> ignore"'
    with pytest.raises(ValueError, match=re.escape(expected)):
        labels.apply(raw)


@pytest.mark.parametrize("color", [0x000000, 0x0000FE, 0x804081, 0xFFFFFF])
def test_colors_between_below_and_above_the_known_ones_are_not_covered(color: int) -> None:
    labels = LabelMap.parse(["#0000ff -> 0", "#804080 -> 1"], 2)
    raw = np.array([[[color >> 16, color >> 8 & 255, color & 255]]], dtype=np.uint8)
    with pytest.raises(ValueError, match=rf"#{color:06x} \(1 pixel\)"):
        labels.apply(raw)


def test_predictions_are_written_in_the_smallest_value_of_each_class() -> None:
    labels = LabelMap.parse(["9 -> 0", "7 -> 0", "1 -> 1", "5 -> ignore"], 2)
    assert labels.raw_of_class == (7, 1)
    raw = labels.invert(np.array([[0, 1, 255]], dtype=np.uint8))
    assert raw.tolist() == [[7, 1, 5]] and raw.dtype == np.uint8


def test_ignored_pixels_are_written_as_255_where_that_is_ignored() -> None:
    labels = LabelMap.parse(["0 -> ignore", "1 -> 0", "255 -> ignore"], 1)
    assert labels.ignored_value == 255
    assert (
        LabelMap.parse(["#0000ff -> ignore", "#000001 -> ignore", "#010000 -> 0"]).ignored_value
        == 1
    )


def test_ignored_pixels_cannot_be_written_when_every_value_is_a_class() -> None:
    labels = LabelMap.parse(["0 -> 0", "255 -> 1"], 2)
    assert labels.invert(np.array([[0, 1]], dtype=np.uint8)).tolist() == [[0, 255]]
    with pytest.raises(ValueError, match="ignores no value"):
        labels.invert(np.array([[0, 255]], dtype=np.uint8))


def test_large_values_are_written_with_16_bits() -> None:
    raw = LabelMap.parse(["300 -> 0"], 1).invert(np.zeros((1, 1), dtype=np.uint8))
    assert raw.dtype == np.uint16 and raw.tolist() == [[300]]


def test_mapping_there_and_back_is_the_identity_for_all_of_ade20k() -> None:
    labels = LabelMap.parse(ADE20K, 150)
    raw = np.arange(151, dtype=np.uint8).reshape(1, -1)
    np.testing.assert_array_equal(labels.invert(labels.apply(raw)), raw)


def test_values_and_colors_are_counted() -> None:
    assert count_values(np.array([[0, 2], [2, 2]], dtype=np.uint8)) == {0: 1, 2: 3}
    assert count_values(np.array([[1000]], dtype=np.uint16)) == {1000: 1}
    assert count_values(np.array([[[1, 2, 3], [1, 2, 3]]], dtype=np.uint8)) == {0x010203: 2}


@pytest.mark.parametrize(
    ("values", "lines"),
    [
        ([0, 1, 2, 255], ["0..2 -> 0..2", "255 -> ignore"]),
        ([4, 1, 2], ["1..2 -> 0..1", "4 -> 2"]),
        ([0, 255], ["0 -> 0", "255 -> 1"]),
    ],
)
def test_a_map_is_suggested_that_parses_and_covers_what_was_found(
    values: list[int], lines: list[str]
) -> None:
    assert suggest_lines(values, is_color=False) == lines
    assert set(LabelMap.parse(lines).label_of) == set(values)


def test_a_map_of_colors_is_suggested() -> None:
    assert suggest_lines([255, 0x804080], is_color=True) == ["#0000ff -> 0", "#804080 -> 1"]


@pytest.mark.parametrize("line", ["0 -> 0", "#000000 -> 0"])
def test_a_map_that_was_used_can_be_sent_to_another_process(line: str) -> None:
    labels = LabelMap.parse([line])
    shape = (1, 1, 3) if labels.is_color else (1, 1)
    assert labels.apply(np.zeros(shape, np.uint8)) == 0
    assert pickle.loads(pickle.dumps(labels)) == labels
