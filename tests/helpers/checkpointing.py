"""One training step of a backbone, with and without recomputing its activations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def step(
    make: Callable[[], Any], images: Tensor, *, enable: bool
) -> tuple[dict[str, Tensor], dict[str, Tensor], int]:
    """Gradients and buffers after the step, and bytes that were stored for the backward pass.

    ``make`` gives the same model, and drops the same paths, for each call.
    """
    torch.manual_seed(1)
    model = make()
    model.set_grad_checkpointing(enable)
    sizes: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        sizes[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = model(images).square().sum()
    loss.backward()
    gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    return gradients, dict(model.named_buffers()), sum(sizes.values())
