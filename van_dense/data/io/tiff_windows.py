"""Windows of a tiled TIFF, decoded where they are asked for: the whole image never exists.

Each tile becomes a file of its own in memory, with the tags that say what its bytes mean, and is
read by ``image_from_bytes``. So a window is what ``read_image`` gives there, whatever compression,
depth or colours, and nothing but Pillow is needed. Source: TIFF 6.0, sections 3, 8, 15 and 22;
BigTIFF as libtiff reads it.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from van_dense.core.counting import counted
from van_dense.core.structures import Size
from van_dense.data.dataset import ReadError
from van_dense.data.io.image import image_from_bytes, reason_of
from van_dense.data.io.tile_grid import pieces

_WIDTH, _HEIGHT, _ROWS = 256, 257, 278
_STRIPS, _TILES = (273, 279), (324, 325)  # where the parts are, and how many bytes they have
_TILE_SIDES = (323, 322)  # height, width
_TURNED, _SAMPLES, _PLANES, _EXTRA = 274, 277, 284, 338
_ALPHA = {1, 2}  # associated and unassociated
# What the bytes of a part mean: bits, compression, colours, fill order, samples, planes, predictor,
# palette, extra and kind of samples, tables and colours of JPEG.
_MEANING = (258, 259, 262, 266, 277, 284, 317, 320, 338, 339, 347, 529, 530, 531, 532)
_STARTS = {b"II*\0": 8, b"MM\0*": 8, b"II+\0": 16, b"MM\0+": 16}  # and the bytes of the header
_SHORT, _LONG, _RATIONAL, _BYTES = (3, "H"), (4, "I"), (5, "I"), (7, "B")
_RATIONALS, _TABLES = (529, 532), 347
_PART_BYTES = 2**26  # decoded; strips of a whole image are as large as the image
_CACHE_BYTES = 2**28  # of decoded parts: a row of windows of 1024 pixels across 80,000
_OVERVIEW_SIDE = 2048


def size_of_tiff(path: Path) -> Size | None:
    """(height, width) of a TIFF as it is stored, from its tags alone; None for any other file."""
    try:
        tags = _tags(path)
        return None if tags is None else (int(tags[_HEIGHT]), int(tags[_WIDTH]))
    except Exception:  # of a broken header; reading tells what is wrong
        return None


class TiffWindows:
    """An image (H, W, 3) whose windows are read by ``[top:bottom, left:right]``, uint8 RGB.

    Args:
        path: TIFF whose tiles, or strips, are small.

    Attributes:
        shape: Height, width and 3.
        overview: Every ``step``-th pixel of every ``step``-th row, uint8 (h, w, 3), of what has
            been read so far; the rest is black.
        step: Such that the overview has at most 2048 rows and columns.

    Raises:
        ReadError: When the file is no TIFF, is stored such that windows cannot be read, or is
            broken; the message says how to convert it.
    """

    dtype = np.dtype(np.uint8)
    ndim = 3

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            tags = _tags(path)
            if tags is None:
                raise ReadError(f"{path}: only of a TIFF windows can be read; {_fix(path)}")
            self._read_tags(tags)
        except (ReadError, OSError):
            raise
        except Exception as error:  # headers can be hostile, as for read_image
            raise ReadError(f"{path}: broken image: {reason_of(error)}") from error
        height, width = self.shape[:2]
        self.step = -(-max(height, width) // _OVERVIEW_SIDE)
        sides = -(-height // self.step), -(-width // self.step)
        self.overview = np.zeros((*sides, 3), np.uint8)
        self._cache: OrderedDict[int, np.ndarray] = OrderedDict()
        self._cached = 0  # bytes

    def _read_tags(self, tags: ImageFileDirectory_v2) -> None:
        self.shape = (int(tags[_HEIGHT]), int(tags[_WIDTH]), 3)
        height, width = self.shape[:2]
        self._is_tiled = is_tiled = _TILES[0] in tags
        rows = min(int(tags.get(_ROWS, height)), height)
        height_of, width_of = _TILE_SIDES
        self._part = (int(tags[height_of]), int(tags[width_of])) if is_tiled else (rows, width)
        offsets, lengths = (tags[tag] for tag in (_TILES if is_tiled else _STRIPS))
        self._offsets, self._lengths = np.array(offsets, np.int64), np.array(lengths, np.int64)
        self._grid = tuple(-(-a // b) for a, b in zip(self.shape[:2], self._part, strict=True))
        self._planes = int(tags.get(_SAMPLES, 1)) if int(tags.get(_PLANES, 1)) == 2 else 1
        expected = self._grid[0] * self._grid[1] * self._planes
        problem = None
        if 3 * self._part[0] * self._part[1] > _PART_BYTES:
            sides = f"{self._part[1]} x {self._part[0]} pixels"
            problem = f"it is stored in parts of {sides}, too large to be read alone"
        elif _ALPHA & set(tags.get(_EXTRA, ())):
            problem = "it has an alpha band"
        elif int(tags.get(_TURNED, 1)) != 1:
            problem = "it is stored turned, by its orientation tag"
        elif len(self._offsets) != expected or len(self._lengths) != expected:
            problem = f"it has {counted(len(self._offsets), 'part')} in place of {expected}"
        if problem is not None:
            raise ReadError(f"{self._path}: {problem}; {_fix(self._path)}")
        room = self._path.stat().st_size - self._offsets
        if min(self._offsets.min(), self._lengths.min(), (room - self._lengths).min()) < 0:
            raise ReadError(f"{self._path}: broken image: some of it lies beyond its file's end")
        self._order = "<" if tags.prefix == b"II" else ">"
        self._tags = {tag: _values(tags[tag]) for tag in _MEANING if tag in tags}

    def __getitem__(self, window: tuple[slice, slice]) -> np.ndarray:
        (top, bottom, _), (left, right, _) = (
            side.indices(most) for side, most in zip(window, self.shape[:2], strict=True)
        )
        size = bottom - top, right - left
        pixels = np.empty((*size, 3), np.uint8)
        for piece in pieces(top, left, size, self._part):
            part = self._decoded(piece.row * self._grid[1] + piece.column)
            pixels[piece.in_window] = part[piece.in_tile]
        return pixels

    def _decoded(self, number: int) -> np.ndarray:
        """A part, which the cache may hold."""
        if number in self._cache:
            self._cache.move_to_end(number)
            return self._cache[number]
        row, column = divmod(number, self._grid[1])
        y, x = row * self._part[0], column * self._part[1]
        rows = self._part[0] if self._is_tiled else min(self._part[0], self.shape[0] - y)
        part = image_from_bytes(self._file(number, rows), f"{self._path} at row {y}, column {x}")
        part = part[: self.shape[0] - y, : self.shape[1] - x]
        inside = part[-y % self.step :: self.step, -x % self.step :: self.step]
        y, x = -(-y // self.step), -(-x // self.step)
        self.overview[y : y + inside.shape[0], x : x + inside.shape[1]] = inside
        self._cache[number] = part
        self._cached += 3 * self._part[0] * self._part[1]
        while self._cached > _CACHE_BYTES:
            self._cache.popitem(last=False)
            self._cached -= 3 * self._part[0] * self._part[1]
        return part

    def _file(self, number: int, rows: int) -> bytes:
        """A TIFF of one part: its bytes, one strip for each plane, and the tags."""
        strips = []
        with self._path.open("rb") as file:
            for plane in range(self._planes):
                index = plane * self._grid[0] * self._grid[1] + number
                file.seek(self._offsets[index])
                strips.append(file.read(self._lengths[index]))
        return _tiff(strips, (rows, self._part[1]), self._tags, self._order)


def _tags(path: Path) -> ImageFileDirectory_v2 | None:
    """Tags of the first page; None for what is no TIFF."""
    with path.open("rb") as file:
        start = file.read(16)
        length = _STARTS.get(start[:4])
        if length is None:
            return None
        tags = ImageFileDirectory_v2(start[:length])
        file.seek(tags.next)
        tags.load(file)
    return tags


def _tiff(strips: list[bytes], size: Size, tags: dict[int, Any], order: str) -> bytes:
    """A classic TIFF of (height, width) ``size`` whose rows are one strip for each plane."""
    start, offsets = 8, []
    for strip in strips:
        offsets.append(start)
        start += len(strip)
    values = {_WIDTH: [size[1]], _HEIGHT: [size[0]], _ROWS: [size[0]], **tags}
    values |= {_STRIPS[0]: offsets, _STRIPS[1]: [len(strip) for strip in strips]}
    body, entries = b"".join(strips), b""
    for tag in sorted(values):
        number, letter = _SHORT if tag in _MEANING else _LONG
        if tag in _RATIONALS or tag == _TABLES:
            number, letter = _RATIONAL if tag in _RATIONALS else _BYTES
        data = struct.pack(f"{order}{len(values[tag])}{letter}", *values[tag])
        count = len(values[tag]) // (2 if tag in _RATIONALS else 1)
        if len(data) > 4:
            place = struct.pack(f"{order}I", 8 + len(body))
            body, data = body + data + bytes(len(data) % 2), place
        entries += struct.pack(f"{order}HHI", tag, number, count) + data.ljust(4, b"\0")
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8 + len(body))
    return head + body + struct.pack(f"{order}H", len(values)) + entries + bytes(4)


def _values(value: Any) -> list[int]:
    """Numbers of a tag as they are stored; of a fraction its two parts."""
    if isinstance(value, bytes):
        return list(value)
    numbers = value if isinstance(value, tuple) else (value,)
    if any(not isinstance(number, int) for number in numbers):
        return [part for number in numbers for part in (number.numerator, number.denominator)]
    return list(numbers)


def _fix(path: Path) -> str:
    made = f"{path.stem}_tiled.tif"
    how = f"vips flatten {path.name} '{made}[tile,compression=deflate,bigtiff]' (libvips)"
    return f"make it a tiled TIFF of three bands, such as with {how}, and predict that"
