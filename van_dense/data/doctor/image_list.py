"""Images of a part in flat arrays, since the doctor looks at millions of them."""

from array import array
from collections.abc import Iterable, Iterator

import numpy as np

from van_dense.data.readers.annotation_columns import ImageRecord

_LARGEST = 2**63 - 1  # of 64 bits
_NUMBER, _TEXT, _ENDS_PATH, _DIGITS = range(4)  # what an id is


class ImageList:
    """Records of images in the order in which they were appended.

    A record takes its texts and 41 bytes, and not the 500 of Python's objects. An id that ends the
    path of its image, as in folders, takes no text of its own.
    """

    def __init__(self, records: Iterable[ImageRecord] = ()) -> None:
        self.clear()
        for record in records:
            self.append(record)

    def clear(self) -> None:
        """Forget all records."""
        self._texts = bytearray()
        self._ends = array("q", [0])  # of each path in the texts, and of the id behind it
        self._numbers = array("q")  # id, where it is a number; its length, where it ends the path
        self._kinds = array("b")
        self._sizes = array("q")

    def append(self, record: ImageRecord) -> None:
        """Add a record at the end."""
        path, text, number = _encode(record.path), b"", 0
        if isinstance(record.id, str):
            text, kind = _encode(record.id), _TEXT
            if path.endswith(text):
                kind, number, text = _ENDS_PATH, len(text), b""
        elif abs(record.id) <= _LARGEST:
            kind, number = _NUMBER, record.id
        else:
            text, kind = _encode(str(record.id)), _DIGITS
        self._texts += path
        self._ends.append(len(self._texts))
        self._texts += text
        self._ends.append(len(self._texts))
        self._numbers.append(number)
        self._kinds.append(kind)
        self._sizes.extend(min(side, _LARGEST) for side in record.size)

    def __len__(self) -> int:
        return len(self._kinds)

    def __getitem__(self, index: int) -> ImageRecord:
        if not -len(self) <= index < len(self):
            raise IndexError(f"image {index} of {len(self)}")
        index %= len(self)
        start, middle, end = self._ends[2 * index : 2 * index + 3]
        path = bytes(self._texts[start:middle])
        number, kind = self._numbers[index], self._kinds[index]
        image_id: int | str = number
        if kind == _ENDS_PATH:
            image_id = _decode(path[len(path) - number :])
        elif kind != _NUMBER:
            text = _decode(bytes(self._texts[middle:end]))
            image_id = text if kind == _TEXT else int(text)
        height, width = self._sizes[2 * index : 2 * index + 2]
        return ImageRecord(_decode(path), image_id, (height, width))

    def __iter__(self) -> Iterator[ImageRecord]:
        return (self[index] for index in range(len(self)))


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")  # JSON and file systems give half letters


def _decode(text: bytes) -> str:
    return text.decode("utf-8", "surrogatepass")


def equal_rows(digests: np.ndarray) -> list[tuple[int, int]]:
    """Later and first position of equal digests, by the later one.

    Args:
        digests: Bytes (N, 16); rows of zeros stand for no digest, and equal nothing.
    """
    rows = np.ascontiguousarray(digests).view("V16").reshape(-1)
    order = np.argsort(rows.view([("high", "u8"), ("low", "u8")]), kind="stable")
    sorted_rows = rows[order]
    is_first = np.ones(len(rows), dtype=bool)
    is_first[1:] = sorted_rows[1:] != sorted_rows[:-1]
    first = order[np.maximum.accumulate(np.where(is_first, np.arange(len(rows)), 0))]
    found = ~is_first
    found &= (digests[order] != 0).any(axis=1)
    return sorted(zip(order[found].tolist(), first[found].tolist(), strict=True))
