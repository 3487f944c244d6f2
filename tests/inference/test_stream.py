"""Images are batched by size and come back in order, read before the model needs them."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np

from van_dense.core.structures import Prediction, Sample
from van_dense.data.dataset import ReadError
from van_dense.inference.stream import predict_stream


def prepare(item: tuple[int, int]) -> Sample:
    """An item is a number and a width; the width 0 is unreadable."""
    number, width = item
    if width == 0:
        raise ReadError(f"{number}: broken")
    return Sample(np.zeros((4, width, 3), np.uint8), number, str(number), (4, width))


class Model:
    def __init__(self) -> None:
        self.batches: list[list[int | str]] = []

    def __call__(self, samples: Sequence[Sample]) -> list[Prediction]:
        assert len({sample.size for sample in samples}) == 1
        self.batches.append([sample.image_id for sample in samples])
        return [Prediction(sample.image_id, sample.orig_size) for sample in samples]


def run(widths: Sequence[int], batch_size: int) -> tuple[list[list[int | str]], list]:
    model = Model()
    items = list(enumerate(widths))
    found = list(predict_stream(items, prepare, model, batch_size=batch_size, threads=2))
    assert [item for item, _ in found] == items
    return model.batches, [result for _, result in found]


def test_images_of_one_size_share_batches_and_the_last_one_is_smaller():
    batches, results = run([8] * 5, 2)
    assert batches == [[0, 1], [2, 3], [4]]
    assert [result.image_id for result in results] == [0, 1, 2, 3, 4]


def test_sizes_that_alternate_still_fill_their_batches():
    batches, results = run([8, 6, 8, 6, 8, 6], 3)
    assert batches == [[0, 2, 4], [1, 3, 5]]
    assert [result.image_id for result in results] == list(range(6))


def test_an_image_of_a_rare_size_does_not_hold_the_others_for_ever():
    batches, _ = run([6] + [8] * 20, 2)
    # It waits until eight images of other sizes have gathered behind it.
    assert batches.index([0]) == 4


def test_unreadable_images_come_at_their_place_and_fill_no_batch():
    batches, results = run([8, 0, 8, 0], 2)
    assert batches == [[0, 2]]
    assert [str(result) for result in results if isinstance(result, ReadError)] == [
        "1: broken",
        "3: broken",
    ]
    assert [isinstance(result, ReadError) for result in results] == [False, True, False, True]


def test_the_model_runs_here_and_reading_elsewhere():
    here = threading.current_thread()
    readers = []

    def reading(item: tuple[int, int]) -> Sample:
        readers.append(threading.current_thread())
        return prepare(item)

    def predict(samples: Sequence[Sample]) -> list[Prediction]:
        assert threading.current_thread() is here
        return Model()(samples)

    assert len(list(predict_stream([(0, 4), (1, 4)], reading, predict))) == 2
    assert here not in readers


def test_the_next_images_are_read_while_the_model_works():
    """The model waits for the second image to be read: alone, neither would go on."""
    is_read = threading.Event()

    def reading(item: tuple[int, int]) -> Sample:
        if item[0] == 1:
            is_read.set()
        return prepare(item)

    def predict(samples: Sequence[Sample]) -> list[Prediction]:
        assert is_read.wait(10)
        return Model()(samples)

    assert len(list(predict_stream([(0, 4), (1, 4)], reading, predict, threads=2))) == 2


def test_large_images_wait_for_others_of_their_size_only_while_there_is_room(monkeypatch):
    """Each is 4 x 4 or 5 x 5 pixels, and 150 bytes are two of them."""
    monkeypatch.setattr("van_dense.inference.stream.WAITING_BYTES", 150)
    model = Model()
    items = [(number, 4 + number % 2) for number in range(8)]
    found = list(predict_stream(items, prepare, model, batch_size=4))
    assert [item for item, _ in found] == items
    assert max(map(len, model.batches)) == 2
