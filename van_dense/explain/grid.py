"""Pictures side by side: a column for each backbone, a row for each image, titles around them."""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import NamedTuple, TypeVar

import cv2
import numpy as np
from PIL import Image, ImageDraw

from van_dense.core.structures import Size
from van_dense.visualize.labels import fit_text, font
from van_dense.visualize.legend import saliency_scale, stack
from van_dense.visualize.palette import INK, PAPER

PAGE: Size = (1720, 2080)  # three columns of a photo and its map, without scrolling on a screen
_TILE = 320  # pixels of the longer side of a picture
_GAP = 12  # pixels between pictures
_FOLD = 24  # more pixels between columns of rows
_LETTERS, _TITLE = 16, 20  # heights of captions and titles
_LINE = 22  # pixels of a line of a caption
_SHARP = 4  # from this enlargement on, pixels are positions of a map that should stay visible

T = TypeVar("T")


class Cell(NamedTuple):
    """A picture, uint8 RGB of any size or None, and what is written below it, of several lines."""

    picture: np.ndarray | None
    caption: str = ""


class Row(NamedTuple):
    """Cells beside each other; the title is written upwards at their left.

    The first cell of a row that goes on with the image of the row above is drawn only where a
    column of a page begins.
    """

    cells: Sequence[Cell]
    title: str = ""
    goes_on: bool = False


def side_by_side(
    columns: Mapping[str, Sequence[np.ndarray | None]],
    *,
    rows: Sequence[str] = (),
    captions: Mapping[str, Sequence[str]] | None = None,
    title: str = "",
    tile: int = _TILE,
    scale: tuple[str, str] | None = None,
) -> np.ndarray:
    """Lay out pictures as a table, a uint8 RGB picture.

    Args:
        columns: Pictures uint8 RGB of any sizes by column title, one for each row; None leaves
            the place empty. They are brought to the tile, small ones without blurring their
            pixels.
        rows: Titles of the rows, written upwards at their left; none by default.
        captions: Text below pictures, by column title, may have several lines.
        title: One line above all.
        tile: Pixels of the longer side of each picture.
        scale: What the darkest and the brightest of the heat colours mean, as a scale below.

    Raises:
        ValueError: When there is no picture, or columns and rows do not have the same number.
    """
    lengths = {name: len(pictures) for name, pictures in columns.items()}
    num_rows = max(lengths.values(), default=0)
    if num_rows == 0 or set(lengths.values()) != {num_rows} or len(rows) not in (0, num_rows):
        raise ValueError(
            f"columns of {lengths} pictures and {len(rows)} row titles make no table; give each "
            "column as many pictures as there are rows, and at least one"
        )
    texts = captions or {name: [""] * num_rows for name in columns}
    lines = [
        Row([_fitted(Cell(columns[name][i], texts[name][i]), tile) for name in columns], row)
        for i, row in enumerate(rows or [""] * num_rows)
    ]
    return Table(list(columns), title, scale).draw([lines])


@dataclass(frozen=True)
class Table:
    """A table of any length, drawn as pages.

    Columns without a title are left out of a page on which they have no picture.
    """

    names: Sequence[str]  # titles of the columns
    title: str = ""  # a line above all
    scale: tuple[str, str] | None = None  # what the darkest and brightest heat colours mean

    def pages(self, rows: Iterable[Row]) -> Iterator[np.ndarray]:
        """Draw rows below each other, then in further columns beside these, then on further pages.

        Yields:
            uint8 RGB pictures, each as soon as its rows are there: of at most ``PAGE``, unless a
            single row is larger.
        """
        fitted = (row._replace(cells=[_fitted(cell, _TILE) for cell in row.cells]) for row in rows)
        for page in grouped(fitted, self._fit):
            yield self.draw(self._columns(page))

    def draw(self, columns: Sequence[Sequence[Row]]) -> np.ndarray:
        """Draw rows in columns of a page; pictures have the size that they will have."""
        rows = [row for column in columns for row in column]
        shown, widths, left = self._measure(rows)
        names = [self.names[i] for i in shown]
        parts = []
        for column in columns:
            strips = []
            for i, row in enumerate(column):
                cells = [row.cells[k] for k in shown]
                if row.goes_on and i > 0:
                    cells[0] = Cell(None)
                strips.append(_row(row.title, cells, widths, left))
            parts.append(stack(strips))
        body = _beside(parts)
        page = [_titles(self.title, names, widths, left, len(columns)), body]
        if self.scale is not None:
            page.append(saliency_scale(body.shape[1], _LETTERS, indent=left, words=self.scale))
            page.append(np.full((_GAP // 2, 1, 3), PAPER, dtype=np.uint8))
        return stack(page)

    def _measure(self, rows: Sequence[Row]) -> tuple[list[int], list[int], int]:
        """Indices of the columns that are shown, their widths, and the pixels at their left."""
        by_column = list(zip(*(row.cells for row in rows), strict=True))
        shown = [
            i for i, name in enumerate(self.names) if name or _highest(by_column[i], default=0)
        ]
        widths = [_width(self.names[i], by_column[i]) for i in shown]
        return shown, widths, _GAP + (round(_TITLE * 1.5) if any(row.title for row in rows) else 0)

    def _fit(self, rows: Sequence[Row]) -> bool:
        _, widths, left = self._measure(rows)
        width = left + sum(widths) + _GAP * len(widths) + _FOLD
        fewest = len(_starts([_height(row) for row in rows], self._room()))
        return fewest <= max(1, (PAGE[1] + _FOLD) // width)

    def _columns(self, rows: Sequence[Row]) -> list[Sequence[Row]]:
        """As few columns as the height of a page allows, of heights as even as possible."""
        heights = [_height(row) for row in rows]
        fewest = len(_starts(heights, self._room()))
        # Of all heights that a column can have, the smallest that needs no further column.
        rooms = sorted({room for i in range(len(rows)) for room in accumulate(heights[i:])})
        even = bisect_left(rooms, True, key=lambda room: len(_starts(heights, room)) <= fewest)
        starts = _starts(heights, rooms[even])
        return [rows[i:j] for i, j in pairwise([*starts, len(rows)])]

    def _room(self) -> int:
        """Pixels of the height of a page that are left for rows."""
        return PAGE[0] - _header(self.title, self.names) - (3 * _TITLE if self.scale else 0)


def grouped(items: Iterable[T], fit: Callable[[list[T]], bool]) -> Iterator[list[T]]:
    """Put together neighbours that ``fit`` on one page, at least one, as soon as they are there.

    When ``items`` fails, what came before it is given first.
    """
    group: list[T] = []
    try:
        for item in items:
            if group and not fit([*group, item]):
                yield group
                group = []
            group.append(item)
    except Exception:
        if group:
            yield group
        raise
    if group:
        yield group


def _starts(heights: Sequence[int], room: int) -> list[int]:
    """Indices of the rows that begin a column when each column is filled up to some pixels."""
    starts: list[int] = []
    used = 0
    for i, height in enumerate(heights):
        if not starts or used + height > room:
            starts.append(i)
            used = 0
        used += height
    return starts


def _fitted(cell: Cell, tile: int) -> Cell:
    if cell.picture is None:
        return cell
    height, width = cell.picture.shape[:2]
    factor = tile / max(height, width)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    enlarged = cv2.INTER_NEAREST if factor >= _SHARP else cv2.INTER_CUBIC
    method = cv2.INTER_AREA if factor < 1 else enlarged
    return cell._replace(picture=cv2.resize(cell.picture, size, interpolation=method))


def _width(name: str, cells: Sequence[Cell]) -> int:
    """Pixels of a column: its widest picture, title or line of a caption."""
    lines = [line for cell in cells for line in cell.caption.split("\n")]
    return max(
        *(cell.picture.shape[1] for cell in cells if cell.picture is not None),
        round(font(_TITLE, bold=True).getlength(name)),
        *(round(font(_LETTERS).getlength(line)) for line in lines),
        1,
    )


def _height(row: Row) -> int:
    """Pixels of a row with all its cells."""
    lines = max(cell.caption.count("\n") + 1 if cell.caption else 0 for cell in row.cells)
    return _highest(row.cells) + lines * _LINE + _GAP


def _highest(cells: Sequence[Cell], default: int = 1) -> int:
    return max((len(cell.picture) for cell in cells if cell.picture is not None), default=default)


def _beside(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Columns of rows beside each other, on paper."""
    if len(parts) == 1:
        return parts[0]
    width, height = parts[0].shape[1], max(map(len, parts))
    page = np.full((height, len(parts) * (width + _FOLD) - _FOLD, 3), PAPER, dtype=np.uint8)
    for i, part in enumerate(parts):
        page[: len(part), i * (width + _FOLD) :][:, :width] = part
    return page


def _header(title: str, names: Sequence[str]) -> int:
    """Pixels of the titles."""
    line = round(_TITLE * 1.8)
    return (line if title else 0) + (line if any(names) else 0) + _GAP // 2


def _titles(
    title: str, names: Sequence[str], widths: Sequence[int], left: int, copies: int
) -> np.ndarray:
    letters = font(_TITLE, bold=True)
    line = round(_TITLE * 1.8)
    height = _header(title, names)
    width = left + sum(widths) + _GAP * len(widths) + _FOLD
    picture = Image.new("RGB", (copies * width - _FOLD, height), PAPER)
    pen = ImageDraw.Draw(picture)
    if title:
        text = fit_text(title, letters, picture.width - 2 * left)
        pen.text((left, line // 2 + 2), text, INK, letters, "lm")
    for copy in range(copies):
        x = left + copy * width
        for name, column in zip(names, widths, strict=True):
            pen.text((x, height - line // 2), name, INK, letters, anchor="lm")
            x += column + _GAP
    return np.array(picture)


def _row(title: str, cells: Sequence[Cell], widths: Sequence[int], left: int) -> np.ndarray:
    highest, height = _highest(cells), _height(Row(cells))
    page = Image.new("RGB", (left + sum(widths) + _GAP * len(widths), height), PAPER)
    pen = ImageDraw.Draw(page)
    x = left
    for (picture, text), width in zip(cells, widths, strict=True):
        if picture is not None:
            page.paste(Image.fromarray(picture), (x, 0))
        below = 0 if picture is None else len(picture)
        for i, line in enumerate(text.split("\n")):
            pen.text((x, below + i * _LINE + _LINE // 2), line, INK, font(_LETTERS), anchor="lm")
        x += width + _GAP
    if title:
        letters = font(_LETTERS, bold=True)
        strip = Image.new("RGB", (highest, left - _GAP // 2), PAPER)
        text = fit_text(title, letters, highest)
        ImageDraw.Draw(strip).text((highest // 2, strip.height // 2), text, INK, letters, "mm")
        page.paste(strip.rotate(90, expand=True), (0, 0))
    return np.array(page)
