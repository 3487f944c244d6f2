"""The training stream is a function of (seed, position); bad images neither stop nor shift it."""

import itertools
import logging
import multiprocessing
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from van_dense.core.dataset_info import DatasetInfo
from van_dense.core.seeding import Streams
from van_dense.core.structures import Batch, Sample
from van_dense.data import loader as loader_module
from van_dense.data.dataset import ReadError
from van_dense.data.loader import (
    EvalLoader,
    LoaderPlan,
    build_train_loader,
    epoch_order,
    resolve_workers,
    steps_per_epoch,
)
from van_dense.data.transforms.detection import DetectionTest, DetectionTrain


class Pictures:
    """Image i is filled with the value i; odd ones are upright, the others lie."""

    info = DatasetInfo("pictures", ("a",), (1,))

    def __init__(self, num_images: int, broken: tuple[int, ...] = ()) -> None:
        self._num_images, self._broken = num_images, broken

    def __len__(self) -> int:
        return self._num_images

    def size(self, index: int) -> tuple[int, int]:
        return (12, 8) if index % 2 else (8, 12)

    def image_id(self, index: int) -> int:
        return index

    def raw(self, index: int) -> Sample:
        if index in self._broken:
            raise ReadError(f"{index}.jpg: broken")
        size = self.size(index)
        return Sample(
            image=np.full((*size, 3), index, dtype=np.uint8),
            image_id=index,
            path=f"{index}.jpg",
            orig_size=size,
            boxes=np.array([[1, 1, 5, 5]], dtype=np.float32),
            labels=np.zeros(1, dtype=np.int64),
            crowd=np.zeros(1, dtype=bool),
            masks=np.ones((1, *size), dtype=np.uint8),
        )


AUGMENT = DetectionTrain((8, 10, 12), 24, flip=0.5, color_jitter=0.5)
loader_plan = partial(
    LoaderPlan,
    workers=0,
    streams=Streams(0),
    size_divisor=32,
    group_by_aspect=True,
    max_bad_fraction=0.01,
)
PLAN = loader_plan(batch_size=4, micro_batch=2, streams=Streams(3))


def take(loader: Iterator[Batch], count: int) -> list[Batch]:
    return list(itertools.islice(loader, count))


def stream(dataset: Pictures, plan: LoaderPlan, count: int, start_step: int = 0) -> list[Batch]:
    return take(build_train_loader(dataset, AUGMENT, plan=plan, start_step=start_step), count)


def ids(batches: list[Batch]) -> list[int | str]:
    return [image_id for batch in batches for image_id in batch.image_ids]


def assert_equal(a: list[Batch], b: list[Batch]) -> None:
    assert len(a) == len(b)
    for x, y in zip(a, b, strict=True):
        assert x.image_ids == y.image_ids and x.sizes == y.sizes and x.skipped == y.skipped
        assert torch.equal(x.images, y.images)
        assert x.targets is not None and y.targets is not None
        for s, t in zip(x.targets, y.targets, strict=True):
            assert torch.equal(s.boxes, t.boxes) and torch.equal(s.masks, t.masks)


# ---------------------------------------------------------------------------------------- order


def test_an_epoch_shows_each_image_at_most_once_in_full_batches() -> None:
    order = epoch_order(10, 3, streams=Streams(0), epoch=0)
    assert order.shape == (3, 3) == (steps_per_epoch(10, 3), 3)
    assert len(set(order.ravel().tolist())) == 9


def test_epochs_and_seeds_differ_and_repeat() -> None:
    first = epoch_order(50, 5, streams=Streams(0), epoch=0)
    assert np.array_equal(first, epoch_order(50, 5, streams=Streams(0), epoch=0))
    assert not np.array_equal(first, epoch_order(50, 5, streams=Streams(0), epoch=1))
    assert not np.array_equal(first, epoch_order(50, 5, streams=Streams(1), epoch=0))


def test_fewer_images_than_a_batch_repeat_as_evenly_as_possible() -> None:
    order = epoch_order(3, 8, streams=Streams(0), epoch=0)
    assert order.shape == (1, 8)
    assert sorted(np.bincount(order[0])) == [2, 3, 3]


@pytest.mark.parametrize("num_images", [8, 21, 100, 101, 103])
@pytest.mark.parametrize("upright", [0, 1, 7])
def test_groups_mix_in_one_batch_at_most(num_images: int, upright: int) -> None:
    groups = (np.arange(num_images) < upright).astype(int)
    for epoch in range(5):
        order = epoch_order(num_images, 4, streams=Streams(0), epoch=epoch, groups=groups)
        assert order.shape == (num_images // 4, 4)
        assert len(np.unique(order)) == order.size
        mixed = [batch for batch in groups[order] if len(set(batch.tolist())) > 1]
        assert len(mixed) <= 1


def test_batches_of_the_groups_come_in_mixed_order() -> None:
    groups = np.arange(200) % 2
    kinds = groups[epoch_order(200, 4, streams=Streams(0), epoch=0, groups=groups)][:, 0]
    assert 10 < np.abs(np.diff(kinds)).sum() < 40


def test_with_groups_no_image_is_left_out_for_ever() -> None:
    groups = (np.arange(10) < 3).astype(int)
    seen = {
        i
        for epoch in range(30)
        for i in epoch_order(10, 4, streams=Streams(0), epoch=epoch, groups=groups).ravel().tolist()
    }
    assert seen == set(range(10))


# --------------------------------------------------------------------------------------- stream


def test_the_stream_does_not_depend_on_the_number_of_workers() -> None:
    dataset = Pictures(11, broken=(4,))
    plan = replace(PLAN, max_bad_fraction=1.0)
    alone = stream(dataset, plan, 14)
    for workers in (1, 2):
        assert_equal(alone, stream(dataset, replace(plan, workers=workers), 14))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_stream_from_step_k_is_the_tail_of_the_whole(workers: int) -> None:
    whole = stream(Pictures(11), PLAN, 14)
    assert_equal(whole[6:], stream(Pictures(11), replace(PLAN, workers=workers), 8, start_step=3))


def test_the_stream_does_not_depend_on_the_global_random_state() -> None:
    torch.manual_seed(1)
    first = stream(Pictures(11), PLAN, 6)
    torch.manual_seed(2)
    state = torch.get_rng_state()
    assert_equal(first, stream(Pictures(11), PLAN, 6))
    assert torch.equal(state, torch.get_rng_state())


def test_processes_and_micro_batches_share_the_images_of_a_step() -> None:
    dataset = Pictures(16)
    whole = stream(dataset, loader_plan(8, 8, streams=Streams(3)), 4)
    ranks = [
        stream(dataset, loader_plan(8, 2, rank=r, world=2, streams=Streams(3)), 8) for r in range(2)
    ]
    for step in range(4):
        for rank in range(2):
            parts = ranks[rank][2 * step : 2 * step + 2]
            assert ids(parts) == whole[step].image_ids[rank::2]
            sizes = [size for part in parts for size in part.sizes]
            assert sizes == whole[step].sizes[rank::2]


def test_batches_hold_one_orientation() -> None:
    batches = stream(Pictures(80), loader_plan(8, 8), 10)
    assert all(len({i % 2 for i in batch.image_ids}) == 1 for batch in batches)
    mixed = stream(Pictures(80), loader_plan(8, 8, group_by_aspect=False), 10)
    assert any(len({i % 2 for i in batch.image_ids}) == 2 for batch in mixed)


def test_a_repeated_image_is_augmented_anew() -> None:
    (batch,) = stream(Pictures(1), loader_plan(16, 16), 1)
    assert ids([batch]) == [0] * 16 and len(set(batch.sizes)) > 1


def test_a_batch_that_cannot_be_cut_evenly_is_refused() -> None:
    with pytest.raises(ValueError, match=r"batch_size 8 .* 3 for 2 processes.* multiple of 6"):
        loader_plan(8, 3, rank=0, world=2)
    with pytest.raises(ValueError, match=r"rank 2 is none of 0\.\.1"):
        loader_plan(8, 4, rank=2, world=2)


def test_an_empty_data_set_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="'pictures' holds no image"):
        build_train_loader(Pictures(0), AUGMENT, plan=PLAN)


# ----------------------------------------------------------------------------------- bad images


@pytest.mark.parametrize("workers", [0, 2])
def test_another_image_stands_in_for_a_bad_one_which_is_logged_once(
    caplog: pytest.LogCaptureFixture, workers: int
) -> None:
    dataset = Pictures(10, broken=(4, 5))
    plan = replace(PLAN, max_bad_fraction=0.2, workers=workers)
    batches = stream(dataset, plan, 20)
    assert all(len(batch) == 2 for batch in batches)
    assert not {4, 5} & set(ids(batches))
    assert {message for b in batches for message in b.skipped} == {"4.jpg: broken", "5.jpg: broken"}
    warnings = [r.message for r in caplog.records if r.levelno == logging.WARNING]
    assert len(warnings) == 2 and any("4.jpg: broken" in message for message in warnings)


def test_sound_images_keep_their_places_and_augmentation_beside_bad_ones() -> None:
    plan = replace(PLAN, max_bad_fraction=1.0)
    sound, spoilt = stream(Pictures(10), plan, 10), stream(Pictures(10, broken=(4,)), plan, 10)
    for a, b in zip(sound, spoilt, strict=True):
        expected = [5 if i == 4 else i for i in a.image_ids]
        assert b.image_ids == expected


def test_too_many_bad_images_stop_the_run_with_share_and_names() -> None:
    broken = tuple(range(0, 100, 10))
    loader = build_train_loader(
        Pictures(100, broken), AUGMENT, plan=replace(PLAN, max_bad_fraction=0.05)
    )
    with pytest.raises(RuntimeError, match=r"6 of 100 .* 0\.05 .*\.jpg: broken.*van-dense check"):
        take(loader, 100)


def test_one_bad_image_is_always_tolerated_unless_the_share_is_zero() -> None:
    dataset = Pictures(10, broken=(4,))
    assert len(stream(dataset, replace(PLAN, max_bad_fraction=0.01), 10)) == 10
    with pytest.raises(RuntimeError, match="1 of 10 images are unreadable"):
        stream(dataset, replace(PLAN, max_bad_fraction=0.0), 10)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_data_set_without_any_readable_image_stops(workers: int) -> None:
    dataset = Pictures(3, broken=(0, 1, 2))
    with pytest.raises(RuntimeError, match="no image of the data set can be read"):
        stream(dataset, replace(PLAN, max_bad_fraction=1.0, workers=workers), 1)


# ----------------------------------------------------------------------------------- evaluation


@pytest.mark.parametrize("workers", [0, 2])
def test_ranks_share_the_images_in_order_without_repeats(workers: int) -> None:
    test = DetectionTest(8, 24)
    seen = []
    for rank in range(3):
        loader = EvalLoader(Pictures(11), test, batch_size=2, rank=rank, world=3, workers=workers)
        batches = list(loader)
        assert len(batches) == len(loader) == 2
        assert loader.numbers == [rank, rank + 3] and loader.total == 6
        assert ids(batches) == [i for i in range(11) if i // 2 % 3 == rank]  # whole batches
        assert ids(list(loader)) == ids(batches)  # again
        assert all(batch.targets is None for batch in batches)
        seen += ids(batches)
    assert sorted(seen) == list(range(11))


def test_a_rank_without_an_image_gets_no_batch() -> None:
    loader = EvalLoader(Pictures(1), DetectionTest(8, 24), batch_size=2, rank=1, world=2)
    assert list(loader) == [] and len(loader) == 0


def test_batches_that_are_done_are_not_read() -> None:
    options = {"batch_size": 2, "rank": 1, "world": 2, "done": [0, 1, 0, 0, 0, 0]}
    loader = EvalLoader(Pictures(11), DetectionTest(8, 24), **options)
    assert loader.numbers == [3, 5] and ids(list(loader)) == [6, 7, 10]


@pytest.mark.parametrize("workers", [0, 1])
def test_unreadable_images_are_reported_and_get_no_prediction(
    caplog: pytest.LogCaptureFixture, workers: int
) -> None:
    dataset = Pictures(6, broken=(1, 2, 3))
    loader = EvalLoader(dataset, DetectionTest(8, 24), batch_size=2, workers=workers)
    batches = list(loader)
    assert [batch and batch.image_ids for batch in batches] == [[0], None, [4, 5]]
    assert [batch and batch.skipped for batch in batches] == [["1.jpg: broken"], None, []]
    assert caplog.text.count("gets no prediction") == 3


# -------------------------------------------------------------------------------------- workers


@pytest.mark.parametrize(
    ("cores", "processes", "workers"),
    [(1, 1, 0), (2, 1, 1), (4, 1, 3), (64, 1, 8), (16, 4, 3), (8, 8, 1)],
)
def test_auto_leaves_a_core_for_training(
    monkeypatch: pytest.MonkeyPatch, cores: int, processes: int, workers: int
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(cores)), raising=False)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))
    assert resolve_workers("auto") == workers


def test_a_number_of_workers_is_taken_as_it_is() -> None:
    assert resolve_workers(0) == 0 and resolve_workers(5) == 5
    with pytest.raises(ValueError, match=r"data\.workers is -1"):
        resolve_workers(-1)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc")
def test_no_thread_of_a_worker_takes_a_sigterm_though_pytorch_has_several_here() -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        torch.randn(2000, 2000) @ torch.randn(2000, 2000)  # starts the second one
        loader = build_train_loader(Pictures(11), AUGMENT, plan=replace(PLAN, workers=2))
        take(loader, 2)
        for worker in multiprocessing.active_children():
            tasks = [task.read_text() for task in Path(f"/proc/{worker.pid}/task").glob("*/status")]
            masks = [int(re.search(r"SigBlk:\s*(\w+)", text)[1], 16) for text in tasks]
            taken = [mask for mask in masks if not mask >> (signal.SIGTERM - 1) & 1]
            assert len(taken) == 1  # that of sigwaitinfo
        loader.close()
    finally:
        torch.set_num_threads(threads)


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_signals_to_the_whole_group_leave_the_workers_alive_until_the_loader_ends() -> None:
    """Ctrl-C and schedulers reach workers too, but the step in progress needs its images."""
    loader = build_train_loader(Pictures(11), AUGMENT, plan=replace(PLAN, workers=2))
    before = take(loader, 2)
    workers = multiprocessing.active_children()
    for worker in workers:
        for name in ("-INT", "-TERM"):  # from another process, as a scheduler sends it
            subprocess.run(["kill", name, str(worker.pid)], check=True)
    assert_equal(before + take(loader, 12), stream(Pictures(11), PLAN, 14))
    loader.close()
    for worker in workers:
        worker.join(timeout=300)
        assert worker.exitcode == 0


@pytest.mark.skipif(not hasattr(signal, "sigwaitinfo"), reason="needs sigwaitinfo")
def test_a_training_process_that_ends_with_its_loader_open_takes_the_workers_along() -> None:
    loader = build_train_loader(Pictures(11), AUGMENT, plan=replace(PLAN, workers=1))
    take(loader, 1)
    (worker,) = multiprocessing.active_children()
    worker.terminate()  # what multiprocessing does at exit, before it waits for the worker
    worker.join(timeout=300)
    assert worker.exitcode == 0


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("DataLoader worker (pid(s) 7) exited unexpectedly"),
        RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed."),
        ConnectionResetError(104, "Connection reset by peer"),
        EOFError(),
    ],
)
def test_a_loader_process_that_is_gone_ends_the_iteration_with_a_sentence(error: Exception) -> None:
    """Killed in earnest, PyTorch's handler would raise anywhere in this process for a while."""

    class Lost:
        def __iter__(self) -> Iterator[object]:
            yield 1
            raise error

    items = loader_module._alive(Lost())
    assert next(items) == 1
    with pytest.raises(ChildProcessError, match=r"a loader process ended unexpectedly.*workers"):
        next(items)


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize("part", ["training", "evaluation"])
def test_a_loader_process_that_is_killed_is_noticed(part: str) -> None:
    code = f"import test_loader; test_loader.lose_a_worker({part!r})"
    paths = [str(Path(__file__).parent), str(Path(__file__).parents[1]), *sys.path]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert "loader process ended unexpectedly" in done.stdout, done.stderr


def lose_a_worker(part: str) -> None:
    if part == "training":
        batches = build_train_loader(Pictures(11), AUGMENT, plan=replace(PLAN, workers=1))
    else:
        loader = EvalLoader(Pictures(100), DetectionTest(8, 12), batch_size=1, workers=1)
        batches = iter(loader)
    next(batches)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # where it raises, the trainer answers
    os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL)
    try:
        take(batches, 100)
    except ChildProcessError as error:
        print(error, flush=True)
    os._exit(0)
