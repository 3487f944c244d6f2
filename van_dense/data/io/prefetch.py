"""Prefetching in threads: decode before the model, draw and write behind it."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

WAITING_BYTES = 2**28  # of each queue: ten frames of 4K, or one image of 90 megapixels

T = TypeVar("T")
R = TypeVar("R")


def prefetch_map(
    function: Callable[[T], R],
    items: Iterable[T],
    *,
    threads: int,
    prefetch: int,
    weigh: Callable[[T], int] = lambda _: 0,
) -> Iterator[R]:
    """Apply a function in threads; results come in the order of the items.

    The items themselves are taken in the thread that iterates, so chains of such maps around a
    model run the model there and everything else beside it. Threads serve because Pillow, OpenCV
    and the encoders work without the interpreter lock. What the function raises comes at the place
    of its item; what the iteration over the items raises, after the results of those before.

    Args:
        function: Function that is called once for each item.
        items: Items, perhaps without end; at most ``prefetch`` are taken before the first result is
            asked for.
        threads: Number of threads; 1 calls the function for one item after the other.
        prefetch: Number of results that may wait.
        weigh: Bytes that an item takes until its result is taken. Those that wait take at most
            ``WAITING_BYTES`` together, but for the one that was taken last, so that memory does not
            depend on how large images are.
    """
    pending: deque[tuple[Future[R], int]] = deque()
    pool = ThreadPoolExecutor(threads)
    iterator, problem = iter(items), None
    try:
        while True:
            try:
                item = next(iterator)
            except StopIteration:
                break
            except Exception as error:
                problem = error
                break
            weight = weigh(item)
            # What is heavy waits until those before it have left.
            while pending and weight + sum(w for _, w in pending) > WAITING_BYTES:
                yield pending.popleft()[0].result()
            pending.append((pool.submit(function, item), weight))
            if len(pending) > prefetch:
                yield pending.popleft()[0].result()
        while pending:
            yield pending.popleft()[0].result()
        if problem is not None:
            raise problem
    finally:  # also where the consumer stops early: what has begun is finished, the rest dropped
        pool.shutdown(wait=True, cancel_futures=True)


def usable_cores() -> int:
    """Cores that this process may use, 1 or more."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux; containers and Slurm limit it
    return len(affinity(0)) if affinity else os.cpu_count() or 1
