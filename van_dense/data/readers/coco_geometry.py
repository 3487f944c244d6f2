"""What box, mask and area of one COCO annotation say about each other."""

from typing import Any

from pycocotools import mask as mask_utils

from van_dense.core.structures import Size
from van_dense.data.readers.annotation_columns import BoxXYXY
from van_dense.data.readers.coco_json import Record
from van_dense.data.readers.coco_values import (
    box_around,
    box_in_other_form,
    parse_box,
    parse_number,
)
from van_dense.data.readers.segmentation import (
    Segmentation,
    plain_form,
    to_rle,
    usable_segmentation,
)

# In COCO, the area of a mask is at most 0.993 times that of its box with a pixel on each side, and
# never below 1 % of its box but for a few thin objects, whose masks say so.
PIXEL = 1.0  # by which rounded boxes may be too small
_SLACK = 1.1
_LEAST = 0.01
_AGREES = 2.0  # factor between the area that is stated and that of the mask
OUTSIDE_TOLERANCE = 1.0  # pixels; COCO's own boxes leave their images by rounding


def area_is_possible(annotation: Record, box: BoxXYXY, size: Size) -> bool:
    """Whether the ``area`` of an annotation can be that of an object in its box (in pixels).

    Exporters write 0, 1, -1, null, text, or the area of the image, by which COCO's evaluation puts
    objects into the wrong sizes, and OKS, which divides by it, rejects the best pose. Doubtful ones
    are compared with the mask; text is impossible, as no evaluator reads it.
    """
    area: Any = annotation.get("area")
    if type(area) not in (int, float) or not 0 < area < float("inf"):
        return False
    if area_fits(area, box[2] - box[0], box[3] - box[1]):
        return True
    shown = mask_area(annotation.get("segmentation"), size)
    return shown is not None and shown / _AGREES <= area <= shown * _AGREES


def area_fits(area: Any, width: Any, height: Any) -> Any:
    """Whether areas, numbers or arrays, are certain to be possible in boxes of these sides."""
    fits = (_LEAST * width * height <= area) & (area <= _SLACK * (width + 2) * (height + 2))
    return fits & ((area != 1) | (width * height < 4))


def is_within_first_pixel(x1: Any, y1: Any, x2: Any, y2: Any) -> Any:
    """Whether boxes, numbers or arrays, lie where shares of 1 would."""
    near = (x1 >= 0) & (y1 >= 0) & (x1 <= 1) & (y1 <= 1) & (x2 <= 2) & (y2 <= 2)
    return near & (x2 - x1 <= 1) & (y2 - y1 <= 1)


def derive_area(annotation: Record, box: BoxXYXY, size: Size) -> float:
    """Pixels of the mask, or else of the box, where ``area`` is impossible; text is read.

    Poses are no exception: COCO's area of a person is that of its mask, and no fixed share of its
    box, such as 0.53, which other code bases take, holds for hands or animals.
    """
    stated = annotation.get("area")
    if type(stated) is str and (number := parse_number(stated)) is not None:
        if area_is_possible({**annotation, "area": number}, box, size):
            return number
    shown = mask_area(annotation.get("segmentation"), size)
    return shown or (box[2] - box[0]) * (box[3] - box[1])


def mask_area(value: Any, size: Size) -> float | None:
    """Pixels of a segmentation, which is parsed JSON; None where it is none, or shows nothing."""
    usable = _usable(value, size) if size[0] else None
    return None if usable is None else float(mask_utils.area(to_rle(usable, size))) or None


def segmentation_box(value: Any, size: Size) -> BoxXYXY | None:
    """Box around a segmentation, which is parsed JSON; None where it is none, or has no size."""
    usable = _usable(value, size)
    if usable is None:
        return None
    if isinstance(usable, dict):
        x, y, width, height = mask_utils.toBbox(usable).tolist()
        return (x, y, x + width, y + height) if width > 0 and height > 0 else None
    xs = [x for polygon in usable for x in polygon[0::2]]
    ys = [y for polygon in usable for y in polygon[1::2]]
    x, y, width, height = min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)
    return (x, y, x + width, y + height) if width > 0 and height > 0 else None


def stated_box(
    annotation: Record, size: Size, joints: list[float] | None
) -> tuple[BoxXYXY | None, str | None]:
    """Box (x1, y1, x2, y2) of an annotation, and how it was found if it is not written there.

    A missing one is that of its segmentation, or else of the joints, where these are sound.
    """
    value = annotation.get("bbox")
    box = parse_box(value)
    if box is not None and box != (0, 0, 0, 0):
        return box, None
    if box is None and (read := box_in_other_form(value)) is not None:
        return read, "boxes are written as text or in another form, and are read as what they mean"
    if box is None and value not in (None, [], {}, ""):
        return None, None
    if (around := segmentation_box(annotation.get("segmentation"), size)) is not None:
        return around, "boxes are missing, and are taken from the mask"
    if joints is not None and (around := box_around(joints)) is not None:
        return around, "boxes are missing, and are drawn around the labelled joints"
    return box, None


def mask_iou(usable: Segmentation, box: BoxXYXY, size: Size) -> float:
    """IoU of a box (x1, y1, x2, y2) and that around a usable segmentation.

    1 where two points of its first polygon lie in the box: all do in sound files, and comparing
    all points of a million would take longer than reading them.
    """
    x1, y1, x2, y2 = box
    if not isinstance(usable, dict):
        polygon = usable[0]
        half = len(polygon) // 4 * 2
        if (
            x1 - PIXEL <= polygon[0] <= x2 + PIXEL
            and y1 - PIXEL <= polygon[1] <= y2 + PIXEL
            and x1 - PIXEL <= polygon[half] <= x2 + PIXEL
            and y1 - PIXEL <= polygon[half + 1] <= y2 + PIXEL
        ):
            return 1.0
    around = segmentation_box(usable, size)
    return 0.0 if around is None else box_iou(box, around)


def box_iou(first: BoxXYXY, second: BoxXYXY) -> float:
    """IoU of two boxes (x1, y1, x2, y2)."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in (first, second)]
    return width * height / (sum(areas) - width * height)


def _usable(value: Any, size: Size) -> Segmentation | None:
    if not value or (size == (0, 0) and not isinstance(value, list)):
        return None
    return usable_segmentation(plain_form(value), size)[0]
