"""An exponential moving average of the weights, evaluated and kept in place of the raw ones.

Its decay is ``min(decay, (1 + step) / (10 + step))``, as in TensorFlow's
``ExponentialMovingAverage(num_updates=...)``: without this ramp the average of a short run would
be little more than the random start.
"""

import copy

import torch
from torch import Tensor, nn


class Ema:
    """A copy of a model whose weights and BatchNorm statistics follow it, as in timm's ModelEmaV2.

    Averaged weights need the statistics of their own activations, and an average of statistics is
    nearer to them than the newest ones. Whole numbers, such as counts of batches, are copied.

    Make it before the model is wrapped for autocast or distributed training, because a wrapped
    ``forward`` would be copied along. All of its state is ``module``, the averaged model, in
    evaluation mode and without gradients.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.module = copy.deepcopy(model).eval().requires_grad_(False)
        pairs = zip(self.module.parameters(), model.parameters(), strict=True)
        trainable: list[tuple[Tensor, Tensor]] = [p for p in pairs if p[1].requires_grad]
        buffers = list(zip(self.module.buffers(), model.buffers(), strict=True))
        followed = trainable + [pair for pair in buffers if pair[1].is_floating_point()]
        counted = [pair for pair in buffers if not pair[1].is_floating_point()]
        self._averages = [average for average, _ in followed]
        self._sources = [source for _, source in followed]
        self._own_counts = [own for own, _ in counted]
        self._counts = [count for _, count in counted]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move towards the model after optimiser step ``step``, counted from 1."""
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self._averages, self._sources, 1 - decay)
        if self._counts:
            torch._foreach_copy_(self._own_counts, self._counts)
