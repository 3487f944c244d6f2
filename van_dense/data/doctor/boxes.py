"""Sizes of boxes as a detector sees them, after the transform, and those that no anchor reaches.

Legend: N boxes of a part, I images; boxes are xyxy, in pixels of the image as it is stored, or of
the resized one where a view says so. The size of a box is the square root of its area.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, runtime_checkable

import numpy as np

from van_dense.core.structures import Instances, Size
from van_dense.data.dataset import DenseDataset, Subset

LIMITS = (8, 16, 32)  # px; the finest maps of detectors have cells of 4 or 8 px, the next of 16
PADDING = 32  # images are padded to multiples of it, and anchors lie in the padding too
INSIDE = 0.01  # pixels by which the centre of an anchor lies within its box (mmdet's ATSS)


@runtime_checkable
class HasInstances(Protocol):
    """A reader that gives boxes without reading images, as ``TableDataset``."""

    def instances(self, index: int) -> Instances:
        """Boxes, labels and crowds of an image."""
        ...


@dataclass(frozen=True)
class BoxTable:
    """Boxes of a part as its reader gives them, without crowds."""

    boxes: np.ndarray  #: float32 (N, 4)
    labels: np.ndarray  #: int64 (N,), 0-based classes
    images: np.ndarray  #: int64 (N,), position of the image of each box, ascending
    sizes: np.ndarray  #: int64 (I, 2), height and width of each image
    class_names: tuple[str, ...]

    @staticmethod
    def of(dataset: DenseDataset) -> "BoxTable | None":
        """Collect the boxes of a reader; None where it gives none without reading images."""
        reader: DenseDataset = dataset
        positions = np.arange(len(dataset))
        while isinstance(reader, Subset):
            positions, reader = reader.positions[positions], reader.dataset
        if not isinstance(reader, HasInstances):
            return None
        rows = BoxRows()
        for position in positions.tolist():
            if min(size := reader.size(position)) <= 0:
                continue  # the file is broken
            found = reader.instances(position)
            kept = slice(None) if found.crowd is None else ~found.crowd
            rows.add(size, found.boxes[kept].numpy(), found.labels[kept].numpy())
        return rows.table(dataset.info.class_names)

    @property
    def ratios(self) -> np.ndarray:
        """Height / width of each box, float32 (N,)."""
        width, height = (self.boxes[:, 2:] - self.boxes[:, :2]).T
        return np.asarray(height / width)

    @property
    def per_image(self) -> np.ndarray:
        """Number of boxes of each image, int64 (I,)."""
        return np.bincount(self.images, minlength=len(self.sizes))


class BoxRows:
    """Boxes that come image by image."""

    def __init__(self) -> None:
        self._boxes, self._labels = [np.zeros((0, 4), np.float32)], [np.zeros(0, np.int64)]
        self._sizes: list[Size] = []

    def add(self, size: Size, boxes: np.ndarray, labels: np.ndarray) -> None:
        """Add an image of (height, width) with boxes (n, 4) and labels (n,), which may be none."""
        self._sizes.append(size)
        self._boxes.append(boxes.astype(np.float32))
        self._labels.append(labels.astype(np.int64))

    def table(self, class_names: tuple[str, ...]) -> BoxTable:
        """All of them."""
        counts = [len(labels) for labels in self._labels[1:]]
        return BoxTable(
            np.concatenate(self._boxes),
            np.concatenate(self._labels),
            np.repeat(np.arange(len(counts)), counts),
            np.array(self._sizes, np.int64).reshape(-1, 2),
            class_names,
        )


@dataclass(frozen=True)
class View:
    """One of the sizes that images are brought to."""

    name: str  #: such as "train 480"
    resized: Callable[[Size], Size]  #: (height, width) of a stored image -> of the resized one
    is_train: bool = False  #: whether training images get this size
    is_test: bool = False  #: whether images get this size in evaluation


@dataclass(frozen=True)
class AnchorLevel:
    """Anchors of one level of the pyramid."""

    stride: int  #: pixels between two positions; the first is at 0
    shapes: np.ndarray  #: float (K, 4), xyxy around a position


@dataclass(frozen=True)
class AnchorRule:
    """Which boxes have an anchor that learns them."""

    levels: Sequence[AnchorLevel]
    #: IoU with its best anchor from which on a box is reached; None asks for an anchor whose
    #: centre lies in the box, of whatever IoU.
    iou: float | None
    meaning: str  #: such as "IoU 0.3 with an anchor (model.rpn.min_positive_iou)"
    many: float  #: fraction of boxes without such an anchor that is worth a warning


@dataclass(frozen=True)
class BoxSetting:
    """What a config makes of boxes."""

    views: Sequence[View]
    rule: AnchorRule | None = None  #: None for detectors without anchors
    remark: str = ""  #: what the views of training leave out


@dataclass(frozen=True)
class Seen:
    """The boxes of a part in one view."""

    view: View
    boxes: np.ndarray  #: float32 (N, 4) in pixels of the resized images
    reached: np.ndarray | None  #: bool (N,); None without anchors

    @cached_property
    def sides(self) -> np.ndarray:
        """Square root of the area of each box in pixels, float32 (N,)."""
        return np.asarray(np.sqrt(np.prod(self.boxes[:, 2:] - self.boxes[:, :2], axis=1)))


def see(table: BoxTable, view: View, rule: AnchorRule | None) -> Seen:
    """Bring boxes to the size of a view, and ask which of them an anchor reaches."""
    unique, inverse = np.unique(table.sizes, axis=0, return_inverse=True)
    resized = np.array([view.resized((h, w)) for h, w in unique.tolist()]).reshape(-1, 2)
    scale = np.divide(resized, unique, out=np.ones(unique.shape), where=unique > 0)
    own = inverse.reshape(-1)[table.images]
    boxes = (table.boxes * scale[own][:, [1, 0, 1, 0]]).astype(np.float32)
    if rule is None:
        return Seen(view, boxes, None)
    return Seen(view, boxes, is_reached(boxes, resized[own], rule))


def is_reached(boxes: np.ndarray, sizes: np.ndarray, rule: AnchorRule) -> np.ndarray:
    """Whether an anchor learns each of (N, 4) boxes of images of ``sizes`` (N, 2): bool (N,)."""
    if rule.iou is not None:
        return np.asarray(best_iou(boxes, sizes, rule.levels) >= rule.iou)
    found = np.zeros(len(boxes), dtype=bool)
    for level in rule.levels:
        last = _last_positions(sizes, level.stride)
        for x, y in (level.shapes[:, :2] + level.shapes[:, 2:]) / 2:
            origin = np.array([x, y])
            first = np.floor((boxes[:, :2] + INSIDE - origin) / level.stride) + 1
            first = np.maximum(first, 0)
            centre = first * level.stride + origin
            found |= ((first <= last) & (centre < boxes[:, 2:] - INSIDE)).all(axis=1)
    return found


def best_iou(boxes: np.ndarray, sizes: np.ndarray, levels: Sequence[AnchorLevel]) -> np.ndarray:
    """Largest IoU of each box with any anchor at any position, float (N,).

    That is the anchor at the position nearest to the box: the overlap along an axis only falls
    with the distance of the centres.

    Args:
        boxes: float (N, 4) in pixels of the resized images.
        sizes: Heights and widths (N, 2) of these.
        levels: Anchors.
    """
    best = np.zeros(len(boxes))
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    for level in levels:
        last = _last_positions(sizes, level.stride)
        for shape in level.shapes:
            low, high = shape[:2], shape[2:]
            position = np.rint((centres - (low + high) / 2) / level.stride).clip(0, last)
            start = position * level.stride
            overlap = np.minimum(boxes[:, 2:], start + high) - np.maximum(boxes[:, :2], start + low)
            inner = np.prod(overlap.clip(0), axis=1)
            best = np.maximum(best, inner / (areas + np.prod(high - low) - inner))
    return best


def _last_positions(sizes: np.ndarray, stride: int) -> np.ndarray:
    """Last column and row (N, 2) of a map, of images padded on their own."""
    padded = -(-sizes // PADDING) * PADDING
    return np.asarray(-(-padded // stride) - 1)[:, ::-1]
