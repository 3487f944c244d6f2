"""An exponential moving average of the weights, evaluated and kept in place of the raw ones.

Its decay is ``min(decay, (1 + step) / (10 + step))``, as in TensorFlow's
``ExponentialMovingAverage(num_updates=...)``: without this ramp the average of a short run would
be little more than the random start.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn


class Ema:
    """A copy of a model whose weights follow it; buffers (BatchNorm statistics) are copied.

    Make it before the model is wrapped for autocast or distributed training, because a wrapped
    ``forward`` would be copied along. It has no state besides ``module``.

    Attributes:
        module: The averaged model, in evaluation mode and without gradients.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.module = copy.deepcopy(model).eval().requires_grad_(False)
        trainable: list[tuple[Tensor, Tensor]] = [
            (average, parameter)
            for average, parameter in zip(self.module.parameters(), model.parameters(), strict=True)
            if parameter.requires_grad
        ]
        self._averages = [average for average, _ in trainable]
        self._parameters = [parameter for _, parameter in trainable]
        self._own_buffers = list(self.module.buffers())
        self._buffers = list(model.buffers())

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move towards the model after optimiser step ``step``, counted from 1."""
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self._averages, self._parameters, 1 - decay)
        if self._own_buffers:
            torch._foreach_copy_(self._own_buffers, self._buffers)
