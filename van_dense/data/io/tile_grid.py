"""Tiles of an image, and what a window shows of each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from van_dense.core.structures import Size

Region = tuple[slice, slice]  # rows, columns


class Piece(NamedTuple):
    """What a tile and a window have in common."""

    row: int  #: of the tile in the grid
    column: int  #: of the tile in the grid
    in_tile: Region  #: in pixels of the tile
    in_window: Region  #: in pixels of the window


def pieces(top: int, left: int, size: Size, tile: Size) -> Iterator[Piece]:
    """Cut a window by a grid of tiles, row by row.

    >>> [(piece.row, piece.in_tile[0]) for piece in pieces(3, 0, (2, 4), tile=(4, 4))]
    [(0, slice(3, 4, None)), (1, slice(0, 1, None))]

    Args:
        top: First row of the window in the image.
        left: First column of the window in the image.
        size: (height, width) of the window.
        tile: (height, width) of all tiles; the first begins with the image.
    """
    for row, in_row, from_row in _along(top, size[0], tile[0]):
        for column, in_column, from_column in _along(left, size[1], tile[1]):
            yield Piece(row, column, (in_row, in_column), (from_row, from_column))


def _along(start: int, length: int, side: int) -> Iterator[tuple[int, slice, slice]]:
    """Number of each tile along one side, and the common part in it and in the window."""
    end = start + length
    for number in range(start // side, -(-end // side)):
        first, last = max(start, number * side), min(end, (number + 1) * side)
        yield (
            number,
            slice(first - number * side, last - number * side),
            slice(first - start, last - start),
        )
