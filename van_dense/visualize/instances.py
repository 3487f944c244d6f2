"""Instances on pictures: masks filled in the colours of ``palette.py``, boxes, skeletons, labels.

Masks stay run-length encoded until their turn and are decoded and blended inside their own
rectangle only: a dense (N, H, W) stack of 100 masks on a 4K image would be 0.8 GB.
Legend: the canvas is the enlarged picture; canvas pixels = ``scale`` x image pixels.
"""

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch import Tensor

from van_dense.core.dataset_info import Color, DatasetInfo
from van_dense.core.rle import decode_crop
from van_dense.core.structures import RLE, Instances, Size, encode_masks
from van_dense.visualize.keypoints import draw_keypoints
from van_dense.visualize.labels import Label, draw_labels
from van_dense.visualize.legend import short_name
from van_dense.visualize.palette import CROWD, class_colors, distinct_colors
from van_dense.visualize.strokes import blend, line_thickness, stripe_width, stripes

_OPACITY = 0.45  # of mask fills
_UNCROWDED = 30  # objects; from here on lines are thin
_SMALLEST = 4  # sides of a box in lines: less would be a blot below its own label


def draw_instances(
    canvas: np.ndarray, instances: Instances, info: DatasetInfo, *, by_instance: bool, scale: float
) -> None:
    """Draw masks, boxes, poses and labels on an RGB canvas (H, W, 3), in place, small ones on top.

    Instances are in image pixels, ``scale`` is canvas pixels for one of them; ``by_instance`` says
    whether colours tell instances apart instead of classes.
    """
    boxes = instances.boxes * scale
    colors = _instance_colors(instances, info, by_instance)
    crowd = _crowd(instances)
    sides = boxes[:, 2:] - boxes[:, :2]
    order = torch.argsort(sides.prod(dim=1), descending=True, stable=True).tolist()
    thin = len(instances) > _UNCROWDED or instances.keypoints is not None
    thickness = line_thickness(canvas.shape[:2], thin=thin)

    if instances.masks is not None:
        masks = instances.masks
        rles = encode_masks(masks) if isinstance(masks, Tensor) else masks
        photo = canvas.copy()
        for i in order:
            region = _canvas_region(rles[i], scale, canvas.shape[:2])
            _draw_mask(canvas, photo, region, colors[i], hatched=crowd[i])
    boxes = _visible(boxes, _SMALLEST * thickness)
    for i in order:
        _draw_box(canvas, boxes[i].round().int().tolist(), colors[i], thickness, dashed=crowd[i])
    joints = None
    if instances.keypoints is not None:
        joints = draw_keypoints(canvas, instances, info, scale=scale)

    # The surest result, or the smallest object of the ground truth, chooses its place first.
    if instances.scores is not None:
        order = torch.argsort(instances.scores, descending=True, stable=True).tolist()
    else:
        order.reverse()
    names, places = info.class_names, boxes.tolist()
    labels = [Label(_text(instances, i, names), tuple(places[i]), colors[i]) for i in order]
    draw_labels(canvas, labels, avoided=joints)


def _instance_colors(instances: Instances, info: DatasetInfo, by_instance: bool) -> list[Color]:
    """Colour of each instance; crowd regions are grey."""
    if by_instance:
        colors = list(distinct_colors(len(instances)))
    else:
        of_class = class_colors(info)
        colors = [of_class[label] for label in instances.labels.tolist()]
    pairs = zip(colors, _crowd(instances), strict=True)
    return [CROWD if is_crowd else color for color, is_crowd in pairs]


def _crowd(instances: Instances) -> list[bool]:
    return [False] * len(instances) if instances.crowd is None else instances.crowd.tolist()


def _text(instances: Instances, index: int, names: Sequence[str]) -> str:
    name = short_name(names[int(instances.labels[index])])
    if instances.crowd is not None and instances.crowd[index]:
        return f"{name} (crowd)"
    return name if instances.scores is None else f"{name} {float(instances.scores[index]):.0%}"


def _visible(boxes: Tensor, smallest: int) -> Tensor:
    """Grow the sides of boxes (N, 4) that are shorter than ``smallest`` around their middle."""
    missing = (smallest - (boxes[:, 2:] - boxes[:, :2])).clamp(min=0) / 2
    return torch.cat([boxes[:, :2] - missing, boxes[:, 2:] + missing], dim=1)


def _canvas_region(rle: RLE, scale: float, canvas: Size) -> tuple[int, int, np.ndarray]:
    """Left, top and mask, uint8 {0, 1}, of the rectangle that an RLE fills on the canvas."""
    x, y, mask = decode_crop(rle)
    if scale == 1 or mask.size == 0:
        return x, y, mask
    left, top = min(round(x * scale), canvas[1] - 1), min(round(y * scale), canvas[0] - 1)
    right = max(left + 1, min(round((x + mask.shape[1]) * scale), canvas[1]))
    bottom = max(top + 1, min(round((y + mask.shape[0]) * scale), canvas[0]))
    # Cut at one half, interpolation gives round edges where nearest neighbours give stairs.
    soft = cv2.resize(mask * 255, (right - left, bottom - top), interpolation=cv2.INTER_LINEAR)
    return left, top, (soft > 127).astype(np.uint8)


def _draw_mask(
    canvas: np.ndarray,
    photo: np.ndarray,
    region: tuple[int, int, np.ndarray],
    color: Color,
    *,
    hatched: bool,
) -> None:
    """Fill and outline one mask."""
    left, top, mask = region
    if mask.size == 0:
        return
    height, width = mask.shape
    area = (slice(top, top + height), slice(left, left + width))
    # With the untouched photo: where masks overlap, the last one keeps its colour, not a mixture.
    blended = blend(photo[area], color, _OPACITY)
    fill = mask * stripes(mask.shape, stripe_width(canvas.shape[:2])) if hatched else mask
    cv2.copyTo(blended, fill, canvas[area])
    contours, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    thickness = line_thickness(canvas.shape[:2], thin=True)
    cv2.drawContours(canvas, contours, -1, color, thickness, cv2.LINE_AA, offset=(left, top))


def _draw_box(
    canvas: np.ndarray, box: Sequence[int], color: Color, thickness: int, *, dashed: bool
) -> None:
    # The whole line stays inside the picture.
    inset = thickness // 2
    last = (canvas.shape[1] - 1 - inset, canvas.shape[0] - 1 - inset) * 2
    x0, y0, x1, y1 = (max(inset, min(value, end)) for value, end in zip(box, last, strict=True))
    if not dashed:
        cv2.rectangle(canvas, (x0, y0), (x1, y1), color, thickness)
        return
    dash = 5 * thickness
    lines = [((x, y), (min(x + dash, x1), y)) for x in range(x0, x1, 2 * dash) for y in (y0, y1)]
    lines += [((x, y), (x, min(y + dash, y1))) for y in range(y0, y1, 2 * dash) for x in (x0, x1)]
    for start, end in lines:
        cv2.line(canvas, start, end, color, thickness)
