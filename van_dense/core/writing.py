"""Errors of writing, such as on a full disk, in words that name what could not be written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def writing(path: str | Path, *, keep: bool = False) -> Iterator[None]:
    """Name a file, or a folder that several go to, where the system only says that it is full.

    What was written of a file so far is removed, since half a file keeps a disk full and misleads;
    ``keep`` keeps it, where it is appended to. Errors that name a file of their own stay as they
    are.
    """
    try:
        yield
    except (OSError, RuntimeError) as error:
        reason = reason_of_system(error)
        if reason is None:
            raise
        if not keep and Path(path).is_file():
            Path(path).unlink()
        raise OSError(f"{path} cannot be written: {reason}") from error


def reason_of_system(error: BaseException | None) -> str | None:
    """Words of the system for an error without a file, which PyTorch's may hide; else None."""
    while error is not None:
        if isinstance(error, OSError):
            return None if error.filename is not None else error.strerror
        error = error.__cause__ or error.__context__
    return None
