"""The only types that travel between data, models, evaluators and drawing.

Legend: B images, N instances, K keypoints, H and W in pixels.
Boxes are float32 ``xyxy`` in absolute pixels, x in [0, W] and y in [0, H]; labels are int64 in
0..C-1; 255 is "ignore" in label maps; ``size`` is always (height, width).
Other formats are converted at the border (readers, evaluators) and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import chain
from typing import TYPE_CHECKING, Any, NotRequired, TypedDict

import numpy as np

if TYPE_CHECKING:  # imported where tensors are made: what has none starts seconds earlier
    import torch
    from torch import Tensor

    Masks = Tensor | list["RLE"]

Size = tuple[int, int]
IGNORE_LABEL = 255


class RLE(TypedDict):
    """COCO compressed run-length encoding of one binary mask, as pycocotools writes it."""

    size: list[int]
    counts: bytes


class Segment(TypedDict):
    """One panoptic segment: its value in the panoptic map, its class and its score."""

    id: int  # 1 or more
    label: int  # 0-based class
    score: float  # in 0..1; 1 for ground truth
    crowd: NotRequired[bool]  # ground truth only: a region of many things, never a target


def size_of(array: np.ndarray) -> Size:
    """(height, width) of an image (H, W, 3) or a map (H, W)."""
    return int(array.shape[0]), int(array.shape[1])


@dataclass
class Sample:
    """One image with its annotation, as NumPy arrays, before collation.

    Attributes:
        image: uint8 (H, W, 3), RGB.
        image_id: The data set's own id of the image.
        path: File of the image, for messages.
        orig_size: (height, width) of the stored image, before any transform.
        boxes: float32 (N, 4) in (x1, y1, x2, y2) pixels, x1 <= x2; None for tasks without boxes.
        labels: int64 (N,), 0-based class of each instance.
        crowd: bool (N,); crowd regions are never targets and are ignored in evaluation.
        masks: uint8 {0, 1} (N, H, W), or None.
        keypoints: float32 (N, K, 3): x, y in pixels (a pixel's centre is at 0.5) and visibility
            0 / 1 / 2, or None.
        semantic: uint8 or int16 (H, W) label map with 255 = ignore, or None.
        panoptic: int32 (H, W) of segment ids, 0 = void, or None.
        segments: What the ids of ``panoptic`` stand for, or None. A transform may leave a segment
            without any pixel.
        saliency: uint8 (H, W), 255 = salient, grey where the ground truth is soft, or None.
        label: 0-based class of the whole image, or None.
        proposals: Boxes, labels and scores that a top-down model predicts poses for, in pixels of
            ``image``: input of the model, not ground truth. None elsewhere.
    """

    image: np.ndarray
    image_id: int | str
    path: str
    orig_size: Size
    boxes: np.ndarray | None = None
    labels: np.ndarray | None = None
    crowd: np.ndarray | None = None
    masks: np.ndarray | None = None
    keypoints: np.ndarray | None = None
    semantic: np.ndarray | None = None
    panoptic: np.ndarray | None = None
    segments: list[Segment] | None = None
    saliency: np.ndarray | None = None
    label: int | None = None
    proposals: Instances | None = None

    @property
    def size(self) -> Size:
        """Current (height, width) of the image."""
        return size_of(self.image)


@dataclass(frozen=True, eq=False)  # tensors have no single answer to "equal"
class Instances:
    """N instances of one image: ground truth and results share this type.

    Boxes, masks and keypoints are in the pixels of one image; ``moved`` brings boxes and keypoints
    to those of another together.

    Attributes:
        boxes: float32 (N, 4) in (x1, y1, x2, y2) pixels, x1 <= x2 and y1 <= y2.
        labels: int64 (N,), 0-based class of each instance.
        scores: float32 (N,) in [0, 1]; None for ground truth.
        masks: uint8 {0, 1} (N, H, W), or a list of N RLE, or None.
        keypoints: float32 (N, K, 3): x, y in pixels (a pixel's centre is at 0.5) and visibility
            or score, or None.
        crowd: bool (N,), or None for "no crowd".

    Lengths, shapes and dtypes that disagree are a ValueError.

    Example:
        >>> import torch
        >>> boxes = torch.tensor([[0.0, 0.0, 4.0, 2.0], [1.0, 1.0, 3.0, 5.0]])
        >>> found = Instances(boxes, torch.tensor([0, 2]), scores=torch.tensor([0.9, 0.3]))
        >>> found[found.scores > 0.5]
        Instances(1: boxes, labels, scores)
    """

    boxes: Tensor
    labels: Tensor
    scores: Tensor | None = None
    masks: Masks | None = None
    keypoints: Tensor | None = None
    crowd: Tensor | None = None

    def __repr__(self) -> str:
        """Their number and what is known of them; the run lengths alone would fill a screen."""
        known = [field.name for field in fields(self) if getattr(self, field.name) is not None]
        return f"Instances({len(self.boxes)}: {', '.join(known)})"

    def __post_init__(self) -> None:
        import torch

        if self.boxes.ndim != 2 or self.boxes.shape[1] != 4:
            raise ValueError(f"boxes must have shape (N, 4), got {tuple(self.boxes.shape)}")
        if not self.boxes.is_floating_point():
            raise ValueError(f"boxes must be floating point pixels, got {self.boxes.dtype}")
        if self.labels.dtype != torch.int64:
            raise ValueError(f"labels must be int64 in 0..C-1, got {self.labels.dtype}")
        for f in fields(self):
            value = getattr(self, f.name)
            if value is not None and len(value) != len(self.boxes):
                what = f"{f.name} has {len(value)} entries for {len(self.boxes)} boxes"
                raise ValueError(f"{what}; every field must describe the same instances")
        masks, points = self.masks, self.keypoints
        if isinstance(masks, torch.Tensor) and (masks.ndim != 3 or masks.dtype != torch.uint8):
            raise ValueError(f"masks must be uint8 (N, H, W), got {masks.dtype} {(*masks.shape,)}")
        if points is not None and (points.ndim != 3 or points.shape[-1] != 3):
            raise ValueError(f"keypoints must have shape (N, K, 3), got {(*points.shape,)}")

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, index: Tensor) -> Instances:
        """Select instances by a bool (N,) or an int64 (M,) tensor, in every field."""
        import torch

        if not isinstance(index, torch.Tensor) or index.ndim != 1:
            raise TypeError("index Instances with a 1-d bool or int64 tensor")
        if index.dtype == torch.bool and len(index) != len(self):
            raise IndexError(f"bool index has {len(index)} entries for {len(self)} instances")
        positions = index.nonzero()[:, 0] if index.dtype == torch.bool else index
        selected: dict[str, Any] = {}
        for f in fields(self):
            value = getattr(self, f.name)
            if isinstance(value, list):
                selected[f.name] = [value[i] for i in positions.tolist()]
            else:
                selected[f.name] = None if value is None else value[index]
        return Instances(**selected)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Instances:
        """Move every tensor; RLE lists stay where they are."""
        import torch

        moved: dict[str, Any] = {}
        for f in fields(self):
            if isinstance(value := getattr(self, f.name), torch.Tensor):
                moved[f.name] = value.to(device, non_blocking=non_blocking)
        return replace(self, **moved)

    def moved(
        self, *, scale: tuple[float, float] = (1.0, 1.0), shift: tuple[float, float] = (0.0, 0.0)
    ) -> Instances:
        """The same instances in the pixels of another image: scaled, then shifted.

        Boxes and keypoints go together, so that neither stays behind; whatever changes pixels uses
        this. Masks are pixels themselves: with some it is a ValueError.

        Args:
            scale: Factors on (y, x).
            shift: Pixels that are added to (y, x).
        """
        if self.masks is not None:
            raise ValueError(
                "masks cannot be moved; leave them out and give them in the new pixels"
            )
        (scale_y, scale_x), (down, right) = scale, shift
        factors = self.boxes.new_tensor([scale_x, scale_y, scale_x, scale_y])
        boxes = self.boxes * factors + self.boxes.new_tensor([right, down, right, down])
        if (points := self.keypoints) is not None:
            points = points * points.new_tensor([scale_x, scale_y, 1.0])
            points = points + points.new_tensor([right, down, 0.0])
        return replace(self, boxes=boxes, keypoints=points)

    def pin_memory(self) -> Instances:
        """Pin the masks, by far the largest tensors."""
        if self.masks is None or isinstance(self.masks, list):
            return self
        return replace(self, masks=self.masks.pin_memory())

    @staticmethod
    def cat(parts: Sequence[Instances]) -> Instances:
        """Join instances of one image; a field that only some parts have is a ValueError."""
        import torch

        if not parts:
            raise ValueError("cat needs at least one Instances")
        joined: dict[str, Any] = {}
        for f in fields(Instances):
            values = [v for part in parts if (v := getattr(part, f.name)) is not None]
            if 0 < len(values) < len(parts):
                raise ValueError(f"cannot join: {f.name} is missing in some parts only")
            if values:
                is_list = isinstance(values[0], list)
                joined[f.name] = list(chain(*values)) if is_list else torch.cat(values)
        return Instances(**joined)

    @staticmethod
    def empty() -> Instances:
        """No instance at all, without optional fields."""
        import torch

        return Instances(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))


@dataclass
class Batch:
    """Images of one step, zero-padded at the right and bottom to one size.

    Attributes:
        images: uint8 (B, 3, H, W), RGB.
        sizes: Valid (height, width) of each image inside the padded tensor.
        orig_sizes: (height, width) of each stored image; results are given in these pixels.
        image_ids: The data set's own id of each image.
        targets: Ground truth of each image in the pixels of ``sizes``, or None.
        semantic: int64 (B, H, W) label maps, padded with 255, or None.
        panoptic: int32 (B, H, W) maps of segment ids, padded with 0 = void, or None.
        segments: What the ids of each map stand for, or None; some may have no pixel.
        saliency: float32 (B, H, W) in [0, 1], padded with 0, or None.
        labels: int64 (B,) image-level classes, or None.
        proposals: Boxes, labels and scores of each image for a top-down model, or None.
        seeds: Seed of the draws that a model makes for each image, so that they depend on its
            position in the stream alone; None draws from the global generator.
        skipped: One message for each unreadable image that another one stands in for.
    """

    images: Tensor
    sizes: list[Size]
    orig_sizes: list[Size]
    image_ids: list[int | str]
    targets: list[Instances] | None = None
    semantic: Tensor | None = None
    panoptic: Tensor | None = None
    segments: list[list[Segment]] | None = None
    saliency: Tensor | None = None
    labels: Tensor | None = None
    proposals: list[Instances] | None = None
    seeds: Sequence[int | None] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.seeds = self.seeds or [None] * len(self.images)

    def __len__(self) -> int:
        return len(self.images)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Batch:
        """Move every tensor to ``device``."""
        names = "images", "targets", "semantic", "panoptic", "saliency", "labels", "proposals"
        return self._changed(names, lambda value: value.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Batch:
        """Pin the large tensors, so that the copy to the GPU overlaps with compute."""
        names = "images", "targets", "semantic", "panoptic", "saliency"
        return self._changed(names, lambda value: value.pin_memory())

    def _changed(self, names: Sequence[str], change: Callable[[Any], Any]) -> Batch:
        """Apply a function to fields that are there; to each entry where they are lists."""
        changed: dict[str, Any] = {}
        for name in names:
            value = getattr(self, name)
            if value is not None:
                is_list = isinstance(value, list)
                changed[name] = [change(v) for v in value] if is_list else change(value)
        return replace(self, **changed)


@dataclass(frozen=True, eq=False)  # see Instances
class Prediction:
    """The result for one image, on the CPU, in the pixels of the original image.

    Attributes:
        image_id: The data set's own id of the image.
        size: (height, width) of the original image.
        instances: Boxes, labels, scores and, if any, masks (as RLE) and keypoints, or None.
        semantic: uint8 or int16 (H, W) label map, or None.
        panoptic: int32 (H, W) of segment ids, 0 = void, or None.
        segments: Id, class and score of each segment of ``panoptic``, or None.
        saliency: float32 (H, W) in [0, 1], or None.
        class_scores: float32 (C,) image-level scores, or None.

    Example:
        >>> import numpy as np
        >>> sample = Sample(np.zeros((4, 6, 3), np.uint8), 7, "black.png", (4, 6), label=1)
        >>> Prediction.from_sample(sample, num_classes=3).class_scores
        tensor([0., 1., 0.])
    """

    image_id: int | str
    size: Size
    instances: Instances | None = None
    semantic: np.ndarray | None = None
    panoptic: np.ndarray | None = None
    segments: list[Segment] | None = None
    saliency: np.ndarray | None = None
    class_scores: Tensor | None = None

    @staticmethod
    def from_sample(sample: Sample, num_classes: int = 0) -> Prediction:
        """Turn untransformed ground truth into a perfect prediction (scores 1, crowds kept).

        ``num_classes`` is the length C of the image-level scores, for samples with a label.
        """
        import torch

        instances = saliency = class_scores = None
        if sample.boxes is not None:
            instances = instances_from_sample(sample)
            masks = None
            if isinstance(instances.masks, torch.Tensor):
                masks = encode_masks(instances.masks)
            instances = replace(instances, scores=torch.ones(len(instances)), masks=masks)
        if sample.saliency is not None:
            saliency = sample.saliency.astype(np.float32) / np.float32(255)
        if sample.label is not None:
            class_scores = torch.eye(num_classes, dtype=torch.float32)[sample.label]
        perfect = Prediction(sample.image_id, sample.size, instances, sample.semantic)
        perfect = replace(perfect, panoptic=sample.panoptic, segments=sample.segments)
        return replace(perfect, saliency=saliency, class_scores=class_scores)


def encode_masks(masks: Tensor) -> list[RLE]:
    """Run-length encode uint8 {0, 1} masks (N, H, W) with pycocotools."""
    from pycocotools import mask as mask_utils

    if len(masks) == 0:
        return []
    return list(mask_utils.encode(np.asfortranarray(masks.cpu().numpy().transpose(1, 2, 0))))


def decode_masks(rles: Sequence[RLE], size: Size) -> np.ndarray:
    """Decode N RLE of (height, width) ``size`` to uint8 (N, H, W)."""
    from pycocotools import mask as mask_utils

    if len(rles) == 0:
        return np.zeros((0, *size), dtype=np.uint8)
    return np.ascontiguousarray(mask_utils.decode(list(rles)).transpose(2, 0, 1))


def instances_from_sample(sample: Sample) -> Instances:
    """Turn the instance arrays of a sample into tensors, field by field."""
    import torch

    assert sample.boxes is not None and sample.labels is not None
    boxes = torch.from_numpy(sample.boxes.astype(np.float32).reshape(-1, 4))
    masks, keypoints, crowd = (
        None if array is None else torch.from_numpy(np.ascontiguousarray(array))
        for array in (sample.masks, sample.keypoints, sample.crowd)
    )
    labels = torch.from_numpy(sample.labels.astype(np.int64))
    return Instances(boxes, labels, None, masks, keypoints, crowd)
