"""Images per second of the training loader: stage by stage in one process, and through workers.

An image is an item of the data set: a photo, or for pose one person cut out of a photo.
"""

from __future__ import annotations

import math
from statistics import median
from time import perf_counter, process_time
from typing import Any

import numpy as np
import psutil

from benchmarks.harness.clock import one_thread, spread
from van_dense.config import Config
from van_dense.core.seeding import Streams, Use
from van_dense.core.structures import Sample
from van_dense.data.collate import collate
from van_dense.data.dataset import DenseDataset, Transform
from van_dense.data.io.image import read_image, read_reduced
from van_dense.data.loader import LoaderPlan, build_train_loader, resolve_workers
from van_dense.engine.plan import make_plan
from van_dense.tasks import TASKS

MAX_IMAGES = 240  # of one round
STAGES = ("decode", "annotations", "transform", "collate")
FULL = "decode_in_full"  # what decoding would cost if no file were read at a reduced scale
ANNOTATIONS = ("boxes", "masks", "keypoints", "semantic", "saliency", "label")


def measure_loader(config: Config, *, rounds: int) -> dict[str, Any]:
    """Read, transform and collate training images as ``config`` says, on one core a process.

    Args:
        config: Of the experiment; micro-batch and number of workers are its own.
        rounds: Passes over the images (at most ``MAX_IMAGES``), after one to warm up.

    Returns:
        Rates and what was measured; ``input_size`` is (height, width) of one transformed sample.
    """
    task = TASKS[config.task]
    task.prepare_data(config)
    dataset = task.build_dataset(config, "train")
    transform = task.build_transform(config, train=True)
    plan = LoaderPlan(
        batch_size=config.train.batch_size,
        micro_batch=make_plan(config.train, num_images=len(dataset), world_size=1).micro_batch,
        workers=resolve_workers(config.data.workers),
        size_divisor=config.data.size_divisor,
        group_by_aspect=config.data.group_by_aspect,
        max_bad_fraction=config.data.max_bad_fraction,
        streams=Streams(0),
    )
    with one_thread():
        alone = _in_process(dataset, transform, plan, rounds)
    sample = dataset.raw(0)
    return {
        "data": config.data.name,
        "images": min(len(dataset), MAX_IMAGES),
        "transforms": config.data.transforms.model_dump(mode="json"),
        "annotations": [name for name in ANNOTATIONS if getattr(sample, name) is not None],
        "input_size": transform(sample, plan.streams.generator(Use.AUGMENTATION, 0)).size,
        "micro_batch": plan.micro_batch,
        "rounds": rounds,
        "one_process": alone,
        "through_workers": _through_workers(dataset, transform, plan, rounds),
    }


def _in_process(
    dataset: DenseDataset, transform: Transform, plan: LoaderPlan, rounds: int
) -> dict[str, Any]:
    """Milliseconds of an image by stage, and rates of reading and transforming it."""
    images = np.linspace(0, len(dataset), min(len(dataset), MAX_IMAGES), endpoint=False, dtype=int)
    passes = [_one_pass(dataset, transform, plan, images.tolist()) for _ in range(rounds + 1)][1:]
    rates = [1 / (p["decode"] + p["annotations"] + p["transform"]) for p in passes]
    with_collate = [1 / sum(p[stage] for stage in STAGES) for p in passes]
    return {
        "images_per_s": spread(rates, 1),
        "images_per_s_with_collate": spread(with_collate, 1),
        "images_per_cpu_s_with_collate": spread([1 / p["cpu"] for p in passes], 1),
        "images_read_at_reduced_scale": round(passes[0]["reduced"], 3),
        "ms_per_image": {s: round(1e3 * median(p[s] for p in passes), 2) for s in (*STAGES, FULL)},
    }


def _one_pass(
    dataset: DenseDataset, transform: Transform, plan: LoaderPlan, images: list[int]
) -> dict[str, float]:
    """Seconds of an image in each stage, and of the processor in all of them.

    With them "reduced", the share of images that were read at a reduced scale.
    """
    totals = dict.fromkeys((*STAGES, FULL, "cpu", "reduced"), 0.0)
    for start in range(0, len(images), plan.micro_batch):
        samples = []
        for index in images[start : start + plan.micro_batch]:
            cpu, began = process_time(), perf_counter()
            sample = dataset.raw(index)
            read = perf_counter()
            samples.append(transform(sample, plan.streams.generator(Use.AUGMENTATION, index)))
            transformed = perf_counter()
            totals["cpu"] += process_time() - cpu
            decode, in_full = _decoding(sample)
            totals["decode"] += decode
            totals[FULL] += in_full
            totals["annotations"] += read - began - decode
            totals["transform"] += transformed - read
            totals["reduced"] += reduction(sample) > 1
        cpu, began = process_time(), perf_counter()
        collate(samples, plan.size_divisor)
        totals["collate"] += perf_counter() - began
        totals["cpu"] += process_time() - cpu
    return {stage: value / len(images) for stage, value in totals.items()}


def _decoding(sample: Sample) -> tuple[float, float]:
    """Seconds of decoding the file of a sample once more, as its reader did and in full."""
    factor, began = reduction(sample), perf_counter()
    read_reduced(sample.path, factor)
    decode = perf_counter() - began
    if factor == 1:
        return decode, decode
    began = perf_counter()
    read_image(sample.path)
    return decode, perf_counter() - began


def reduction(sample: Sample) -> int:
    """By how much, 1, 2, 4 or 8, the file of an untransformed sample was reduced in reading."""
    return 2 ** round(math.log2(max(sample.orig_size) / max(sample.size)))  # sides are rounded up


def _through_workers(
    dataset: DenseDataset, transform: Transform, plan: LoaderPlan, rounds: int
) -> dict[str, Any]:
    """Rate at which a process that does nothing else receives batches from its workers."""
    batches = build_train_loader(dataset, transform, plan=plan)
    num_batches = max(1, min(len(dataset), MAX_IMAGES) // plan.micro_batch)
    images = num_batches * plan.micro_batch
    next(batches)  # starts the workers
    workers = psutil.Process().children()
    passes = []
    for _ in range(rounds + 1):
        before = perf_counter(), process_time(), _cpu_seconds(workers)
        for _ in range(num_batches):
            next(batches)
        after = perf_counter(), process_time(), _cpu_seconds(workers)
        passes.append(np.subtract(after, before) / images)
    wall, own, theirs = np.transpose(passes[1:])
    return {
        "workers": plan.workers,
        "images_per_s": spread(1 / wall, 1),
        "images_per_s_of_a_worker": spread(1 / wall / max(1, plan.workers), 1),
        "worker_cpu_ms_per_image": round(1e3 * median(theirs), 2),
        "receiving_cpu_ms_per_image": round(1e3 * median(own), 2),
    }


def _cpu_seconds(processes: list[psutil.Process]) -> float:
    return sum(sum(process.cpu_times()[:2]) for process in processes)  # user and system
