"""What may be looked at: files, folders, patterns, arrays and Pillow images, and how each is read.

Legend: a *source* is one image: a path, a uint8 (H, W, 3) RGB array, or a Pillow image.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from van_dense.data.dataset import ReadError
from van_dense.data.io.image import SUFFIXES, from_pillow, image_size, read_image

Source = Path | np.ndarray | Image.Image
Given = str | Path | np.ndarray | Image.Image
VIDEO_SUFFIXES = {".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wmv"}
_PATTERN = "*?["


def named_sources(given: Given | Iterable[Given]) -> Iterator[tuple[str, Source]]:
    """Take folders and patterns apart, one after the other; what is no path stays as it is.

    Yields:
        What to call the results of a source (see ``OutputNames``), and the source. Files of a
        folder or a pattern keep their subfolders; ``image 3`` stands for what has no path.

    Raises:
        ValueError: When a folder or a pattern holds no image.
        TypeError: For something that is no source.
    """
    names, index = OutputNames(), 0
    given = given if isinstance(given, Iterable) and not isinstance(given, Given) else [given]
    for one in given:
        found: Sequence[Source]
        root: Path | None
        if isinstance(one, str | Path):
            found, root = find_files(one), root_of(one)
        elif isinstance(one, np.ndarray | Image.Image):
            found, root = [one], None
        else:
            raise TypeError(
                f"{type(one).__name__} is no image; give a path, folder, pattern, RGB array or "
                "Pillow image, or several of them"
            )
        for source in found:
            path = Path(source_name(source, index))
            yield names.add(path, root or _absolute(path).parent), source
            index += 1


def find_sources(
    sources: Sequence[str], suffixes: Collection[str] = SUFFIXES | VIDEO_SUFFIXES
) -> dict[Path, str]:
    """Images and videos of files, folders and patterns, with the names of what is written.

    Args:
        sources: As ``find_files`` takes them.
        suffixes: Of the files to take from folders and patterns.

    Raises:
        ValueError: When a source does not exist, or holds no such file.
    """
    roots: dict[Path, Path] = {}
    seen: set[str] = set()  # a file that two sources name counts once, however they spell it
    for source in sources:
        for path in find_files(source, suffixes):
            if (place := os.path.abspath(path)) not in seen:
                seen.add(place)
                roots[path] = root_of(source)
    for path in roots:
        if not path.exists():
            raise ValueError(f"{path}: no such file or folder")
    names: dict[Path, str] = {}
    for wanted in (False, True):  # videos lie apart, so they are named apart
        files = [path for path in roots if is_video(path) == wanted]
        names |= zip(files, output_names(files, [roots[path] for path in files]), strict=True)
    return names


def find_files(given: str | Path, suffixes: Collection[str] = SUFFIXES) -> list[Path]:
    """Files of a folder in all depths or of a pattern, in order; any other path is one file.

    Args:
        given: Folder, pattern such as ``photos/**/*.jpg``, or file, which need not exist. Folders
            that are named like a file are no files.
        suffixes: Of the files to take from folders and patterns, in lower case.

    Raises:
        ValueError: When a folder or a pattern holds no such file.
    """
    path = Path(given)
    if path.is_dir():
        matches: Iterable[Path] = path.rglob("*")
    elif is_pattern(path):
        matches = map(Path, glob.glob(str(path), recursive=True))
    else:
        return [path]
    found = [file for file in matches if file.suffix.lower() in suffixes and file.is_file()]
    if not found:
        what = "folder" if path.is_dir() else "pattern"
        raise ValueError(f"{given}: nothing to read in this {what} ({', '.join(sorted(suffixes))})")
    return sorted(found)


def is_video(path: Path) -> bool:
    """Whether a file is called like a video."""
    return path.suffix.lower() in VIDEO_SUFFIXES


def is_pattern(path: Path) -> bool:
    """Whether a path has wildcards; a file whose name holds some is a file."""
    return any(letter in str(path) for letter in _PATTERN) and not path.exists()


def root_of(given: str | Path) -> Path:
    """Absolute folder that the files of a folder, pattern or file lie in, in some depth."""
    path = Path(given)
    if path.is_dir():
        return _absolute(path)
    if is_pattern(path):
        while any(letter in str(path) for letter in _PATTERN):
            path = path.parent
        return _absolute(path)
    return _absolute(path).parent


def _absolute(path: Path) -> Path:
    """Without ``..``, which would lead names out of the folder that is written to."""
    return Path(os.path.abspath(path))


class OutputNames:
    """Names of what is written for files: without suffix, each given once whatever its case.

    ``a.jpg`` and then ``a.png`` of one folder become ``a`` and ``a_2``. The order of the files
    decides, so the same files get the same names again.
    """

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def add(self, path: Path, root: Path) -> str:
        """Name of a file relative to an absolute folder; just its own where it lies elsewhere."""
        path = _absolute(path)
        inside = path.relative_to(root) if path.is_relative_to(root) else Path(path.name)
        plain = inside.with_suffix("").as_posix()
        name, count = plain, 1
        while name.lower() in self._taken:
            count += 1
            name = f"{plain}_{count}"
        self._taken.add(name.lower())
        return name


def output_names(files: Sequence[Path], roots: Sequence[Path]) -> list[str]:
    """Names of ``OutputNames`` that keep subfolders.

    They are relative to what all roots have in common, so files of two folders stay apart.

    Args:
        files: To be read.
        roots: Absolute folder that each was found in; see ``root_of``.
    """
    common = Path(os.path.commonpath([_absolute(root) for root in roots])) if roots else Path()
    names = OutputNames()
    return [names.add(path, common) for path in files]


def source_name(source: Source, index: int) -> str:
    """Path of a file, also of an opened Pillow image; "image 3" where there is none."""
    if isinstance(source, Path):
        return str(source)
    return str(getattr(source, "filename", "") or f"image {index}")


def source_bytes(source: Source) -> int:
    """Memory that a source takes as RGB; 0 for a file that will not be readable."""
    if isinstance(source, np.ndarray):
        return source.nbytes
    if isinstance(source, Image.Image):
        return 3 * source.width * source.height
    try:
        height, width = image_size(source)
    except ReadError:
        return 0
    return 3 * height * width


def read_source(source: Source, name: str) -> np.ndarray:
    """Pixels of a source as uint8 (H, W, 3) RGB, upright.

    Args:
        source: A file is read, a Pillow image of any mode converted as its file would be.
        name: For messages.

    Raises:
        ReadError: When a file or a Pillow image cannot be read.
        ValueError: For an array that is no RGB image.
    """
    if isinstance(source, Path):
        return read_image(source)
    if isinstance(source, Image.Image):
        try:
            return from_pillow(source)
        except Exception as error:  # as in read_image: decoders meet hostile bytes
            raise ReadError(f"{name}: broken image: {error or type(error).__name__}") from error
    if source.ndim != 3 or source.shape[2] != 3 or source.dtype != np.uint8 or source.size == 0:
        raise ValueError(
            f"{name}: expected uint8 (height, width, 3) in RGB order, got {source.dtype} "
            f"{source.shape}"
        )
    return source
