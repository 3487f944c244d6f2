"""Tiled TIFFs that memory cannot hold: windows are read, predicted and written one by one.

Label maps are those of ``predict_tiled`` to the last bit, written as a tiled TIFF. Detectors find
the instances of all windows, without the view of the whole image that ``predict_tiled`` adds, since
that would be the whole image; so objects larger than a window are pieces. The picture shows every
k-th pixel of every k-th row.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from van_dense.core import budgets
from van_dense.core.structures import IGNORE_LABEL, Prediction, Size
from van_dense.data.dataset import ReadError
from van_dense.data.io.tiff_windows import TiffWindows, size_of_tiff
from van_dense.data.io.tiled_map import TiledMap
from van_dense.inference.loaded import Loaded, Precision
from van_dense.inference.result import Result
from van_dense.inference.selection import Selection
from van_dense.inference.tile_merge import merge_views
from van_dense.inference.tiles import Semantic, lay_windows, predict_windows, sliding
from van_dense.models.segmentation.map_inference import (
    Logits,
    Resized,
    SlidingWindow,
    label_bands,
)
from van_dense.visualize.palette import class_colors

_SUFFIXES = (".tif", ".tiff")
Band = tuple[tuple[slice, slice], np.ndarray]


@dataclass(frozen=True)
class LargeImages:
    """Predicts tiled TIFFs in windows; see ``predict_tiled`` for the options."""

    loaded: Loaded
    tile: Size
    overlap: float
    batch_size: int
    precision: Precision
    selection: Selection

    def takes(self, path: Path) -> bool:
        """Whether a file is a TIFF of more pixels than ``budgets.PIXELS_AT_ONCE``.

        One that could be held, and cannot be read in windows, is left to ``predict_tiled``.
        """
        if path.suffix.lower() not in _SUFFIXES or (size := size_of_tiff(path)) is None:
            return False
        pixels = size[0] * size[1]
        if not budgets.PIXELS_AT_ONCE < pixels <= budgets.PIXELS:
            return pixels > budgets.PIXELS
        try:
            TiffWindows(path)
        except ReadError:
            return False
        return True

    def predict(self, path: Path, masks: Path, name: str) -> tuple[Result, Result]:
        """Predict an image, and write its label map where there is one.

        Args:
            path: TIFF.
            masks: Folder of label maps.
            name: Name of the label map without suffix; it may begin with folders.

        Returns:
            The result without a label map, whose source is the file; and what is drawn of it, whose
            source is the image at a fraction of its size.

        Raises:
            ReadError: When the file cannot be read in windows, and for a model whose results need
                the whole image.
        """
        image = TiffWindows(path)
        with torch.inference_mode(), self.loaded.autocast(self.precision)():
            if isinstance(self.loaded.model, Semantic):
                return self._label(image, path, masks / f"{name}.tif")
            if getattr(self.loaded.model, "gives_maps", False):
                raise ReadError(
                    f"{path}: a panoptic map is merged from the whole image, which memory cannot "
                    "hold; cut the file into parts, such as with libvips (vips dzsave)"
                )
            return self._find(image, path)

    def _find(self, image: TiffWindows, path: Path) -> tuple[Result, Result]:
        size = (image.shape[0], image.shape[1])
        windows = lay_windows(size, self.tile, self.overlap)
        views = predict_windows(self.loaded, image, windows, self.batch_size)
        found = merge_views(views, size)
        prediction = Prediction(str(path), size, instances=found)
        result = self.loaded.result(prediction, path).filter(**vars(self.selection))
        assert result.instances is not None
        factor = 1 / image.step
        shown = replace(result.instances, masks=None).moved(scale=(factor, factor))
        drawn = Prediction(str(path), image.overview.shape[:2], instances=shown)
        return result, self.loaded.result(drawn, image.overview)

    def _label(self, image: TiffWindows, path: Path, file: Path) -> tuple[Result, Result]:
        size, info = (image.shape[0], image.shape[1]), self.loaded.info
        drawn = np.zeros(image.overview.shape[:2], np.uint8)
        result = self.loaded.result(Prediction(str(path), size), path)
        kept = np.full(256, IGNORE_LABEL, np.uint8)
        kept[self.selection.labels(info)] = self.selection.labels(info)
        with TiledMap(file, size, label_map=result.raw_labels, colors=class_colors(info)) as out:
            for (rows, columns), labels in self._bands(image, path):
                labels = kept[labels]
                out.write(rows.start, columns.start, labels)
                down, right = (-side.start % image.step for side in (rows, columns))
                some = labels[down :: image.step, right :: image.step]
                y, x = ((side.start - 1) // image.step + 1 for side in (rows, columns))
                drawn[y : y + some.shape[0], x : x + some.shape[1]] = some
        shown = Prediction(str(path), drawn.shape, semantic=drawn)
        return result, self.loaded.result(shown, image.overview)

    def _bands(self, image: TiffWindows, path: Path) -> Iterator[Band]:
        """Rows and columns, and their labels."""
        model = sliding(self.loaded, tile=self.tile, overlap=self.overlap).model
        assert isinstance(model, Semantic)
        inference = model.inference
        if inference.scales != (1.0,) or inference.flip:
            raise ReadError(
                f"{path}: eval.inference of the run asks for views of scales {inference.scales}"
                f"{' and mirrored' if inference.flip else ''}, which need the whole image, and "
                "memory cannot hold it; take a run with scales [1.0] and flip false"
            )
        network, crop = model.padded(str(path)), inference.crop

        def window(top: int, left: int) -> Resized:
            pixels = torch.from_numpy(image[top : top + crop[0], left : left + crop[1]])
            pixels = pixels.permute(2, 0, 1).contiguous().to(self.loaded.device)
            return Resized(Logits(network(pixels, crop)), crop)

        return label_bands([SlidingWindow((image.shape[0], image.shape[1]), window, inference)])
