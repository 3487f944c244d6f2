"""What a layer tells apart: the first three principal components of its features as colours.

The custom of DINOv2 (Oquab et al., arXiv 2304.07193, Fig. 1): similar features get similar colours.
Legend: C channels, h x w positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from van_dense.core.structures import Size
from van_dense.explain.layers import to_pixels

_CLIPPED = 0.01  # fraction of positions cut at either end, so that outliers take no colours


@dataclass(frozen=True)
class Components:
    """What turns features into colours: the principal components of some maps.

    Red, green and blue are the first, second and third component of all positions of all maps,
    centred. The channel with the largest weight in a component counts positively, so that signs
    are no accident of the solver. Each component fills 0..255 from its 1st to its 99th percentile;
    one without variance is grey.

    Attributes:
        mean: double (C,), over all positions.
        directions: double (3 or fewer, C).
        ranges: Values of each component that become 0 and 255.
    """

    mean: Tensor
    directions: Tensor
    ranges: Sequence[tuple[Tensor, Tensor]]

    @classmethod
    def of(cls, maps: Sequence[Tensor]) -> Components:
        """Find the components that (C, h, w) maps of any sizes share.

        Raises:
            ValueError: When a feature is not finite.
        """
        features = torch.cat([_by_position(m) for m in maps])
        if not features.isfinite().all():
            raise ValueError("the features hold NaN or infinity; weights or input are broken")
        mean = features.mean(dim=0)
        centred = features - mean
        _, spread, found = torch.linalg.svd(centred, full_matrices=False)
        # Rounding leaves a spread of about this where there is no variance.
        tolerance = features.norm() * max(features.shape) * torch.finfo(features.dtype).eps
        found = found[: min(3, int((spread > tolerance).sum()))]
        strongest = found.gather(1, found.abs().argmax(dim=1, keepdim=True))
        directions = found * strongest.sign()
        ranges = []
        for direction in directions:
            values = centred @ direction
            # torch's ``quantile`` refuses more than 2^24 values.
            ranks = (1 + round(part * (len(values) - 1)) for part in (_CLIPPED, 1 - _CLIPPED))
            low, high = (values.kthvalue(rank).values for rank in ranks)
            if high <= low:  # all but outliers are the same
                low, high = values.min(), values.max()
            ranges.append((low, high))
        return cls(mean, directions, ranges)

    def colors(self, features: Tensor, size: Size | None = None) -> np.ndarray:
        """Colour a map, one of those that the components are of or another.

        Args:
            features: (C, h, w).
            size: (height, width) of the image; by default a pixel is drawn for each position.

        Returns:
            uint8 (height, width, 3): the colour of the position that covers a pixel.
        """
        centred = _by_position(features) - self.mean
        colors = torch.full((len(centred), 3), 0.5, dtype=centred.dtype)
        for i, (low, high) in enumerate(self.ranges):
            colors[:, i] = ((centred @ self.directions[i] - low) / (high - low)).clamp(0, 1)
        pixels = (colors * 255).round().to(torch.uint8)
        pixels = pixels.reshape(features.shape[1], features.shape[2], 3)
        if size is not None:
            pixels = to_pixels(pixels.permute(2, 0, 1), size, "nearest").permute(1, 2, 0)
        return pixels.to(torch.uint8).contiguous().numpy()


def _by_position(features: Tensor) -> Tensor:
    """A (C, h, w) map as double (h * w, C)."""
    return features.detach().flatten(1).T.double().cpu()
