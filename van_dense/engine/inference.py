"""Predictions for a whole data set, by one process or many."""

import logging
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from itertools import islice, zip_longest
from typing import Protocol

import torch
import torch.distributed as dist
from accelerate import Accelerator

from van_dense.core.counting import counted
from van_dense.core.failure import Failure
from van_dense.core.structures import Batch, Prediction
from van_dense.engine.parts import Parts
from van_dense.engine.stored_predictions import pack, unpack

log = logging.getLogger(__name__)

CHUNK = 32  # batches of each process between two gathers, where there are several
REPORT_SECONDS = 15.0  # between two lines of progress


class EvaluationStopped(RuntimeError):
    """A signal asked the run to end while it was evaluating; nothing is lost."""


class Predictor(Protocol):
    """The part of a model that inference needs."""

    training: bool

    def train(self, mode: bool = True) -> object:
        """Switch dropout and BatchNorm."""

    def predict(self, batch: Batch) -> list[Prediction]:
        """Predictions of each image, in original pixels, on the CPU."""


class NumberedBatches(Protocol):
    """Batches of one of several processes.

    Attributes:
        numbers: Numbers of the batches among those of all processes.
        total: Number of batches of all processes.
    """

    numbers: Sequence[int]
    total: int

    def __iter__(self) -> Iterator[Batch | None]:
        """The batches; None stands for one without a readable image."""


def predict_chunks(
    model: Predictor,
    loader: Iterable[Batch | None],
    accelerator: Accelerator,
    *,
    should_stop: Callable[[], bool] = lambda: False,
) -> Iterator[list[Prediction]]:
    """Predict and gather a few batches at a time; every rank must exhaust the iterator.

    Args:
        model: Unwrapped model on the accelerator's device; its mode is restored at the end.
        loader: Batches of this rank alone: of n processes every n-th one of all; None stands for
            a batch without a readable image.
        accelerator: Device, autocast and processes of the run.
        should_stop: Function called after every chunk; with True, the evaluation ends.

    Yields:
        On rank 0 the predictions of all ranks, in the order of one process; on the others an
        empty list.

    Raises:
        EvaluationStopped: On all ranks, when ``should_stop`` is true on any.
    """
    size = CHUNK if accelerator.num_processes > 1 else 1  # alone, nothing needs to pile up
    done = False
    with closing(_each(model, loader, accelerator)) as batches:
        while not done:
            chunk = list(islice(batches, size))
            done = _count(len(chunk) < size, accelerator) == accelerator.num_processes
            if _count(should_stop(), accelerator) > 0:
                raise EvaluationStopped
            if chunk or accelerator.num_processes > 1:
                yield _gather(chunk, accelerator)


def predict_parts(
    model: Predictor,
    loader: NumberedBatches,
    accelerator: Accelerator,
    parts: Parts,
) -> Iterator[list[Prediction]]:
    """Predict into parts on the disk, so that a job that was killed goes on; see ``Parts``.

    Args:
        model: Unwrapped model on the accelerator's device; its mode is restored at the end.
        loader: Batches of this rank that are not in the parts yet.
        accelerator: Device, autocast and processes of the run.
        parts: Where predictions are kept by the numbers of their batches; begun, on a disk that all
            processes see, and the caller's to remove.

    Yields:
        On rank 0 the predictions of each batch of all ranks, in the order of one process.

    Raises:
        Failure: On rank 0 at the end, when the parts lack a batch.
    """
    with parts.writer(accelerator.process_index) as writer:
        numbers = iter(loader.numbers)
        for chunk in _each(model, loader, accelerator):
            writer.add(next(numbers), pack(chunk))
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        there = 0
        for _, data in parts.read(loader.total):
            there += 1
            yield unpack(data)
        if there < loader.total:
            what = f"{loader.total - there} of {counted(loader.total, 'batch')} are missing in"
            why = "do all processes see this disk? --resume makes them"
            raise Failure(f"{what} {parts.folder}: {why}")


def _each(
    model: Predictor, loader: Iterable[Batch | None], accelerator: Accelerator
) -> Generator[list[Prediction]]:
    """Predictions of each batch of this rank, in evaluation mode."""
    was_training = model.training
    model.train(False)
    images, reported = 0, time.monotonic()
    try:
        for batch in loader:
            found = [] if batch is None else _predict(model, batch, accelerator)
            images += len(found)
            if accelerator.is_main_process and time.monotonic() - reported > REPORT_SECONDS:
                reported = time.monotonic()
                log.info("predicted %s on this process", counted(images, "image"))
            yield found
    finally:
        model.train(was_training)


@torch.inference_mode()
def _predict(model: Predictor, batch: Batch, accelerator: Accelerator) -> list[Prediction]:
    # Only forward() is autocast by accelerator.prepare.
    with accelerator.autocast():
        return model.predict(batch.to(accelerator.device, non_blocking=True))


def _count(flag: bool, accelerator: Accelerator) -> int:
    """On how many ranks ``flag`` is true."""
    if accelerator.num_processes == 1:
        return int(flag)
    count = torch.tensor(float(flag), device=accelerator.device)
    return int(accelerator.reduce(count, "sum").item())


def _gather(chunk: list[list[Prediction]], accelerator: Accelerator) -> list[Prediction]:
    """Predictions of all ranks, whose batches take turns; on the others but 0 an empty list."""
    chunks: list[list[list[Prediction]]] | None = None
    if accelerator.is_main_process:
        chunks = [[] for _ in range(accelerator.num_processes)]
    if accelerator.num_processes == 1:
        chunks = [chunk]
    else:
        dist.gather_object(chunk, chunks, dst=0)
    turns = zip_longest(*(chunks or []), fillvalue=())
    return [prediction for turn in turns for batch in turn for prediction in batch]
