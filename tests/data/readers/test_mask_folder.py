"""What only several masks of a folder tell, before training and when one is read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from van_dense.data.dataset import ReadError
from van_dense.data.io.label_map import LabelMap
from van_dense.data.readers.mask_folder import (
    Palettes,
    classes_of_others,
    foreign_ids,
    look_at,
    nothing_named,
    read_among,
)

LABELS = np.array([[0, 1, 2], [2, 1, 0]], np.uint8)
MAP = LabelMap.parse(["0..2 -> 0..2"])
RED_BLUE, BLUE_RED = bytes([0, 0, 0, 9, 0, 0, 0, 0, 9]), bytes([0, 0, 0, 0, 0, 9, 9, 0, 0])
TRAIN_IDS = LabelMap.parse(["0..18 -> 0..18", "255 -> ignore"])
LABEL_IDS = LabelMap.parse(
    [
        "0..6 -> ignore",
        "7..8 -> 0..1",
        "11..13 -> 2..4",
        "17 -> 5",
        "19..28 -> 6..15",
        "31..33 -> 16..18",
        "9..10 -> ignore",
        "14..16 -> ignore",
        "18 -> ignore",
        "29..30 -> ignore",
        "255 -> ignore",
    ]
)


def write(root: Path, *palettes: bytes, values: np.ndarray = LABELS) -> list[str]:
    for number, palette in enumerate(palettes):
        image = Image.fromarray(values)
        image.putpalette(palette)
        image.save(root / f"{number}.png")
    return [str(root / f"{number}.png") for number in range(len(palettes))]


def test_one_palette_contradicts_nothing() -> None:
    palettes = Palettes()
    for name in ("a", "b"):
        assert palettes.add_palette(name, RED_BLUE, {0, 1, 2}) is None


def test_one_index_with_two_colours_names_both_files_and_a_line() -> None:
    palettes = Palettes()
    assert palettes.add_palette("a", RED_BLUE, {0, 1}) is None
    fault = palettes.add_palette("b", BLUE_RED, {0, 1})
    assert fault is not None
    assert fault.what == "index 1 of the palette is #000009 here, and #090000 in a"
    assert '"#000009 -> 1" in data.label_map' in fault.fix


def test_one_colour_with_two_indices_is_a_contradiction_too() -> None:
    palettes = Palettes()
    assert palettes.add_palette("a", RED_BLUE, {0, 1}) is None
    fault = palettes.add_palette("b", BLUE_RED, {0, 2})
    assert fault is not None and fault.what.startswith("#090000 is index 2 of the palette here")


def test_palettes_may_differ_in_what_no_file_uses() -> None:
    palettes = Palettes()
    assert palettes.add_palette("a", RED_BLUE, {0, 1}) is None
    assert palettes.add_palette("b", RED_BLUE[:6] + bytes(3), {0, 1}) is None
    assert palettes.add_palette("c", RED_BLUE[:6], {0, 1}) is None


def test_masks_of_the_first_few_of_many_classes_are_most_likely_of_another_data_set(
    tmp_path: Path,
) -> None:
    """A project of ADE20K with a folder of one's own, and no ``data.classes``."""
    ade = LabelMap.parse(["0 -> ignore", "1..150 -> 0..149"])
    names = ["wall", "building", *map(str, range(148))]
    (file,) = write(tmp_path, RED_BLUE)  # 0, 1, 2
    (note,) = look_at(1, [file].__getitem__, ade, Palettes(), names)
    assert note.startswith("1 mask looked at: of 150 classes, the masks hold 0 wall, 1 building a")
    assert 'data.classes=[NAME, ...], data.label_map=["0..2 -> 0..2"], data.colors=null' in note


@pytest.mark.parametrize(
    ("num_classes", "values", "is_told"),
    [
        (150, [0, 1, 2], True),
        (150, [3, 99], False),  # some of the later ones: a small part of the data set itself
        (11, [0], True),
        (10, [0], False),  # a rare class that few masks show
        (3, [0], False),
    ],
)
def test_few_classes_are_told_where_they_are_the_first_of_many(num_classes, values, is_told):
    labels = LabelMap.parse([f"0..{num_classes - 1} -> 0..{num_classes - 1}"])
    assert (classes_of_others(labels, values, ()) is not None) == is_told


@pytest.mark.parametrize("order", [[1, 4], [4, 1]])
def test_the_reader_refuses_what_contradicts_those_looked_at_in_any_order(
    tmp_path: Path, order: list[int]
) -> None:
    files = write(tmp_path, *[BLUE_RED if index == 4 else RED_BLUE for index in range(9)])
    palettes = Palettes()
    look_at(9, files.__getitem__, MAP, palettes)  # at all but the fifth
    for index in order:
        if index == 1:
            assert read_among(files[1], MAP, palettes).tolist() == LABELS.tolist()
        else:
            with pytest.raises(ReadError, match=r"4\.png: index 1 of the palette .* in .*0\.png"):
                read_among(files[4], MAP, palettes)


@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
def test_reading_remembers_no_palette(tmp_path: Path, order: list[int]) -> None:
    """Two workers would remember different ones."""
    files, palettes = write(tmp_path, RED_BLUE, BLUE_RED), Palettes()
    for index in order:
        assert read_among(files[index], MAP, palettes).tolist() == LABELS.tolist()


def test_by_colour_palettes_may_be_numbered_anew(tmp_path: Path) -> None:
    by_color = LabelMap.parse(["#000000 -> 0", "#090000 -> 1", "#000009 -> 2"])
    first, second = write(tmp_path, RED_BLUE, BLUE_RED)
    assert look_at(2, [first, second].__getitem__, by_color, Palettes()) == []
    assert read_among(second, by_color, Palettes()).tolist() == [[0, 2, 1], [1, 2, 0]]


def test_contradictions_stop_before_training(tmp_path: Path) -> None:
    files = write(tmp_path, RED_BLUE, BLUE_RED)
    with pytest.raises(ValueError, match="index 1 of the palette"):
        look_at(2, files.__getitem__, MAP, Palettes())


def test_masks_that_cannot_be_read_are_a_note_and_all_of_them_an_error(tmp_path: Path) -> None:
    files = write(tmp_path, RED_BLUE, RED_BLUE)
    Path(files[1]).write_bytes(b"")
    (note,) = look_at(2, files.__getitem__, MAP, Palettes())
    assert note.startswith("1 of 2 masks looked at cannot be read, such as") and "0 bytes" in note
    Path(files[0]).write_bytes(b"")
    for labels in (MAP, None):
        with pytest.raises(ValueError, match="so are all 2 masks looked at"):
            look_at(2, files.__getitem__, labels, Palettes())


def test_few_masks_of_many_are_read(tmp_path: Path) -> None:
    (file,) = write(tmp_path, RED_BLUE)
    asked: list[int] = []

    def path_of(index: int) -> str:
        asked.append(index)
        return file

    look_at(1000, path_of, MAP, Palettes())
    assert asked == [0, 143, 285, 428, 571, 714, 856, 999]


def test_masks_without_any_class_stop_before_training_and_a_sparse_folder_does_not(
    tmp_path: Path,
) -> None:
    ignoring = LabelMap.parse(["0 -> ignore", "1..2 -> 0..1"])
    files = write(tmp_path, *[RED_BLUE] * 9, values=LABELS * np.uint8(0))
    with pytest.raises(ValueError, match="no pixel of any mask has a class"):
        look_at(9, files.__getitem__, ignoring, Palettes())
    Image.fromarray(LABELS).save(files[4])  # not among the eight that are looked at
    (note,) = look_at(9, files.__getitem__, ignoring, Palettes())
    assert note == f"8 of 8 masks looked at hold no pixel of a class, such as {files[0]}"


@pytest.mark.parametrize(
    ("labels", "values", "masks"),
    [
        (LABEL_IDS, {0, 8, 10, 13, 255}, ["a.png"]),
        (LABEL_IDS, {0, 1}, ["a_gtFine_labelTrainIds.png"]),
        (TRAIN_IDS, {7, 26}, ["a.png"]),
        (TRAIN_IDS, {7, 8}, ["a_gtFine_labelIds.png"]),
    ],
)
def test_ids_of_cityscapes_through_the_other_map(
    labels: LabelMap, values: set[int], masks: list[str]
) -> None:
    fault = foreign_ids(labels, values, masks)
    assert fault is not None and "Cityscapes" in fault.what


@pytest.mark.parametrize(
    ("labels", "values"),
    [(LABEL_IDS, {0, 7, 8, 11}), (LABEL_IDS, {7, 26, 33}), (TRAIN_IDS, {0, 18, 255}), (MAP, {0})],
)
def test_ids_through_their_own_map(labels: LabelMap, values: set[int]) -> None:
    assert foreign_ids(labels, values, ["a.png"]) is None
    assert nothing_named(labels, values) is None
