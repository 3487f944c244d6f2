"""Measuring every image of a source once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from van_dense.data.io.prefetch import prefetch_map, usable_cores

Outcome = TypeVar("Outcome")


def require_images(image_ids: Sequence[int | str]) -> None:
    """ValueError where there is no image."""
    if not len(image_ids):
        raise ValueError("a report needs one image at least, and the source has none")


def each_image(
    measure: Callable[[int | str], Outcome], image_ids: Sequence[int | str]
) -> Iterator[Outcome]:
    """What ``measure`` gives of each image, in order, by threads that read a few images ahead."""
    threads = usable_cores()
    return prefetch_map(measure, image_ids, threads=threads, prefetch=4 * threads)
