"""Read many records of one form at once: JSON whose objects differ in numbers and texts alone.

Results of a detector are millions of objects with the same keys in the same order. Parsed one by
one they take 2 us each and become dictionaries; here NumPy reads the numbers of thousands.
Whatever is not exactly so is left to the parser of ``json_stream``, and so are its messages.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain, pairwise, product
from typing import Any, NamedTuple

import numpy as np

_NUMBER, _SPACE = b"0123456789.eE+-", b" \t\n\r"
_SPACES_FOR_OTHERS = bytes(c if c in _NUMBER else 32 for c in range(256))
_ZERO_FOR_NUMBERS = bytes(ord("0") if c in _NUMBER else c for c in range(256))
_CLASSES = (b"", b"123456789", b"0", b".", b"eE", b"-", b"+")  # of characters; 0 are all others
_OTHER, _DIGIT, _NOUGHT, _POINT, _E, _MINUS, _PLUS = range(len(_CLASSES))
_CLASS = bytes(next((k for k, cs in enumerate(_CLASSES) if c in cs), _OTHER) for c in range(256))
# Classes that may follow each in JSON, in and around a number.
_FOLLOWERS = {
    _OTHER: (_OTHER, _DIGIT, _NOUGHT, _MINUS),
    _DIGIT: (_OTHER, _DIGIT, _NOUGHT, _POINT, _E),
    _NOUGHT: (_OTHER, _DIGIT, _NOUGHT, _POINT, _E),
    _POINT: (_DIGIT, _NOUGHT),
    _E: (_DIGIT, _NOUGHT, _MINUS, _PLUS),
    _MINUS: (_DIGIT, _NOUGHT),
    _PLUS: (_DIGIT, _NOUGHT),
}


def _pairs(firsts: Iterable[int], seconds: Iterable[int]) -> list[int]:
    """Numbers of pairs of classes."""
    return [len(_CLASSES) * first + second for first, second in product(firsts, seconds)]


def _is_among(pairs: Iterable[int]) -> bytes:
    """A table for ``bytes.translate`` that says 1 to some pairs of classes, and 0 to others."""
    chosen = set(pairs)
    return bytes(c in chosen for c in range(256))


_POSSIBLE = bytes(chain(*(_pairs([first], seconds) for first, seconds in _FOLLOWERS.items())))
_GOES_ON = _is_among(_pairs(range(1, len(_CLASSES)), range(1, len(_CLASSES))))
_BEGINS_WITH_NOUGHT = _is_among(_pairs((_OTHER, _MINUS), (_NOUGHT,)))
_DIGIT_AFTER_NOUGHT = _is_among(_pairs((_NOUGHT,), (_DIGIT, _NOUGHT)))
_STAND_IN = "\x01"  # for an escaped backslash, as JSON holds no such character

Path = tuple[str | int, ...]  # keys and positions that lead to a value of a record


class Block(NamedTuple):
    """What some records hold, and how much of the text they take."""

    numbers: np.ndarray  #: float64 (N, M), in the order of ``RecordForm.numbers``
    texts: Sequence[list[str]]  #: N texts for each of ``RecordForm.texts``
    length: int  #: characters up to the beginning of the next record


class RecordForm:
    """The keys of a record, and where its numbers and texts are.

    Attributes:
        numbers: Where each number of a record is, in the order of the text.
        texts: Where each text that is a value is.
    """

    def __init__(self, text: str, value: dict[str, Any]) -> None:
        self.numbers: list[Path] = []
        self.texts: list[Path] = []
        self._keys: list[str | None] = []  # of each text; None for a value
        self._is_plain = True
        self._walk(value, ())
        parts = text.split('"')
        self._quotes = len(parts) - 1
        skeleton = _skeleton('"'.join(parts[0::2]).encode())
        self._skeleton = (skeleton or b"") + b","
        same = all(k in (None, p) for k, p in zip(self._keys, parts[1::2], strict=False))
        complete = skeleton is not None and len(self._keys) * 2 == self._quotes
        is_clear = "\\" not in text.replace(r"\\", "")
        self._is_plain = self._is_plain and same and complete and is_clear

    @staticmethod
    def of(text: str, value: Any) -> RecordForm | None:
        """The form of a record, from its text and value; None for others than plain ones.

        Plain is an object of numbers, texts, and lists and objects of these.
        """
        form = RecordForm(text, value) if isinstance(value, dict) and value else None
        return form if form is not None and form._is_plain else None

    def _walk(self, value: Any, path: Path) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                self._keys.append(key)
                self._walk(inner, (*path, key))
        elif isinstance(value, list):
            for index, inner in enumerate(value):
                self._walk(inner, (*path, index))
        elif isinstance(value, str):
            self._keys.append(None)
            self.texts.append(path)
        elif type(value) in (int, float):
            self.numbers.append(path)
        else:
            self._is_plain = False

    def read(self, text: str) -> Block | None:
        """The records that a text begins with, or None where one of them has another form.

        The text begins at a record of a list, and may end anywhere; its last records are left.
        """
        size, has_escapes = len(text), "\\" in text
        if has_escapes:
            if _STAND_IN in text:
                return None
            text = text.replace(r"\\", _STAND_IN)
            if "\\" in text:
                return None  # a quote may be no end
        parts, step = text.split('"'), self._quotes
        count = (len(parts) - 2) // step
        if count < 1:
            return None
        last = parts[count * step]
        begin = last.rfind("{")
        for index, key in enumerate(self._keys):
            if key is not None and parts[1 + 2 * index : count * step : step].count(key) != count:
                return None
        outside = '"'.join(parts[0 : count * step : 2]) + '"' + last[:begin]
        numbers = self._numbers(outside, count) if begin >= 0 else None
        if numbers is None:
            return None
        values = [index for index, key in enumerate(self._keys) if key is None]
        texts = [parts[1 + 2 * index : count * step : step] for index in values]
        if has_escapes:  # no text holds a quote, so that they are joined by one
            texts = ['"'.join(t).replace(_STAND_IN, "\\").split('"') for t in texts]
        rest = '"'.join([last[begin:], *parts[count * step + 1 :]])
        return Block(numbers, texts, size - len(rest) - rest.count(_STAND_IN))

    def _numbers(self, outside: str, count: int) -> np.ndarray | None:
        """Numbers (N, M) of records whose texts are cut out, or None."""
        if not outside.isascii():
            return None
        data = outside.encode()
        if _skeleton(data) != self._skeleton * count:
            return None
        try:
            # Where NumPy stops early, the 7 is missing.
            spaced = data.translate(_SPACES_FOR_OTHERS) + b" 7"
            values = np.fromstring(spaced, dtype=np.float64, sep=" ")
        except (ValueError, DeprecationWarning):
            return None
        size = len(self.numbers)
        return values[:-1].reshape(count, size) if len(values) == count * size + 1 else None


def _skeleton(data: bytes) -> bytes | None:
    """JSON with 0 for each number and without spaces, or None where a number is not JSON's."""
    if b"\0" in data:
        return None
    classes = np.frombuffer((b" " + data).translate(_CLASS), dtype=np.uint8)
    pairs = (classes[:-1] * np.uint8(len(_CLASSES)) + classes[1:]).tobytes()
    if pairs.translate(None, _POSSIBLE) or classes[-1] not in (_OTHER, _DIGIT, _NOUGHT):
        return None
    begins, digit = (
        np.frombuffer(pairs.translate(table), dtype=np.uint8)
        for table in (_BEGINS_WITH_NOUGHT, _DIGIT_AFTER_NOUGHT)
    )
    padded = np.flatnonzero(begins[:-1] & digit[1:])  # as 01 is, but not 1e-05
    if (classes[padded - 1] != _E).any() or (classes[padded] != _MINUS).any():
        return None
    goes_on = np.frombuffer(pairs.translate(_GOES_ON), dtype=np.uint8)
    marked = np.frombuffer(data.translate(_ZERO_FOR_NUMBERS), dtype=np.uint8) * (1 - goes_on)
    return marked.tobytes().translate(None, b"\0" + _SPACE)


def columns_of(form: RecordForm, path: Path, length: int | None = None) -> slice | None:
    """Columns of ``Block.numbers`` that hold a value, or None where it is none of numbers.

    Args:
        form: Form of the records.
        path: Where the value is.
        length: Length of a list of numbers; None for a single number.
    """
    wanted = [path] if length is None else [(*path, index) for index in range(length)]
    held = [index for index, other in enumerate(form.numbers) if other[: len(path)] == path]
    if [form.numbers[index] for index in held] != wanted or not held:
        return None
    if any(path == other[: len(path)] for other in form.texts):
        return None
    assert all(b == a + 1 for a, b in pairwise(held))  # a value is written in one piece
    return slice(held[0], held[-1] + 1)
