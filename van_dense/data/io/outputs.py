"""Check that results can be written to a folder or file, before anything is computed for them."""

import os
from collections.abc import Iterable
from pathlib import Path


def require_folder(folder: Path) -> None:
    """Make sure that a folder is there or can be made, by whoever writes to it.

    It is a ValueError when it or a folder above it is a file, or must not be written to.
    """
    nearest = next(f for f in (folder, *folder.absolute().parents) if os.path.lexists(f))
    problem = None
    if not nearest.is_dir():
        problem = f"{nearest} is a file, no folder"
    elif not os.access(nearest, os.W_OK | os.X_OK):
        problem = f"nothing may be written to {nearest}"
    if problem is not None:
        raise ValueError(f"output {folder}: {problem}; name another folder")


def require_file(path: Path) -> None:
    """Make sure that a file can be written, as ``require_folder`` does for its folder."""
    if path.is_dir():
        raise ValueError(f"output {path} is a folder; name a file in it, or another one")
    require_folder(path.parent)


def require_free(paths: Iterable[Path], fix: str) -> None:
    """Make sure that nothing is replaced: FileExistsError, which ends in ``fix``, names a file."""
    for path in paths:
        if os.path.lexists(path):
            raise FileExistsError(f"{path} exists, and would be replaced; {fix}")
