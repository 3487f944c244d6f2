"""The global random generators, seeded for a while: for libraries that draw from nothing else."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the generators of ``random``, NumPy and PyTorch (CPU), and restore them afterwards.

    For timm's augmentations, which draw from all three. The seed is one of 0 to 2**63 - 1.
    """
    states = random.getstate(), np.random.get_state(), torch.random.get_rng_state()
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.random.default_generator.manual_seed(seed)  # not those of GPUs, which nothing restores
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.random.set_rng_state(states[2])
