"""Make lists of image files from folders and patterns, name their outputs, read each source.

Legend: a *source* is one image: a path, a uint8 (H, W, 3) RGB array, or a Pillow image.
"""

import glob
import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from van_dense.data.dataset import ReadError
from van_dense.data.io.image import SUFFIXES, from_pillow, image_size, read_image, reason_of

ImageSource = Path | np.ndarray | Image.Image
ImageLike = str | Path | np.ndarray | Image.Image
VIDEO_SUFFIXES = {".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wmv"}
_PATTERN = "*?["


def named_sources(images: ImageLike | Iterable[ImageLike]) -> Iterator[tuple[str, ImageSource]]:
    """Take folders and patterns apart, one after the other; what is no path stays as it is.

    Yields the name for the results of a source (see ``OutputNames``), and the source. Files of a
    folder or a pattern keep their subfolders; ``image 3`` stands for what has no path. A folder or
    pattern without image is a ValueError, something that is no source a TypeError.
    """
    names, index = OutputNames(), 0
    if isinstance(images, ImageLike) or not isinstance(images, Iterable):
        images = [images]
    for one in images:
        found: Sequence[ImageSource] = []
        root: Path | None = None
        if isinstance(one, str | Path):
            found, root = find_files(one), root_of(one)
        elif isinstance(one, np.ndarray | Image.Image):
            found = [one]
        else:
            fix = "give a path, folder, pattern, RGB array or Pillow image, or several of them"
            raise TypeError(f"{type(one).__name__} is no image; {fix}")
        for source in found:
            path = Path(source_name(source, index))
            yield names.add(path, root or _absolute(path).parent), source
            index += 1


def find_sources(
    sources: Sequence[str], suffixes: Collection[str] = SUFFIXES | VIDEO_SUFFIXES
) -> dict[Path, str]:
    """Images and videos of files, folders and patterns, with the names of what is written.

    A source that does not exist, or holds no such file, is a ValueError; see ``find_files``.
    """
    # A file that two sources name counts once, however they spell it.
    found: dict[Path, tuple[Path, Path]] = {}
    for source in sources:
        for path in find_files(source, suffixes):
            if not path.exists():
                raise ValueError(f"{path}: no such file or folder")
            found.setdefault(_absolute(path), (path, root_of(source)))
    names: dict[Path, str] = {}
    for videos in (False, True):  # videos lie apart, so they are named apart
        files = [(path, root) for path, root in found.values() if is_video(path) == videos]
        paths = [path for path, _ in files]
        names |= zip(paths, output_names(paths, [root for _, root in files]), strict=True)
    return names


def find_files(source: str | Path, suffixes: Collection[str] = SUFFIXES) -> list[Path]:
    """Files of a folder in all depths or of a pattern, in order; any other path is one file.

    Args:
        source: Folder, pattern such as ``photos/**/*.jpg``, or file, which need not exist. Folders
            that are named like a file are no files.
        suffixes: Suffixes of the files to take from folders and patterns, in lower case; it is a
            ValueError when they hold none.
    """
    path = Path(source)
    if path.is_dir():
        matches: Iterable[Path] = path.rglob("*")
    elif is_pattern(path):
        matches = map(Path, glob.glob(str(path), recursive=True))
    else:
        return [path]
    found = [file for file in matches if file.suffix.lower() in suffixes and file.is_file()]
    if not found:
        what = "folder" if path.is_dir() else "pattern"
        known = ", ".join(sorted(suffixes))
        raise ValueError(f"{source}: nothing to read in this {what} ({known})")
    return sorted(found)


def image_files(root: str | Path, folder: str = "") -> tuple[list[str], int]:
    """Image files below a folder of ``root``, hidden ones left out; links are followed.

    Returns sorted paths relative to ``root``, with "/", and the number of files of other kinds.
    """
    paths: list[str] = []
    num_others = 0
    for inner, folders, names in os.walk(os.path.join(root, folder), followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        shown = [name for name in names if not name.startswith(".")]
        images = [name for name in shown if os.path.splitext(name)[1].lower() in SUFFIXES]
        num_others += len(shown) - len(images)
        prefix = os.path.relpath(inner, root).replace(os.sep, "/")
        paths += images if prefix == "." else [f"{prefix}/{name}" for name in images]
    return sorted(paths), num_others


def is_video(path: Path) -> bool:
    """Whether a file is called like a video."""
    return path.suffix.lower() in VIDEO_SUFFIXES


def is_pattern(path: Path) -> bool:
    """Whether a path has wildcards; a file whose name holds some is a file."""
    return any(letter in str(path) for letter in _PATTERN) and not path.exists()


def root_of(source: str | Path) -> Path:
    """Absolute folder that the files of a folder, pattern or file lie in, in some depth."""
    path = Path(source)
    if path.is_dir():
        return _absolute(path)
    if not is_pattern(path):
        return _absolute(path).parent
    while any(letter in str(path) for letter in _PATTERN):
        path = path.parent
    return _absolute(path)


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
    """Names of ``OutputNames`` for files that were each found in an absolute folder (``root_of``).

    They are relative to what all roots have in common, so files of two folders stay apart.
    """
    common = Path(os.path.commonpath([_absolute(root) for root in roots])) if roots else Path()
    names = OutputNames()
    return [names.add(path, common) for path in files]


def source_name(source: ImageSource, index: int) -> str:
    """Path of a file, also of an opened Pillow image; "image 3" where there is none."""
    if isinstance(source, Path):
        return str(source)
    return str(getattr(source, "filename", "") or f"image {index}")


def source_bytes(source: ImageSource) -> int:
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


def read_source(source: ImageSource, name: str) -> np.ndarray:
    """Pixels of a source as uint8 (H, W, 3) RGB, upright; Pillow images as their files would be.

    ``name`` is that of the source in messages: a ReadError for a file or a Pillow image that
    cannot be read, a ValueError for an array that is no RGB image.
    """
    if isinstance(source, Path):
        return read_image(source)
    if isinstance(source, Image.Image):
        try:
            return from_pillow(source)
        except Exception as error:  # as in read_image: decoders meet hostile bytes
            raise ReadError(f"{name}: broken image: {reason_of(error)}") from error
    if source.ndim != 3 or source.shape[2] != 3 or source.dtype != np.uint8 or source.size == 0:
        got = f"{source.dtype} {source.shape}"
        raise ValueError(f"{name}: expected uint8 (height, width, 3) in RGB order, got {got}")
    return source
