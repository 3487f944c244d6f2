"""From logits at low resolution to label maps in original pixels, with bounded memory.

A ``LogitMap`` is asked for some rows and columns at a time, so that the logits of a large image,
(C, H, W) floats, never exist: one holds a tensor, one resizes another map, and one runs the network
on windows when they are reached and forgets them when they are passed.
Legend: C classes, R rows, K columns; sizes are (height, width) in positions of the map in question.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from van_dense.backbones.build import DIVISOR
from van_dense.core.structures import Size

# Normalises pixels (3, H, W) in 0..255, pads them with zeros to a size, gives logits (C, h, w).
Network = Callable[[Tensor, Size], Tensor]
Extent = tuple[float, float]  # height and width in positions, need not be whole

BAND_ELEMENTS = 2**24  # of (C, R, K) at a time: 64 MiB
WINDOW_ELEMENTS = 2**27  # of the windows that the sliding windows of all views keep: 512 MiB


@dataclass(frozen=True)
class MapInference:
    """How label maps are predicted; ValueError for windows with gaps and for no view at all."""

    #: "whole" images, or a "slide" of windows whose logits are averaged where they overlap
    mode: Literal["whole", "slide"]
    crop: Size  #: (height, width) of a window in pixels
    #: steps (down, right) between windows in pixels; the last ends at the border, as in mmseg
    stride: Size
    scales: tuple[float, ...]  #: factors of the test image; probabilities of views are averaged
    flip: bool  #: whether every scale is predicted mirrored too
    multiple: int  #: a whole image is padded with zeros until its sides are multiples of this
    rounding: int  #: sides of a rescaled image are rounded up to multiples of this

    def __post_init__(self) -> None:
        if not all(0 < s <= c for s, c in zip(self.stride, self.crop, strict=True)):
            limits = f"must be positive and at most the crop {self.crop}"
            raise ValueError(f"inference: stride {self.stride} {limits}, or windows leave gaps")
        multiples = (self.multiple, self.rounding)
        if not self.scales or min(self.scales) <= 0 or min(multiples) < 1:
            both = f"scales {self.scales} and multiples {multiples}"
            raise ValueError(f"inference: {both} must be positive; (1.0,) and 1 change nothing")

    @property
    def is_plain(self) -> bool:
        """Whether the network gets whole images as batches pad them, so several fit in one."""
        is_one_view = self.mode == "whole" and self.scales == (1.0,) and not self.flip
        return is_one_view and self.multiple == DIVISOR

    def padded(self, size: Size) -> Size:
        """(height, width) of a whole image with its padding."""
        return (
            -(-size[0] // self.multiple) * self.multiple,
            -(-size[1] // self.multiple) * self.multiple,
        )


class LogitMap(Protocol):
    """Logits of one picture; rows and columns are int64 indices on the CPU."""

    num_classes: int  #: C
    size: Size  #: (height, width) in positions
    panel: int  #: columns that may be asked for together; more would need more memory

    def at(self, rows: Tensor, columns: Tensor) -> Tensor:
        """Logits float32 (C, R, K) where some rows and columns, both rising, meet."""
        ...


class Logits:
    """A ``LogitMap`` that holds a tensor (C, h, w)."""

    panel = sys.maxsize

    def __init__(self, logits: Tensor) -> None:
        self.logits = logits
        self.num_classes, height, width = logits.shape
        self.size = (height, width)

    def at(self, rows: Tensor, columns: Tensor) -> Tensor:
        """Select positions, as ``LogitMap.at``."""
        rows, columns = rows.to(self.logits.device), columns.to(self.logits.device)
        return self.logits.index_select(1, rows).index_select(2, columns).float()


class Resized:
    """A ``LogitMap`` of other size over the same picture: bilinear, without aligned corners.

    The values are those of ``F.interpolate``, computed at the pixels asked for only.

    Args:
        source: The map to resize.
        size: (height, width) of the result.
        extent: Size of the picture in positions of ``source``, beyond which these show padding;
            None is all of it.
        mirrored: Whether ``source`` shows the picture mirrored.
    """

    def __init__(
        self, source: LogitMap, size: Size, *, extent: Extent | None = None, mirrored: bool = False
    ) -> None:
        self.source = source
        self.size = size
        self.extent = extent or source.size
        self.mirrored = mirrored
        self.num_classes = source.num_classes
        self.panel = max(1, int(source.panel * size[1] / self.extent[1]))

    def at(self, rows: Tensor, columns: Tensor) -> Tensor:
        """Interpolate, as ``LogitMap.at``."""
        if self.mirrored:
            columns = self.size[1] - 1 - columns
        y, x = (
            _SamplingPoints.of(pixels, self.size[axis], self.extent[axis], self.source.size[axis])
            for axis, pixels in enumerate((rows, columns))
        )
        few_columns = y.lerp(self.source.at(y.positions, x.positions))
        # Selecting from the last axis is eightfold slower than copying whole rows.
        return x.lerp(few_columns.transpose(1, 2).contiguous()).transpose(1, 2)


Window = Callable[[int, int], Resized]  # see ``SlidingWindow``


@dataclass(frozen=True)
class _SamplingPoints:
    """Where the P pixels of one axis lie between the positions of another map."""

    positions: Tensor  #: int64 (N,), those that are needed at all, rising
    first: Tensor  #: int64 (P,), index in ``positions`` of the one before each pixel
    second: Tensor  #: int64 (P,), index in ``positions`` of the one after each pixel
    weight: Tensor  #: float32 (P,), weight of the second

    @staticmethod
    def of(pixels: Tensor, side: int, extent: float, num_positions: int) -> _SamplingPoints:
        """Locate the centres of pixels of an axis of ``side`` pixels and ``extent`` positions."""
        centre = ((pixels.double() + 0.5) * (extent / side) - 0.5).clamp(min=0)
        first = centre.long()
        both = torch.stack([first, (first + 1).clamp(max=num_positions - 1)])
        needed, index = torch.unique(both, return_inverse=True)
        return _SamplingPoints(needed, index[0], index[1], (centre - first).float())

    def lerp(self, values: Tensor) -> Tensor:
        """Interpolate (C, N, M), one row for each needed position, to (C, P, M)."""
        device = values.device
        first, second = (values.index_select(1, i.to(device)) for i in (self.first, self.second))
        return torch.lerp(first, second, self.weight.to(device)[:, None])


class SlidingWindow:
    """A ``LogitMap`` of an image predicted through windows, averaged where they overlap.

    Its positions are the pixels of the image. The network runs on a window when a pixel of it is
    asked for, and its logits are kept at the resolution of the network until the next request that
    does not touch it. Asked from top to bottom, within ``panel`` columns, the network thus gets
    every window once, and ``WINDOW_ELEMENTS`` bounds what is kept for an image of any size; where
    the image is wider than a panel, the windows across its border are predicted twice.

    Args:
        size: (height, width) of the image in pixels.
        window: Predicts the window whose first pixel is at a row and a column; it has the size of
            the crop, and reaches beyond an image that is smaller.
        inference: Crop, stride, and how many views of the image share the memory.
    """

    def __init__(self, size: Size, window: Window, inference: MapInference) -> None:
        self.size = size
        self._window = window
        self._crop = inference.crop
        self._starts = [
            window_starts(side, crop, stride)
            for side, crop, stride in zip(self.size, inference.crop, inference.stride, strict=True)
        ]
        first = window(0, 0)
        origin = torch.zeros(1, dtype=torch.int64)
        self._device = first.at(origin, origin).device
        self._windows = {(0, 0): first}
        self.num_classes = first.num_classes
        # A row of pixels meets up to crop / stride rows of windows, and one that was moved back.
        (crop_y, crop_x), (stride_y, stride_x) = inference.crop, inference.stride
        window_rows = -(-crop_y // stride_y) + 1
        height, width = first.source.size
        num_views = len(inference.scales) * (2 if inference.flip else 1)
        window_elements = window_rows * self.num_classes * height * width
        windows = WINDOW_ELEMENTS // (num_views * window_elements)
        self.panel = max(stride_x, windows * stride_x - crop_x)

    def at(self, rows: Tensor, columns: Tensor) -> Tensor:
        """Average the windows, as ``LogitMap.at``."""
        down = _spans(rows, self._starts[0], self._crop[0])
        right = _spans(columns, self._starts[1], self._crop[1])
        reached = set(product(down, right))
        self._windows = {start: w for start, w in self._windows.items() if start in reached}
        # In the order of memory in which ``Resized`` gives its values.
        total = torch.zeros(self.num_classes, len(columns), len(rows), device=self._device)
        count = torch.zeros(len(columns), len(rows), device=self._device)
        for (top, here_y), (left, here_x) in product(down.items(), right.items()):
            if (top, left) not in self._windows:
                self._windows[top, left] = self._window(top, left)
            part = self._windows[top, left].at(rows[here_y] - top, columns[here_x] - left)
            total[:, here_x, here_y] += part.transpose(1, 2)
            count[here_x, here_y] += 1
        return total.div_(count).transpose(1, 2)


def windows_of(image: Tensor, network: Network, crop: Size) -> Window:
    """Windows of an image (3, H, W) in 0..255 for ``SlidingWindow``.

    Sides of the image below the crop are padded with zeros once they are normalised.
    """

    def window(top: int, left: int) -> Resized:
        pixels = image[:, top : top + crop[0], left : left + crop[1]]
        return Resized(Logits(network(pixels, crop)), crop)

    return window


def window_starts(side: int, crop: int, stride: int) -> list[int]:
    """First pixels of the windows along a side; the last one ends at the border."""
    steps = max(0, -(-(side - crop) // stride))
    return [min(step * stride, max(0, side - crop)) for step in range(steps + 1)]


def _spans(pixels: Tensor, starts: Sequence[int], crop: int) -> dict[int, slice]:
    """Which of some rising pixels each window holds, by its start, for those that hold any."""
    edges = torch.tensor([[start, start + crop] for start in starts])
    spans = zip(starts, torch.searchsorted(pixels, edges).tolist(), strict=True)
    return {start: slice(begin, end) for start, (begin, end) in spans if begin < end}


def views_of(
    image: Tensor, size: Size, *, network: Network, inference: MapInference
) -> list[LogitMap]:
    """Every view of an image (3, H, W) in 0..255, as maps of its original ``size``.

    Rescaled and mirrored images are kept until the end: 12 float bytes a pixel of each view.
    """
    views: list[LogitMap] = []
    for scale in inference.scales:
        scaled = _rescale(image, scale, inference.rounding)
        for mirrored in (False, True) if inference.flip else (False,):
            view = scaled.flip(-1) if mirrored else scaled
            if inference.mode == "slide":
                window = windows_of(view, network, inference.crop)
                slide = SlidingWindow((view.shape[1], view.shape[2]), window, inference)
                is_same = slide.size == size and not mirrored
                views.append(slide if is_same else Resized(slide, size, mirrored=mirrored))
            else:
                padded = inference.padded((view.shape[1], view.shape[2]))
                whole = _whole(view, size, padded, network=network, mirrored=mirrored)
                views.append(whole)
    return views


def _whole(image: Tensor, size: Size, padded: Size, *, network: Network, mirrored: bool) -> Resized:
    """Logits of a whole image, seen with its padding, at its original ``size``."""
    height, width = image.shape[1:]
    logits = Logits(network(image, padded))
    extent = (height * logits.size[0] / padded[0], width * logits.size[1] / padded[1])
    return Resized(logits, size, extent=extent, mirrored=mirrored)


def _rescale(image: Tensor, scale: float, multiple: int) -> Tensor:
    """Bilinear resize of (3, H, W) by a factor, sides rounded up to multiples."""
    if scale == 1:
        return image  # as the test transform made it
    sides = [-(-max(1, round(side * scale)) // multiple) * multiple for side in image.shape[1:]]
    return F.interpolate(image[None].float(), sides, mode="bilinear", align_corners=False)[0]


def label_map(views: Sequence[LogitMap]) -> np.ndarray:
    """Class of each pixel, the most probable on average over views of one size: uint8 (H, W)."""
    labels = np.empty(views[0].size, dtype=np.uint8)
    for window, part in label_bands(views):
        labels[window] = part
    return labels


def label_bands(views: Sequence[LogitMap]) -> Iterator[tuple[tuple[slice, slice], np.ndarray]]:
    """What ``label_map`` joins: rows and columns, and their classes, uint8 (h, w)."""
    for window, scores in _bands(views):
        best = scores.max(dim=0).indices  # argmax takes up to four times as long on a CPU
        yield window, best.to(torch.uint8).cpu().numpy()


def probable_labels(view: LogitMap) -> tuple[np.ndarray, np.ndarray]:
    """Class of each pixel, uint8 (H, W), and its probability in 0..1, float32 (H, W)."""
    labels = np.empty(view.size, dtype=np.uint8)
    probabilities = np.empty(view.size, dtype=np.float32)
    for window, scores in _bands([view]):
        most, best = scores.max(dim=0)
        labels[window] = best.to(torch.uint8).cpu().numpy()
        probabilities[window] = (most - scores.logsumexp(dim=0)).exp().cpu().numpy()
    return labels, probabilities


def _bands(views: Sequence[LogitMap]) -> Iterator[tuple[tuple[slice, slice], Tensor]]:
    """Windows of bounded memory, and in them the logits, or summed probabilities of views."""
    num_classes, (height, width) = views[0].num_classes, views[0].size
    panel = min(width, *(view.panel for view in views))
    band = max(1, BAND_ELEMENTS // (num_classes * panel))
    for left, top in product(range(0, width, panel), range(0, height, band)):
        columns = torch.arange(left, min(left + panel, width))
        rows = torch.arange(top, min(top + band, height))
        scores = views[0].at(rows, columns)
        if len(views) > 1:
            scores = scores.softmax(dim=0)
            for view in views[1:]:
                scores += view.at(rows, columns).softmax(dim=0)
        yield (slice(top, top + band), slice(left, left + panel)), scores
