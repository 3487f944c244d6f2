"""All annotations of a data set in a few columns, in memory or mapped from files.

Columns, since 118,000 images with 860,000 lists of polygons would be copied into every loader
process, as Python's reference counts write to each object that is touched.
Legend: N images, I instances, K keypoints; P polygons, R run-length encoded masks of all instances.
"""

from __future__ import annotations

import itertools
import json
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from van_dense.core.dataset_info import DatasetInfo
from van_dense.core.structures import RLE, Size
from van_dense.data.dataset import ReadError
from van_dense.data.io.columns import Column, Texts, open_columns
from van_dense.data.readers.segmentation import MAX_COORDINATE, Segmentation, usable_segmentation

BoxXYXY = tuple[float, float, float, float]

_EVERY = 4096  # instances after which columns are written to their files


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


@dataclass(frozen=True)
class AnnotationColumns:
    """Images, and instances in the order of their records."""

    paths: Texts  #: file of each image, as its record names it
    ids: np.ndarray | Texts  #: ids, int64 (N,), or as JSON
    sizes: np.ndarray  #: (height, width), int32 (N, 2)
    targets: np.ndarray  #: instances of each image that are no crowd, int64 (N,)
    starts: np.ndarray  #: where the instances of each image begin and end in ``rows``, (N + 1,)
    rows: np.ndarray  #: instances image by image, int64 (I,)
    boxes: np.ndarray  #: x1, y1, x2, y2, float32 (I, 4)
    labels: np.ndarray  #: int64 (I,)
    crowd: np.ndarray  #: bool (I,)
    keypoints: np.ndarray | None  #: x, y, visibility, float32 (I, K, 3)
    # float64: pycocotools rounds to 1/5 pixel, and float32 would round some the other way
    coordinates: np.ndarray  #: of all polygons
    polygon_ends: np.ndarray  #: where each ends in ``coordinates``, and 0, (P + 1,)
    polygons_until: np.ndarray  #: number of polygons up to each instance, and 0, (I + 1,)
    rle_text: np.ndarray  #: bytes of all compressed run lengths
    rle_ends: np.ndarray  #: where each ends in ``rle_text``, and 0, (R + 1,)
    rle_sizes: np.ndarray  #: (height, width) of each, int32 (R, 2)
    rles_until: np.ndarray  #: number of them up to each instance, and 0, (I + 1,)
    folder: Path | None = None  #: of the files, or None in memory

    def __reduce__(self) -> tuple[Any, ...]:
        if self.folder is None:
            return AnnotationColumns, tuple(vars(self).values())
        return _reopened, (self.folder,)  # no copy in the process that unpickles it

    @staticmethod
    def of(arrays: Mapping[str, np.ndarray], folder: Path | None = None) -> AnnotationColumns:
        """Columns from what ``ColumnsBuilder.arrays`` gives, in memory or mapped from a folder."""
        found: dict[str, Any] = dict(arrays)
        for name in ("paths", "ids"):
            if f"{name}_ends" in found:
                found[name] = Texts(found[name], found.pop(f"{name}_ends"))
        return AnnotationColumns(**{"keypoints": None, **found, "folder": folder})

    def image_id(self, position: int) -> int | str:
        """Id of the image at a position."""
        found = self.ids[position]
        return json.loads(found) if isinstance(found, str) else int(found)

    def rows_of(self, position: int) -> np.ndarray:
        """Instances of the image at a position."""
        return self.rows[self.starts[position] : self.starts[position + 1]]

    def segmentation(self, row: int, size: Size) -> Segmentation:
        """RLE or polygons of an instance, in an image of ``size``.

        Those of files are judged again, since pycocotools trusts its input and files may come from
        anywhere: it is a ReadError if they are damaged.
        """
        number, after = self.rles_until[row : row + 2].tolist()
        if number < after:
            start, end = self.rle_ends[number : number + 2]
            counts = self.rle_text[start:end].tobytes()
            rle = RLE(size=self.rle_sizes[number].tolist(), counts=counts)
            if self.folder is not None and usable_segmentation(rle, size)[0] is None:
                raise ReadError(f"{self.folder}: damaged; delete it, and it is built anew")
            return rle
        first, last = self.polygons_until[row : row + 2]
        ends = self.polygon_ends[first : last + 1]
        if self.folder is not None:
            held = self.coordinates[ends[0] : ends[-1]] if len(ends) > 1 else ends
            if not len(held) or not np.abs(held).max() <= MAX_COORDINATE:
                raise ReadError(f"{self.folder}: damaged; delete it, and it is built anew")
        return [self.coordinates[start:end] for start, end in itertools.pairwise(ends)]


def _reopened(folder: Path) -> AnnotationColumns:
    return AnnotationColumns.of(open_columns(folder, None)[0], folder)


class ColumnsBuilder:
    """Fills the columns, record by record.

    Args:
        num_keypoints: K; 0 keeps no keypoints.
        masks: Whether to keep segmentations.
        folder: Folder for the files of the columns, or None to keep them in memory.
    """

    def __init__(self, num_keypoints: int, *, masks: bool, folder: Path | None = None) -> None:
        def column(name: str, kind: str, *row: int) -> Column:
            file = None if folder is None else folder / f"{name}.npy"
            found = self._columns[name] = Column(kind, row, file)
            return found

        self._columns: dict[str, Column] = {}
        self._num_keypoints, self._masks = num_keypoints, masks
        self._paths: list[str] = []
        self._ids: list[int | str] = []
        self._owner = array("i")
        self._sizes = column("sizes", "i4", 2)
        self._boxes, self._labels = column("boxes", "f4", 4), column("labels", "i8")
        self._crowd = column("crowd", "?")
        if num_keypoints:
            self._keypoints = column("keypoints", "f4", num_keypoints, 3)
        self._coordinates = column("coordinates", "f8")
        self._rle_text, self._rle_sizes = column("rle_text", "u1"), column("rle_sizes", "i4", 2)
        names = "polygon_ends", "polygons_until", "rle_ends", "rles_until"
        ends = [column(name, "i8") for name in names]
        for end in ends:
            end.values.append(0)
        self._polygon_ends, self._polygons_until, self._rle_ends, self._rles_until = ends

    def add_image(self, image: ImageRecord) -> None:
        """Take the next image."""
        self._paths.append(image.path)
        self._ids.append(image.id)
        self._sizes.values.extend(image.size)

    def add(self, instance: InstanceRecord) -> None:
        """Take the next instance, of an image that may come later."""
        self._owner.append(instance.image)
        self._boxes.values.extend(instance.box)
        self._labels.values.append(instance.label)
        self._crowd.values.append(instance.crowd)
        if self._num_keypoints:
            points = instance.keypoints or [0.0] * (3 * self._num_keypoints)
            self._keypoints.values.extend(points)
        if self._masks:
            self._add_segmentation(instance.segmentation)
        if len(self._owner) % _EVERY == 0:
            for column in self._columns.values():
                column.spill()

    def _add_segmentation(self, segmentation: Segmentation | None) -> None:
        if isinstance(segmentation, dict):
            self._rle_text.values.frombytes(segmentation["counts"])
            self._rle_ends.values.append(len(self._rle_text))
            self._rle_sizes.values.extend(segmentation["size"])
        elif segmentation is not None:
            for polygon in segmentation:
                self._coordinates.values.extend(polygon)
                self._polygon_ends.values.append(len(self._coordinates))
        self._polygons_until.values.append(len(self._polygon_ends) - 1)
        self._rles_until.values.append(len(self._rle_ends) - 1)

    def arrays(self) -> dict[str, np.ndarray]:
        """All columns by name, as ``AnnotationColumns.of`` takes them."""
        found = {name: column.close() for name, column in self._columns.items()}
        owner, count = np.asarray(self._owner), len(self._paths)
        paths = Texts.of(self._paths)
        found |= {"paths": paths.data, "paths_ends": paths.ends}
        try:
            found["ids"] = np.asarray(array("q", cast("list[int]", self._ids)))
        except (TypeError, OverflowError):  # texts, or beyond 64 bits
            ids = Texts.of(map(json.dumps, self._ids))
            found |= {"ids": ids.data, "ids_ends": ids.ends}
        found["rows"] = np.argsort(owner, kind="stable")
        found["starts"] = np.cumsum(np.bincount(owner + 1, minlength=count + 1))
        found["targets"] = np.bincount(owner[~found["crowd"]], minlength=count)
        return found


def build_columns(
    images: Iterable[ImageRecord],
    instances: Iterable[InstanceRecord],
    *,
    num_keypoints: int,
    masks: bool,
    folder: Path | None = None,
) -> dict[str, np.ndarray]:
    """Columns of records, by name; instances are given in any order, segmentations kept if masks.

    With a folder, most of them are written to files there.
    """
    builder = ColumnsBuilder(num_keypoints, masks=masks, folder=folder)
    for image in images:
        builder.add_image(image)
    for instance in instances:
        builder.add(instance)
    return builder.arrays()


def columns_of(
    images: Iterable[ImageRecord],
    instances: Iterable[InstanceRecord],
    info: DatasetInfo,
    *,
    masks: bool,
) -> AnnotationColumns:
    """Columns of records, in memory."""
    count = len(info.keypoint_names)
    return AnnotationColumns.of(build_columns(images, instances, num_keypoints=count, masks=masks))
