"""List the files below a folder, once and for all readers, and count what is left out and why."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from van_dense.core.counting import counted
from van_dense.data.io.suffixes import MISSING, SUFFIXES

# What file managers, network drives and notebooks write beside the files of their users.
_SYSTEM_FOLDERS = {
    "__macosx",
    "@eadir",
    "#recycle",
    "$recycle.bin",
    "system volume information",
    "lost+found",
}
_SYSTEM_FILES = {"thumbs.db", "ehthumbs.db", "desktop.ini"}
_SHOWN = 4  # suffixes in a message

_Key = tuple[int, int]  # device and number of a folder


@dataclass
class Found:
    """Files below a folder, and what was left out there.

    Attributes:
        files: Sorted paths relative to the folder, with "/".
        hidden: Hidden files, and those of operating systems.
        inside: Images in hidden folders and in those of systems, by the name of the folder.
        others: Files of other kinds, by their suffix in lower case.
        links: Links to folders that are read already, or that lead to nothing.
        closed: Folders that cannot be opened.
    """

    files: list[str] = field(default_factory=list)
    hidden: list[str] = field(default_factory=list)
    inside: Counter[str] = field(default_factory=Counter)
    others: Counter[str] = field(default_factory=Counter)
    links: list[str] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)

    def left_out(self, besides: Collection[str] = ()) -> str | None:
        """What was left out in words, with the counts, or None; files ``besides`` are expected."""
        others = {suffix: n for suffix, n in self.others.items() if suffix not in besides}
        needed = {suffix: n for suffix, n in others.items() if suffix in MISSING}
        plain = Counter({suffix: n for suffix, n in others.items() if suffix not in MISSING})
        parts = []
        if self.hidden:
            parts.append(f"{counted(len(self.hidden), 'hidden file')} ({self.hidden[0]})")
        if self.inside:
            number = counted(self.inside.total(), "image")
            parts.append(f"{number} in hidden or system folders ({', '.join(self.inside)})")
        for suffix, n in needed.items():
            parts.append(f"{counted(n, f'{suffix} file')}, for which {MISSING[suffix]} is missing")
        if plain:
            kinds = [suffix or "no suffix" for suffix, _ in plain.most_common(_SHOWN)]
            dots = ", ..." if len(plain) > _SHOWN else ""
            number = counted(plain.total(), "file")
            parts.append(f"{number} of other kinds ({', '.join(kinds)}{dots})")
        if self.links:
            number = counted(len(self.links), "linked folder")
            parts.append(f"{number} read already or leading nowhere ({self.links[0]})")
        if self.closed:
            parts.append(
                f"{counted(len(self.closed), 'folder')} that cannot be opened ({self.closed[0]})"
            )
        return f"left out: {', '.join(parts)}" if parts else None

    def add_inside(self, name: str, path: str, suffixes: Collection[str] = SUFFIXES) -> None:
        """Count the images of a hidden or system folder, where it holds some."""
        if number := _count_images(path, suffixes):
            self.inside[name] += number

    def add(self, other: Found) -> None:
        """Join what was found in another folder."""
        self.files += other.files
        self.hidden += other.hidden
        self.links += other.links
        self.closed += other.closed
        self.inside += other.inside
        self.others += other.others


def walk(root: str | Path, folder: str = "", suffixes: Collection[str] = SUFFIXES) -> Found:
    """Find the files of some suffixes below a folder of ``root``, in all depths.

    Hidden files and folders (``._a.jpg``, ``.ipynb_checkpoints``) and those of operating systems
    (``__MACOSX``, ``@eaDir``, ``Thumbs.db``) are left out. Links to folders are followed, and each
    folder is read once. Suffixes count in any case. Links to files that are gone are listed, since
    reading them says what is wrong. A folder that is not there holds nothing.
    """
    start = os.path.join(root, folder)
    found = Found()
    if not os.path.isdir(start):
        return found
    real = os.path.realpath(start)
    seen = {key for path in Path(real).parents if (key := _key(str(path))) is not None}
    folders, links = [folder], list[str]()
    while folders or links:
        is_link = not folders  # real folders first, so that files keep their plain names
        inner = links.pop(0) if is_link else folders.pop()
        key = _key(os.path.join(root, inner))
        if key is None or key in seen:
            found.links.append(inner)
            continue
        seen.add(key)
        _list(str(root), inner, suffixes, found, folders, links)
    found.files.sort()
    return found


def is_left_out(name: str) -> bool:
    """Whether a file or folder is left out for its name, as hidden or of an operating system."""
    return name.startswith(".") or name.lower() in _SYSTEM_FOLDERS | _SYSTEM_FILES


def _list(
    root: str,
    inner: str,
    suffixes: Collection[str],
    found: Found,
    folders: list[str],
    links: list[str],
) -> None:
    """List one folder; the folders inside of it are added to two lists."""
    for entry in _entries(os.path.join(root, inner), inner, found):
        path = f"{inner}/{entry.name}" if inner else entry.name
        if entry.is_dir():
            if is_left_out(entry.name):
                found.add_inside(entry.name, entry.path, suffixes)
            else:
                (links if entry.is_symlink() else folders).append(path)
        elif is_left_out(entry.name):
            found.hidden.append(path)
        elif (suffix := os.path.splitext(entry.name)[1].lower()) not in suffixes:
            found.others[suffix] += 1
        elif entry.is_file() or entry.is_symlink():  # no pipe or socket, which would not end
            found.files.append(path)


def _entries(path: str, inner: str, found: Found) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(path) as entries:
            yield from sorted(entries, key=lambda entry: entry.name)
    except NotADirectoryError:
        return
    except OSError:
        found.closed.append(inner or path)


def _count_images(folder: str, suffixes: Collection[str]) -> int:
    return sum(
        os.path.splitext(name)[1].lower() in suffixes
        for _, _, names in os.walk(folder)
        for name in names
    )


def _key(path: str) -> _Key | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino
