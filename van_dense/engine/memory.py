"""An estimate of the memory of a training step, made on the meta device without any computation."""

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from van_dense.config.schema import Train

GIB = 2**30
HALF_PRECISION_FRACTION = 0.6  # a guess between 0.5 (all half) and 1 (none)


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes of one process during a training step."""

    states: int  # bytes of weights, gradients, optimiser state and averaged weights
    #: most bytes that forward and backward pass of a micro-batch hold at one time beside these,
    #: without the losses
    activations: int

    def describe(self) -> str:
        """The total and its two parts in GiB."""
        total = self.states + self.activations
        return (
            f"about {total / GIB:.1f} GiB a process = {self.states / GIB:.2f} weights, gradients "
            f"and optimiser + {self.activations / GIB:.1f} activations; losses, scratch memory of "
            "operators and the libraries' own come on top"
        )


class TensorBytes(TorchDispatchMode):
    """Counts the living bytes of the tensors that operators return, on any device.

    ``peak`` is the largest number at one time. Tensors that were there before count nothing, and
    scratch memory inside an operator is not seen.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = 0
        self._now = 0
        self._alive: set[int] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run an operator and follow what it returns."""
        for leaf in tree_leaves((args, kwargs)):
            if isinstance(leaf, Tensor):  # if it is unknown, it was there before
                self._follow(leaf.untyped_storage(), 0)
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self._follow(leaf.untyped_storage(), leaf.untyped_storage().nbytes())
        return result

    def _follow(self, storage: torch.UntypedStorage, size: int) -> None:
        key = storage._cdata
        if key in self._alive:  # a view, or an operator that works in place
            return
        self._alive.add(key)
        self._now += size
        self.peak = max(self.peak, self._now)
        weakref.finalize(storage, self._forget, key, size)

    def _forget(self, key: int, size: int) -> None:
        self._alive.discard(key)
        self._now -= size


def estimate_memory(
    model: nn.Module, forward: Callable[[], object], *, train: Train, micro_batch: int
) -> MemoryEstimate:
    """Estimate a training step by following the tensors of one image forward and backward.

    So it counts what checkpointing keeps as well as what it computes again.

    Args:
        model: Model on the meta device; gradients of its parameters are not kept from now on.
        forward: Function that runs ``model`` on one meta image of training size, and returns what
            the losses are computed from, in any nesting.
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
    for parameter in parameters:
        if parameter.requires_grad:  # its gradient is among the states
            parameter.register_post_accumulate_grad_hook(_forget_gradient)
    with torch.enable_grad(), TensorBytes() as counter:
        outputs = [o for o in tree_leaves(forward()) if isinstance(o, Tensor) and o.requires_grad]
        if outputs:
            torch.autograd.backward(outputs, [torch.ones_like(output) for output in outputs])
    # Autocast keeps convolution inputs in half precision, but norms in fp32.
    fraction = 1.0 if train.precision == "fp32" else HALF_PRECISION_FRACTION
    return MemoryEstimate(states, round(counter.peak * micro_batch * fraction))


def _forget_gradient(parameter: Tensor) -> None:
    parameter.grad = None
