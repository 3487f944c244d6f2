"""The base of readers of image files with one annotation each, such as a class or a mask."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from van_dense.core.dataset_info import DatasetInfo
from van_dense.core.structures import Sample, Size, size_of
from van_dense.data.io.image import image_size, read_image
from van_dense.data.io.stored import notes_of_some


class ImageFiles:
    """A ``DenseDataset`` of image files; subclasses annotate the samples.

    Texts lie in arrays, since a million of Python's strings would be copied into every loader
    process, as its reference counts write to each object that is touched.

    Args:
        info: Names of the classes.
        root: Folder that the paths start from.
        paths: Image files below ``root``.
        ids: Id of each image; None takes the paths.
    """

    def __init__(
        self,
        info: DatasetInfo,
        root: str | Path,
        paths: Sequence[str],
        ids: Sequence[int] | Sequence[str] | None = None,
    ) -> None:
        self.info = info
        self.notes: list[str] = []  # see ``HasNotes``
        self._root = str(root)
        self._paths = pack(paths)
        self._ids = self._paths if ids is None else pack(ids)
        self.notes += notes_of_some(len(self), self.path)

    def __len__(self) -> int:
        return len(self._paths)

    def raw(self, index: int) -> Sample:
        """Read one image and its annotation; see ``DenseDataset``."""
        path = self.path(index)
        image = read_image(path)
        sample = Sample(image, self.image_id(index), path, size_of(image))
        self._annotate(sample, index)
        return sample

    def _annotate(self, sample: Sample, index: int) -> None:
        raise NotImplementedError

    def path(self, index: int) -> str:
        """File of an image."""
        return os.path.join(self._root, os.fsdecode(self._paths[index]))

    def size(self, index: int) -> Size:
        """(height, width) from the header of the file; see ``DenseDataset``."""
        return image_size(self.path(index))

    def image_id(self, index: int) -> int | str:
        """Id of an image; see ``DenseDataset``."""
        value = self._ids[index]
        return os.fsdecode(value) if isinstance(value, bytes) else int(value)


def pack(values: Sequence[int] | Sequence[str]) -> np.ndarray:
    """Numbers, or texts as bytes, in one array."""
    if values and isinstance(values[0], int):
        return np.array(values, dtype=np.int64)
    return np.array([os.fsencode(str(value)) for value in values], dtype=np.bytes_)
