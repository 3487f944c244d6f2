"""Large images in overlapping windows of their own pixels, so that small objects stay large.

Detection and instance segmentation predict every window as an image of its own, enlarged to the
test size of the run, and at the whole image once; ``inference/tile_merge.py`` says how the views
become one result. Semantic segmentation averages the logits of the windows, as
``models/segmentation/map_inference.py`` does for ``eval.inference.mode: slide``. Panoptic FPN does
both with one pass over each window, enlarged as for detection, and merges once.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
import torch

from van_dense.backbones.build import DIVISOR
from van_dense.config.segmentation import SemanticConfig
from van_dense.core.rle import place_mask
from van_dense.core.structures import Batch, Prediction, Sample, Size, size_of
from van_dense.data.collate import collate
from van_dense.data.dataset import ReadError
from van_dense.data.io.tiff_windows import TiffWindows
from van_dense.inference.stream import predict_stream
from van_dense.inference.tile_merge import Box, View, merge_views
from van_dense.models.dense_model import DenseModel
from van_dense.models.segmentation.map_inference import (
    MapInference,
    Network,
    Resized,
    SlidingWindow,
    probable_labels,
    window_starts,
)
from van_dense.tasks import task_of
from van_dense.tasks.semantic import inference_of

if TYPE_CHECKING:
    from van_dense.inference.loaded import Loaded

log = logging.getLogger(__name__)


@runtime_checkable
class Semantic(Protocol):
    """What labels windows: a semantic model, or the file of one."""

    @property
    def inference(self) -> MapInference:
        """Windows, scales and flips."""
        ...

    def with_inference(self, inference: MapInference) -> DenseModel:
        """The same network with others."""
        ...

    def padded(self, image_id: int | str) -> Network:
        """What gives the logits of windows of an image."""
        ...


@runtime_checkable
class _Panoptic(Protocol):
    """What finds instances and stuff in windows: Panoptic FPN, or the file of one."""

    @property
    def gives_maps(self) -> bool: ...

    def parts(self, batch: Batch) -> list[tuple[Prediction, Resized | None]]: ...

    def merged(
        self, found: Prediction, semantic: tuple[np.ndarray, np.ndarray] | None
    ) -> Prediction: ...


def predict_tiled(
    loaded: Loaded,
    image: np.ndarray,
    *,
    tile: Size,
    overlap: float = 0.2,
    batch_size: int = 1,
    whole: bool = True,
) -> Prediction:
    """Predict a large image through windows; one that fits in a window is predicted as ever.

    Beside the image and the result, memory holds a few batches of windows, or with a semantic model
    the logits that ``map_inference.WINDOW_ELEMENTS`` bounds, and a copy of the image.

    Args:
        loaded: A run of detection, instance or semantic segmentation, or of Panoptic FPN, or an
            exported file of one.
        image: uint8 RGB (H, W, 3).
        tile: (height, width) of a window in pixels of the image. For a semantic model sides are
            rounded up to multiples of 32, and the image keeps its resolution instead of being
            brought to ``data.transforms.test_scale``: that helps a network which has seen things at
            this size, and harms one trained on images that were shrunk much more.
        overlap: Neighbours share at least this part of their sides; the last window ends at the
            border of the image, as in mmseg. Objects smaller than the overlap are never cut
            in all windows.
        batch_size: Windows predicted together, of one size after the transform; it changes no
            result. A semantic model and Panoptic FPN take them one by one.
        whole: Whether instances are predicted in the whole image too, for those larger than a
            window.

    Returns:
        The prediction in pixels of the image. Each view gives as many instances as the run allows
        an image; their sum is not limited.

    Raises:
        ValueError: For another model, no RGB image, or numbers out of range.
    """
    check_tiling(loaded, tile=tile, overlap=overlap, batch_size=batch_size)
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or image.size == 0:
        raise ValueError(
            f"expected uint8 (height, width, 3) in RGB order, got {image.dtype} {image.shape}"
        )
    size = size_of(image)
    if all(side <= most for side, most in zip(size, tile, strict=True)):
        return loaded.predict(image)[0]
    if isinstance(loaded.model, Semantic):
        return _label_windows(loaded, image, tile=tile, overlap=overlap)
    if isinstance(loaded.model, _Panoptic) and loaded.model.gives_maps:
        return _panoptic_windows(loaded, image, tile=tile, overlap=overlap, whole=whole)
    windows = lay_windows(size, tile, overlap)
    if whole:
        windows.append((0, 0, size[1], size[0]))
    views = predict_windows(loaded, image, windows, batch_size)
    return Prediction("image 0", size, instances=merge_views(views, size))


def check_tiling(loaded: Loaded, *, tile: Size, overlap: float, batch_size: int = 1) -> None:
    """Refuse what ``predict_tiled`` cannot do with a run, before there is an image.

    Raises:
        ValueError: For a model without tiles, or numbers out of range.
    """
    if reason := task_of(loaded.config).tiling_refusal(loaded.config):
        raise ValueError(f"a {loaded.config.task} run cannot be predicted in tiles: {reason}")
    if min(tile) < 1:
        raise ValueError(f"a tile of {tile} pixels is empty; give sides such as (640, 640)")
    if not 0 <= overlap < 1:
        raise ValueError(f"the overlap {overlap} of tiles is not in [0, 1); 0.2 is a beginning")
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}; give 1 or more")


def lay_windows(size: Size, tile: Size, overlap: float) -> list[Box]:
    """Windows xyxy that cover an image of ``size``, row by row; each has the size of the tile.

    A side of the image below that of the tile is one window of this side.
    """
    tops, lefts = (
        window_starts(side, crop, step)
        for side, crop, step in zip(size, tile, strides(tile, overlap), strict=True)
    )
    return [
        (left, top, min(left + tile[1], size[1]), min(top + tile[0], size[0]))
        for top, left in product(tops, lefts)
    ]


def strides(tile: Size, overlap: float) -> Size:
    """Steps (down, right) between windows that share at least ``overlap`` of their sides."""
    # A fraction such as 0.9 has no exact float; without the margin 10 - 9.0 could become 0.
    down, right = (max(1, side - math.ceil(side * overlap - 1e-6)) for side in tile)
    return down, right


def predict_windows(
    loaded: Loaded, image: np.ndarray | TiffWindows, windows: Sequence[Box], batch_size: int
) -> list[View]:
    """Predict windows as images of their own, in batches of one size after the transform."""

    def predict(samples: Sequence[Sample]) -> list[Prediction]:
        batch = collate(samples, loaded.config.data.size_divisor).to(loaded.device)
        with torch.inference_mode():
            return loaded.network.predict(batch)

    prepare = _sample_of(loaded, image)
    size = (image.shape[0], image.shape[1])
    views = []
    for window, prediction in predict_stream(windows, prepare, predict, batch_size=batch_size):
        if isinstance(prediction, ReadError):  # of a file; an array is always readable
            raise prediction
        views.append(_view(window, prediction, size))
    return views


def _sample_of(loaded: Loaded, image: np.ndarray | TiffWindows) -> Callable[[Box], Sample]:
    """From windows of an image to samples as the network sees them."""
    transform = task_of(loaded.config).build_transform(loaded.config, train=False)

    def sample_of(window: Box) -> Sample:
        left, top, right, bottom = window
        pixels = image[top:bottom, left:right]
        sample = Sample(pixels, f"window {window}", path="", orig_size=size_of(pixels))
        return transform(sample, np.random.default_rng(0))

    return sample_of


def _view(window: Box, prediction: Prediction, size: Size) -> View:
    """Instances of a window in the pixels of the image of ``size``."""
    found = prediction.instances
    assert found is not None  # every detector gives some, though they may be none
    left, top = window[:2]
    masks = found.masks
    if isinstance(masks, list):
        masks = [place_mask(rle, size, top=top, left=left) for rle in masks]
    moved = replace(found, masks=None).moved(shift=(top, left))
    return View(window, replace(moved, masks=masks))


def _panoptic_windows(
    loaded: Loaded, image: np.ndarray, *, tile: Size, overlap: float, whole: bool
) -> Prediction:
    """Instances of all views, and semantic logits averaged over windows, merged once."""
    model, size, sample_of = loaded.network, size_of(image), _sample_of(loaded, image)
    assert isinstance(model, _Panoptic)  # the caller asks
    crop = (min(tile[0], size[0]), min(tile[1], size[1]))
    views: dict[Box, View] = {}  # a window at the border of two panels is predicted twice

    def predict(window: Box) -> Resized:
        batch = collate([sample_of(window)], loaded.config.data.size_divisor).to(loaded.device)
        [(found, logits)] = model.parts(batch)
        assert logits is not None  # instances alone are predicted elsewhere
        views[window] = _view(window, found, size)
        return logits

    def at(top: int, left: int) -> Resized:
        return predict((left, top, left + crop[1], top + crop[0]))

    inference = MapInference(
        "slide", crop, strides(crop, overlap), (1.0,), flip=False, multiple=1, rounding=1
    )
    with torch.inference_mode():
        semantic = probable_labels(SlidingWindow(size, at, inference))
        if whole:
            predict((0, 0, size[1], size[0]))
    found = Prediction("image 0", size, instances=merge_views(list(views.values()), size))
    return model.merged(found, semantic)


def _label_windows(loaded: Loaded, image: np.ndarray, *, tile: Size, overlap: float) -> Prediction:
    """Semantic labels through windows."""
    return sliding(loaded, tile=tile, overlap=overlap).predict(image)[0]


def sliding(loaded: Loaded, *, tile: Size, overlap: float) -> Loaded:
    """A semantic run that predicts through windows, by a config that differs in nothing else."""
    crop = (-(-tile[0] // DIVISOR) * DIVISOR, -(-tile[1] // DIVISOR) * DIVISOR)
    if crop != tile:
        log.info("tiles of %s are enlarged to %s, multiples of %d", tile, crop, DIVISOR)
    raw = loaded.config.model_dump()
    raw["data"]["transforms"]["test_scale"] = None
    raw["eval"]["inference"].update(mode="slide", crop=crop, stride=strides(crop, overlap))
    config = SemanticConfig.model_validate(raw)
    model = loaded.network
    assert isinstance(model, Semantic)  # the caller asks
    sliding_model = model.with_inference(inference_of(config))
    return replace(loaded, config=config, model=sliding_model, fast=False)  # it is already
