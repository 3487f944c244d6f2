"""The base of readers of instances: all annotations of a data set, in a few flat arrays.

Flat arrays, since 118,000 images with 860,000 lists of polygons would be copied into every loader
process, as Python's reference counts write to each object that is touched.
"""

import itertools
import logging
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from van_dense.core.dataset_info import DatasetInfo
from van_dense.core.structures import RLE, Instances, Prediction, Sample, Size, size_of
from van_dense.data.dataset import ReadError
from van_dense.data.io.image import image_size, read_reduced
from van_dense.data.io.stored import notes_of_some
from van_dense.data.readers.segmentation import Segmentation, decode_into, to_rle, to_rles

logger = logging.getLogger(__name__)

BoxXYXY = tuple[float, float, float, float]

MIN_SIDE = 0.01  # pixels; float32 boxes of large images resolve no thinner sliver


@dataclass(frozen=True)
class ImageRecord:
    """File of an image, its id, and its (height, width), which is (0, 0) if unknown."""

    path: str
    id: int | str
    size: Size


@dataclass(frozen=True)
class InstanceRecord:
    """One annotated instance."""

    image: int  #: position of its image among all images
    box: BoxXYXY  #: (x1, y1, x2, y2) in pixels inside the image, of positive size
    label: int  #: 0-based class
    crowd: bool = False  #: whether it is a region of many objects
    segmentation: Segmentation | None = None  #: usable polygons or RLE, or None
    keypoints: Sequence[float] | None = None  #: 3 K numbers x, y (in pixels), visibility, or None


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
        images: Records of all images.
        instances: Records of all instances.
        masks: Whether samples carry masks; then every instance needs a segmentation.
        drop_empty: Leave out images of known size without an instance that is no crowd.
    """

    def __init__(
        self,
        info: DatasetInfo,
        images: Sequence[ImageRecord],
        instances: Iterable[InstanceRecord],
        *,
        masks: bool,
        drop_empty: bool,
    ) -> None:
        self.info = info
        self.notes: list[str] = []  # see ``HasNotes``
        self.warnings: list[str] = []  #: those of the notes that need a look
        #: ids of images that are in quarantine or broken
        self.left_out: frozenset[int | str] = frozenset()
        self.has_masks = masks
        self._paths = [image.path for image in images]
        self._ids = [image.id for image in images]
        self._sizes = np.array([image.size for image in images], dtype=np.int32).reshape(-1, 2)
        owner = self._pack(instances)
        self._rows = np.argsort(owner, kind="stable")  # instances, image by image
        self._starts = np.searchsorted(owner[self._rows], np.arange(len(images) + 1))
        self._kept = np.arange(len(images))
        if drop_empty:
            targets = np.bincount(owner[~self._crowd], minlength=len(images))
            unknown = self._sizes[:, 0] == 0  # reading it will say what is wrong
            self._kept = np.flatnonzero((targets > 0) | unknown)
            if gone := len(images) - len(self):
                why = "data.drop_empty leaves them out"
                if info.keypoint_names:  # a setting of boxes alone
                    why = "they are left out"
                self.notes.append(f"{gone} of {len(images)} images show no object; {why}")
        self.notes += notes_of_some(len(self), self.path)

    def _warn(self, note: str) -> None:
        """Note what needs a look, and log it."""
        self.notes.append(note)
        self.warnings.append(note)
        logger.warning("%s", note)

    def _pack(self, instances: Iterable[InstanceRecord]) -> np.ndarray:
        """Fill the flat arrays; returns the position of each instance's image."""
        owner, labels, crowd = array("q"), array("q"), array("b")
        boxes, keypoints, coordinates = array("f"), array("f"), array("d")
        polygon_ends, polygons_until = array("q", [0]), array("q", [0])
        num_keypoints = len(self.info.keypoint_names)
        rle_text, rle_sizes = bytearray(), array("i")
        rle_ends, rles_until = array("q", [0]), array("q", [0])
        for instance in instances:
            owner.append(instance.image)
            boxes.extend(instance.box)
            labels.append(instance.label)
            crowd.append(instance.crowd)
            if num_keypoints:
                keypoints.extend(instance.keypoints or [0.0] * (3 * num_keypoints))
            if isinstance(instance.segmentation, dict):
                rle_text += instance.segmentation["counts"]
                rle_ends.append(len(rle_text))
                rle_sizes.extend(instance.segmentation["size"])
            elif instance.segmentation is not None:
                for polygon in instance.segmentation:
                    coordinates.extend(polygon)
                    polygon_ends.append(len(coordinates))
            polygons_until.append(len(polygon_ends) - 1)
            rles_until.append(len(rle_ends) - 1)
        self._boxes = np.array(boxes, dtype=np.float32).reshape(-1, 4)
        self._labels = np.array(labels, dtype=np.int64)
        self._crowd = np.array(crowd, dtype=bool)
        self._keypoints: np.ndarray | None = None
        if num_keypoints:
            self._keypoints = np.array(keypoints, np.float32).reshape(-1, num_keypoints, 3)
        # float64: pycocotools rounds to 1/5 pixel, and float32 would round some the other way
        self._coordinates = np.array(coordinates, dtype=np.float64)
        self._polygon_ends = np.array(polygon_ends)
        self._polygons_until = np.array(polygons_until)
        self._rle_text = np.frombuffer(rle_text, dtype=np.uint8)
        self._rle_ends = np.array(rle_ends)
        self._rle_sizes = np.array(rle_sizes, dtype=np.int32).reshape(-1, 2)
        self._rles_until = np.array(rles_until)
        return np.array(owner, dtype=np.int64)

    def __len__(self) -> int:
        return len(self._kept)

    def size(self, index: int) -> Size:
        """(height, width) as the annotation states it, or as the image file's header does."""
        height, width = self._sizes[self._kept[index]].tolist()
        return height, width

    def image_id(self, index: int) -> int | str:
        """Id in the annotation file, or the path of the image within its data set."""
        return self._ids[self._kept[index]]

    def path(self, index: int) -> str:
        """File of an image."""
        return self._paths[self._kept[index]]

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

        rows = self._rows_of(index)
        columns = self._boxes[rows], self._labels[rows], self._crowd[rows]
        boxes, labels, crowd = map(torch.from_numpy, columns)
        points = None if self._keypoints is None else torch.from_numpy(self._keypoints[rows])
        return Instances(boxes, labels, crowd=crowd, keypoints=points)

    def object_counts(self) -> dict[tuple[int | str, str], int]:
        """Objects that are no crowd, by image id and class name; of poses, those with a joint."""
        owner = np.repeat(np.arange(len(self._paths)), np.diff(self._starts))
        counted = ~self._crowd[self._rows]
        if self._keypoints is not None:
            counted &= (self._keypoints[self._rows, :, 2] > 0).any(axis=1)
        pairs = owner * self.info.num_classes + self._labels[self._rows]
        keys, counts = np.unique(pairs[counted], return_counts=True)
        images, labels = np.divmod(keys, self.info.num_classes)
        names = self.info.class_names
        columns = images.tolist(), labels.tolist(), counts.tolist()
        return {(self._ids[i], names[label]): n for i, label, n in zip(*columns, strict=True)}

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
            masks = to_rles(list(map(self._segmentation, rows)), size)
            instances = replace(instances, masks=masks)
        return Prediction(self.image_id(index), size, instances)

    def raw(self, index: int) -> Sample:
        """Read one image and its annotation; see ``DenseDataset``."""
        image, _ = self.image(index)
        rows = self._rows_of(index)
        sample = Sample(image, self.image_id(index), self.path(index), size_of(image))
        sample.boxes, sample.labels = self._boxes[rows], self._labels[rows]
        sample.crowd = self._crowd[rows]
        if self.has_masks:
            sample.masks = self._masks(rows, sample.size)
        if self._keypoints is not None:
            sample.keypoints = self._keypoints[rows]
        return sample

    def _rows_of(self, index: int) -> np.ndarray:
        position = self._kept[index]
        return self._rows[self._starts[position] : self._starts[position + 1]]

    def _masks(self, rows: np.ndarray, size: Size) -> np.ndarray:
        masks = np.zeros((len(rows), *size), dtype=np.uint8)
        for mask, row in zip(masks, rows.tolist(), strict=True):
            decode_into(to_rle(self._segmentation(row), size), mask)
        return masks

    def _segmentation(self, row: int) -> Segmentation:
        """RLE or polygons of an instance."""
        number, after = self._rles_until[row : row + 2].tolist()
        if number < after:
            start, end = self._rle_ends[number : number + 2]
            counts = self._rle_text[start:end].tobytes()
            return RLE(size=self._rle_sizes[number].tolist(), counts=counts)
        first, last = self._polygons_until[row : row + 2]
        ends = self._polygon_ends[first : last + 1]
        return [self._coordinates[start:end] for start, end in itertools.pairwise(ends)]


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
