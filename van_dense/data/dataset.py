"""What every reader offers, and what it raises; readers only read, transforms are apart."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from van_dense.core.dataset_info import DatasetInfo
from van_dense.core.structures import Sample, Size

CHECK = "run van-dense check to list them, and to quarantine what is broken"
Transform = Callable[[Sample, np.random.Generator], Sample]


class ReadError(ValueError):
    """One image or its annotation cannot be read; the message names the file and the reason."""


class TooManyBadImages(RuntimeError):
    """More images are unreadable than the config allows; training on the rest would mislead."""


class DenseDataset(Protocol):
    """Images with annotations; indices run from 0 to len - 1."""

    info: DatasetInfo

    def __len__(self) -> int:
        """Number of images."""
        ...

    def raw(self, index: int) -> Sample:
        """Read one image and its annotation, untransformed.

        Raises:
            ReadError: When the file is missing, broken, or disagrees with its annotation.
        """
        ...

    def size(self, index: int) -> Size:
        """(height, width) of an image, without decoding it."""
        ...

    def image_id(self, index: int) -> int | str:
        """The data set's own id of an image."""
        ...


class FirstImages:
    """Some images of another data set: to see whether a model can overfit them.

    Args:
        dataset: Any reader; ids stay its own.
        count: How many to keep at most.
        spread: Take them at even distances instead of the first, for data sets in the order of
            their classes.
    """

    def __init__(self, dataset: DenseDataset, count: int, *, spread: bool = False) -> None:
        self.info = dataset.info
        self.dataset = dataset
        count = min(count, len(dataset))
        step = len(dataset) / count if spread and count else 1
        self._indices = [int(position * step) for position in range(count)]

    def __len__(self) -> int:
        return len(self._indices)

    def raw(self, index: int) -> Sample:
        """Read one image; see ``DenseDataset``."""
        return self.dataset.raw(self._indices[index])

    def size(self, index: int) -> Size:
        """(height, width); see ``DenseDataset``."""
        return self.dataset.size(self._indices[index])

    def image_id(self, index: int) -> int | str:
        """Id of an image; see ``DenseDataset``."""
        return self.dataset.image_id(self._indices[index])
