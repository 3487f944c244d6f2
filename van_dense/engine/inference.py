"""Predictions for a whole data set, by one process or many."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Protocol

import torch
import torch.distributed as dist
from accelerate import Accelerator

from van_dense.core.counting import counted
from van_dense.core.structures import Batch, Prediction

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


def predict_chunks(
    model: Predictor,
    loader: Iterable[Batch],
    accelerator: Accelerator,
    *,
    should_stop: Callable[[], bool] = lambda: False,
) -> Iterator[list[Prediction]]:
    """Predict and gather a few batches at a time; every rank must exhaust the iterator.

    Args:
        model: Unwrapped model on the accelerator's device; its mode is restored at the end.
        loader: Batches of this rank alone; ranks may have different numbers of them.
        accelerator: Device, autocast and processes of the run.
        should_stop: Function called after every chunk; with True, the evaluation ends.

    Yields:
        On rank 0 the predictions of all ranks, on the others an empty list.

    Raises:
        EvaluationStopped: On all ranks, when ``should_stop`` is true on any.
    """
    was_training = model.training
    model.train(False)
    size = CHUNK if accelerator.num_processes > 1 else 1  # alone, nothing needs to pile up
    batches, done, images = iter(loader), False, 0
    reported = time.monotonic()
    try:
        while not done:
            chunk: list[Prediction] = []
            count = 0
            for batch in islice(batches, size):
                chunk += _predict(model, batch, accelerator)
                count += 1
                images += len(batch)
                if accelerator.is_main_process and time.monotonic() - reported > REPORT_SECONDS:
                    reported = time.monotonic()
                    log.info("predicted %s on this process", counted(images, "image"))
            done = _count(count < size, accelerator) == accelerator.num_processes
            if _count(should_stop(), accelerator) > 0:
                raise EvaluationStopped
            if count > 0 or accelerator.num_processes > 1:
                yield _gather(chunk, accelerator)
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


def _gather(chunk: list[Prediction], accelerator: Accelerator) -> list[Prediction]:
    if accelerator.num_processes == 1:
        return chunk
    chunks: list[list[Prediction]] | None = None
    if accelerator.is_main_process:
        chunks = [[] for _ in range(accelerator.num_processes)]
    dist.gather_object(chunk, chunks, dst=0)
    return [prediction for part in chunks or [] for prediction in part]
