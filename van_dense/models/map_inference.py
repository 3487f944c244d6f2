"""From logits at low resolution to label maps in original pixels, with bounded memory.

Legend: C classes; a view is one run of the network over an image: at one scale, mirrored or not.
Label maps are made band by band, so that (C, H, W) floats of a large image never exist.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from van_dense.structures import Size

Network = Callable[[Tensor], Tensor]  # uint8 or float (1, 3, H, W), 0..255, to logits (1, C, h, w)
BAND_ELEMENTS = 2**24  # of (C, rows, W): 64 MB in float32


@dataclass(frozen=True)
class Inference:
    """How label maps are predicted.

    Attributes:
        mode: "whole" images, or a "slide" of windows whose logits are averaged where they overlap.
        crop: (height, width) of a window.
        stride: Steps between windows; the last one is moved back to the border, as in mmseg.
        scales: Factors of the test image; several average the probabilities.
        flip: Whether every scale is seen mirrored too.
        multiple: Sides of scaled whole images are rounded up to multiples of this; at least the
            deepest stride of the backbone, so that logits cover the image exactly.
    """

    mode: Literal["whole", "slide"] = "whole"
    crop: Size = (512, 512)
    stride: Size = (341, 341)
    scales: tuple[float, ...] = (1.0,)
    flip: bool = False
    multiple: int = 32

    @property
    def is_single(self) -> bool:
        """Whether there is one view only, of the test image as it is."""
        return self.scales == (1.0,) and not self.flip


@dataclass(frozen=True)
class View:
    """Logits of one view of an image.

    Attributes:
        logits: float (C, h, w).
        extent: Height and width of the picture in cells of ``logits``; the rest is padding.
        mirrored: Whether the view shows the picture mirrored.
    """

    logits: Tensor
    extent: tuple[float, float]
    mirrored: bool = False

    def rows(self, rows: range, size: Size) -> Tensor:
        """Logits float32 (C, len(rows), W) of some rows of the picture at (H, W) ``size``.

        Bilinear between cell centres, without aligned corners: the rows of ``F.interpolate``.
        """
        height, width = size
        cells = self.logits.shape[1]
        y = (torch.arange(rows.start, rows.stop, dtype=torch.float64) + 0.5) * self.extent[0]
        y = (y / height - 0.5).clamp(0, cells - 1).to(self.logits.device)
        above = y.long()
        below = (above + 1).clamp(max=cells - 1)
        weight = (y - above).to(torch.float32)[:, None]
        band = torch.lerp(
            self.logits[:, above].float(), self.logits[:, below].float(), weight
        )  # at few columns, so this costs little
        band = _stretch(band, self.extent[1], width)
        return band.flip(-1) if self.mirrored else band


def _stretch(band: Tensor, extent: float, width: int) -> Tensor:
    """Bilinear resize of the first ``extent`` columns of (C, R, w) to ``width`` columns."""
    cells = band.shape[-1]
    if extent == cells:
        size = (band.shape[1], width)
        return F.interpolate(band[None], size, mode="bilinear", align_corners=False)[0]
    # A factor instead of a size keeps the exact step; one more column keeps rounding harmless.
    columns = torch.arange(int(np.ceil(extent)) + 1, device=band.device).clamp(max=cells - 1)
    stretched = F.interpolate(
        band[None, :, :, columns],
        scale_factor=(1.0, width / extent),
        mode="bilinear",
        align_corners=False,
        recompute_scale_factor=False,
    )
    return stretched[0, ..., :width]


def label_views(views: Sequence[View], size: Size) -> np.ndarray:
    """Most probable class of each pixel, averaged over views: uint8 of (H, W) ``size``."""
    num_classes = views[0].logits.shape[0]
    step = max(1, BAND_ELEMENTS // (num_classes * size[1]))
    labels = np.empty(size, dtype=np.uint8)
    for start in range(0, size[0], step):
        rows = range(start, min(start + step, size[0]))
        if len(views) == 1:
            scores = views[0].rows(rows, size)
        else:
            scores = views[0].rows(rows, size).softmax(dim=0)
            for view in views[1:]:
                scores += view.rows(rows, size).softmax(dim=0)
        labels[rows.start : rows.stop] = scores.argmax(dim=0).to(torch.uint8).cpu().numpy()
    return labels


def image_views(image: Tensor, network: Network, inference: Inference) -> Iterator[View]:
    """Look at one image (3, H, W) at every scale, mirrored too where asked for."""
    multiple = inference.multiple if inference.mode == "whole" else 1
    for scale in inference.scales:
        scaled = _rescale(image, scale, multiple)
        for mirrored in (False, True) if inference.flip else (False,):
            seen = scaled.flip(-1) if mirrored else scaled
            if inference.mode == "slide":
                logits = slide_logits(seen, network, inference)
            else:
                logits = network(seen[None])[0]
            height, width = logits.shape[-2:]
            yield View(logits, (float(height), float(width)), mirrored)


def _rescale(image: Tensor, scale: float, multiple: int) -> Tensor:
    """Bilinear resize of (3, H, W) by a factor, sides rounded up to multiples."""
    height, width = (
        -(-max(1, int(side * scale + 0.5)) // multiple) * multiple for side in image.shape[-2:]
    )
    if (height, width) == tuple(image.shape[-2:]):
        return image
    size = (height, width)
    return F.interpolate(image[None].float(), size, mode="bilinear", align_corners=False)[0]


# ------------------------------------------------------------------------------ sliding window


def window_starts(side: int, crop: int, stride: int) -> list[int]:
    """First pixels of the windows along a side; the last one ends at the border."""
    steps = max(0, -(-(side - crop) // stride))
    return [min(step * stride, max(0, side - crop)) for step in range(steps + 1)]


def slide_labels(image: Tensor, network: Network, inference: Inference) -> np.ndarray:
    """Most probable class of each pixel of an image (3, H, W) seen through windows.

    Besides image and result, the memory holds a few windows and one strip of (C, overlap, W).
    """
    labels = np.empty(image.shape[-2:], dtype=np.uint8)
    for top, left, total in _tiles(image, network, inference):
        height, width = total.shape[-2:]
        best = total.argmax(dim=0).to(torch.uint8).cpu().numpy()  # the mean has the same maximum
        labels[top : top + height, left : left + width] = best
    return labels


def slide_logits(image: Tensor, network: Network, inference: Inference) -> Tensor:
    """Logits (C, H, W) of an image (3, H, W), averaged over its windows."""
    logits: Tensor | None = None
    rows, columns = (
        _window_counts(side, crop, stride)
        for side, crop, stride in zip(
            image.shape[-2:], inference.crop, inference.stride, strict=True
        )
    )
    for top, left, total in _tiles(image, network, inference):
        if logits is None:
            logits = total.new_empty(len(total), *image.shape[-2:])
        height, width = total.shape[-2:]
        logits[:, top : top + height, left : left + width] = total
    assert logits is not None  # there is at least one window
    return logits.div_((rows[:, None] * columns).to(logits.device))


def _window_counts(side: int, crop: int, stride: int) -> Tensor:
    """How many windows see each pixel along a side."""
    counts = torch.zeros(side)
    for start in window_starts(side, crop, stride):
        counts[start : start + crop] += 1
    return counts


def _tiles(
    image: Tensor, network: Network, inference: Inference
) -> Iterator[tuple[int, int, Tensor]]:
    """Disjoint tiles that cover an image: (top, left, summed logits (C, h, w)).

    A tile is yielded as soon as no later window reaches it. What later windows do reach is carried
    on: the right part of a window to the next one, its lower part to the next row of windows.
    """
    height, width = image.shape[-2:]
    (crop_y, crop_x), (stride_y, stride_x) = inference.crop, inference.stride
    tops, lefts = window_starts(height, crop_y, stride_y), window_starts(width, crop_x, stride_x)
    strip: Tensor | None = None  # (C, rows, W) of the windows above
    for top, next_top in zip(tops, [*tops[1:], height], strict=True):
        lower: Tensor | None = None
        carried: Tensor | None = None
        for left, next_left in zip(lefts, [*lefts[1:], width], strict=True):
            total = _window(image[:, top : top + crop_y, left : left + crop_x], network, inference)
            if carried is not None:
                total[..., : carried.shape[-1]] += carried
            carried = total[..., next_left - left :].clone()
            tile = total[..., : next_left - left]
            columns = slice(left, next_left)
            if strip is not None:
                tile[:, : strip.shape[1]] += strip[..., columns]
            if lower is None:
                rows = tile.shape[1] - (next_top - top)
                lower = tile.new_empty(tile.shape[0], rows, width)
            lower[..., columns] = tile[:, next_top - top :]
            yield top, left, tile[:, : next_top - top]
        strip = lower


def _window(window: Tensor, network: Network, inference: Inference) -> Tensor:
    """Logits (C, h, w) of one window (3, h, w) at its own resolution."""
    logits = network(window[None])
    size = (window.shape[-2], window.shape[-1])
    return F.interpolate(logits.float(), size, mode="bilinear", align_corners=False)[0]
