"""Objects of JSON that stay text in memory, and are parsed whenever they are looked at."""

from __future__ import annotations

import json
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, overload

_Object = dict[str, Any]
_AT_ONCE = 256  # objects that are parsed together, in half of the time


class PackedRecords(Sequence[_Object]):
    """A list of objects in the memory of their text: an annotation with a box takes 0.1 kB.

    Parsed it would take ten times as much. What is changed in a record that was taken out of the
    list is not changed in the list.

    >>> records = PackedRecords()
    >>> records.append({"id": 1, "bbox": [0, 0, 2, 2]})
    >>> records[0]["id"], len(records)
    (1, 1)

    Attributes:
        first_other: Position of the first element that is no object, which the format of a file may
            forbid, or None.
    """

    def __init__(self) -> None:
        self.first_other: int | None = None
        self._texts = bytearray()
        self._ends = array("q", [0])

    def append(self, value: Any, text: str | None = None) -> None:
        """Take an object, whose JSON is ``text`` if that is known."""
        if self.first_other is None and not isinstance(value, dict):
            self.first_other = len(self)
        self._texts += (json.dumps(value) if text is None else text).encode()
        self._texts += b","
        self._ends.append(len(self._texts))

    def copy(self, other: PackedRecords, index: int) -> None:
        """Take an object of another list, without parsing it."""
        self._texts += other._texts[other._ends[index] : other._ends[index + 1]]
        self._ends.append(len(self._texts))

    def take(self, indices: Iterable[int]) -> list[_Object]:
        """Objects at some positions, which are parsed together."""
        found = (self._texts[self._ends[i] : self._ends[i + 1] - 1] for i in indices)
        return json.loads(b"[" + b",".join(found) + b"]")

    def select(self, wanted: Callable[[_Object], bool]) -> PackedRecords:
        """The records that a function says True to."""
        chosen = PackedRecords()
        for index, record in enumerate(self):
            if wanted(record):
                chosen.append(record, self.text(index))
        return chosen

    def text(self, index: int) -> str:
        """An object as it is written; ``index`` counts from 0."""
        return self._texts[self._ends[index] : self._ends[index + 1] - 1].decode()

    def _parse(self, indices: range) -> list[_Object]:
        """Objects that follow each other."""
        text = self._texts[self._ends[indices.start] : self._ends[indices.stop] - 1]
        return json.loads(f"[{text.decode()}]")

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    @overload
    def __getitem__(self, index: int) -> _Object: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[_Object]: ...

    def __getitem__(self, index: int | slice) -> _Object | Sequence[_Object]:
        if isinstance(index, slice):
            chosen = range(len(self))[index]
            return self._parse(chosen) if chosen.step == 1 else [self[i] for i in chosen]
        return json.loads(self.text(range(len(self))[index]))

    def __iter__(self) -> Iterator[_Object]:
        for start in range(0, len(self), _AT_ONCE):
            yield from self._parse(range(start, min(start + _AT_ONCE, len(self))))


def pick(records: Sequence[_Object], wanted: Callable[[_Object], bool]) -> Sequence[_Object]:
    """The records that a function says True to, packed where they were."""
    if isinstance(records, PackedRecords):
        return records.select(wanted)
    return [record for record in records if wanted(record)]
