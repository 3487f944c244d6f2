"""One process at a time works in a folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


_held: set[IO[str]] = set()


def _leave_to_parent() -> None:
    """Close the locks in a child: loader processes may outlive a killed run by seconds."""
    while _held:
        _held.pop().close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_parent)


class RunLock:
    """Context in which a folder belongs to this process; ValueError where another has it.

    The system frees the lock when the process ends, however it ends. Does nothing where ``enabled``
    is false (all ranks but 0), and on systems without such locks.
    """

    def __init__(self, run_dir: Path, *, enabled: bool) -> None:
        self._path = run_dir / ".lock" if enabled and fcntl is not None else None
        self._file: IO[str] | None = None

    def __enter__(self) -> RunLock:
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(self._path, "a+", encoding="utf-8")
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._file.seek(0)
                owner = self._file.read().strip() or "unknown"
                self._file.close()
                raise ValueError(
                    f"{self._path.parent}: another process works there (process {owner}); wait "
                    "until it ends, or choose another --output"
                ) from None
            except OSError:  # a file system without locks
                return self
            _held.add(self._file)
            self._file.truncate(0)
            self._file.write(str(os.getpid()))
            self._file.flush()
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            _held.discard(self._file)
            self._file.close()
