"""The data doctor's comparison of boxes, masks and joints: do they show the same object?

Exporters resize images without their polygons, write shares of 1 where pixels belong, exchange x
and y, or give boxes by corners or centres. One such record may be a slip; a whole file has a cause.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from pycocotools import mask as mask_utils

from van_dense.core.rle import run_lengths
from van_dense.core.structures import Size
from van_dense.data.doctor.report import Severity
from van_dense.data.readers.annotation_columns import BoxXYXY
from van_dense.data.readers.coco_geometry import box_iou, segmentation_box
from van_dense.data.readers.coco_json import Record
from van_dense.data.readers.coco_records import DIFFER
from van_dense.data.readers.coco_values import box_around, parse_box, sound_keypoints
from van_dense.data.readers.segmentation import (
    has_no_pixel,
    plain_form,
    to_rle,
    usable_segmentation,
)

Values = tuple[float, float, float, float]  # the four numbers of "bbox" as they stand there
Message = tuple[str, str]  # what, and what to do about it

_FITS = 0.7  # IoU after a correction that explains the difference
_HALF = 0.5  # share of the records that makes it a matter of the file
_FEW = 0.1  # share of boxes beyond their image that is no rounding
_ROUNDING = 1.0  # pixels

# Reads the four numbers of a box otherwise, as (x1, y1, x2, y2) in an image of (height, width).
_BOXES: dict[str, Callable[[Values, Size], BoxXYXY]] = {
    "the boxes hold two corners (x1, y1, x2, y2), not x, y, width and height": (
        lambda b, size: (b[0], b[1], b[2], b[3])
    ),
    "the boxes hold their centre, and not their upper left corner": (
        lambda b, size: _of_centre(*b)
    ),
    "the boxes are shares of 1 (x, y, width, height), not pixels": (
        lambda b, size: _scaled((b[0], b[1], b[0] + b[2], b[1] + b[3]), size)
    ),
    "the boxes are shares of 1 with their centre, as in YOLO files, not pixels": (
        lambda b, size: _scaled(_of_centre(*b), size)
    ),
    "the boxes are shares of 1 by two corners, not pixels": lambda b, size: _scaled(b, size),
    "x and y are exchanged in the boxes, or else in what they hold": (
        lambda b, size: (b[1], b[0], b[1] + b[3], b[0] + b[2])
    ),
    "the boxes hold y1, x1, y2, x2, as in TensorFlow": (
        lambda b, size: (b[1], b[0], b[3], b[2])
    ),
}  # fmt: skip
_FIX_BOXES = "write x and y of the upper left corner, width and height in pixels, and check again"
_FIX_JOINTS = "write the joints in pixels of the images as they are, and check again"
_BY_ROW = "the run lengths go row by row, and COCO's go column by column"
_FIX_MASKS = "export the polygons in pixels of the images as they are, and check again"


def _of_centre(x: float, y: float, width: float, height: float) -> BoxXYXY:
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


def _scaled(box: Values, size: Size) -> BoxXYXY:
    height, width = size
    return box[0] * width, box[1] * height, box[2] * width, box[3] * height


@dataclass
class GeometryCheck:
    """Compares the parts of each annotation, and looks for one cause of what differs.

    Attributes:
        masks: Whether masks are read, so that a word about each of them helps.
        num_keypoints: Number of joints that are read, 0 for none.
    """

    masks: bool
    num_keypoints: int
    _num_compared: int = 0  # annotations with a mask or joints beside the box
    _causes: Counter[str] = field(default_factory=Counter)
    _factors: list[float] = field(default_factory=list)
    _num_boxes: int = 0  # in images of known size
    _beyond: int = 0  # boxes that leave their image to the right or below
    _as_corners: int = 0  # boxes that fit their image as two corners
    _as_centres: int = 0
    _as_shares: int = 0
    _num_areas: int = 0  # of annotations whose mask fills its box by less than 90 %
    _box_areas: int = 0  # of them, those whose area is that of the box

    def judge(self, annotation: Record, size: Size) -> Iterator[Message]:
        """What is doubtful about one annotation in an image of (height, width)."""
        box, height = parse_box(annotation.get("bbox")), size[0]
        if box is None or height == 0:
            return
        values: Any = tuple(annotation["bbox"])
        self._count(values, size)
        mask = segmentation_box(annotation.get("segmentation"), size)
        joints = None if mask is not None else self._joints_box(annotation)
        shown = joints if mask is None else mask
        if shown is not None:
            self._num_compared += 1
            agrees = box_iou(box, shown) >= DIFFER if mask else _holds(box, shown)
            if not agrees:
                if mask is not None and _fits_by_row(annotation["segmentation"], box, size):
                    self._causes[_BY_ROW] += 1
                else:
                    self._explain(values, box, shown, size, by_mask=mask is not None)
                yield from self._differs(values, box, shown, by_mask=mask is not None)
        if self.masks and annotation.get("segmentation"):
            yield from self._judge_pixels(annotation, box, size)

    def _joints_box(self, annotation: Record) -> BoxXYXY | None:
        if not self.num_keypoints:
            return None
        joints = sound_keypoints(annotation.get("keypoints"), self.num_keypoints)
        return None if joints is None else box_around(joints)

    def _differs(
        self, values: Values, box: BoxXYXY, shown: BoxXYXY, *, by_mask: bool
    ) -> Iterator[Message]:
        """A word on one record, where both are read and the reader does not leave it out."""
        around = [round(side, 1) for side in shown]
        if by_mask and self.masks and 0 < (iou := box_iou(box, shown)):
            what = f"the box {[*values]} and the mask, within the corners {around}, differ"
            yield f"{what} (IoU {iou:.2f})", "correct one of the two"
        elif not by_mask and box_iou(box, shown) == 0:
            what = f"the box {[*values]} holds no joint; these lie within the corners {around}"
            yield what, "correct one of the two"

    def _judge_pixels(self, annotation: Record, box: BoxXYXY, size: Size) -> Iterator[Message]:
        usable, _ = usable_segmentation(plain_form(annotation["segmentation"]), size)
        if usable is None:
            return
        pixels = float(mask_utils.area(to_rle(usable, size)))
        if has_no_pixel(usable, size):
            what = "the mask has no pixel: it is a line, smaller than a pixel, or off the image"
            yield what, "draw the object again, or remove the annotation"
        of_box = (box[2] - box[0]) * (box[3] - box[1])
        stated: Any = annotation.get("area")
        if type(stated) in (int, float) and 0 < pixels < 0.9 * of_box:
            self._num_areas += 1
            self._box_areas += abs(stated - of_box) <= 0.01 * of_box

    def _count(self, values: Values, size: Size) -> None:
        """Count what the four numbers would mean in other conventions."""
        (x, y, width, height), (rows, columns) = values, size
        self._num_boxes += 1
        self._beyond += x + width > columns + _ROUNDING or y + height > rows + _ROUNDING
        inside = width <= columns + _ROUNDING and height <= rows + _ROUNDING
        self._as_corners += width > x >= 0 and height > y >= 0 and inside
        x1, y1, x2, y2 = _of_centre(*values)
        self._as_centres += (
            min(x1, y1) >= -_ROUNDING and x2 <= columns + _ROUNDING and y2 <= rows + _ROUNDING
        )
        self._as_shares += min(values) >= 0 and max(values) <= 1

    def _explain(
        self, values: Values, box: BoxXYXY, shown: BoxXYXY, size: Size, *, by_mask: bool
    ) -> None:
        """Count the first cause that makes box and mask, or joints, agree."""

        def agree(one: BoxXYXY, other: BoxXYXY) -> bool:
            return box_iou(one, other) >= _FITS if by_mask else _holds(one, other)

        name = "polygons" if by_mask else "joints"
        shares = f"the {name} are shares of 1, not pixels"
        if max(shown) <= 1 and agree(box, _scaled(shown, size)):
            self._causes[shares] += 1
            return
        for cause, read in _BOXES.items():
            if agree(read(values, size), shown):
                self._causes[cause] += 1
                return
        if by_mask and (factor := _factor(box, shown)) is not None:
            self._causes["scale"] += 1
            self._factors.append(factor)

    def causes(self) -> Iterator[tuple[Severity, str, str]]:
        """What whole files are wrong by, after all annotations; most records must agree.

        Where masks are not read, those that contradict the boxes are a warning, and only where the
        boxes may be at fault.
        """
        severity: Severity = "error" if self.masks or self.num_keypoints else "warning"
        for cause, count in self._causes.most_common(3):
            if count < max(2, _HALF * self._num_compared) and count < self._num_compared:
                continue
            if severity == "warning" and cause not in _BOXES:
                continue
            fix = _FIX_BOXES if cause in _BOXES else _FIX_MASKS
            fix = _FIX_JOINTS if "joints" in cause else fix
            fix = "encode the masks again, in columns" if cause == _BY_ROW else fix
            if cause == "scale":
                factor = sorted(self._factors)[len(self._factors) // 2]
                cause = f"the polygons are {factor:.2g} times as large as the boxes"
                fix = "one of them belongs to images of another size; export again"
            yield severity, f"{count} of {self._num_compared} records: {cause}", fix
        if not self._causes:
            yield from self._causes_of_boxes()

    def _causes_of_boxes(self) -> Iterator[tuple[Severity, str, str]]:
        """What boxes alone tell of their convention."""
        many, beyond = 0.9 * self._num_boxes, self._beyond
        if self._as_shares and self._as_shares >= _HALF * self._num_boxes:
            count, cause = self._as_shares, "the boxes are shares of 1, not pixels"
        elif not beyond or beyond < _FEW * self._num_boxes:
            return
        elif self._as_corners >= many:
            count = self._as_corners
            cause = "the boxes hold two corners (x1, y1, x2, y2), not x, y, width and height"
        elif self._as_centres >= many:
            count = self._as_centres
            cause = "the boxes hold their centre, and not their upper left corner"
        else:
            return
        what = f"{count} of {self._num_boxes} records: most likely, {cause}"
        yield "error", f"{what}; {beyond} leave their image as they stand", _FIX_BOXES

    def remark(self) -> Message | None:
        """Where the areas of masks are those of boxes, which is worth knowing."""
        if not self._num_areas or self._box_areas < _HALF * self._num_areas:
            return None
        what = f"area is that of the box in {self._box_areas} of {self._num_areas} records whose "
        what += "mask is smaller; COCO's is that of the mask"
        return what, "none needed; AP by size counts these objects as larger than they are"


def _fits_by_row(value: Any, box: BoxXYXY, size: Size) -> bool:
    """Whether run lengths show what the box does when they are read in rows."""
    usable, _ = usable_segmentation(plain_form(value), size)
    if not isinstance(usable, dict):
        return False
    runs = run_lengths(usable["counts"])
    pixels = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(size)
    rows, columns = np.flatnonzero(pixels.any(axis=1)), np.flatnonzero(pixels.any(axis=0))
    if len(rows) == 0:
        return False
    around = float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)
    return box_iou(box, around) >= _FITS


def _holds(box: BoxXYXY, joints: BoxXYXY) -> bool:
    """Whether the box around joints lies mostly in a box, and is no speck in it."""
    shared = box_iou(box, joints)
    if shared == 0:
        return False
    inner = (
        max(box[0], joints[0]),
        max(box[1], joints[1]),
        min(box[2], joints[2]),
        min(box[3], joints[3]),
    )
    part = (inner[2] - inner[0]) * (inner[3] - inner[1])
    return part >= _HALF * (joints[2] - joints[0]) * (joints[3] - joints[1])


def _factor(box: BoxXYXY, shown: BoxXYXY) -> float | None:
    """How many times a mask is as large as its box, if its place is as far off, or None."""
    if shown[2] <= shown[0] or box[2] <= box[0]:
        return None
    factor = (shown[2] - shown[0]) / (box[2] - box[0])
    x1, y1, x2, y2 = (side / factor for side in shown)
    return factor if box_iou(box, (x1, y1, x2, y2)) >= _FITS else None
