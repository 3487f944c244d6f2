"""Work ahead of a consumer keeps its order, its bounds and its errors."""

import itertools
import threading

import pytest

from van_dense.data.io.prefetch import prefetch_map


def test_results_keep_the_order_of_the_items_whichever_ends_first():
    first_may_end = threading.Event()

    def work(item: int) -> int:
        if item == 0:
            assert first_may_end.wait(10)
        if item == 1:
            first_may_end.set()
        return item * 10

    assert list(prefetch_map(work, range(5), threads=2, prefetch=3)) == [0, 10, 20, 30, 40]


def test_only_so_many_items_are_taken_before_a_result_is_asked_for():
    taken = []
    items = (taken.append(i) or i for i in itertools.count())
    results = prefetch_map(lambda item: item, items, threads=2, prefetch=3)
    assert taken == []
    assert next(results) == 0
    assert taken == [0, 1, 2, 3]
    assert next(results) == 1
    assert taken == [0, 1, 2, 3, 4]
    results.close()


def test_items_are_taken_in_the_thread_that_iterates_and_one_thread_works_in_order():
    threads = set()
    items = (threads.add(threading.current_thread()) or i for i in range(20))
    seen = []
    list(prefetch_map(seen.append, items, threads=1, prefetch=8))
    assert threads == {threading.current_thread()}
    assert seen == list(range(20))


def test_an_error_comes_at_the_place_of_its_item():
    def work(item: int) -> int:
        if item == 2:
            raise ValueError("the third")
        return item

    results = prefetch_map(work, range(5), threads=2, prefetch=4)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ValueError, match="the third"):
        next(results)


def test_an_error_of_the_items_comes_after_the_results_of_those_before():
    def items():
        yield from range(3)
        raise RuntimeError("out of memory")

    results = prefetch_map(str, items(), threads=2, prefetch=8)
    assert [next(results) for _ in range(3)] == ["0", "1", "2"]
    with pytest.raises(RuntimeError, match="out of memory"):
        next(results)


def test_a_consumer_may_stop_and_what_has_begun_is_finished():
    done = []
    results = prefetch_map(done.append, range(100), threads=1, prefetch=2)
    next(results)
    results.close()
    count = len(done)
    assert done == list(range(count)) and count <= 3


def test_heavy_items_wait_for_those_before_them(monkeypatch):
    """Two of 40 bytes fit in 100; a single one of 1000 passes alone."""
    monkeypatch.setattr("van_dense.data.io.prefetch.WAITING_BYTES", 100)
    taken, started = [], []
    weights = [40, 40, 40, 1000, 40]
    results = prefetch_map(
        started.append,
        (taken.append(weight) or weight for weight in weights),
        threads=1,
        prefetch=50,
        weigh=lambda weight: weight,
    )
    next(results)
    assert taken == [40, 40, 40] and len(started) <= 2
    assert len(list(results)) == 4
    assert started == weights
