"""What every reader offers, and what it raises; readers only read, transforms are apart."""

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from van_dense.core.dataset_info import DatasetInfo
from van_dense.core.failure import Failure
from van_dense.core.plain_text import one_line
from van_dense.core.structures import Sample, Size

Transform = Callable[[Sample, np.random.Generator], Sample]


class ReadError(ValueError):
    """One image or its annotation cannot be read; the message names the file and the reason."""

    def __str__(self) -> str:
        return one_line(super().__str__())


class TooManyBadImages(Failure):
    """More images are unreadable than the config allows; training on the rest would mislead."""


class DenseDataset(Protocol):
    """Images with annotations; indices run from 0 to len - 1. Any class with these members is one.

    Attributes:
        info: Names of the classes and other conventions.

    Example:
        >>> import numpy as np
        >>> class BlackImages:
        ...     info = DatasetInfo("black", class_names=("night",), category_ids=(1,))
        ...     def __len__(self):
        ...         return 3
        ...     def raw(self, index):
        ...         image = np.zeros((4, 6, 3), np.uint8)
        ...         return Sample(image, self.image_id(index), "", (4, 6), label=0)
        ...     def size(self, index):
        ...         return 4, 6
        ...     def image_id(self, index):
        ...         return f"black_{index}"
        >>> FirstImages(BlackImages(), 2).raw(1).image_id
        'black_1'
    """

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


@runtime_checkable
class HasNotes(Protocol):
    """A data set whose reader left out or changed something of its files.

    Attributes:
        notes: A sentence for each kind of loss or change, with the file and the count.
    """

    notes: Sequence[str]


def notes_of(dataset: DenseDataset) -> list[str]:
    """What the readers inside of a data set left out or changed, the outer ones first."""
    return [note for one in _nested(dataset) if isinstance(one, HasNotes) for note in one.notes]


def index_notes_of(dataset: DenseDataset) -> list[str]:
    """Where the indices of the readers inside of a data set are, and which were built just now."""
    notes = (getattr(one, "index_note", None) for one in _nested(dataset))
    return [note for note in notes if note]


def _nested(dataset: DenseDataset) -> Iterator[object]:
    """A data set and those inside of it, the outer ones first."""
    inner: object = dataset
    while inner is not None:
        yield inner
        inner = getattr(inner, "dataset", None)


class Subset:
    """A ``DenseDataset`` of images of another one by position, which may repeat; ids stay."""

    def __init__(self, dataset: DenseDataset, indices: Sequence[int]) -> None:
        self.info = dataset.info
        self.dataset = dataset
        self.positions = np.array(indices, dtype=np.int64)  #: of the images in ``dataset``

    def __len__(self) -> int:
        return len(self.positions)

    def raw(self, index: int) -> Sample:
        """Read one image; see ``DenseDataset``."""
        return self.dataset.raw(int(self.positions[index]))

    def size(self, index: int) -> Size:
        """(height, width) of an image; see ``DenseDataset``."""
        return self.dataset.size(int(self.positions[index]))

    def image_id(self, index: int) -> int | str:
        """Id of an image; see ``DenseDataset``."""
        return self.dataset.image_id(int(self.positions[index]))


class FirstImages(Subset):
    """At most ``count`` images of another data set: to see whether a model can overfit them.

    They are the first, or with ``spread`` at even distances, for data sets in order of class.
    """

    def __init__(self, dataset: DenseDataset, count: int, *, spread: bool = False) -> None:
        count = min(count, len(dataset))
        step = len(dataset) / count if spread and count else 1
        super().__init__(dataset, [int(position * step) for position in range(count)])
