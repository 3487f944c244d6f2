"""Images that records name and that are not there, or cannot be read, in one sentence."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import PureWindowsPath

from van_dense.data.messages import CHECK, Fault
from van_dense.data.readers.annotation_columns import ImageRecord


def missing_images(root: str, paths: Sequence[str]) -> Fault | None:
    """Say how many paths do not exist, and which file below ``root`` may be meant by the first.

    Folders are listed once each, which is faster than a question for each file.
    """
    names: dict[str, list[str]] = defaultdict(list)
    for path in paths:
        names[os.path.dirname(path)].append(path)
    missing: list[str] = []
    for folder, files in names.items():
        there = _listing(folder)
        # A file system that ignores case finds more than is listed.
        missing += [f for f in files if os.path.basename(f) not in there and not os.path.exists(f)]
    if not missing:
        return None
    fix = "give the folder that the file names start from"
    if len(missing) < len(paths):
        fix = "restore the files, or leave their records out with a quarantine list"
    if (twin := _twin(root, missing[0])) is not None:
        fix = f"is {twin} meant? Correct the file names, or {fix}"
    what = f"{len(missing)} of {len(paths)} images are not there, such as {missing[0]}"
    return Fault(what, fix)


def unreadable_images(images: Sequence[ImageRecord]) -> str | None:
    """Say how many images have no size, since their headers were read in vain."""
    paths = [image.path for image in images if image.size == (0, 0)]
    if not paths:
        return None
    return f"{len(paths)} of {len(images)} images cannot be read, such as {paths[0]}; {CHECK}"


def _listing(folder: str) -> set[str]:
    try:
        return set(os.listdir(folder or "."))
    except OSError:
        return set()


def _twin(root: str, path: str) -> str | None:
    """The file in a folder whose name differs from that of a path in case or suffix at most."""
    name = PureWindowsPath(path).name
    listed = sorted(_listing(root))
    alike = [one for one in listed if one == name]
    alike += [one for one in listed if one.casefold() == name.casefold()]
    stem = os.path.splitext(name)[0].casefold()
    alike += [one for one in listed if os.path.splitext(one)[0].casefold() == stem]
    return os.path.join(root, alike[0]) if alike else None
