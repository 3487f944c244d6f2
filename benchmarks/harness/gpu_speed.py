"""Speed and peak memory of networks on a GPU, under the column names of timm's ``benchmark.py``.

Source of the names and of the training step (cross-entropy, SGD): https://github.com/huggingface/
pytorch-image-models, ``benchmark.py``. A case is measured in blocks between two synchronisations;
where memory runs out, the batch is halved.
"""

from __future__ import annotations

import copy
import gc
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from statistics import median
from time import perf_counter
from typing import Any

import timm
import torch
from torch import Tensor, nn

from benchmarks.harness.backbone import AUTOCAST
from benchmarks.harness.clock import synchronize
from benchmarks.harness.complexity import count_macs, count_parameters
from van_dense.backbones.build import build_backbone
from van_dense.core.structures import Size

Found = dict[str, Any]
Case = tuple[Found, Callable[[], Found]]  # what is measured, and what measures it
Step = Callable[[], object]

_SWIN, _CONVNEXT = "swin_{}_patch4_window7_224", "convnext_{}"
# What matters most comes first.
MODELS = (
    *("van_b2", _SWIN.format("tiny"), _CONVNEXT.format("tiny"), "van_b0", "van_b1", "van_b3"),
    *(_SWIN.format("small"), _CONVNEXT.format("small"), "van_b4", _SWIN.format("base")),
    *(_CONVNEXT.format("base"), "van_b5", "van_b6"),
)
CLASSES = 1000
BLOCKS = 5
BLOCK_SECONDS = 0.15  # at least, of a block; a launch takes microseconds, a clock reading too
WARM_UP = 3  # calls: cuDNN chooses algorithms, the allocator grows


@dataclass(frozen=True)
class Setting:
    """What a section may use."""

    device: torch.device
    tiny: bool  #: small networks, images and batches: whether everything runs, no figures
    deadline: float  #: of ``time.monotonic()``; what begins later than that is left out

    def left(self) -> float:
        """Seconds until the deadline."""
        return self.deadline - time.monotonic()

    @property
    def precisions(self) -> tuple[str, ...]:
        """Of autocast; a CPU has no gradient scaler for fp16."""
        return ("bf16", "fp16") if self.device.type == "cuda" else ("bf16",)


def classifiers(setting: Setting) -> Iterator[Case]:
    """Whole classifiers at 224 pixels: eager in both memory formats, then compiled."""
    size, batches = ((64, 64), (2, 2)) if setting.tiny else ((224, 224), (256, 128))
    yield from _networks(setting, "classifier", size, batches)


def backbones(setting: Setting) -> Iterator[Case]:
    """Backbones of detectors, four maps of an image of 800x1280 pixels."""
    size, batches = ((64, 96), (2, 2)) if setting.tiny else ((800, 1280), (16, 4))
    yield from _networks(setting, "backbone", size, batches)


def _networks(setting: Setting, kind: str, size: Size, batches: tuple[int, int]) -> Iterator[Case]:
    bf16, *others = setting.precisions
    first, rest = (("van_b0",), ()) if setting.tiny else (MODELS[:3], MODELS[3:])
    # A section measures as far as its time goes, and compiling takes most of it.
    ways = [
        *((name, bf16, layout, False) for name in first for layout in LAYOUTS),
        *((name, bf16, "channels_last", True) for name in first),
        *((name, bf16, "channels_last", False) for name in rest),
        *((name, fp16, "channels_last", False) for fp16 in others for name in first),
        *((name, bf16, "contiguous", False) for name in rest),
        *((name, fp16, "channels_last", False) for fp16 in others for name in rest),
        *((name, bf16, "channels_last", True) for name in rest),
    ]
    for name, precision, layout, compiled in ways:
        about = {
            "model": name,
            "kind": kind,
            "amp_dtype": precision,
            "layout": layout,
            "compiled": compiled,
        }
        yield about, partial(_measure, setting, about, size, batches)


LAYOUTS = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}


def _measure(setting: Setting, about: Found, size: Size, batches: tuple[int, int]) -> Found:
    """Forward pass, then training step of one network in one way."""
    torch.manual_seed(0)
    with setting.device:  # drawing the weights of VAN-B6 on a CPU takes seconds
        model = build_network(about["model"], about["kind"], size)
    found: Found = {"param_count": round(count_parameters(model) / 1e6, 2)}
    if about["layout"] == "channels_last" and about["amp_dtype"] == "bf16":
        found["infer_gmacs"] = round(_macs(model, size) / 1e9, 2)
    model.to(setting.device, memory_format=LAYOUTS[about["layout"]])
    run = _compiled(model, setting) if about["compiled"] else model
    steps = {"infer": inference_step, "train": training_step}
    for (part, make), batch in zip(steps.items(), batches, strict=True):
        make_step = partial(make, model, run, about, size)
        found |= named(part, speed(make_step, batch, setting), size)
    return found


def named(part: str, found: Found, size: Size) -> Found:
    """Figures of inference ("infer") or training ("train") under timm's names, with image size."""
    img_size = size[0] if size[0] == size[1] else list(size)
    return {f"{part}_{key}": value for key, value in {**found, "img_size": img_size}.items()}


def build_network(name: str, kind: str, size: Size) -> nn.Module:
    """A "classifier", or a "backbone" of four maps, with random weights."""
    if kind == "classifier":
        sized = {"img_size": size} if name.startswith("swin") else {}
        return timm.create_model(name, num_classes=CLASSES, **sized)
    settings = {"drop_path": 0.0, "norm_mode": "batch", "freeze_stages": 0, "checkpointing": False}
    return build_backbone(name, **settings, options={})


def _macs(model: nn.Module, size: Size) -> int:
    """Of one image, without computing anything."""
    hollow = copy.deepcopy(model).to("meta").eval()
    image = torch.zeros(1, 3, *size, device="meta")
    return count_macs(lambda: hollow(image))


def _compiled(model: nn.Module, setting: Setting) -> Callable[..., Any]:
    torch._dynamo.reset()  # what earlier networks compiled would count against the limit
    # Inductor on a CPU takes a minute a network, which a dry run need not.
    backend = "inductor" if setting.device.type == "cuda" else "aot_eager"
    return torch.compile(model, backend=backend, dynamic=False)


def _inputs(about: Found, model: nn.Module, size: Size, batch: int) -> Tensor:
    device = next(model.parameters()).device
    images = torch.randn(batch, 3, *size, device=device)
    return images.to(memory_format=LAYOUTS[about["layout"]])


def inference_step(
    model: nn.Module, run: Callable[..., Any], about: Found, size: Size, batch: int
) -> Step:
    """The call of ``run``, which is the model or its compiled form, on a batch of noise."""
    images, dtype = _inputs(about, model, size, batch), AUTOCAST[about["amp_dtype"]]
    model.eval()

    def step() -> None:
        with torch.inference_mode(), torch.autocast(images.device.type, dtype):
            run(images)

    return step


def training_step(
    model: nn.Module, run: Callable[..., Any], about: Found, size: Size, batch: int
) -> Step:
    """A step as a training makes it, with loss scaling in fp16."""
    images, dtype = _inputs(about, model, size, batch), AUTOCAST[about["amp_dtype"]]
    device = images.device.type
    labels = torch.arange(batch, device=device) % CLASSES
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9)
    scaler = torch.amp.GradScaler(device, enabled=dtype is torch.float16)
    model.train()

    def step() -> None:
        with torch.autocast(device, dtype):
            outputs = run(images)
        if isinstance(outputs, Tensor):
            loss = nn.functional.cross_entropy(outputs.float(), labels)
        else:  # no mean alone: behind a LayerNorm its gradient is zero but for rounding
            loss = torch.stack([level.float().square().mean() for level in outputs]).sum()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()

    return step


def speed(make_step: Callable[[int], Step], batch: int, setting: Setting) -> Found:
    """Samples per second, ms of a step and peak memory, with the largest batch that fits.

    Args:
        make_step: Gives the call to measure for a number of images.
        batch: Images to begin with; halved while memory runs out.
        setting: Device, and the time that is left: blocks end with it.
    """
    while True:
        try:
            return _timed(make_step(batch), batch, setting)
        except torch.OutOfMemoryError:
            if batch == 1:
                raise
        # Only here, behind the except: the error holds the frames whose tensors fill the memory.
        batch //= 2
        free_memory(setting.device)


def free_memory(device: torch.device) -> None:
    """Return what nobody holds any more to the GPU."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def _timed(step: Step, batch: int, setting: Setting) -> Found:
    device = setting.device
    began = perf_counter()
    step()
    synchronize(device)
    first = perf_counter() - began
    for _ in range(1 if setting.tiny else WARM_UP):
        began = perf_counter()
        step()
        synchronize(device)
    calls = 1 if setting.tiny else math.ceil(BLOCK_SECONDS / (perf_counter() - began))
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    seconds: list[float] = []
    while not seconds or (len(seconds) < BLOCKS and not setting.tiny and setting.left() > 0):
        began = perf_counter()
        for _ in range(calls):
            step()
        synchronize(device)
        seconds.append((perf_counter() - began) / calls)
    found = {
        "samples_per_sec": round(batch / median(seconds), 2),
        "step_time": round(1e3 * median(seconds), 3),
        "step_time_range": [round(1e3 * edge, 3) for edge in (min(seconds), max(seconds))],
        "batch_size": batch,
        "first_call_s": round(first, 2),  # with compiling
    }
    if device.type == "cuda":
        found["peak_memory_mb"] = round(torch.cuda.max_memory_allocated(device) / 1e6)
    return found
