"""Files that are whole or not there, and errors that name what could not be written."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
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


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path`` that takes its place when the block succeeds.

    Whenever the process is killed, ``path`` is the old file or the new one. Against power loss the
    block calls ``os.fsync`` on the file that it wrote. A symbolic link is replaced itself, and not
    the file behind it; anything else that is no regular file is an OSError and stays. Errors of the
    system name ``path`` instead of the temporary one.
    """
    check_replaceable(path)
    temporary = path.with_name(f".{path.name}.tmp")  # of a name that no reader of a run looks for
    try:
        temporary.unlink(missing_ok=True)
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        if str(error.filename) != str(temporary):
            raise
        raise OSError(f"{path} cannot be written: {error.strerror}") from error
    finally:  # half a file keeps a disk full; replacing a link by another of its file does nothing
        with suppress(OSError):  # of a folder that is none or read-only, as the first error says
            temporary.unlink(missing_ok=True)
    if os.name == "posix":  # the new name itself reaches the disk with its folder
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def check_replaceable(path: Path) -> None:
    """OSError for what is there and no regular file, such as a folder or a device."""
    if path.exists() and not path.is_file() and not path.is_symlink():
        raise OSError(f"{path} is no regular file, and is not replaced; remove it, or rename it")


def write_whole(path: Path, text: str) -> None:
    """Replace a text file, so that ``path`` holds the old text or the new, even after power loss.

    Of a symbolic link the file behind it is replaced. An OSError names the file, also for what is
    there and no regular file, such as a folder or a device.
    """
    with (
        writing(path, keep=True),
        replacing(Path(os.path.realpath(path))) as temporary,
        open(temporary, "w", encoding="utf-8") as file,
    ):
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def reason_of_system(error: BaseException | None) -> str | None:
    """Words of the system for an error without a file, which PyTorch's may hide; else None."""
    while error is not None:
        if isinstance(error, OSError):
            return None if error.filename is not None else error.strerror
        error = error.__cause__ or error.__context__
    return None
