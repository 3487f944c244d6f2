"""A model kept busy: images are read and transformed in threads while it works on earlier ones.

VAN's receptive field carries the padding of a batch everywhere, so only images whose transformed
sizes are equal share a batch: what is found in an image depends on nothing beside it.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from van_dense.core.structures import Prediction, Sample, Size
from van_dense.data.dataset import ReadError
from van_dense.data.io.prefetch import WAITING_BYTES, prefetch_map

T = TypeVar("T")
_WINDOW = 4  # batches that may wait for images of their own size


@dataclass
class _Slot(Generic[T]):
    """One item on its way."""

    item: T
    sample: Sample | None = None
    result: Prediction | ReadError | None = None


def predict_stream(
    items: Iterable[T],
    prepare: Callable[[T], Sample],
    predict: Callable[[Sequence[Sample]], list[Prediction]],
    *,
    batch_size: int = 1,
    threads: int = 1,
    weigh: Callable[[T], int] = lambda _: 0,
) -> Iterator[tuple[T, Prediction | ReadError]]:
    """Predict items in batches of one size; results come in the order of the items.

    Args:
        items: Taken one by one, a bounded number ahead.
        prepare: Reads and transforms an item, in a thread; may raise ReadError.
        predict: Takes samples of one size, at most ``batch_size``, in the thread that iterates.
        batch_size: Images of a batch. At most four batches wait for others of their size, and no
            more bytes than ``prefetch.WAITING_BYTES``.
        threads: Number of threads that prepare.
        weigh: Bytes that an item takes while it is prepared; see ``prefetch_map``.

    Yields:
        Each item with its prediction, or with the reason why it has none.
    """

    def attempt(item: T) -> _Slot[T]:
        try:
            return _Slot(item, sample=prepare(item))
        except ReadError as error:
            return _Slot(item, result=error)

    waiting: deque[_Slot[T]] = deque()
    groups: dict[Size, list[_Slot[T]]] = {}

    def run(sample: Sample | None) -> None:
        assert sample is not None  # finished ones have left
        slots = groups.pop(sample.size)
        samples = [slot.sample for slot in slots if slot.sample is not None]
        for slot, prediction in zip(slots, predict(samples), strict=True):
            slot.sample, slot.result = None, prediction

    def is_full() -> bool:
        images = (slot.sample.image for slot in waiting if slot.sample is not None)
        too_large = sum(image.nbytes for image in images) > WAITING_BYTES
        return too_large or len(waiting) > _WINDOW * batch_size

    prefetch = 2 * batch_size + threads
    for slot in prefetch_map(attempt, items, threads=threads, prefetch=prefetch, weigh=weigh):
        waiting.append(slot)
        if slot.sample is not None:
            group = groups.setdefault(slot.sample.size, [])
            group.append(slot)
            if len(group) == batch_size:
                run(slot.sample)
        yield from _finished(waiting)
        while is_full():
            run(waiting[0].sample)
            yield from _finished(waiting)
    while waiting:
        run(waiting[0].sample)
        yield from _finished(waiting)


def _finished(waiting: deque[_Slot[T]]) -> Iterator[tuple[T, Prediction | ReadError]]:
    while waiting and (result := waiting[0].result) is not None:
        yield waiting.popleft().item, result
