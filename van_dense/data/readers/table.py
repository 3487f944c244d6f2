"""The base of readers of instances, which lie in ``AnnotationColumns``."""

import logging
import os
from dataclasses import replace
from pathlib import Path

import numpy as np

from van_dense.core.dataset_info import DatasetInfo
from van_dense.core.structures import Instances, Prediction, Sample, Size, size_of
from van_dense.data.dataset import ReadError
from van_dense.data.io.columns import Texts
from van_dense.data.io.image import image_size, read_reduced
from van_dense.data.io.stored import notes_of_some
from van_dense.data.readers.annotation_columns import (
    AnnotationColumns,
    BoxXYXY,
)
from van_dense.data.readers.segmentation import decode_into, to_rle, to_rles

logger = logging.getLogger(__name__)

MIN_SIDE = 0.01  # pixels; float32 boxes of large images resolve no thinner sliver


def clip_box(box: BoxXYXY, size: Size) -> BoxXYXY | None:
    """Clip a box to an image of ``size``; None when less than ``MIN_SIDE`` remains."""
    height, width = size
    x1, x2 = (min(max(x, 0.0), float(width)) for x in box[0::2])
    y1, y2 = (min(max(y, 0.0), float(height)) for y in box[1::2])
    return None if x2 - x1 < MIN_SIDE or y2 - y1 < MIN_SIDE else (x1, y1, x2, y2)


class TableDataset:
    """A ``DenseDataset`` from records of images and instances, given in any order.

    Args:
        info: Classes, and keypoints if samples shall carry them.
        columns: Records of all images and instances.
        masks: Whether samples carry masks; then every instance needs a segmentation.
        drop_empty: Leave out images of known size without an instance that is no crowd.
        image_folder: Folder that the paths of the columns start from.
        paths: Files of all images, where they are others than folder and columns say.
    """

    def __init__(
        self,
        info: DatasetInfo,
        columns: AnnotationColumns,
        *,
        masks: bool,
        drop_empty: bool,
        image_folder: str | Path = "",
        paths: Texts | None = None,
    ) -> None:
        self.info = info
        self.notes: list[str] = []  # see ``HasNotes``
        self.warnings: list[str] = []  #: those of the notes that need a look
        #: ids of images that are in quarantine or broken
        self.left_out: frozenset[int | str] = frozenset()
        self.index_note: str | None = None  # see ``index_notes_of``
        self.has_masks = masks
        self._columns = columns
        self._folder, self._paths = (
            (str(image_folder), columns.paths) if paths is None else ("", paths)
        )
        count = len(columns.sizes)
        self._kept = np.arange(count)
        if drop_empty:
            unknown = columns.sizes[:, 0] == 0  # reading it will say what is wrong
            self._kept = np.flatnonzero((columns.targets > 0) | unknown)
            if gone := count - len(self):
                why = "data.drop_empty leaves them out"
                if info.keypoint_names:  # a setting of boxes alone
                    why = "they are left out"
                self.notes.append(f"{gone} of {count} images show no object; {why}")
        self.notes += notes_of_some(len(self), self.path)

    def _warn(self, note: str) -> None:
        """Note what needs a look, and log it."""
        self.notes.append(note)
        self.warnings.append(note)
        logger.warning("%s", note)

    def __len__(self) -> int:
        return len(self._kept)

    def size(self, index: int) -> Size:
        """(height, width) as the annotation states it, or as the image file's header does."""
        height, width = self._columns.sizes[self._kept[index]].tolist()
        return height, width

    def image_id(self, index: int) -> int | str:
        """Id in the annotation file, or the path of the image within its data set."""
        return self._columns.image_id(self._kept[index])

    def path(self, index: int) -> str:
        """File of an image."""
        return os.path.join(self._folder, self._paths[self._kept[index]])

    def image(self, index: int, factor: int = 1) -> tuple[np.ndarray, int]:
        """Read an image alone, reduced where that is cheap (``read_reduced``), with the factor.

        It is a ReadError if it cannot be read, or if its size is not the stated one.
        """
        path = self.path(index)
        image, size, applied = read_reduced(path, factor)
        if (problem := size_problem(size, self.size(index))) is not None:
            raise ReadError(f"{path}: {problem}")
        return image, applied

    def instances(self, index: int) -> Instances:
        """Boxes, labels, crowds and keypoints of an image, which is not read."""
        import torch

        rows, every = self._rows_of(index), self._columns
        boxes, labels, crowd = (
            torch.from_numpy(column[rows]) for column in (every.boxes, every.labels, every.crowd)
        )
        points = None if every.keypoints is None else torch.from_numpy(every.keypoints[rows])
        return Instances(boxes, labels, crowd=crowd, keypoints=points)

    def object_counts(self) -> dict[tuple[int | str, str], int]:
        """Objects that are no crowd, by image id and class name; of poses, those with a joint."""
        every = self._columns
        owner = np.repeat(np.arange(len(every.sizes)), np.diff(every.starts))
        counted = ~every.crowd[every.rows]
        if every.keypoints is not None:
            counted &= (every.keypoints[every.rows, :, 2] > 0).any(axis=1)
        pairs = owner * self.info.num_classes + every.labels[every.rows]
        keys, counts = np.unique(pairs[counted], return_counts=True)
        images, labels = np.divmod(keys, self.info.num_classes)
        names = self.info.class_names
        columns = images.tolist(), labels.tolist(), counts.tolist()
        return {(every.image_id(i), names[label]): n for i, label, n in zip(*columns, strict=True)}

    def masks(self, index: int) -> np.ndarray:
        """Masks uint8 {0, 1} (N, H, W) of an image, which is not read, in its stated size.

        It is a ValueError for a data set without masks.
        """
        if not self.has_masks:
            raise ValueError(f"{self.path(index)}: its data set has boxes and no masks")
        return self._masks(self._rows_of(index), self.size(index))

    def truth(self, index: int) -> Prediction:
        """Ground truth of an image, which is not read, with masks as RLE.

        It is a ReadError where the size of the image is not known, since its header is broken.
        """
        size, instances = self.size(index), self.instances(index)
        if size == (0, 0):
            size = image_size(self.path(index))
        if self.has_masks:
            rows = self._rows_of(index).tolist()
            masks = to_rles([self._columns.segmentation(row, size) for row in rows], size)
            instances = replace(instances, masks=masks)
        return Prediction(self.image_id(index), size, instances)

    def raw(self, index: int) -> Sample:
        """Read one image and its annotation; see ``DenseDataset``."""
        image, _ = self.image(index)
        rows, every = self._rows_of(index), self._columns
        sample = Sample(image, self.image_id(index), self.path(index), size_of(image))
        sample.boxes, sample.labels = every.boxes[rows], every.labels[rows]
        sample.crowd = every.crowd[rows]
        if self.has_masks:
            sample.masks = self._masks(rows, sample.size)
        if every.keypoints is not None:
            sample.keypoints = every.keypoints[rows]
        return sample

    def _rows_of(self, index: int) -> np.ndarray:
        return self._columns.rows_of(self._kept[index])

    def _masks(self, rows: np.ndarray, size: Size) -> np.ndarray:
        masks = np.zeros((len(rows), *size), dtype=np.uint8)
        for mask, row in zip(masks, rows.tolist(), strict=True):
            decode_into(to_rle(self._columns.segmentation(row, size), size), mask)
        return masks


def size_problem(size: Size, stated: Size) -> str | None:
    """Say how a decoded (height, width) differs from the stated one, or None if it does not."""
    if size == stated:
        return None
    what = f"the image is {size[1]}x{size[0]} (width x height), its annotation says"
    what += f" {stated[1]}x{stated[0]}"
    if size == stated[::-1]:
        what += ": swapped, most likely an EXIF rotation that the annotation tool ignored"
        return f"{what}; store the image upright, or annotate it as viewers show it"
    return f"{what}; the annotation belongs to another version of the file"
