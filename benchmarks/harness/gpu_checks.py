"""Does a GPU give what the CPU gives, and do the paths work that only a GPU takes?

Every case returns ``ok`` and the figures that it rests on; nothing is timed but transfers.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import Tensor, distributed, nn
from torch.nn.modules._functions import SyncBatchNorm
from torchvision.ops import batched_nms, nms, roi_align

from benchmarks.harness.gpu_speed import MODELS, Case, Found, Setting
from benchmarks.harness.gpu_whole import WHOLE, build_whole, generated_batch
from benchmarks.harness.seeded_weights import seed_weights
from van_dense.backbones.build import build_backbone
from van_dense.config import load_config
from van_dense.core.seeding import Streams
from van_dense.core.structures import Batch, Prediction
from van_dense.data.loader import LoaderPlan, build_train_loader
from van_dense.data.sample.sample_data import write_sample_data
from van_dense.data.transforms.detection import DetectionTrain
from van_dense.engine.device import make_accelerator
from van_dense.tasks import task_of

EXACT = 2e-3  # of the largest value: float32 sums in another order, through up to 100 layers
ROUGH = 0.1  # the same in bfloat16, of 8 bits
SAME_SCORES = 1e-3


def checks(setting: Setting) -> Iterator[Case]:
    """All cases; those of operators and paths first, since they take no time."""
    torch.backends.cudnn.allow_tf32 = False  # convolutions of 10 bits would hide a mistake
    for operator in ("nms", "batched_nms", "roi_align"):
        yield {"check": operator}, partial(_operator, setting, operator)
    yield {"check": "pinned transfer"}, partial(_transfer, setting)
    yield {"check": "loader pins what workers send"}, partial(_pinned_loader, setting)
    yield {"check": "fp16 scaler skips a step"}, partial(_scaler, setting)
    yield {"check": "synchronised BatchNorm"}, partial(_sync_norm, setting)
    for name in WHOLE:
        yield {"check": f"predictions of {name}"}, partial(_predictions, setting, name)
    for name in ("van_b0",) if setting.tiny else MODELS:
        yield {"check": f"maps of {name}"}, partial(_maps, setting, name)


def _difference(found: Tensor, expected: Tensor) -> float:
    """Largest difference, as a part of the largest value expected."""
    gap = (found.detach().cpu().float() - expected.detach().cpu().float()).abs().max()
    return float(gap / expected.detach().abs().max().cpu().clamp(min=1e-12))


def _maps(setting: Setting, name: str) -> Found:
    """Feature maps of a backbone: fp32 on both, channels-last and bf16 on the device."""
    torch.manual_seed(0)
    settings = {"drop_path": 0.0, "norm_mode": "batch", "freeze_stages": 0, "checkpointing": False}
    model = build_backbone(name, **settings, options={}).eval()
    image = torch.randn(1, 3, *((64, 64) if setting.tiny else (224, 224)))
    with torch.inference_mode():
        expected = model(image)
        model.to(setting.device)
        image = image.to(setting.device)
        found = {"fp32": model(image)}
        with torch.autocast(setting.device.type, torch.bfloat16):
            found["bf16"] = model(image)
        model.to(memory_format=torch.channels_last)
        found["channels_last"] = model(image.to(memory_format=torch.channels_last))
    worst = {
        way: max(_difference(one, other) for one, other in zip(maps, expected, strict=True))
        for way, maps in found.items()
    }
    limits = {"fp32": EXACT, "bf16": ROUGH, "channels_last": EXACT}
    return {"ok": all(worst[way] <= limits[way] for way in worst), "differences": worst}


def _operator(setting: Setting, name: str) -> Found:
    """Operators of torchvision with a kernel for GPUs, on boxes without equal scores."""
    random = torch.Generator().manual_seed(0)
    count = 200 if setting.tiny else 5000
    corners = torch.rand(count, 2, generator=random) * 900
    boxes = torch.cat([corners, corners + 1 + torch.rand(count, 2, generator=random) * 90], dim=1)
    scores = torch.randperm(count, generator=random) / count
    labels = torch.randint(80, (count,), generator=random)
    maps = torch.randn(1, 16, 64, 64, generator=random)
    calls: dict[str, Any] = {
        "nms": lambda b, s, *_: nms(b, s, 0.5),
        "batched_nms": lambda b, s, x, _: batched_nms(b, s, x, 0.5),
        "roi_align": lambda b, _, __, m: roi_align(m, [b], 7, 1 / 16, 0, True),
    }
    inputs = boxes, scores, labels, maps
    expected = calls[name](*inputs)
    found = calls[name](*(value.to(setting.device) for value in inputs)).cpu()
    if name == "roi_align":
        gap = _difference(found, expected)
        return {"ok": gap <= EXACT, "difference": gap}
    # For many boxes torchvision suppresses class by class on a CPU, and all at once on a GPU, with
    # classes moved apart: boxes whose IoU is the threshold but for rounding may differ.
    differ = len(set(found.tolist()) ^ set(expected.tolist()))
    return {"ok": differ <= 0.005 * len(expected), "kept": len(expected), "differ": differ}


@torch.inference_mode()
def _predictions(setting: Setting, name: str) -> Found:
    """A whole network with weights by a fixed rule, in fp32."""
    model = seed_weights(build_whole(name, tiny=setting.tiny)[0])
    batch = generated_batch(name, (64, 96) if setting.tiny else (256, 320), 1)
    (expected,) = model.predict(batch)
    (found,) = model.to(setting.device).predict(batch.to(setting.device))
    return _agreement(found, expected)


def _agreement(found: Prediction, expected: Prediction) -> Found:
    if expected.semantic is not None:
        share = float((found.semantic == expected.semantic).mean())
        return {"ok": share > 0.999, "same_labels": share}
    assert found.instances is not None and expected.instances is not None
    scores = [one.instances.scores for one in (found, expected)]
    counts = [len(values) for values in scores]
    shared = min(counts)
    gap = float((scores[0][:shared] - scores[1][:shared]).abs().max()) if shared else 0.0
    same = abs(counts[0] - counts[1]) <= 0.02 * max(counts)  # a score may cross the threshold
    return {"ok": same and gap <= SAME_SCORES, "detections": counts, "score_difference": gap}


def _needs_gpu(setting: Setting) -> Found | None:
    return None if setting.device.type == "cuda" else {"skipped": "needs a GPU"}


def _transfer(setting: Setting) -> Found:
    """A batch through pinned memory without waiting, and how fast both ways of copying are."""
    if skipped := _needs_gpu(setting):
        return skipped
    batch = generated_batch("Mask R-CNN, VAN-B2", (800, 1280), 8)
    pinned = batch.pin_memory()
    arrived = pinned.to(setting.device, non_blocking=True)
    torch.cuda.synchronize(setting.device)
    rates = {}
    for way, images in (("pageable", batch.images), ("pinned", pinned.images)):
        seconds = []
        for _ in range(6):
            torch.cuda.synchronize(setting.device)
            began = perf_counter()
            images.to(setting.device, non_blocking=True)
            torch.cuda.synchronize(setting.device)
            seconds.append(perf_counter() - began)
        rates[f"{way}_gb_per_s"] = round(images.numel() / min(seconds) / 1e9, 2)
    return {"ok": _is_same(arrived, batch) and pinned.images.is_pinned(), **rates}


def _is_same(arrived: Batch, sent: Batch) -> bool:
    assert arrived.targets is not None and sent.targets is not None
    pairs = [(arrived.images, sent.images)]
    for found, expected in zip(arrived.targets, sent.targets, strict=True):
        assert isinstance(found.masks, Tensor) and isinstance(expected.masks, Tensor)
        pairs += [(found.masks, expected.masks), (found.boxes, expected.boxes)]
    return all(torch.equal(one.cpu(), other) for one, other in pairs)


def _pinned_loader(setting: Setting) -> Found:
    """Batches of a loader process, beside those that are read in this one."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "sample")
        write_sample_data(root, train_images=4, val_images=1, size=64, seed=0)
        annotations = root / "annotations" / "instances_train2017.json"
        paths = [f"data.train.images={root}/train2017", f"data.train.annotations={annotations}"]
        config = load_config("maskrcnn_van_b2", paths)
        dataset = task_of(config).build_dataset(config, "train")
        transform = DetectionTrain((96,), 128, flip=0.5, color_jitter=0.0)
        batches = [
            next(build_train_loader(dataset, transform, plan=_loader_plan(workers)))
            for workers in (0, 1)
        ]
    pins = all(batch.images.is_pinned() for batch in batches)
    return {"ok": _is_same(batches[1], batches[0]) and pins == torch.cuda.is_available()}


def _loader_plan(workers: int) -> LoaderPlan:
    return LoaderPlan(
        batch_size=2,
        micro_batch=2,
        workers=workers,
        streams=Streams(0),
        size_divisor=32,
        group_by_aspect=False,
        max_bad_fraction=0.0,
    )


def _scaler(setting: Setting) -> Found:
    """A loss whose gradients overflow in fp16: no step, weights as before, half of the scale."""
    if skipped := _needs_gpu(setting):
        return skipped
    accelerator = make_accelerator("fp16")
    scaler, device = accelerator.scaler, accelerator.device
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(288, 1))
    images = torch.randn(4, 3, 8, 8, device=device)
    model.to(device)
    model, optimizer = accelerator.prepare(model, torch.optim.SGD(model.parameters(), lr=0.1))
    scaler.scale(torch.zeros((), device=device))  # makes the tensor that holds its scale
    skips, changed, scales = [], [], []
    for scale in (2.0**10, 2.0**60, 2.0**10):
        scaler.update(scale)
        before = [parameter.detach().clone() for parameter in model.parameters()]
        accelerator.backward(model(images).square().mean())
        optimizer.step()
        optimizer.zero_grad()
        skips.append(bool(optimizer.step_was_skipped))
        after = model.parameters()
        pairs = zip(before, after, strict=True)
        changed.append(not all(torch.equal(old, new) for old, new in pairs))
        scales.append(scaler.get_scale())
    ok = skips == [False, True, False] and changed == [True, False, True]
    return {
        "ok": ok and scales == [2.0**10, 2.0**59, 2.0**10],
        "skipped_steps": skips,
        "weights_changed": changed,
        "scales": scales,
    }


def _sync_norm(setting: Setting) -> Found:
    """Synchronised statistics of a group of one process are those of BatchNorm."""
    if skipped := _needs_gpu(setting):
        return skipped
    device = setting.device
    with tempfile.TemporaryDirectory() as folder:
        store = distributed.FileStore(str(Path(folder, "store")), 1)
        distributed.init_process_group("nccl", store=store, rank=0, world_size=1)
        try:
            plain = nn.BatchNorm2d(16).to(device)
            images = torch.randn(4, 16, 20, 20, device=device, requires_grad=True)
            weights = torch.randn_like(images)
            expected = plain(images)
            (wanted,) = torch.autograd.grad((expected * weights).sum(), images)
            # The module itself would take the plain path in a group of one.
            statistics = torch.zeros(16, device=device), torch.ones(16, device=device)
            group = distributed.group.WORLD
            found = SyncBatchNorm.apply(
                images, plain.weight, plain.bias, *statistics, plain.eps, 0.1, group, 1
            )
            (gradient,) = torch.autograd.grad((found * weights).sum(), images)
            gaps = [_difference(found, expected), _difference(gradient, wanted)]
            gaps.append(_difference(statistics[1], plain.running_var))
            converted = nn.SyncBatchNorm.convert_sync_batchnorm(plain)
            gaps.append(_difference(converted(images), expected))
        finally:
            distributed.destroy_process_group()
    return {"ok": max(gaps) <= EXACT, "differences": np.round(gaps, 8).tolist()}
