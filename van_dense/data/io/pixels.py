"""Opening images within the budget of pixels, whatever Pillow's own limit is meanwhile.

``Image.MAX_IMAGE_PIXELS`` is a setting of the whole process, which other code of it relies on: it
is raised while an image is being read here, and then what it was.
"""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image

from van_dense.core import budgets
from van_dense.core.budgets import OverBudget


class _Limit:
    """Pillow's limit, raised while at least one thread reads."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.readers = 0
        self.before: int | None = None

    def enter(self) -> None:
        with self.lock:
            if self.readers == 0:
                self.before = Image.MAX_IMAGE_PIXELS
                if self.before is not None:  # None: a user has switched it off
                    Image.MAX_IMAGE_PIXELS = max(self.before, budgets.PIXELS)
            self.readers += 1

    def leave(self) -> None:
        with self.lock:
            self.readers -= 1
            if self.readers == 0:
                Image.MAX_IMAGE_PIXELS = self.before

    def forget_threads(self) -> None:
        """In a forked child, where no other thread goes on: neither with a lock nor a read."""
        self.lock = threading.Lock()
        if self.readers:
            self.readers, Image.MAX_IMAGE_PIXELS = 0, self.before


_LIMIT = _Limit()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_LIMIT.forget_threads)


@contextmanager
def our_limit() -> Iterator[None]:
    """Let Pillow open and decode what the budget allows, in any number of threads."""
    _LIMIT.enter()
    try:
        yield
    finally:
        _LIMIT.leave()


@our_limit()
def open_image(path: str | os.PathLike[str], data: bytes | None = None) -> Image.Image:
    """Open an image without decoding it, from ``data`` where that is given.

    OverBudget for more pixels than ``check_pixels`` allows; else the errors of ``Image.open``.
    """
    try:
        image = Image.open(path if data is None else io.BytesIO(data))
    except Image.DecompressionBombError:
        raise _too_many(str(path)) from None
    try:
        num_bytes = os.stat(path).st_size if data is None else len(data)
        check_pixels(str(path), image.width * image.height, num_bytes)
    except OverBudget:
        image.close()
        raise
    return image


def check_pixels(file: str, pixels: int, num_bytes: int) -> None:
    """OverBudget for an image with more pixels than memory, or than a file of its size can hold."""
    if pixels > budgets.PIXELS:
        raise _too_many(file)
    most_of_file = max(budgets.PIXELS_OF_ANY_FILE, budgets.PIXELS_PER_BYTE * num_bytes)
    if pixels > most_of_file:
        what = f"{num_bytes} bytes cannot hold the {pixels / 1e6:.0f} megapixels that the file says"
        budget = f"more than {budgets.PIXELS_PER_BYTE} of a byte, PIXELS_PER_BYTE"
        fix = "it is broken, or made to fill the memory; leave it out"
        raise OverBudget(f"{file}: {what} ({budget} of {budgets.__name__}); {fix}")


def _too_many(file: str) -> OverBudget:
    most = f"{budgets.PIXELS / 1e9:.1f} gigapixels"
    what = f"more than {most}, which no ordinary memory holds (PIXELS of {budgets.__name__})"
    fix = "cut the file into parts, such as with libvips (vips dzsave)"
    return OverBudget(f"{file}: {what}; {fix}")
