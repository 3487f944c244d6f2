"""Find the image of an annotation file: by its stem, by the name the file states, any case."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection
from pathlib import Path, PurePosixPath, PureWindowsPath
from urllib.parse import unquote

from van_dense.data.io.walk import walk

_IMAGE_FOLDERS = {"jpegimages", "images", "image", "imgs", "img"}

_ANNOTATIONS = {".xml", ".json", ".txt"}  # files and lists beside the images


class ImageIndex:
    """Image files below a folder.

    Args:
        root: Folder; hidden files are left out.
    """

    def __init__(self, root: str | Path) -> None:
        self._root = Path(root)
        found = walk(root)
        self.paths = found.files
        #: what is not read there, in words, or None
        self.left_out = found.left_out(besides=_ANNOTATIONS)
        self._by_stem: dict[str, list[PurePosixPath]] = defaultdict(list)
        for path in map(PurePosixPath, self.paths):
            self._by_stem[path.stem.lower()].append(path)

    def find(self, annotation: PurePosixPath, stem: str, named: str) -> list[str]:
        """Images of a stem that lie nearest to an annotation file, as paths relative to the root.

        Several remain where their folder, the stated name and the case of letters tell nothing.

        Args:
            annotation: The annotation file, relative to the root.
            stem: Stem to look for, in any case.
            named: Name that the annotation file states, or "".
        """
        found = self._by_stem.get(stem.lower(), [])
        wishes: tuple[Callable[[PurePosixPath], bool], ...] = (
            lambda p: p.parent.name == annotation.parent.name or len(annotation.parts) < 3,
            lambda p: p.parent == annotation.parent,
            lambda p: p.parts[0] == annotation.parts[0] or len(annotation.parts) < 3,
            lambda p: bool({part.lower() for part in p.parts[:-1]} & _IMAGE_FOLDERS),
            lambda p: p.name == named,
            lambda p: p.name.lower() == named.lower(),
            lambda p: p.stem == stem,
        )
        for wish in wishes:
            if len(found) > 1:
                found = [path for path in found if wish(path)] or found
        return [str(path) for path in found]


def files_below(root: str | Path, suffixes: Collection[str]) -> list[str]:
    """Files of some suffixes in all depths, sorted paths relative to ``root``; hidden ones not."""
    return walk(root, suffixes=suffixes).files


def stated_name(value: str) -> str:
    """Name of a stated path, whatever the system that wrote it and whether it is URL-encoded."""
    name = PureWindowsPath(value.strip()).name  # takes both / and \
    return unquote(name) if "%" in name else name
