"""Loaders: an endless training stream that depends on (seed, position) alone, and evaluation.

Position p = step * batch_size + slot fixes the image and, by ``Streams``, its augmentation. The
number of workers, processes and micro-batches, and the step a run resumes from, therefore change
nothing about the sample at a position.
"""

import itertools
import logging
import os
import signal
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from van_dense.core.epochs import steps_per_epoch
from van_dense.core.seeding import Streams, Use
from van_dense.core.structures import Batch, Sample, Size
from van_dense.core.workers import lost_worker
from van_dense.data.collate import collate
from van_dense.data.dataset import DenseDataset, ReadError, TooManyBadImages, Transform
from van_dense.data.io.prefetch import usable_cores
from van_dense.data.messages import CHECK
from van_dense.data.parcel import Parcel, pack

logger = logging.getLogger(__name__)

MAX_AUTO_WORKERS = 8


@dataclass(frozen=True)
class LoaderPlan:
    """How the training stream is cut into batches; evenly, or a ValueError says what would be."""

    batch_size: int  #: number of images of one optimiser step over all processes
    micro_batch: int  #: number of images of one forward pass of one process
    workers: int  #: number of loader processes of this process; 0 reads in the process itself
    streams: Streams  #: of order and augmentation
    size_divisor: int  #: number that padded sides are multiples of, in pixels
    group_by_aspect: bool  #: whether batches have one orientation, so that padding stays small
    #: Fraction of unreadable images in 0..1 above which the run stops; one image is always
    #: tolerated unless it is 0.
    max_bad_fraction: float
    min_size: Size = (0, 0)  #: smallest padded (height, width): small crops weigh the same
    rank: int = 0  #: number of this process, 0..world-1
    world: int = 1  #: number of processes

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.world:
            raise ValueError(f"rank {self.rank} is none of 0..{self.world - 1}")
        unit = self.world * self.micro_batch
        if self.batch_size % unit:
            parts = f"micro-batches of {self.micro_batch} for {self.world} processes"
            what = f"batch_size {self.batch_size} cannot be cut into {parts}"
            raise ValueError(f"{what}; make it a multiple of {unit}")

    @property
    def micro_batches(self) -> int:
        """Forward passes of one process in one optimiser step."""
        return self.batch_size // (self.world * self.micro_batch)


def epoch_order(
    num_images: int,
    batch_size: int,
    *,
    streams: Streams,
    epoch: int,
    groups: np.ndarray | None = None,
) -> np.ndarray:
    """Draw the batches of one epoch.

    Args:
        num_images: Number of images of the data set.
        batch_size: Number of images of a batch. With fewer images than that, indices repeat.
        streams: Streams of the run.
        epoch: Number of the epoch, from 0.
        groups: int (num_images,); then a batch holds one group, except for at most one mixed batch
            of what is left over. None mixes freely.

    Returns:
        int64 (steps, batch_size) of image indices; images beyond the last full batch are dropped.
    """
    rng = streams.generator(Use.ORDER, epoch)
    order = rng.permutation(num_images)
    steps = steps_per_epoch(num_images, batch_size)
    if num_images < batch_size:
        return np.resize(order, (1, batch_size))
    if groups is None:
        return order[: steps * batch_size].reshape(steps, batch_size)
    batches, left = [], np.ones(num_images, dtype=bool)
    for group in np.unique(groups):
        places = np.flatnonzero(groups[order] == group)
        places = places[: len(places) // batch_size * batch_size]
        batches.append(order[places].reshape(-1, batch_size))
        left[places] = False
    rest = order[left]  # in drawn order, so that the mixed batches favour no group
    batches.append(rest[: len(rest) // batch_size * batch_size].reshape(-1, batch_size))
    return rng.permutation(np.concatenate(batches), axis=0)


def build_train_loader(
    dataset: DenseDataset, transform: Transform, *, plan: LoaderPlan, start_step: int = 0
) -> Iterator[Batch]:
    """Endless micro-batches of this process, ``plan.micro_batches`` for each step.

    Rank r takes every ``world``-th image of a batch, from the r-th on. In place of an unreadable
    image the next readable one stands in; each is logged once, and TooManyBadImages ends the
    iteration where there are too many. An empty data set is a ValueError.
    """
    if len(dataset) == 0:
        raise ValueError(f"data set {dataset.info.name!r} holds no image to train on")
    batches = _TrainBatches(dataset, transform, plan)
    start = itertools.count(start_step * plan.micro_batches)
    loader = _torch_loader(batches, start, plan.workers)
    # Each process meets its part of the images, so it is allowed its part of the bad ones.
    return _watch(loader, len(dataset) // plan.world, plan.max_bad_fraction)


def _watch(loader: DataLoader[Batch], num_images: int, max_bad_fraction: float) -> Iterator[Batch]:
    """Log each unreadable image once, and stop when there are too many."""
    bad: dict[str, None] = {}
    allowed = max(1, int(max_bad_fraction * num_images)) if max_bad_fraction > 0 else 0
    for batch in _alive(loader):
        for message in batch.skipped:
            if message not in bad:
                bad[message] = None
                logger.warning("unreadable image %d, another stands in: %s", len(bad), message)
        if len(bad) > allowed:
            what = f"{len(bad)} of {num_images} images are unreadable, more than the fraction of"
            limit = f"{max_bad_fraction:g} that data.max_bad_fraction allows"
            examples = "; ".join(itertools.islice(bad, 3))
            raise TooManyBadImages(f"{what} {limit}: {examples}; {CHECK}")
        yield batch


class _TrainBatches(Dataset[Batch]):
    """Micro-batch m of the stream of one process."""

    def __init__(self, dataset: DenseDataset, transform: Transform, plan: LoaderPlan) -> None:
        self._dataset, self._transform, self._plan = dataset, transform, plan
        self._groups = None
        if plan.group_by_aspect:
            sizes = map(dataset.size, range(len(dataset)))  # two million tuples are 0.2 GB
            self._groups = np.fromiter((h > w for h, w in sizes), np.int64, len(dataset))
        self._epoch = -1
        self._order = np.zeros((0, 0), dtype=np.int64)

    def __getitem__(self, number: int) -> Batch:
        plan = self._plan
        step, part = divmod(number, plan.micro_batches)
        slots = range(plan.rank, plan.batch_size, plan.world)
        images, skipped = self._batch(step), list[str]()
        samples, seeds = [], []
        for slot in slots[part * plan.micro_batch : (part + 1) * plan.micro_batch]:
            sample = self._read(int(images[slot]), skipped)
            rng = plan.streams.generator(Use.AUGMENTATION, step * plan.batch_size + slot)
            samples.append(self._transform(sample, rng))
            seeds.append(int(rng.integers(2**63)))
        batch = collate(samples, plan.size_divisor, plan.min_size)
        return replace(batch, skipped=skipped, seeds=seeds)

    def _batch(self, step: int) -> np.ndarray:
        plan, num_images = self._plan, len(self._dataset)
        epoch, row = divmod(step, steps_per_epoch(num_images, plan.batch_size))
        if epoch != self._epoch:
            self._epoch = epoch
            self._order = epoch_order(
                num_images, plan.batch_size, streams=plan.streams, epoch=epoch, groups=self._groups
            )
        return self._order[row]

    def _read(self, index: int, skipped: list[str]) -> Sample:
        for offset in range(len(self._dataset)):
            try:
                return self._dataset.raw((index + offset) % len(self._dataset))
            except ReadError as error:
                skipped.append(str(error))
        raise TooManyBadImages(f"no image of the data set can be read: {skipped[0]}; {CHECK}")


class EvalLoader:
    """Batches of one process in order, without ground truth; may be iterated again and again.

    The images are cut into the same batches whatever the number of processes, and rank r takes the
    batches r, r + world, r + 2 world, and so on: padding follows what shares a batch, so that only
    equal batches give equal predictions. Nothing is repeated to fill the last one. An unreadable
    image is logged and gives no prediction, which counts its objects as missed and leaves its maps
    or class out; None stands for a batch without a readable image.

    Args:
        dataset: Reader of the images.
        transform: Change of each sample; its generator is seeded with the index of the image.
        batch_size: Number of images of a batch.
        rank: Number of this process, 0..world-1.
        world: Number of processes.
        workers: Number of loader processes of this process; 0 reads in the process itself.
        size_divisor: Number that padded sides are multiples of, in pixels.
        done: For each batch of all processes whether it is left out; None leaves out none.

    Attributes:
        numbers: Numbers of the batches, among those of all processes.
        total: Number of batches of all processes.
    """

    def __init__(
        self,
        dataset: DenseDataset,
        transform: Transform,
        *,
        batch_size: int,
        rank: int = 0,
        world: int = 1,
        workers: int = 0,
        size_divisor: int = 32,
        done: Sequence[int] | None = None,
    ) -> None:
        images = range(len(dataset))
        parts = [images[i : i + batch_size] for i in range(0, len(images), batch_size)]
        self.total = len(parts)
        due = range(rank, self.total, world)
        self.numbers: Sequence[int] = [number for number in due if done is None or not done[number]]
        batches = _EvalBatches(dataset, transform, parts, size_divisor)
        self._loader = _torch_loader(batches, self.numbers, workers)

    def __len__(self) -> int:
        """Number of batches, counting those that turn out to be unreadable."""
        return len(self.numbers)

    def __iter__(self) -> Iterator[Batch | None]:
        for item in _alive(self._loader):
            messages = item.skipped if isinstance(item, Batch) else item
            for message in messages:
                logger.warning("unreadable image, it gets no prediction: %s", message)
            yield item if isinstance(item, Batch) else None


@dataclass
class _EvalBatches(Dataset["Batch | list[str]"]):
    """Batch i of all images, or the messages where no image of it is readable."""

    dataset: DenseDataset
    transform: Transform
    parts: Sequence[Sequence[int]]
    size_divisor: int

    def __getitem__(self, number: int) -> Batch | list[str]:
        samples, skipped = [], []
        for index in self.parts[number]:
            try:
                s = self.dataset.raw(index)
            except ReadError as error:
                skipped.append(str(error))
                continue
            # Evaluators own the ground truth; resizing masks here would double the reading time.
            bare = Sample(s.image, s.image_id, s.path, s.orig_size, proposals=s.proposals)
            samples.append(self.transform(bare, Streams(0).generator(Use.EVALUATION, index)))
        return replace(collate(samples, self.size_divisor), skipped=skipped) if samples else skipped


def resolve_workers(workers: int | Literal["auto"]) -> int:
    """Number of loader processes of this training process; a negative one is a ValueError.

    "auto" divides the usable cores among the training processes of this machine and leaves one core
    to each of them: at most 8 loader processes, at least 1 where a second core exists.
    """
    if workers != "auto":
        if workers < 0:
            raise ValueError(f"data.workers is {workers}; give 0 or more, or auto")
        return workers
    cores = usable_cores()
    own_cores = cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return min(MAX_AUTO_WORKERS, max(own_cores - 1, 1 if cores > 1 else 0))


def _torch_loader(batches: Dataset[Any], sampler: Iterable[int], workers: int) -> DataLoader[Any]:
    if workers > 0:
        _allow_many_files()
    return DataLoader(
        batches,
        batch_size=None,  # the data set returns whole batches
        sampler=sampler,
        num_workers=workers,
        collate_fn=_packed if workers > 0 else _unchanged,
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=_init_worker,
        # Its own generator: otherwise starting a loader would draw from the global one.
        generator=torch.Generator(),
    )


def _alive(loader: DataLoader[Any]) -> Iterator[Any]:
    """Items of a loader; a ChildProcessError, in a sentence, where one of its processes is gone."""
    try:
        with _sigterm_blocked():
            batches = iter(loader)  # starts the processes
        for item in batches:
            yield item.unpack() if isinstance(item, Parcel) else item
    except (RuntimeError, ConnectionError, EOFError) as error:
        if (lost := lost_worker(error)) is None:
            raise
        raise lost from error


def _packed(item: Batch | list[str]) -> Parcel | list[str]:
    return pack(item) if isinstance(item, Batch) else item


def _unchanged(item: Batch | list[str]) -> Batch | list[str]:
    return item


@contextmanager
def _sigterm_blocked() -> Iterator[None]:
    """Start processes with SIGTERM blocked in all their threads; see ``_init_worker``.

    Beside several threads of PyTorch in this process, a new one starts a thread before
    ``_init_worker``, which would end the process at the first SIGTERM.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _init_worker(_: int) -> None:
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    # Ctrl-C and schedulers signal the whole group, but the step in progress still needs its data.
    for name in ("SIGINT", "SIGUSR1"):
        if hasattr(signal, name):  # Windows has no SIGUSR1
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):  # not on macOS and Windows
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_when_parent_says, daemon=True).start()


def _end_when_parent_says() -> None:
    """Heed a SIGTERM of the training process alone: it sends one when it ends and then waits."""
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass
    os._exit(0)


def _allow_many_files() -> None:
    """Raise the soft limit of open files to the hard one.

    Each tensor from a worker holds one; 8 workers with 2 batches of 16 images need more than the
    usual 1024 (PyTorch: "received 0 items of ancdata").
    """
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
