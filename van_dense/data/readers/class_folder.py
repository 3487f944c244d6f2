"""Images in one folder for each class, as ImageNet is laid out: <root>/<class>/<any path>.jpg."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Container, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from van_dense.core.dataset_info import DatasetInfo
from van_dense.core.structures import Sample, Size
from van_dense.data.dataset import CHECK
from van_dense.data.io.image import SUFFIXES, image_size, read_image
from van_dense.data.readers.class_words import spoken_names
from van_dense.data.readers.quarantine import Quarantine

logger = logging.getLogger(__name__)

_SHOWN = 3  # names in a message


class LabelledImages:
    """A ``DenseDataset`` of image files with one class each.

    Paths lie in one array, since a million of Python's strings would be copied into every loader
    process, as its reference counts write to each object that is touched.

    Args:
        root: Folder that the paths start from.
        paths: Of the images, below ``root``.
        labels: 0-based class of each.
        info: Classes; those without an image are named in a warning.
        ids: Of the images; None takes their paths.
    """

    def __init__(
        self,
        root: str | Path,
        paths: Sequence[str],
        labels: Sequence[int],
        *,
        info: DatasetInfo,
        ids: Sequence[int] | None = None,
    ) -> None:
        self.info = info
        self._root = str(root)
        self._paths = np.array([os.fsencode(path) for path in paths], dtype=np.bytes_)
        self._labels = np.array(labels, dtype=np.int64)
        self._ids = None if ids is None else np.array(ids, dtype=np.int64)
        counts = np.bincount(self._labels, minlength=info.num_classes)
        empty = [name for name, count in zip(info.class_names, counts, strict=True) if not count]
        if empty:
            logger.warning(
                "%s: %d of %d classes have no image: %s",
                root,
                len(empty),
                info.num_classes,
                shorten(empty),
            )

    def __len__(self) -> int:
        return len(self._labels)

    def raw(self, index: int) -> Sample:
        """Read one image; see ``DenseDataset``."""
        path = self.path(index)
        image = read_image(path)
        return Sample(
            image=image,
            image_id=self.image_id(index),
            path=path,
            orig_size=(image.shape[0], image.shape[1]),
            label=self.label(index),
        )

    def label(self, index: int) -> int:
        """Class of an image, 0-based, without decoding it."""
        return int(self._labels[index])

    def path(self, index: int) -> str:
        """File of an image."""
        return os.path.join(self._root, os.fsdecode(self._paths[index]))

    def size(self, index: int) -> Size:
        """(height, width) from the header of the file; see ``DenseDataset``."""
        return image_size(self.path(index))

    def image_id(self, index: int) -> int | str:
        """The data set's own number, or the path below the folder; see ``DenseDataset``."""
        return os.fsdecode(self._paths[index]) if self._ids is None else int(self._ids[index])


class ClassFolder(LabelledImages):
    """Folders of images, class by class, in the order of their paths.

    Hidden files are passed over; files that are no images by their suffix are counted in the log.
    Folders named after WordNet ids, as those of ImageNet, get the names that timm knows for them.

    Args:
        root: Holds one folder for each class; deeper folders are searched too.
        name: For titles and logs.
        classes: Folder names in the order of the labels; None takes ``class_names(root)``. One
            without a folder keeps its label, and has no image here.
        quarantine: Bad images to leave out.

    Raises:
        ValueError: When there is no folder or no image, when a folder is none of the classes, or
            when images lie beside the class folders.
    """

    def __init__(
        self,
        root: str | Path,
        *,
        name: str,
        classes: Sequence[str] | None = None,
        quarantine: Quarantine | None = None,
    ) -> None:
        listing = Listing.find(root, classes)
        left_out = (quarantine or Quarantine()).of(root).images
        listing.require_sound(left_out)
        if listing.num_others:
            logger.info("%s: passed over %d files without image suffix", root, listing.num_others)
        pairs = zip(listing.paths, listing.labels, strict=True)
        kept = [(path, label) for path, label in pairs if path not in left_out]
        if not kept:
            raise ValueError(f"{root}: no image remains of {len(listing.paths)}; {CHECK}")
        info = DatasetInfo(
            name=name,
            class_names=spoken_names(listing.names),
            category_ids=tuple(range(len(listing.names))),
        )
        super().__init__(root, [path for path, _ in kept], [label for _, label in kept], info=info)


@dataclass(frozen=True)
class Listing:
    """What a folder of class folders holds.

    Attributes:
        root: The folder.
        names: Of the class folders, in the order of the labels.
        paths: Of the images below ``root``, with "/"; sorted within their class.
        labels: 0-based class of each.
        strangers: Folders that are none of the classes.
        beside: Images in ``root`` itself, of no class.
        num_others: Files that are no images by their suffix.
    """

    root: str
    names: tuple[str, ...]
    paths: list[str]
    labels: list[int]
    strangers: list[str]
    beside: list[str]
    num_others: int

    @staticmethod
    def find(root: str | Path, classes: Sequence[str] | None = None) -> Listing:
        """List the files, opening none.

        Args:
            root: Holds the class folders.
            classes: Their names; None takes all that there are.

        Raises:
            ValueError: When there is no folder or no image, or when ``classes`` repeat.
        """
        root = str(root)
        folders = class_names(root)
        names = folders if classes is None else tuple(classes)
        repeated = [name for name, count in Counter(names).items() if count > 1]
        if repeated:
            raise ValueError(f"{root}: classes repeat: {shorten(repeated)}; name each folder once")
        with os.scandir(root) as entries:
            beside, others = _images([entry.name for entry in entries if entry.is_file()])
        paths: list[str] = []
        labels: list[int] = []
        for label, name in enumerate(names):
            found, num_others = _images_below(root, name)
            paths += found
            labels += [label] * len(found)
            others += num_others
        strangers = sorted(set(folders) - set(names))
        if not paths and not strangers:
            suffixes = ", ".join(sorted(SUFFIXES))
            raise ValueError(f"{root}: no image in its {len(folders)} class folders ({suffixes})")
        return Listing(root, names, paths, labels, strangers, beside, others)

    def require_sound(self, left_out: Container[int | str]) -> None:
        """Raise a ValueError for strangers, and for images without a class unless left out."""
        if self.strangers:
            raise ValueError(
                f"{self.root}: {len(self.strangers)} folders are none of the {len(self.names)} "
                f"classes: {shorten(self.strangers)}; the classes are {shorten(self.names)}. "
                "Training and validation need the same folders; or list them in data.classes"
            )
        beside = [name for name in self.beside if name not in left_out]
        if beside:
            raise ValueError(
                f"{self.root}: {len(beside)} images lie beside the class folders: "
                f"{shorten(beside)}; move them into one, or leave them out with "
                "tools/check_data.py --quarantine"
            )


def class_names(root: str | Path) -> tuple[str, ...]:
    """Names of the class folders, sorted; hidden ones are none.

    Raises:
        ValueError: When the folder is missing or holds no folders.
    """
    if not Path(root).is_dir():
        raise ValueError(f"{root}: no such folder; give the one that holds a folder for each class")
    with os.scandir(root) as entries:
        names = [e.name for e in entries if e.is_dir() and not e.name.startswith(".")]
    if not names:
        raise ValueError(f"{root}: holds no folders; it needs one for each class")
    return tuple(sorted(names))


def shorten(names: Sequence[str]) -> str:
    """The first names for a message."""
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")


def _images(names: Sequence[str]) -> tuple[list[str], int]:
    """Names of images, and the number of other files; hidden ones are neither."""
    shown = [name for name in names if not name.startswith(".")]
    images = [name for name in shown if os.path.splitext(name)[1].lower() in SUFFIXES]
    return sorted(images), len(shown) - len(images)


def _images_below(root: str, folder: str) -> tuple[list[str], int]:
    """Images of one class as paths below ``root``, and the number of other files."""
    paths: list[str] = []
    num_others = 0
    for place, inner, files in os.walk(os.path.join(root, folder), followlinks=True):
        inner[:] = [name for name in inner if not name.startswith(".")]
        prefix = os.path.relpath(place, root).replace(os.sep, "/")
        images, others = _images(files)
        paths += [f"{prefix}/{name}" for name in images]
        num_others += others
    return sorted(paths), num_others
