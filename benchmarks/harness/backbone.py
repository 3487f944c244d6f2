"""The VAN of this toolkit beside the plain eager definition: speed and memory."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.harness.clock import compare, peak_bytes, time_in_turn
from benchmarks.harness.eager_van import EagerVAN
from van_dense.backbones.build import build_backbone
from van_dense.backbones.van import SIZES
from van_dense.core.structures import Size

AUTOCAST = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
TOLERANCE = 1e-4


def measure_backbone(
    name: str, *, batch: int, size: Size, precision: str, rounds: int
) -> dict[str, Any]:
    """Compare forward passes, training steps and their memory; speed-ups are over "eager".

    A training step is a forward and a backward pass from given gradients of the four maps, without
    drop path and optimiser.

    Args:
        name: A VAN, "van_b0" .. "van_b6".
        batch: Images.
        size: (height, width) of the images.
        precision: Of autocast, for all: "fp32", "bf16" or "fp16".
        rounds: Of measuring.

    Raises:
        ValueError: For another backbone.
        RuntimeError: When the two definitions disagree.
    """
    models = _build(name)
    difference = largest_difference(models["eager"], models["contiguous"])
    if not difference <= TOLERANCE:
        raise RuntimeError(
            f"{name} differs from its eager definition by {difference:.2g}, more than "
            f"{TOLERANCE:g}; speeds of different functions say nothing"
        )
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(0)
    images = torch.randn(batch, 3, *size, device=device)
    with torch.no_grad():
        gradients = [torch.randn_like(level) for level in models["eager"].to(device)(images)]
    forwards, steps = {}, {}
    for kind, model in models.items():
        layout = torch.channels_last if kind == "channels_last" else torch.contiguous_format
        model.to(device, memory_format=layout)  # type: ignore[call-overload]
        inputs, *grads = (t.to(memory_format=layout) for t in (images, *gradients))
        forwards[kind] = partial(_predict, model, inputs, AUTOCAST[precision])
        steps[kind] = partial(_train_step, model, inputs, grads, AUTOCAST[precision])
    del forwards["checkpointing"]  # without gradients it is "contiguous"
    return {
        "model": name,
        "batch": batch,
        "size": list(size),
        "precision": precision,
        "rounds": rounds,
        "largest_difference": float(f"{difference:.2g}"),
        "forward": compare(
            time_in_turn(forwards, rounds=rounds, device=device), "eager", images=batch
        ),
        "train_step": compare(
            time_in_turn(steps, rounds=rounds, device=device), "eager", images=batch
        ),
        "peak_mb_forward": _megabytes(forwards, device),
        "peak_mb_train_step": _megabytes(steps, device),
    }


def _build(name: str) -> dict[str, nn.Module]:
    """The eager definition and ours in several ways, all with the same weights."""
    if name not in SIZES:
        raise ValueError(
            f"model.backbone.name: the eager definition is one of VAN, not of {name!r}; choose "
            f"one of {list(SIZES)}"
        )
    torch.manual_seed(0)
    ours = build_backbone(
        name,
        drop_path=0.0,
        norm_mode="auto",
        freeze_stages=0,
        checkpointing=False,
        options={"norm_eps": 1e-6},
    )
    eager = EagerVAN(*SIZES[name], norm_eps=1e-6)
    eager.load_state_dict(ours.body.state_dict())
    checkpointing = copy.deepcopy(ours)
    checkpointing.body.set_grad_checkpointing(True)
    return {
        "eager": eager,
        "contiguous": ours,
        "channels_last": copy.deepcopy(ours),
        "checkpointing": checkpointing,
    }


@torch.no_grad()
def largest_difference(first: nn.Module, second: nn.Module) -> float:
    """Largest absolute difference of the feature maps of a small image, in fp32 on the CPU."""
    image = torch.randn(1, 3, 96, 64, generator=torch.Generator().manual_seed(0))
    maps = zip(first.eval()(image), second.eval()(image), strict=True)
    return max(float((one - other).abs().max()) for one, other in maps)


def _autocast(device: torch.device, dtype: torch.dtype | None) -> torch.autocast:
    return torch.autocast(device.type, dtype, enabled=dtype is not None)


def _predict(model: nn.Module, images: Tensor, dtype: torch.dtype | None) -> None:
    model.eval()
    with torch.inference_mode(), _autocast(images.device, dtype):
        model(images)


def _train_step(
    model: nn.Module, images: Tensor, gradients: list[Tensor], dtype: torch.dtype | None
) -> None:
    model.train()
    model.zero_grad()
    with _autocast(images.device, dtype):
        maps = model(images)
    # Not from a mean: behind a LayerNorm its gradient is zero but for rounding, and CPUs are slow
    # with such numbers.
    torch.autograd.backward(maps, gradients)


def _megabytes(calls: dict[str, partial[None]], device: torch.device) -> dict[str, float]:
    return {kind: round(peak_bytes(call, device) / 1e6, 1) for kind, call in calls.items()}
