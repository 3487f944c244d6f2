"""Work in threads ahead of a consumer: decoding before the model, drawing and writing behind it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def map_ahead(
    function: Callable[[T], R], items: Iterable[T], *, threads: int, ahead: int
) -> Iterator[R]:
    """Apply a function in threads; results come in the order of the items.

    The items themselves are taken in the thread that iterates, so chains of such maps around a
    model run the model there and everything else beside it. Threads serve because Pillow, OpenCV
    and the encoders work without the interpreter lock.

    Args:
        function: Called once for each item.
        items: May be endless; at most ``ahead`` are taken before the first result is asked for.
        threads: 1 calls the function in order, one item after the other.
        ahead: Results that may wait, which bounds the memory.

    Raises:
        Exception: What the function raises, at the place of its item, and what the iteration over
            the items raises, after the results of those before.
    """
    pending: deque[Future[R]] = deque()
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
            pending.append(pool.submit(function, item))
            if len(pending) > ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
        if problem is not None:
            raise problem
    finally:  # also where the consumer stops early: what has begun is finished, the rest dropped
        pool.shutdown(wait=True, cancel_futures=True)
