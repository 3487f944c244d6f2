"""Label maps of public data sets, recognised by what is certain: file names or the palette."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from van_dense.core.structures import IGNORE_LABEL
from van_dense.data.io.label_map import spell_value, suggest_lines

_VOC = tuple(range(21))
_CITYSCAPES = (
    "0..6 -> ignore",
    "7..8 -> 0..1",
    "9..10 -> ignore",
    "11..13 -> 2..4",
    "14..16 -> ignore",
    "17 -> 5",
    "18 -> ignore",
    "19..28 -> 6..15",
    "29..30 -> ignore",
    "31..33 -> 16..18",
    "255 -> ignore",
)
_CAMVID = r"(0001TP|0006R0|0016E5|Seq05VD)_f?\d+(_L)?\.png"  # four films of Cambridge
_COLOR_CITYSCAPES = r".*_gtFine_color\.png"
_GREY_CAMVID, _BLACK = range(12), 0  # of SegNet with 11 = void; black = void
_VOC_NAME, _VOC_VOID = r"\d{4}_\d{6}\.png", 0xE0E0C0  # the colour of the border, index 255
#: Name, pattern of the file names, values that may occur, lines.
_SETS: tuple[tuple[str, str, Collection[int], tuple[str, ...]], ...] = (
    ("CamVid", _CAMVID, _GREY_CAMVID, ("0..10 -> 0..10", "11 -> ignore")),
    (
        "ADE20K's SceneParsing",
        r"ADE_(train|val)_\d{8}\.png",
        range(151),
        ("0 -> ignore", "1..150 -> 0..149"),
    ),
    ("Cityscapes' labelIds", r".*_labelIds\.png", {*range(34), 255}, _CITYSCAPES),
    (
        "Cityscapes' trainIds",
        r".*_labelTrainIds\.png",
        {*range(19), 255},
        ("0..18 -> 0..18", "255 -> ignore"),
    ),
    ("Pascal VOC", _VOC_NAME, {*_VOC, 255}, ("0..20 -> 0..20", "255 -> ignore")),
)


def start_lines(
    values: Collection[int], *, is_color: bool, files: Sequence[str], palette: bytes | None
) -> tuple[list[str], str]:
    """Lines to start a label map from, and the data set that they are of, or "".

    Args:
        values: Values found, colours as 65536 R + 256 G + B.
        is_color: Whether they are colours.
        files: Names of some mask files.
        palette: R, G, B of the indices, where the files have one palette.
    """
    found = set(values)
    for name, pattern, possible, lines in () if is_color else _SETS:
        if found <= set(possible) and _all_match(pattern, files):
            return list(lines), name
    if not is_color and found <= {*_VOC, 255} and len(found) > 1 and _is_voc(palette, found):
        return list(_SETS[-1][3]), "Pascal VOC's palette"
    if is_color and (known := _by_color(found, files)) is not None:
        return known
    inner = found - {IGNORE_LABEL}
    if not is_color and IGNORE_LABEL in found and 0 in found and 0 < max(inner) <= max(_VOC):
        last = max(inner)  # beside 255 the indices of a longer list, of which some do not occur
        return [f"0..{last} -> 0..{last}", "255 -> ignore"], ""
    return suggest_lines(found, is_color=is_color), ""


def _by_color(found: set[int], files: Sequence[str]) -> tuple[list[str], str] | None:
    """Lines for colours, and the data set that they are of, if it is known."""
    if _BLACK in found:
        for name, pattern in (("CamVid", _CAMVID), ("Cityscapes", _COLOR_CITYSCAPES)):
            if _all_match(pattern, files):
                classes = suggest_lines(found - {_BLACK}, is_color=True)
                return [*classes, f"{spell_value(_BLACK, True)} -> ignore"], name
    colors = [int.from_bytes(voc_color(index), "big") for index in _VOC]
    is_voc = _VOC_VOID in found or _all_match(_VOC_NAME, files)
    if not is_voc or not found <= {*colors, _VOC_VOID}:
        return None
    classes = [f"{spell_value(color, True)} -> {index}" for index, color in enumerate(colors)]
    return [*classes, f"{spell_value(_VOC_VOID, True)} -> ignore"], "Pascal VOC's colours"


def _all_match(pattern: str, files: Sequence[str]) -> bool:
    return bool(files) and all(re.fullmatch(pattern, file, re.IGNORECASE) for file in files)


def _is_voc(palette: bytes | None, used: set[int]) -> bool:
    """Whether the indices in use have the colours of the VOC development kit."""
    if palette is None:
        return False
    return all(tuple(palette[3 * i : 3 * i + 3]) == voc_color(i) for i in used)


def voc_color(index: int) -> tuple[int, int, int]:
    """Colour of an index: its bits go in turn to the highest free bits of R, G and B.

    This is VOClabelcolormap.m of the VOC development kit.
    """
    channels = [0, 0, 0]
    for bit in range(8):
        channels[bit % 3] |= (index >> bit & 1) << (7 - bit // 3)
    return channels[0], channels[1], channels[2]
