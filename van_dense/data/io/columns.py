"""Columns of numbers in a folder of NumPy files: written piece by piece, mapped into memory.

Such a folder holds ``NAME.npy`` for each column, and ``index.json`` with their kinds, checksums and
some facts. It never changes once it has its name, so that any number of processes may share it.
Nothing is unpickled.
"""

from __future__ import annotations

import json
import os
import shutil
import time
import uuid
import zlib
from array import array
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import accumulate, chain, pairwise
from pathlib import Path
from typing import IO, Any

import numpy as np

_MANIFEST = "index.json"
_CODES = {"f4": "f", "f8": "d", "i4": "i", "i8": "q", "u1": "B", "?": "b"}  # of module array
_ENCODING = "utf-8", "surrogatepass"  # names of files may hold what is no text
_SPILL = 1 << 16  # values that stay in memory before they go to a file
_STEP = 2 * 10**9  # nanoseconds
TEMPORARY = "tmp-"  # begins the names of folders that are being filled

Stamp = list[int]


class DamagedColumns(ValueError):
    """A folder of columns is not what was written."""


class Column:
    """A column that grows, in memory or into a file of rows.

    Args:
        kind: NumPy's name of the numbers, such as "f4".
        row: Shape of one row.
        file: File to write to, or None to keep all in memory.

    Attributes:
        values: Where numbers are appended, row after row.
    """

    def __init__(self, kind: str, row: tuple[int, ...] = (), file: Path | None = None) -> None:
        self.values: array[Any] = array(_CODES[kind])
        self._kind, self._row, self._path = np.dtype(kind), row, file
        self._spilled = self._start = 0  # numbers in the file, and where its rows begin
        self._file: IO[bytes] | None = None
        if file is not None:
            self._file = file.open("wb")
            self._header()

    def __len__(self) -> int:
        return self._spilled + len(self.values)

    def spill(self, least: int = _SPILL) -> None:
        """Write what is in memory, where there is a file and so many numbers are there."""
        if self._file is None or len(self.values) < least:
            return
        self._file.write(self.values)
        self._spilled += len(self.values)
        del self.values[:]

    def close(self) -> np.ndarray:
        """The whole column, mapped from its file or in memory."""
        if self._file is None or self._path is None:
            return np.asarray(self.values).view(self._kind).reshape(-1, *self._row)
        with self._file as file:
            self.spill(least=1)
            self._header()
            file.flush()
            os.fsync(file.fileno())
        return _mapped(self._path)

    def _header(self) -> None:
        assert self._file is not None
        rows = self._spilled // int(np.prod(self._row, dtype=int))
        self._file.seek(0)
        head = {"descr": self._kind.str, "fortran_order": False, "shape": (rows, *self._row)}
        write: Any = np.lib.format.write_array_header_1_0  # its spaces leave room to grow
        write(self._file, head)
        assert self._file.tell() == (self._start or self._file.tell())
        self._start = self._file.tell()


@dataclass(frozen=True)
class Texts:
    """Texts in two columns, since a million of Python's would be copied into every process.

    Attributes:
        data: Bytes of all texts, uint8 (bytes,).
        ends: Where each text ends, and 0 before the first, int64 (N + 1,).
    """

    data: np.ndarray
    ends: np.ndarray

    @staticmethod
    def of(texts: Iterable[str]) -> Texts:
        """Put texts into columns."""
        encoded = [text.encode(*_ENCODING) for text in texts]
        ends = np.fromiter(accumulate(chain((0,), map(len, encoded))), dtype=np.int64)
        return Texts(np.frombuffer(b"".join(encoded), dtype=np.uint8), ends)

    def __len__(self) -> int:
        return len(self.ends) - 1

    def __getitem__(self, index: int) -> str:
        start, end = self.ends[index : index + 2]
        return self.data[start:end].tobytes().decode(*_ENCODING)

    def all(self) -> list[str]:
        """Every text."""
        data = self.data.tobytes()
        return [data[start:end].decode(*_ENCODING) for start, end in pairwise(self.ends.tolist())]


def stamp_of(path: str | Path) -> Stamp:
    """Size and times of a file or folder, which differ whenever its content has been changed."""
    status = os.stat(path)
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def is_settled(stamp: Stamp) -> bool:
    """Whether a later change would show: file systems count time in steps of up to two seconds."""
    return time.time_ns() - stamp[1] > _STEP


def publish(folder: Path, write: Callable[[Path], None]) -> None:
    """Fill a temporary folder and give it its name, so that others see all of it or nothing.

    What had this name is removed. An OSError says what could not be written.
    """
    temporary = folder.with_name(f"{TEMPORARY}{folder.name}-{uuid.uuid4().hex[:8]}")
    temporary.mkdir()
    try:
        write(temporary)
        if folder.exists():
            os.rename(folder, before := temporary.with_name(f"{temporary.name}-before"))
            shutil.rmtree(before, ignore_errors=True)
        os.rename(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def seal(folder: Path, columns: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> None:
    """Complete a folder: write the columns that have no file yet, and the manifest.

    Args:
        folder: Where some of the columns may have been written.
        columns: All columns by name.
        facts: Whatever JSON can hold.
    """
    described = {}
    for name, column in columns.items():
        if not (path := folder / f"{name}.npy").exists():
            with path.open("wb") as file:
                np.save(file, column, allow_pickle=False)
                file.flush()
                os.fsync(file.fileno())
        shape = list(column.shape)
        described[name] = {"kind": column.dtype.str, "shape": shape, "crc": _crc(column)}
    content = [described, facts]
    text = json.dumps({"content": content, "crc": zlib.crc32(_canonical(content))})
    (folder / _MANIFEST).write_text(text, encoding="utf-8")


def open_columns(
    folder: Path, known: Mapping[str, Stamp] | None
) -> tuple[dict[str, np.ndarray], dict[str, Any], dict[str, Stamp]]:
    """Map the columns of a folder into memory, read-only.

    Args:
        folder: A folder that ``seal`` completed.
        known: Stamps of its files as they were when their checksums were right; where they differ,
            the checksum is computed again, which reads the file. None trusts all files.

    Returns:
        The columns, the facts, and the stamps of all files.

    Raises:
        FileNotFoundError: When there is no such folder.
        DamagedColumns: When a file is missing, cut, or has another content.
    """
    manifest = (folder / _MANIFEST).read_bytes()
    stamps = {_MANIFEST: stamp_of(folder / _MANIFEST)}
    try:
        document = json.loads(manifest)
        described, facts = content = document["content"]
        if zlib.crc32(_canonical(content)) != document["crc"]:
            raise DamagedColumns(f"{_MANIFEST} has another checksum")
        columns = {}
        for name, entry in described.items():
            path = folder / f"{name}.npy"
            stamps[path.name] = stamp_of(path)
            column = columns[name] = _mapped(path)
            if [column.dtype.str, list(column.shape)] != [entry["kind"], entry["shape"]]:
                raise DamagedColumns(f"{path.name} has another shape")
            changed = known is not None and known.get(path.name) != stamps[path.name]
            if changed and _crc(column) != entry["crc"]:
                raise DamagedColumns(f"{path.name} has another checksum")
    except DamagedColumns:
        raise
    except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedColumns(f"{type(error).__name__}: {error}") from None
    return columns, facts, stamps


def _mapped(path: Path) -> np.ndarray:
    return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))


def _crc(column: np.ndarray) -> int:
    return zlib.crc32(np.ascontiguousarray(column).reshape(-1).view(np.uint8).data)


def _canonical(content: Any) -> bytes:
    return json.dumps(content, sort_keys=True).encode()
