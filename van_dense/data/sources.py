"""What may be predicted: files, folders, patterns, arrays and Pillow images, and how each is read.

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
from van_dense.data.image import SUFFIXES, from_pillow, read_image

Source = Path | np.ndarray | Image.Image
Given = str | Path | np.ndarray | Image.Image
_PATTERN = "*?["


def list_sources(given: Given | Iterable[Given]) -> Iterator[Source]:
    """Take folders and patterns apart, one after the other; what is no path stays as it is.

    Raises:
        ValueError: When a folder or a pattern holds no image.
        TypeError: For something that is no source.
    """
    for one in [given] if isinstance(given, Given) else given:
        if isinstance(one, str | Path):
            yield from find_files(one)
        elif isinstance(one, np.ndarray | Image.Image):
            yield one
        else:
            raise TypeError(
                f"{type(one).__name__} is no image; give a path, folder, pattern, RGB array or "
                "Pillow image"
            )


def find_files(given: str | Path, suffixes: Collection[str] = SUFFIXES) -> list[Path]:
    """Files of a folder in all depths or of a pattern, in order; any other path is one file.

    Args:
        given: Folder, pattern such as ``photos/**/*.jpg``, or file, which need not exist.
        suffixes: Of the files to take from folders and patterns, in lower case.

    Raises:
        ValueError: When a folder or a pattern holds no such file.
    """
    path = Path(given)
    if path.is_dir():
        found = [inside for inside in path.rglob("*") if inside.suffix.lower() in suffixes]
    elif is_pattern(path):
        matches = map(Path, glob.glob(str(path), recursive=True))
        found = [file for file in matches if file.suffix.lower() in suffixes]
    else:
        return [path]
    if not found:
        what = "folder" if path.is_dir() else "pattern"
        raise ValueError(f"{given}: nothing to read in this {what} ({', '.join(sorted(suffixes))})")
    return sorted(found)


def is_pattern(path: Path) -> bool:
    """Whether a path has wildcards; a file whose name holds some is a file."""
    return any(letter in str(path) for letter in _PATTERN) and not path.exists()


def root_of(given: str | Path) -> Path:
    """Absolute folder that the files of a folder, pattern or file lie in, in some depth."""
    path = Path(given)
    if path.is_dir():
        return path.absolute()
    if is_pattern(path):
        while any(letter in str(path) for letter in _PATTERN):
            path = path.parent
        return path.absolute()
    return path.parent.absolute()


def output_names(files: Sequence[Path], roots: Sequence[Path]) -> list[str]:
    """Names without suffix that keep subfolders, each used once whatever its case.

    They are relative to what all roots have in common, so files of two folders stay apart;
    ``a.jpg`` and ``a.png`` of one folder become ``a`` and ``a_2``.

    Args:
        files: To be read.
        roots: Absolute folder that each was found in; see ``root_of``.
    """
    common = Path(os.path.commonpath(roots)) if roots else Path()
    names: list[str] = []
    taken: set[str] = set()
    for path in files:
        plain = path.absolute().relative_to(common).with_suffix("").as_posix()
        name, count = plain, 1
        while name.lower() in taken:
            count += 1
            name = f"{plain}_{count}"
        taken.add(name.lower())
        names.append(name)
    return names


def source_name(source: Source, index: int) -> str:
    """Path of a file, also of an opened Pillow image; "image 3" where there is none."""
    if isinstance(source, Path):
        return str(source)
    return str(getattr(source, "filename", "") or f"image {index}")


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
