"""Weights by a fixed rule, so that a network can be compared with another without a file."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn


def seed_weights(model: nn.Module, seed: int = 0) -> nn.Module:
    """Fill a network, and switch it to evaluation; equal names and shapes get equal values.

    Kernels and matrices keep the size of what passes them; factors, shifts and statistics are those
    of no fresh network. The stream is NumPy's legacy one, which is frozen.

    Args:
        model: Network, changed in place.
        seed: Another one gives other values.
    """
    random = np.random.RandomState(seed)
    for name, tensor in sorted(model.state_dict().items()):
        if not tensor.is_floating_point():
            continue
        shape = tuple(tensor.shape)
        if name.endswith("weight") and tensor.ndim > 1:
            values = random.standard_normal(shape) / np.sqrt(tensor[0].numel())
        else:
            values = 0.1 + 0.2 * random.random_sample(shape)
            values += 0.5 * name.endswith("running_var")
        with torch.no_grad():
            tensor.copy_(torch.from_numpy(values))
    return model.eval()
