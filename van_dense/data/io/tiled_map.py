"""A label map written window by window, as a tiled BigTIFF: no part of it waits for the whole.

PNG would have to be written row by row, and be read as a whole; viewers of large images and GDAL
read windows of a tiled TIFF. Pillow writes no tiles, hence this writer. Source: TIFF 6.0, section
15; BigTIFF as libtiff reads it. Compression is Deflate.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from io import BufferedWriter
from pathlib import Path

import numpy as np

from van_dense.core.dataset_info import Color
from van_dense.core.structures import Size
from van_dense.core.writing import replacing
from van_dense.data.io.label_map import LabelMap
from van_dense.data.io.tile_grid import Piece, pieces

_TILE = 512  # pixels, a multiple of 16
_LEVEL = 1  # of compression; label maps shrink to a few per cent at any
_DEFLATE, _GREY, _RGB, _PALETTE = 8, 1, 2, 3
_SHORT, _LONG8 = (3, "H"), (16, "Q")
_HEADER = 16  # bytes
Tag = tuple[tuple[int, str], Sequence[int] | np.ndarray]  # number and letter of its type; values


class TiledMap:
    """Context that writes labels uint8 in the raw values of a data set, as ``write_labels`` does.

    Windows may come in any order, and must cover the map once. Tiles leave memory when they are
    complete. Whatever ends the context early leaves no file.

    Args:
        path: File, whose folder is made if missing.
        size: (height, width) of the map.
        label_map: Raw values of the labels.
        colors: RGB colours of the classes, for raw values up to 255.
    """

    def __init__(
        self, path: Path, size: Size, *, label_map: LabelMap, colors: Sequence[Color]
    ) -> None:
        self._path, self._size, self._label_map = path, size, label_map
        self._columns = -(-size[1] // _TILE)
        count = -(-size[0] // _TILE) * self._columns
        self._offsets, self._lengths = np.zeros(count, np.uint64), np.zeros(count, np.uint64)
        self._open: dict[int, tuple[np.ndarray, int]] = {}  # tiles, and pixels that they wait for
        some = label_map.invert(np.zeros((1, 1), np.uint8))
        self._shape, self._dtype = some.shape[2:], some.dtype.newbyteorder("<")
        self._palette: np.ndarray | None = None
        if some.dtype == np.uint8 and not self._shape:
            self._palette = np.zeros((256, 3), np.uint8)
            self._palette[list(label_map.raw_of_class)] = colors
        self._held = ExitStack()
        self._file: BufferedWriter | None = None

    def write(self, top: int, left: int, labels: np.ndarray) -> None:
        """Write labels uint8 (h, w), 255 = ignored, whose first pixel is at a row and column."""
        raw = self._label_map.invert(labels)
        size = labels.shape[0], labels.shape[1]
        for piece in pieces(top, left, size, (_TILE, _TILE)):
            self._fill(piece, raw[piece.in_window])

    def _fill(self, piece: Piece, raw: np.ndarray) -> None:
        number = piece.row * self._columns + piece.column
        rows = min(_TILE, self._size[0] - piece.row * _TILE)
        columns = min(_TILE, self._size[1] - piece.column * _TILE)
        tile, missing = self._open.pop(number, (None, rows * columns))
        if tile is None:
            tile = np.zeros((_TILE, _TILE, *self._shape), self._dtype)
        tile[piece.in_tile] = raw
        missing -= raw.shape[0] * raw.shape[1]
        if missing > 0:
            self._open[number] = (tile, missing)
            return
        assert self._file is not None
        data = zlib.compress(tile.tobytes(), _LEVEL)
        self._offsets[number], self._lengths[number] = self._file.tell(), len(data)
        self._file.write(data)

    def __enter__(self) -> TiledMap:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._held.enter_context(replacing(self._path))
        self._file = self._held.enter_context(temporary.open("wb"))
        self._file.write(bytes(_HEADER))
        return self

    def __exit__(self, *problem: object) -> None:
        assert self._file is not None
        if problem[0] is None:
            assert not self._open and self._lengths.all(), "windows left gaps"
            self._write_tags(self._file)
            self._file.close()
        self._held.__exit__(*problem)  # type: ignore[arg-type]  # as they came

    def _write_tags(self, file: BufferedWriter) -> None:
        bits, samples = 8 * self._dtype.itemsize, 3 if self._shape else 1
        colors = _RGB if self._shape else _GREY if self._palette is None else _PALETTE
        tags: dict[int, Tag] = {
            256: (_LONG8, [self._size[1]]),
            257: (_LONG8, [self._size[0]]),
            258: (_SHORT, [bits] * samples),
            259: (_SHORT, [_DEFLATE]),
            262: (_SHORT, [colors]),
            277: (_SHORT, [samples]),
            284: (_SHORT, [1]),
            322: (_SHORT, [_TILE]),
            323: (_SHORT, [_TILE]),
            324: (_LONG8, self._offsets),
            325: (_LONG8, self._lengths),
        }
        if self._palette is not None:
            tags[320] = (_SHORT, self._palette.T.reshape(-1).astype(np.uint16) * 257)
        write_directory(file, tags)


def write_directory(file: BufferedWriter, tags: Mapping[int, Tag]) -> None:
    """End a BigTIFF whose first 16 bytes are free: its tags, and the header that leads to them."""
    entries = b""
    for tag, ((kind, letter), values) in sorted(tags.items()):
        data = struct.pack(f"<{len(values)}{letter}", *values)
        if len(data) > 8:
            place = struct.pack("<Q", file.tell())
            file.write(data)
            data = place
        entries += struct.pack("<HHQ", tag, kind, len(values)) + data.ljust(8, b"\0")
    start = file.tell()
    file.write(struct.pack("<Q", len(tags)) + entries + bytes(8))
    file.seek(0)
    file.write(struct.pack("<2sHHHQ", b"II", 43, 8, 0, start))
