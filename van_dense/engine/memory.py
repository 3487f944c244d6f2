"""An estimate of the memory of a training step, made on the meta device without any computation."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from van_dense.config.schema import Train

GIB = 2**30
HALF_PRECISION_FRACTION = 0.6  # a guess between 0.5 (all half) and 1 (none)


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes of one process during a training step."""

    states: int  # bytes of weights, gradients, optimiser state and averaged weights
    activations: int  # bytes kept for the backward pass of a micro-batch, without the losses

    def describe(self) -> str:
        """The total and its two parts in GiB."""
        total = self.states + self.activations
        return (
            f"about {total / GIB:.1f} GiB a process = {self.states / GIB:.2f} weights, gradients "
            f"and optimiser + {self.activations / GIB:.1f} activations; losses, short-lived "
            "buffers and the libraries' own memory come on top"
        )


def estimate_memory(
    model: nn.Module, forward: Callable[[], None], *, train: Train, micro_batch: int
) -> MemoryEstimate:
    """Estimate a training step by listing what autograd keeps of the network for one image.

    Args:
        model: Model on the meta device.
        forward: Function that runs ``model`` on one meta image of training size.
        train: Settings of optimiser, EMA and precision.
        micro_batch: Images of one forward pass.
    """
    parameters = list(model.parameters())
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.eval()  # a map pooled to one pixel has no statistics; what is kept is the same
    trainable = sum(p.numel() for p in parameters if p.requires_grad)
    moments = 1 if train.optimizer.name == "sgd" else 2
    copies = sum(p.numel() for p in parameters) * (1 if train.ema_decay is None else 2)
    states = 4 * (copies + trainable * (1 + moments))
    held = {p.untyped_storage()._cdata for p in parameters}
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        if tensor.untyped_storage()._cdata not in held:
            kept[tensor.untyped_storage()._cdata] = tensor  # holding it keeps the key unique
        return tensor

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        forward()
    one_image = sum(t.untyped_storage().nbytes() for t in kept.values())
    # Autocast keeps convolution inputs in half precision, but norms in fp32.
    fraction = 1.0 if train.precision == "fp32" else HALF_PRECISION_FRACTION
    return MemoryEstimate(states, round(one_image * micro_batch * fraction))
