"""Where random numbers come from: one stream for each use of a run's seed, at each position.

``seeded`` lends the global generators such a seed, for libraries that draw from nothing else.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import torch

STREAMS = 2  # kind of streams of new runs


class Use(IntEnum):
    """What is drawn; a number stays what it is, or runs could not be resumed."""

    ORDER = 1  #: of the images of an epoch
    AUGMENTATION = 2  #: of the image at a position of the training stream
    MODEL = 3  #: of a step, on a rank: dropout, drop path, points
    EVALUATION = 4  #: of an image of the validation part


@dataclass(frozen=True)
class Streams:
    """All random streams of a run; no two of different uses or positions are the same.

    >>> Streams(7).generator(Use.ORDER, 3).integers(1000)
    452
    >>> Streams(7).generator(Use.AUGMENTATION, 3).integers(1000)
    377
    """

    seed: int  #: of the run, 0 or more
    #: 2: the use is part of the key of NumPy's ``SeedSequence``. 1: seed and position alone, which
    #: epoch 3 and position 3 share; of runs that began with van_dense 0.1, to resume them.
    kind: int = STREAMS

    def generator(self, use: Use, *position: int) -> np.random.Generator:
        """A fresh generator at the start of a stream."""
        return np.random.default_rng(self._sequence(use, position))

    def number(self, use: Use, *position: int) -> int:
        """Seed of 64 bits for another kind of generator."""
        return int(self._sequence(use, position).generate_state(1, np.uint64)[0])

    def _sequence(self, use: Use, position: tuple[int, ...]) -> np.random.SeedSequence:
        if self.kind == 1:
            return np.random.SeedSequence((self.seed, *position))
        # A spawn key, since zeros at the end of a plain key change nothing: 5 is (5, 0) there.
        return np.random.SeedSequence(self.seed, spawn_key=(use, *position))


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
