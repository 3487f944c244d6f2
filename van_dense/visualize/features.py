"""What a layer tells apart: the first three principal components of its features as colours.

The custom of DINOv2 (Oquab et al., arXiv 2304.07193, Fig. 1): similar features get similar colours.
Legend: N images of H x W pixels, C channels, h x w cells.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from van_dense.structures import Size
from van_dense.visualize.layers import layer_maps, to_pixels

_CLIPPED = 0.01  # share of the cells that is cut at either end, so that outliers take no colours


def feature_colors(backbone: nn.Module, images: Sequence[Tensor], layer: str) -> list[np.ndarray]:
    """Colour the images by the features of a layer; colours compare across all of them.

    Args:
        backbone: Takes normalised images.
        images: N float (3, H, W) of any sizes.
        layer: Name, see ``layers.find_layer``.

    Returns:
        N uint8 (H, W, 3): the colour of the cell that covers a pixel.

    Raises:
        ValueError: For an unknown layer, or one whose output is no map.
    """
    with torch.no_grad():
        maps = [layer_maps(backbone, image[None], [layer])[layer][0] for image in images]
    return [
        _enlarged(colors, (image.shape[1], image.shape[2]))
        for colors, image in zip(principal_colors(maps), images, strict=True)
    ]


def principal_colors(maps: Sequence[Tensor]) -> list[np.ndarray]:
    """Turn features into colours by the components that all maps share.

    Red, green and blue are the first, second and third component of all cells of all maps,
    centred. The channel with the largest weight in a component counts positively, so that signs
    are no accident of the solver. Each component fills 0..255 from its 1st to its 99th percentile;
    one without variance is grey.

    Args:
        maps: N (C, h, w) of any sizes.

    Returns:
        N uint8 (h, w, 3), a pixel for each cell.

    Raises:
        ValueError: When a feature is not finite.
    """
    cells = torch.cat([m.detach().flatten(1).T for m in maps]).double().cpu()
    if not cells.isfinite().all():
        raise ValueError("the features hold NaN or infinity; the weights or the input are broken")
    centred = cells - cells.mean(dim=0)
    _, spread, directions = torch.linalg.svd(centred, full_matrices=False)
    # Rounding leaves a spread of about this where there is no variance.
    tolerance = cells.norm() * max(cells.shape) * torch.finfo(cells.dtype).eps
    colors = torch.full((len(cells), 3), 0.5, dtype=cells.dtype)
    for i in range(min(3, int((spread > tolerance).sum()))):
        direction = directions[i]
        values = centred @ (direction * direction[direction.abs().argmax()].sign())
        low, high = (_percentile(values, share) for share in (_CLIPPED, 1 - _CLIPPED))
        if high <= low:  # all but outliers are the same
            low, high = values.min(), values.max()
        colors[:, i] = ((values - low) / (high - low)).clamp(0, 1)
    pixels = (colors * 255).round().to(torch.uint8).split([m[0].numel() for m in maps])
    return [
        own.reshape(m.shape[1], m.shape[2], 3).numpy() for own, m in zip(pixels, maps, strict=True)
    ]


def _percentile(values: Tensor, share: float) -> Tensor:
    """An order statistic; torch's ``quantile`` refuses more than 2^24 values."""
    return values.kthvalue(1 + round(share * (len(values) - 1))).values


def _enlarged(colors: np.ndarray, size: Size) -> np.ndarray:
    pixels = to_pixels(torch.from_numpy(colors).permute(2, 0, 1), size, "nearest")
    return pixels.to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
