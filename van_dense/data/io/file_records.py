"""Objects of a long JSON list that stay in their file, and are parsed block by block."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, overload

_Object = dict[str, Any]


class FileRecords(Sequence[_Object]):
    """A list of objects in the memory of a place in the file for every megabyte of it.

    Annotations of two million images are 3 GB of text; this is for whoever goes through them in
    order. A single one costs the parsing of its block.

    Args:
        path: JSON file, whose list ``stream_json`` hands to this.

    Attributes:
        first_other: Position of the first element that is no object, or None.
    """

    def __init__(self, path: str | Path) -> None:
        self.first_other: int | None = None
        self._path = Path(path)
        self._count = 0
        self._places: list[int] = []  # bytes where blocks begin, and where the list ends
        self._firsts: list[int] = []  # number of the element there

    @staticmethod
    def can_read(path: str | Path) -> bool:
        """Whether places in a file can be told: it is UTF-8 without a mark, or is not there."""
        try:
            with Path(path).open("rb") as file:
                return json.detect_encoding(file.read(4)) == "utf-8"
        except OSError:
            return True

    def append(self, value: Any, _: str) -> None:
        """Count an element."""
        if self.first_other is None and not isinstance(value, dict):
            self.first_other = self._count
        self._count += 1

    def mark(self, place: int) -> None:
        """Take the byte where the next element begins, or where the list has ended."""
        self._places.append(place)
        self._firsts.append(self._count)

    def _parse(self, start: int, end: int) -> list[_Object]:
        with self._path.open("rb") as file:
            file.seek(start)
            text = file.read(end - start).decode()
        try:
            return json.loads(f"[{text.rstrip()[:-1]}]")  # without the comma, or the list's end
        except ValueError:
            raise ValueError(f"{self._path}: it changed while it was read; start again") from None

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[_Object]:
        for start, end in pairwise(self._places):
            yield from self._parse(start, end)

    @overload
    def __getitem__(self, index: int) -> _Object: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[_Object]: ...

    def __getitem__(self, index: int | slice) -> _Object | Sequence[_Object]:
        if isinstance(index, slice):
            return [self[i] for i in range(self._count)[index]]
        number = range(self._count)[index]
        block = bisect_right(self._firsts, number, hi=len(self._firsts) - 1) - 1
        start, end = self._places[block : block + 2]
        return self._parse(start, end)[number - self._firsts[block]]
