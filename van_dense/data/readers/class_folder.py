"""Reader of images in a folder for each class, as ImageNet: <root>/<class>/<any path>.jpg."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from van_dense.core.counting import counted, shorten
from van_dense.core.dataset_info import DatasetInfo
from van_dense.core.structures import Sample
from van_dense.data.io.suffixes import SUFFIXES, list_suffixes
from van_dense.data.io.walk import Found, is_left_out, walk
from van_dense.data.messages import CHECK
from van_dense.data.readers.class_words import spoken_names
from van_dense.data.readers.image_files import ImageFiles
from van_dense.data.readers.quarantine import Quarantine, QuarantinedPart

logger = logging.getLogger(__name__)


class LabelledImages(ImageFiles):
    """A ``DenseDataset`` of image files with one class each; a warning names classes without image.

    Args:
        info: Names of the classes.
        root: Folder that the paths start from.
        paths: Image files below ``root``.
        labels: 0-based class of each image.
        ids: The data set's own number of each image; None takes the paths as ids.
    """

    def __init__(
        self,
        info: DatasetInfo,
        root: str | Path,
        paths: Sequence[str],
        labels: Sequence[int],
        ids: Sequence[int] | None = None,
    ) -> None:
        super().__init__(info, root, paths, ids)
        self._labels = np.array(labels, dtype=np.int64)
        counts = np.bincount(self._labels, minlength=info.num_classes)
        empty = [name for name, count in zip(info.class_names, counts, strict=True) if not count]
        if empty:
            what = f"{len(empty)} of {info.num_classes} classes have no image: {shorten(empty)}"
            logger.warning("%s: %s", root, what)
            self.notes.append(f"{root}: {what}")

    def _annotate(self, sample: Sample, index: int) -> None:
        sample.label = self.label(index)

    def label(self, index: int) -> int:
        """Class of an image, 0-based, without decoding it."""
        return int(self._labels[index])


class ClassFolder(LabelledImages):
    """Folders of images, class by class, in the order of their paths.

    What is no image by its suffix, and what is hidden (``walk``), is counted in ``notes``.
    Folders named after WordNet ids, as those of ImageNet, get the names that timm knows for them.

    Args:
        root: Folder that holds one for each class; deeper folders are searched too.
        name: Name of the data set in titles and logs.
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
        left_out = (quarantine or Quarantine()).of(root)
        listing.require_sound(left_out)
        pairs = zip(listing.paths, listing.labels, strict=True)
        kept = [(path, label) for path, label in pairs if path not in left_out.images]
        if not kept:
            raise ValueError(f"{root}: no image remains of {len(listing.paths)}; {CHECK}")
        names = spoken_names(listing.names)
        info = DatasetInfo(name, names, category_ids=tuple(range(len(names))))
        super().__init__(info, root, [path for path, _ in kept], [label for _, label in kept])
        if (words := listing.left_out) is not None:
            self.notes.append(f"{root}: {words}")
            logger.info("%s", self.notes[-1])


@dataclass(frozen=True)
class Listing:
    """What a folder of class folders holds."""

    root: str  #: folder that holds the class folders
    names: tuple[str, ...]  #: names of the class folders, in the order of the labels
    paths: list[str]  #: image files below ``root``, with "/"; sorted within their class
    labels: list[int]  #: 0-based class of each image
    unknown: list[str]  #: folders that are none of the classes
    beside: list[str]  #: images in ``root`` itself, of no class
    left_out: str | None  #: what is not read and why, in words

    @staticmethod
    def find(root: str | Path, classes: Sequence[str] | None = None) -> Listing:
        """List the files of ``classes``, or of all class folders, opening none.

        No folder, no image, and classes that repeat are a ValueError.
        """
        root = str(root)
        folders = class_names(root)
        names = folders if classes is None else tuple(classes)
        repeated = [name for name, count in Counter(names).items() if count > 1]
        if repeated:
            raise ValueError(f"{root}: classes repeat: {shorten(repeated)}; name each folder once")
        whole = Found()
        with os.scandir(root) as entries:
            for entry in entries:
                if entry.is_dir() and is_left_out(entry.name):
                    whole.add_inside(entry.name, entry.path)
        files = [e.name for e in os.scandir(root) if e.is_file()]
        whole.hidden = sorted(name for name in files if is_left_out(name))
        shown = [(name, os.path.splitext(name)[1].lower()) for name in files]
        shown = [(name, suffix) for name, suffix in shown if not is_left_out(name)]
        beside = sorted(name for name, suffix in shown if suffix in SUFFIXES)
        whole.others.update(suffix for _, suffix in shown if suffix not in SUFFIXES)
        labels: list[int] = []
        for label, name in enumerate(names):
            found = walk(root, name)
            labels += [label] * len(found.files)
            whole.add(found)
        unknown = sorted(set(folders) - set(names))
        left_out = whole.left_out()
        if not whole.files and not unknown:
            what = f"no image in its {counted(len(folders), 'class folder')} ({list_suffixes()})"
            raise ValueError(f"{root}: {what}{'; ' if left_out else ''}{left_out or ''}")
        return Listing(root, names, whole.files, labels, unknown, beside, left_out)

    def require_sound(self, left_out: QuarantinedPart) -> None:
        """Raise a ValueError for unknown folders and images without a class, unless left out."""
        if unknown := [n for n in self.unknown if folder_record(n) not in left_out.records]:
            what = (
                f"{counted(len(unknown), 'folder is', 'folders are')} none of the "
                f"{len(self.names)} classes"
            )
            names = f"{shorten(unknown)}; the classes are {shorten(self.names)}"
            fix = "Training and validation need the same folders; or list them in data.classes"
            raise ValueError(f"{self.root}: {what}: {names}. {fix}")
        if beside := [name for name in self.beside if name not in left_out.images]:
            what = (
                f"{counted(len(beside), 'image lies', 'images lie')} beside the class folders: "
                f"{shorten(beside)}"
            )
            fix = "move them into one, or leave them out with van-dense check --quarantine"
            raise ValueError(f"{self.root}: {what}; {fix}")


def folder_record(name: str) -> str:
    """Place of a whole folder in a quarantine list."""
    return f"{name}/"


def class_names(root: str | Path) -> tuple[str, ...]:
    """Names of the class folders, sorted; a ValueError if there is none.

    Hidden folders and those of operating systems are left out.
    """
    if not Path(root).is_dir():
        raise ValueError(f"{root}: no such folder; give the one that holds a folder for each class")
    names = [e.name for e in os.scandir(root) if e.is_dir() and not is_left_out(e.name)]
    if not names:
        raise ValueError(f"{root}: holds no folders; it needs one for each class")
    return tuple(sorted(names))
