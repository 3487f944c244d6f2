"""Read a JSON file whose records are one long list, in the memory of a block of its text.

Annotations and results are lists of up to millions of records. Parsed at once they take about ten
times the memory of the file, and their text and bytes two more.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable
from io import BufferedReader
from pathlib import Path
from typing import Any, NoReturn, Protocol, runtime_checkable

from van_dense.core import budgets
from van_dense.core.parse import NoNumber, is_deep, refuse_constant, too_deep
from van_dense.data.io.json_file import opening

_BLOCK = 1 << 20  # bytes
_SPACE = re.compile(r"[ \t\n\r]*")
_LONGEST_TOKEN = 16  # characters of "-Infinity" or an escape, which the end of a block may cut


class Sink(Protocol):
    """Takes the elements of a list, one after the other."""

    def append(self, value: Any, text: str, /) -> None:
        """Take an element, parsed and as it is written."""


@runtime_checkable
class BlockSink(Sink, Protocol):
    """Takes many elements at once where it can."""

    @property
    def wants_blocks(self) -> bool:
        """Whether to offer it some now."""

    def append_block(self, text: str, /) -> int:
        """Take elements that a text begins with, each with its comma; returns their characters.

        The text may end within an element; 0 leaves all of them to ``append``.
        """


@runtime_checkable
class PlaceSink(Sink, Protocol):
    """Finds elements in the file again, which is UTF-8 without a byte order mark."""

    def mark(self, place: int, /) -> None:
        """Take the byte of the next element, now and then, and that behind the list at its end."""


def stream_json(
    path: str | Path, what: str, sink: Sink, *, key: str | None = None, allow_nan: bool = True
) -> Any:
    """Parse a JSON file whose elements of one list go into ``sink``, which stands in its place.

    Args:
        path: JSON file.
        what: What to call it in errors: "annotation file".
        sink: Taker of the elements.
        key: Key of the list in the object that the file holds; None: the file holds the list. Where
            there is no such list, everything is parsed.
        allow_nan: Read NaN and Infinity, as ``parse_json`` does.

    Returns:
        The document: ``sink`` itself for a list, or an object that holds it.

    Raises:
        ValueError: When the file cannot be read, or is no JSON.
        OverBudget: When it nests deeper than its budget.
    """
    with opening(path, what) as file:
        try:
            text = _Text(file, str(path), allow_nan)
            if key is None and text.peek() == "[":
                _elements(text, sink)
                document: Any = sink
            elif key is not None and text.peek() == "{":
                document = _members(text, sink, key)
            else:
                document = text.value()[0]
            if text.peek():
                text.fail("Extra data")
        except UnicodeDecodeError as error:
            place = f"at byte {file.tell() - len(error.object) + error.start}"
            what = f"not text in {error.encoding}: {error.reason} {place}"
            raise ValueError(f"{path}: not valid JSON ({what})") from error
    return document


def _elements(text: _Text, sink: Sink) -> None:
    text.take("[")
    if text.peek() == "]":
        text.take("]")
        return
    blocks = sink if isinstance(sink, BlockSink) else None
    places = sink if isinstance(sink, PlaceSink) else None
    while True:
        if blocks is not None and text.is_new and blocks.wants_blocks:
            text.peek()
            text.skip(blocks.append_block(text.rest()))
        if places is not None and text.is_new:
            places.mark(text.place())
        sink.append(*text.value())
        if text.take(",]") == "]":
            if places is not None:
                places.mark(text.place(skip_space=False))
            return


def _members(text: _Text, sink: Sink, key: str) -> dict[str, Any]:
    text.take("{")
    members: dict[str, Any] = {}
    while text.peek() != "}" or members:
        if text.peek() != '"':
            text.fail("Expecting property name enclosed in double quotes")
        name, _ = text.value()
        if name in members:
            text.fail(f"the key {name!r} appears twice")
        text.take(":")
        if name == key and text.peek() == "[":
            _elements(text, sink)
            members[name] = sink
        else:
            members[name], _ = text.value()
        if text.peek() == "}":
            break
        text.take(",")
    text.take("}")
    return members


class _Text:
    """The part of a file that is being parsed, from a position on."""

    def __init__(self, file: BufferedReader, source: str, allow_nan: bool) -> None:
        self._file, self._source = file, source
        first = file.read(_BLOCK)
        self._decode: Callable[..., str] = codecs.getincrementaldecoder(
            json.detect_encoding(first)
        )().decode
        self._text, self._at = self._decode(first), 0
        self._ended = False
        self.is_new = True  # whether nothing was asked about it since more was read
        self._bytes_before = self._lines_before = 0
        constant = None if allow_nan else self._refuse
        # The function behind ``raw_decode``, which asks for no slice of the text.
        self._scan: Any = json.JSONDecoder(parse_constant=constant).scan_once  # type: ignore[attr-defined]

    def peek(self) -> str:
        """The next character that is no space; empty at the end of the file."""
        if self._text[self._at : self._at + 1] > " ":  # as often
            return self._text[self._at]
        while True:
            found = _SPACE.match(self._text, self._at)
            assert found is not None  # it may be empty
            self._at = found.end()
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._fill():
                return ""

    def take(self, characters: str) -> str:
        """Go behind a character that must come next, the first or another one of some."""
        found = self.peek()
        if not found or found not in characters:
            names = {",": "',' delimiter", ":": "':' delimiter"}
            self.fail(f"Expecting {names.get(characters[0], repr(characters[0]))}")
        self._at += 1
        return found

    def value(self) -> tuple[Any, str]:
        """The next value, and its text."""
        self.peek()
        while True:
            try:
                value, end = self._scan(self._text, self._at)
            except (StopIteration, json.JSONDecodeError) as error:
                if not self._is_cut(error) or not self._fill():
                    self._fail_at(error)
                continue
            except NoNumber:
                raise
            except ValueError as error:  # a number of thousands of digits
                raise ValueError(f"{self._source}: not valid JSON ({error})") from None
            except RecursionError:
                raise too_deep(self._source) from None
            if end + 2 >= len(self._text) and self._fill():  # a number may go on: 1 of "1e-5"
                continue
            text = self._text[self._at : end]
            if text.count("[") + text.count("{") > budgets.JSON_DEPTH and is_deep(text.encode()):
                raise too_deep(self._source)
            self._at = end
            return value, text

    def rest(self) -> str:
        """What was read of the file and is not parsed."""
        self.is_new = False
        return self._text[self._at :]

    def place(self, *, skip_space: bool = True) -> int:
        """The byte where the next value begins, or the present one."""
        if skip_space:
            self.peek()
        self.is_new = False
        return self._byte

    def skip(self, count: int) -> None:
        """Go behind characters that somebody else parsed."""
        self._at += count

    @property
    def _byte(self) -> int:
        """The present position in the file."""
        return self._bytes_before + len(self._text[: self._at].encode())

    def fail(self, message: str) -> NoReturn:
        """ValueError for the present position."""
        line = self._lines_before + self._text.count("\n", 0, self._at) + 1
        place = f"line {line}, byte {self._byte}"
        problem = f"not valid JSON ({message}: {place}); is the file complete?"
        raise ValueError(f"{self._source}: {problem}")

    def _fail_at(self, error: StopIteration | json.JSONDecodeError) -> NoReturn:
        is_value = isinstance(error, StopIteration)
        self._at = error.value if is_value else error.pos  # type: ignore[union-attr]
        self.fail("Expecting value" if is_value else error.msg)  # type: ignore[union-attr]

    def _is_cut(self, error: StopIteration | json.JSONDecodeError) -> bool:
        """Whether the end of the text, and not a mistake in it, may have caused an error."""
        if isinstance(error, StopIteration):
            return bool(error.value + _LONGEST_TOKEN >= len(self._text))
        unterminated = error.msg.startswith("Unterminated string")
        return unterminated or error.pos + _LONGEST_TOKEN >= len(self._text)

    def _fill(self) -> bool:
        """Drop what is parsed and read on; False at the end of the file."""
        if self._ended:
            return False
        rest = self._text[self._at :]
        block = self._file.read(max(_BLOCK, len(rest)))  # a long value is not scanned too often
        self._ended = not block
        new = self._decode(block, final=self._ended)
        if self._ended and not new:
            return False
        self._lines_before += self._text.count("\n", 0, self._at)
        self._bytes_before = self._byte
        self._text, self._at = rest + new, 0
        self.is_new = True
        return True

    def _refuse(self, constant: str) -> NoReturn:
        rest = self._text[self._at :].encode()
        refuse_constant(constant, rest, self._source, start=self._byte)
