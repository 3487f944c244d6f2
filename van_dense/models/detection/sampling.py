"""Which anchors or regions of an image enter a loss."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Sampler:
    """Draw candidates at random, foreground first, as mmdet's ``RandomSampler``.

    torchvision's sampler draws from the global generator, which is in another state when another
    process has the same image; here an image's seed decides.
    """

    num: int  #: number of candidates of one image
    positive_fraction: float  #: largest fraction of foreground, in 0..1; background fills the rest

    def __call__(self, kind: Tensor, seed: int | None) -> tuple[Tensor, Tensor]:
        """Indices of the sampled foreground and background, of kinds int64 (A,).

        Kinds are 1 foreground, 0 background, -1 neither; None draws from the global generator.
        """
        generator = None if seed is None else torch.Generator(kind.device).manual_seed(seed)
        positive = _draw(kind == 1, int(self.num * self.positive_fraction), generator)
        negative = _draw(kind == 0, self.num - len(positive), generator)
        return positive, negative


def _draw(candidates: Tensor, num: int, generator: torch.Generator | None) -> Tensor:
    indices = candidates.nonzero()[:, 0]
    order = torch.randperm(len(indices), generator=generator, device=indices.device)
    return indices[order[:num]]
