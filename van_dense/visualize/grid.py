"""Pictures side by side: a column for each backbone, a row for each image, titles around them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from PIL import Image, ImageDraw

from van_dense.visualize.labels import fit_text, font
from van_dense.visualize.legend import saliency_scale, stack
from van_dense.visualize.palette import INK, PAPER

_GAP = 12  # pixels between pictures
_LETTERS, _TITLE = 16, 20  # heights of captions and titles
_LINE = 22  # pixels of a line of a caption
_SHARP = 4  # from this enlargement on, pixels are cells of a map that should stay visible


def side_by_side(
    columns: Mapping[str, Sequence[np.ndarray | None]],
    *,
    rows: Sequence[str] = (),
    captions: Mapping[str, Sequence[str]] | None = None,
    title: str = "",
    tile: int = 320,
    scale: tuple[str, str] | None = None,
) -> np.ndarray:
    """Lay out pictures as a table.

    Args:
        columns: Pictures uint8 RGB of any sizes by column title, one for each row; None leaves
            the place empty. They are brought to the tile, small ones without blurring their
            pixels.
        rows: Titles of the rows, written upwards at their left; none by default.
        captions: Text below pictures, by column title, may have several lines.
        title: One line above all.
        tile: Pixels of the longer side of each picture.
        scale: What the darkest and the brightest of the heat colours mean, as a scale below.

    Returns:
        uint8 RGB picture.

    Raises:
        ValueError: When there is no picture, or columns and rows do not have the same number.
    """
    num_rows = max((len(pictures) for pictures in columns.values()), default=0)
    texts = captions or {name: [""] * num_rows for name in columns}
    lengths = {name: len(pictures) for name, pictures in columns.items()}
    if num_rows == 0 or set(lengths.values()) != {num_rows} or len(rows) not in (0, num_rows):
        raise ValueError(
            f"columns of {lengths} pictures and {len(rows)} row titles make no table; give each "
            "column as many pictures as there are rows, and at least one"
        )
    tiles = {
        name: [None if picture is None else _fit(picture, tile) for picture in pictures]
        for name, pictures in columns.items()
    }
    widths = [_width(name, tiles[name], texts[name]) for name in columns]
    left = _GAP + (round(_TITLE * 1.5) if rows else 0)
    strips = [_titles(title, list(columns), widths, left)]
    for i in range(num_rows):
        cells = [(tiles[name][i], texts[name][i]) for name in columns]
        strips.append(_row(rows[i] if rows else "", cells, widths, left))
    if scale is not None:
        strips.append(saliency_scale(strips[0].shape[1], _LETTERS, indent=left, words=scale))
        strips.append(np.full((_GAP // 2, 1, 3), PAPER, dtype=np.uint8))
    return stack(strips)


def _fit(picture: np.ndarray, tile: int) -> np.ndarray:
    height, width = picture.shape[:2]
    factor = tile / max(height, width)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    enlarged = cv2.INTER_NEAREST if factor >= _SHARP else cv2.INTER_CUBIC
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA if factor < 1 else enlarged)


def _width(name: str, pictures: Sequence[np.ndarray | None], texts: Sequence[str]) -> int:
    """Pixels of a column: its widest picture, title or line of a caption."""
    lines = [line for text in texts for line in text.split("\n")]
    return max(
        *(picture.shape[1] for picture in pictures if picture is not None),
        round(font(_TITLE, bold=True).getlength(name)),
        *(round(font(_LETTERS).getlength(line)) for line in lines),
        1,
    )


def _titles(title: str, names: Sequence[str], widths: Sequence[int], left: int) -> np.ndarray:
    letters = font(_TITLE, bold=True)
    line = round(_TITLE * 1.8)
    height = (line if title else 0) + (line if any(names) else 0) + _GAP // 2
    width = left + sum(widths) + _GAP * len(widths)
    picture = Image.new("RGB", (width, height), PAPER)
    pen = ImageDraw.Draw(picture)
    if title:
        pen.text(
            (left, line // 2 + 2), fit_text(title, letters, width - 2 * left), INK, letters, "lm"
        )
    x = left
    for name, column in zip(names, widths, strict=True):
        pen.text((x, height - line // 2), name, INK, letters, anchor="lm")
        x += column + _GAP
    return np.array(picture)


def _row(
    title: str,
    cells: Sequence[tuple[np.ndarray | None, str]],
    widths: Sequence[int],
    left: int,
) -> np.ndarray:
    highest = max((picture.shape[0] for picture, _ in cells if picture is not None), default=1)
    lines = max(text.count("\n") + 1 if text else 0 for _, text in cells)
    height = highest + lines * _LINE + _GAP
    page = Image.new("RGB", (left + sum(widths) + _GAP * len(widths), height), PAPER)
    pen = ImageDraw.Draw(page)
    x = left
    for (picture, text), width in zip(cells, widths, strict=True):
        if picture is not None:
            page.paste(Image.fromarray(picture), (x, 0))
            for i, line in enumerate(text.split("\n")):
                place = (x, picture.shape[0] + i * _LINE + _LINE // 2)
                pen.text(place, line, INK, font(_LETTERS), anchor="lm")
        x += width + _GAP
    if title:
        letters = font(_LETTERS, bold=True)
        strip = Image.new("RGB", (highest, left - _GAP // 2), PAPER)
        text = fit_text(title, letters, highest)
        ImageDraw.Draw(strip).text((highest // 2, strip.height // 2), text, INK, letters, "mm")
        page.paste(strip.rotate(90, expand=True), (0, 0))
    return np.array(page)
