"""Label maps to start from: those of public sets by file names or palette, else by number."""

import pytest

from van_dense.data.io.known_labels import start_lines, voc_color
from van_dense.data.io.label_map import LabelMap

VOC = bytes(channel for index in range(256) for channel in voc_color(index))


def test_the_palette_of_voc() -> None:
    assert voc_color(1) == (128, 0, 0) and voc_color(15) == (192, 128, 128)
    assert voc_color(20) == (0, 64, 128) and voc_color(255) == (224, 224, 192)


@pytest.mark.parametrize(
    ("values", "files", "lines", "name"),
    [
        (range(12), ["0001TP_006690.png"], ["0..10 -> 0..10", "11 -> ignore"], "CamVid"),
        (
            [0, 5, 150],
            ["ADE_val_00000001.png"],
            ["0 -> ignore", "1..150 -> 0..149"],
            "ADE20K's SceneParsing",
        ),
        (
            [0, 13, 255],
            ["a_gtFine_labelTrainIds.png"],
            ["0..18 -> 0..18", "255 -> ignore"],
            "Cityscapes' trainIds",
        ),
        ([0, 15, 255], ["2007_000032.png"], ["0..20 -> 0..20", "255 -> ignore"], "Pascal VOC"),
        ([0, 1, 15, 255], ["a.png"], ["0..15 -> 0..15", "255 -> ignore"], ""),
        ([0, 1, 15], ["a.png"], ["0..1 -> 0..1", "15 -> 2"], ""),
        ([0, 255], ["a.png"], ["0 -> 0", "255 -> 1"], ""),
        ([0, 200], ["0001TP_006690.png"], ["0 -> 0", "200 -> 1"], ""),
    ],
)
def test_numbers(values: list[int], files: list[str], lines: list[str], name: str) -> None:
    assert start_lines(values, is_color=False, files=files, palette=None) == (lines, name)
    LabelMap.parse(lines)


def test_numbers_in_the_colours_of_voc_keep_their_indices() -> None:
    lines, name = start_lines([0, 15, 255], is_color=False, files=["a.png"], palette=VOC)
    assert lines == ["0..20 -> 0..20", "255 -> ignore"] and name == "Pascal VOC's palette"


def test_black_of_the_coloured_camvid_is_void() -> None:
    files = ["0006R0_f00930_L.png"]
    lines, name = start_lines([0, 0x804080], is_color=True, files=files, palette=None)
    assert lines == ["#804080 -> 0", "#000000 -> ignore"] and name == "CamVid"


@pytest.mark.parametrize(
    ("colors", "file"),
    [([0, 0xC08080, 0xE0E0C0], "a.png"), ([0, 0xC08080], "2007_000032.png")],
)
def test_colours_of_voc_keep_their_indices_and_leave_the_border_out(
    colors: list[int], file: str
) -> None:
    lines, name = start_lines(colors, is_color=True, files=[file], palette=None)
    assert {"#000000 -> 0", "#c08080 -> 15", "#e0e0c0 -> ignore"} < set(lines)
    assert len(lines) == 22 and name == "Pascal VOC's colours"
    LabelMap.parse(lines)
