"""Make lists of image files from folders and patterns, name their outputs, read each source.

Legend: a *source* is one image: a path, a uint8 (H, W, 3) RGB array, or a Pillow image.
"""

import glob
import logging
import os
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from van_dense.core.counting import counted
from van_dense.data.dataset import ReadError
from van_dense.data.io.image import from_pillow, image_size, read_image, reason_of
from van_dense.data.io.suffixes import SUFFIXES, list_suffixes
from van_dense.data.io.walk import is_left_out, walk
from van_dense.data.messages import list_counts

logger = logging.getLogger(__name__)

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
    sources: Sequence[str],
    suffixes: Collection[str] = SUFFIXES | VIDEO_SUFFIXES,
    *,
    leave_out: Collection[Path] = (),
) -> dict[Path, str]:
    """Images and videos of files, folders and patterns, with the names of what is written.

    Args:
        sources: Files, folders and patterns.
        suffixes: Suffixes of the files to take from folders and patterns, in lower case.
        leave_out: Folders whose files are no sources, such as those that results are written to.

    Raises:
        ValueError: When a source does not exist or holds no such file (see ``find_files``), or when
            all files lie in folders that are left out.
    """
    # A file that two sources name counts once, however they spell it.
    found: dict[Path, tuple[Path, Path]] = {}
    folders = [_absolute(folder) for folder in leave_out]
    left_out: dict[Path, Path] = {}  # files, and the folder of each
    for source in sources:
        for path in find_files(source, suffixes):
            if not os.path.lexists(path):  # a link that leads nowhere is a file nobody can read
                raise ValueError(f"{path}: no such file or folder")
            file = _absolute(path)
            holding = next((one for one in folders if file.is_relative_to(one)), None)
            if holding is None:
                found.setdefault(file, (path, root_of(source)))
            else:
                left_out[file] = holding
    if left_out:
        where = ", ".join(map(str, sorted(set(left_out.values()))))
        what = f"{counted(len(left_out), 'file')} among results, in {where}"
        if not found:
            raise ValueError(f"nothing to read but {what}; name other sources")
        logger.warning("left out: %s", what)
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
    left_out: str | None = None
    if path.is_dir():
        listing = walk(path, suffixes=suffixes)
        left_out, found = listing.left_out(), [path / file for file in listing.files]
    elif is_pattern(path):
        found, left_out = _matches(path, suffixes)
    else:
        return [path]
    if not found:
        what = "folder" if path.is_dir() else "pattern"
        what = f"nothing to read in this {what} ({list_suffixes()})"
        raise ValueError(f"{source}: {what}{'; ' if left_out else ''}{left_out or ''}")
    if left_out is not None:
        logger.warning("%s: %s", source, left_out)
    return sorted(found)


def _matches(pattern: Path, suffixes: Collection[str]) -> tuple[list[Path], str | None]:
    """Files of a pattern, each once, and what was left out in words."""
    root = root_of(pattern)
    named = [part for part in pattern.parts if is_left_out(part)]  # "." and what the user asks for
    found: dict[str, Path] = {}
    others: dict[str, str] = {}
    for file in sorted(map(Path, glob.glob(str(pattern), recursive=True)), key=_by_depth):
        if not file.is_file() and (file.exists() or not file.is_symlink()):
            continue  # links that lead nowhere are listed, as in folders
        # Links to folders may lead to one folder in many ways.
        real = os.path.join(os.path.realpath(file.parent), file.name)
        if file.suffix.lower() not in suffixes:
            others.setdefault(real, "files of other kinds")
        elif any(is_left_out(part) and part not in named for part in _below(file, root)):
            others.setdefault(real, "files in hidden or system folders")
        else:
            found.setdefault(real, file)
    words = list_counts(Counter(others.values()))
    return list(found.values()), f"left out: {words}" if words else None


def _by_depth(path: Path) -> tuple[int, Path]:
    return len(path.parts), path


def _below(file: Path, root: Path) -> tuple[str, ...]:
    path = _absolute(file)
    return path.relative_to(root).parts if path.is_relative_to(root) else path.parts[-1:]


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
