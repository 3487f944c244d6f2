"""Sizes of many images, whatever becomes of some of them."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from van_dense.core.structures import Size
from van_dense.data.dataset import ReadError
from van_dense.data.io.image import image_size

_THREADS = 8
_HEADERS = 64  # of one thread at a time


def read_sizes(paths: Sequence[str | None]) -> list[Size]:
    """(height, width) of images, (0, 0) where there is none or its header cannot be read.

    In threads, for slow disks. Each takes many files at a time: handing one over takes as long as
    reading its header.
    """
    parts = [paths[start : start + _HEADERS] for start in range(0, len(paths), _HEADERS)]
    with ThreadPoolExecutor(_THREADS) as pool:
        found = pool.map(lambda part: [_size_or_zero(path) for path in part], parts)
        return [size for sizes in found for size in sizes]


def _size_or_zero(path: str | None) -> Size:
    if path is None:
        return 0, 0
    try:
        return image_size(path)
    except ReadError:  # raised again, with the reason, when the image is read
        return 0, 0
