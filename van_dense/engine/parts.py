"""What the processes of a job have finished, on a disk that they share, until the job is done.

A folder holds ``job.json``, which says what the job is, and one file ``part_00000`` for each
process, to which it appends the result of each item, numbered from 0, once everything else of the
item is written. A job that was killed goes on from these files, in as many processes as one likes.
A record is a header of item, length and CRC-32 of both and the bytes, and its bytes; what follows
the last whole one is cut off.
"""

from __future__ import annotations

import json
import os
import shutil
import struct
import time
import zlib
from collections.abc import Iterator, Mapping
from io import BufferedWriter
from pathlib import Path
from typing import Any

import numpy as np

from van_dense.config.load import leaves
from van_dense.core.counting import counted
from van_dense.core.parse import parse_json
from van_dense.core.writing import write_whole

UNFINISHED = ".unfinished"  # the folder inside of that of the results
_HEADER = struct.Struct("<qII")
_JOB = "job.json"
_SYNC_SECONDS = 2.0  # a machine that loses power forgets no more; a killed process forgets nothing
_SHOWN = 5  # differences in a message


class Parts:
    """The parts of a job in a folder.

    >>> import tempfile
    >>> parts = Parts(Path(tempfile.mkdtemp()) / UNFINISHED)
    >>> parts.begin({"run": "runs/a"}, resume=False)
    >>> with parts.writer(rank=0) as writer:
    ...     writer.add(1, b"second")
    ...     writer.add(0, b"first")
    >>> [*parts.finished(3)], [*parts.read(3)]
    ([1, 1, 0], [(0, b'first'), (1, b'second')])
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def is_begun(self) -> bool:
        """Whether there is a job to continue."""
        return (self.folder / _JOB).is_file()

    def begin(self, job: Mapping[str, Any], *, resume: bool) -> None:
        """Say what the job is, or with ``resume`` make sure that it is the one that was begun.

        Args:
            job: What decides about its results, in plain data. Where there is no job yet, resuming
                begins one.
            resume: Whether to continue.

        Raises:
            ValueError: Without ``resume`` where a job was begun, or when it was another one; the
                message names what differs.
        """
        where, job = self.folder.parent, json.loads(json.dumps(dict(job)))
        if self.is_begun:
            if not resume:
                raise ValueError(
                    f"{where} holds a job that has not ended; continue it with --resume, or name "
                    "another folder with --output"
                )
            before = parse_json((self.folder / _JOB).read_bytes(), str(self.folder / _JOB))
            if found := differences(before, job):
                raise ValueError(
                    f"{where} cannot be continued, since this is another job: {found}; give what "
                    "it began with, or name another folder with --output"
                )
        else:
            shutil.rmtree(self.folder, ignore_errors=True)  # of a job whose removal was interrupted
            self.folder.mkdir(parents=True)
            write_whole(self.folder / _JOB, json.dumps(job, indent=1))

    def finished(self, total: int) -> bytearray:
        """Of ``total`` items, 1 for those that are done and 0 for the others.

        Other processes may append meanwhile: what they do is not due to this one.
        """
        done = bytearray(total)
        for path in self._files():
            for item, _, _ in _records(path):
                done[item] = 1
        return done

    def writer(self, rank: int) -> PartWriter:
        """Where the process ``rank`` appends; nobody else may."""
        return PartWriter(self.folder / f"part_{rank:05d}")

    def read(self, total: int) -> Iterator[tuple[int, bytes]]:
        """What is there of ``total`` items, in their order; memory holds one at a time."""
        files = self._files()
        which, where = np.full(total, -1, np.int32), np.zeros(total, np.int64)
        for number, path in enumerate(files):
            for item, _, start in _records(path):
                which[item], where[item] = number, start
        opened = [path.open("rb") for path in files]
        try:
            for item in np.flatnonzero(which >= 0).tolist():
                file = opened[which[item]]
                file.seek(where[item])
                _, length, _ = _HEADER.unpack(file.read(_HEADER.size))
                yield item, file.read(length)
        finally:
            for file in opened:
                file.close()

    def remove(self) -> None:
        """Forget the job; whenever this is interrupted, the folder is whole or no job any more."""
        (self.folder / _JOB).unlink(missing_ok=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob("part_*"))


class PartWriter:
    """Context that appends results to the part of one process, after its last whole record."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BufferedWriter | None = None
        self._synced = time.monotonic()

    def add(self, item: int, data: bytes) -> None:
        """Record that an item is done; ``data`` is not empty. A killed process forgets nothing."""
        assert self._file is not None and data
        self._file.write(_HEADER.pack(item, len(data), _crc(item, data)) + data)
        self._file.flush()
        if time.monotonic() - self._synced > _SYNC_SECONDS:
            os.fsync(self._file.fileno())
            self._synced = time.monotonic()

    def __enter__(self) -> PartWriter:
        end = 0
        for _, data, start in _records(self._path):
            end = start + _HEADER.size + len(data)
        self._file = self._path.open("ab")
        self._file.truncate(end)
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            os.fsync(self._file.fileno())  # which shows it to other machines, too
            self._file.close()


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """What differs between two jobs, in words; empty where they are the same."""
    old, new = dict(leaves(before)), dict(leaves(now))
    keys = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    shown = [f"{key} was {old.get(key)!r} and is {new.get(key)!r}" for key in keys[:_SHOWN]]
    if len(keys) > _SHOWN:
        shown.append(counted(len(keys) - _SHOWN, "more difference"))
    return ", ".join(shown)


def _crc(item: int, data: bytes) -> int:
    """Of the header, too: a changed number would give an item the result of another one."""
    return zlib.crc32(data, zlib.crc32(struct.pack("<qI", item, len(data))))


def _records(path: Path) -> Iterator[tuple[int, bytes, int]]:
    """Items, their bytes, and where their records start, up to the first that is not whole."""
    if not path.exists():
        return
    with path.open("rb") as file:
        start = 0
        while len(header := file.read(_HEADER.size)) == _HEADER.size:
            item, length, crc = _HEADER.unpack(header)
            data = file.read(length)
            if not data or len(data) < length or _crc(item, data) != crc:
                return
            yield item, data, start
            start += len(header) + length
