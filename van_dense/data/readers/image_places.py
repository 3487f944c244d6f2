"""Where the images of an annotation file lie, and what is to be said about that.

Listing the folders of two million images takes longer than opening an index of their annotations.
So what was found is kept beside the index, and holds while the folders have the same times.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from van_dense.core.digest import digest_of
from van_dense.data.io.columns import (
    DamagedColumns,
    Stamp,
    Texts,
    is_settled,
    open_columns,
    publish,
    seal,
    stamp_of,
)
from van_dense.data.io.names import find_all_below, is_plain, spellings
from van_dense.data.readers.missing_images import missing_images


@dataclass(frozen=True)
class Places:
    """Files of some images."""

    paths: Texts | None  #: all files; None: below the folder, as they are written
    spelling: str | None  #: which names are spelled otherwise, in words, or None
    absent: str | None  #: which files are not there, in words, or None


def find_images(root: str | Path, names: Texts, index: Path | None) -> Places:
    """Find images below a folder by their names; the folder of an index keeps what was found."""
    if index is None:
        return _look(root, names.all())
    kept = index / f"images-{digest_of([str(root), os.path.abspath(root)])}"
    with suppress(FileNotFoundError, DamagedColumns):
        columns, facts, _ = open_columns(kept, {})
        if all(_stamp(path) == stamp for path, stamp in facts["folders"].items()):
            paths = Texts(columns["paths"], columns["ends"]) if columns else None
            return Places(paths, facts["spelling"], facts["absent"])
    written = names.all()
    folders = {path: _stamp(path) for path in _folders(str(root), written)}
    found = _look(root, written)
    facts = {"folders": folders, "spelling": found.spelling, "absent": found.absent}
    paths = found.paths
    columns = {} if paths is None else {"paths": paths.data, "ends": paths.ends}
    if all(not stamp or is_settled(stamp) for stamp in folders.values()):
        with suppress(OSError):  # as on read-only media
            publish(kept, lambda folder: seal(folder, columns, facts))
    return found


def _look(root: str | Path, names: Sequence[str]) -> Places:
    paths, spelling = find_all_below(root, names)
    absent = missing_images(str(root), paths)
    own = None if spelling is None else Texts.of(paths)
    return Places(own, spelling, None if absent is None else str(absent))


def _folders(root: str, names: Sequence[str]) -> set[str]:
    """Folders whose content says where the images lie."""
    forms = chain.from_iterable((n,) if is_plain(n) else spellings(n) for n in names)
    return {os.path.join(root, part) for part in set(map(os.path.dirname, forms))}


def _stamp(folder: str) -> Stamp:
    """Times of a folder, or nothing where there is none."""
    try:
        return stamp_of(folder)
    except OSError:
        return []
