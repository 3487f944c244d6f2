"""Times and peak memory of calls that are compared with each other.

Machines are shared, and drift by more than the differences looked for. Calls therefore take turns,
in rounds, and what counts is the median over the rounds of the ratio within a round.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from statistics import median
from time import perf_counter
from typing import Any

import cv2
import numpy as np
import torch

from van_dense.engine.memory import TensorBytes

Call = Callable[[], object]


def time_in_turn(
    calls: Mapping[str, Call], *, rounds: int, device: torch.device
) -> dict[str, list[float]]:
    """Seconds of every call in every round, after a round that warms caches and allocators up.

    Each round has an order of its own, so that none always follows the same call: on a CPU a call
    behind one in another memory format took 4 % longer.
    """
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    rng = np.random.default_rng(0)
    for _ in range(rounds + 1):
        for name in rng.permutation(list(calls)).tolist():
            synchronize(device)
            began = perf_counter()
            calls[name]()
            synchronize(device)
            seconds[name].append(perf_counter() - began)
    return {name: values[1:] for name, values in seconds.items()}


def synchronize(device: torch.device) -> None:
    """Wait until a GPU has done everything it was asked to."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def compare(
    seconds: Mapping[str, Sequence[float]], baseline: str, *, images: int
) -> dict[str, dict[str, Any]]:
    """Images per second of each call, and its speed-up over ``baseline`` with quartiles."""
    return {
        name: {
            "images_per_s": round(images / median(values), 2),
            "speedup": spread(np.divide(seconds[baseline], values)),
        }
        for name, values in seconds.items()
    }


def spread(values: Sequence[float] | np.ndarray, digits: int = 3) -> dict[str, float]:
    """Median and quartiles of what several rounds gave."""
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75]).tolist()
    return {
        "median": round(middle, digits),
        "quartile_1": round(low, digits),
        "quartile_3": round(high, digits),
    }


def peak_bytes(call: Call, device: torch.device) -> int:
    """Largest number of bytes that tensors made by ``call`` hold at one time.

    On a GPU its allocator counts them. On a CPU the results of all operators are followed, those of
    the backward pass too; scratch memory inside an operator is not seen there.
    """
    gc.collect()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        call()
        return torch.cuda.max_memory_allocated(device) - before
    with TensorBytes() as counter:
        call()
    return counter.peak


@contextmanager
def one_thread() -> Iterator[None]:
    """Let PyTorch and OpenCV use one thread, as each loader process does."""
    threads = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    try:
        yield
    finally:
        torch.set_num_threads(threads[0])
        cv2.setNumThreads(threads[1])
