"""The index of large annotations: what a reader read of them once, mapped by all processes.

It holds the result of reading, ``AnnotationColumns`` and the facts that notes are made of, so that
a reader says and gives the same with it and without. ``.NAME.index`` beside the annotation file, or
a folder of the cache where that cannot be written, holds for each kind of reading

- ``KIND-CONTENT/``: an index, see ``columns.py``; CONTENT is a hash of the annotations, of the
  source code that reads them, and of the quarantine list,
- ``KIND.json``: which one is that of the present annotation file, by its size and times, so that
  nothing needs to be hashed; where these differ, the hash decides, and
- ``KIND.lock``: held by the process that builds, while others wait.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from filelock import FileLock, Timeout

from van_dense.core.digest import digest_of
from van_dense.core.paths import cache_folder
from van_dense.core.writing import write_whole
from van_dense.data.io.columns import (
    TEMPORARY,
    DamagedColumns,
    Stamp,
    is_settled,
    open_columns,
    publish,
    seal,
)
from van_dense.data.readers.annotation_columns import AnnotationColumns

logger = logging.getLogger(__name__)

IndexUse = Literal["auto", "never", "always"]

_NO_POINTER: dict[str, Any] = {"stamp": None, "rest": "", "name": "", "files": {}}
LARGE = 1 << 26  # bytes of annotations from which "auto" means always: COCO's train2017 has 2^29
_LEFTOVER = 24 * 3600  # seconds after which nobody fills a temporary folder any more

Arrays = Mapping[str, np.ndarray]
Facts = dict[str, Any]


@dataclass(frozen=True)
class Source:
    """What an index is made of."""

    file: Path  #: annotation file, beside which the index lies
    reads: Mapping[str, Any]  #: kind of reading: each has an index of its own
    state: Any  #: what the result depends on beside the annotations, such as a quarantine list
    stamp: Stamp  #: of the annotations, see ``stamp_of``
    restamp: Callable[[], Stamp]  #: takes it again
    content: Callable[[], str]  #: hash of the annotations

    @cached_property
    def kind(self) -> str:
        """Name of the kind of reading."""
        return digest_of(self.reads)[:8]

    @cached_property
    def name(self) -> str:
        """Name of the index, from the hash of the content."""
        return f"{self.kind}-{digest_of([self.rest, self.content()])[:24]}"

    @cached_property
    def rest(self) -> str:
        """Hash of everything but the annotations."""
        return digest_of([_version(), self.state])


@dataclass(frozen=True)
class Index:
    """An open index."""

    columns: AnnotationColumns
    facts: Facts
    note: str  #: where it is, and whether it was built just now

    @property
    def folder(self) -> Path:
        """Where it is."""
        assert self.columns.folder is not None  # it is mapped
        return self.columns.folder


def is_wanted(use: IndexUse, file: Path, num_bytes: int) -> bool:
    """Whether annotations of some size are to have an index; without a file there is none."""
    return file.is_file() and (use == "always" or (use == "auto" and num_bytes >= LARGE))


def open_index(source: Source, build: Callable[[Path], tuple[Arrays, Facts]]) -> Index | None:
    """Open the index of some annotations, after building it where there is none.

    Processes that start together wait for the one that builds. Nothing is written where it can be
    used as it is.

    Args:
        source: What it is made of.
        build: Reads the annotations and gives columns and facts; large columns are written to
            files in a folder. Its errors are raised, and leave no index behind.

    Returns:
        The index, or None, with a warning, where it can be written nowhere.
    """
    homes = [source.file.parent / f".{source.file.name}.index"]
    homes.append(cache_folder() / "index" / digest_of(os.path.abspath(source.file)))
    for home in homes:
        if (found := _find(home, source)) is not None:
            return found
    reason: Exception | None = None
    for home in homes:
        try:
            home.mkdir(parents=True, exist_ok=True)
            with _locked(home / f"{source.kind}.lock"):
                return _find(home, source) or _build(home, source, build)
        except (OSError, NotImplementedError) as error:  # read-only, full, or without locks
            reason = error
    logger.warning("%s: no index can be written: %s; its text is read instead", source.file, reason)
    return None


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        logger.info("waiting for another process that builds an index in %s", path.parent)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _find(home: Path, source: Source) -> Index | None:
    """The index of the present annotations in a folder, or None."""
    if not any(_indices(home, source)):
        return None  # nothing is hashed in vain
    pointer = _read_pointer(home / f"{source.kind}.json")
    is_same = pointer["stamp"] == source.stamp and pointer["rest"] == source.rest
    folder = home / (pointer["name"] if is_same else source.name)
    try:
        arrays, facts, files = open_columns(folder, pointer["files"])
    except FileNotFoundError:
        return None
    except DamagedColumns as error:
        logger.warning("the index %s is damaged, and is built anew: %s", folder, error)
        return None
    if not is_same or files != pointer["files"]:
        _write_pointer(home, source, files)
    return Index(AnnotationColumns.of(arrays, folder), facts, f"{folder}, used as it is")


def _build(home: Path, source: Source, build: Callable[[Path], tuple[Arrays, Facts]]) -> Index:
    logger.info("%s: building an index in %s, once", source.file, home)
    began, folder = time.perf_counter(), home / source.name
    for leftover in home.glob(f"{TEMPORARY}{source.kind}-*"):
        if time.time() - leftover.stat().st_mtime > _LEFTOVER:
            shutil.rmtree(leftover, ignore_errors=True)
    publish(folder, lambda temporary: seal(temporary, *build(temporary)))
    if source.restamp() != source.stamp:
        shutil.rmtree(folder)
        raise ValueError(f"{source.file}: it changed while it was read; start again")
    for other in _indices(home, source):
        if other != folder:  # of another content; whoever uses it keeps its files
            shutil.rmtree(other, ignore_errors=True)
    arrays, facts, files = open_columns(folder, None)
    _write_pointer(home, source, files)
    size = sum(file[0] for file in files.values())
    note = f"{folder}, built in {time.perf_counter() - began:.0f} s, {size / 1e6:.0f} MB"
    return Index(AnnotationColumns.of(arrays, folder), facts, note)


def _indices(home: Path, source: Source) -> list[Path]:
    return list(home.glob(f"{source.kind}-*"))


def _read_pointer(path: Path) -> dict[str, Any]:
    """What a pointer says, and an empty one where there is none."""
    with suppress(OSError, ValueError, TypeError, AttributeError):
        pointer = json.loads(path.read_bytes())
        is_whole = pointer.keys() == _NO_POINTER.keys() and isinstance(pointer["files"], dict)
        if is_whole and pointer["name"] == os.path.basename(pointer["name"]):
            return pointer
    return _NO_POINTER


def _write_pointer(home: Path, source: Source, files: Mapping[str, Stamp]) -> None:
    """Say which index belongs to annotations of a stamp, where a later change would show in it."""
    known = source.stamp if is_settled(source.stamp) else None
    pointer = {"stamp": known, "rest": source.rest, "name": source.name, "files": files}
    with suppress(OSError):  # as on read-only media
        write_whole(home / f"{source.kind}.json", json.dumps(pointer))


@cache
def _version() -> str:
    """Hash of the source code of the readers and of what they use, so that nobody raises a number.

    Of a package without its source it is that of nothing.
    """
    package = Path(__file__).parents[2]
    files = sorted(package.glob("core/*.py")) + sorted(package.glob("data/**/*.py"))
    return digest_of([[file.name, file.read_text(encoding="utf-8")] for file in files])
