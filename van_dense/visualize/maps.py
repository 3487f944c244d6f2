"""Label maps and saliency maps over a photo, in place: tints of classes, names, errors, glow.

Everything runs on whole uint8 arrays in OpenCV: a 4K label map of 150 classes takes 0.13 s.
Legend: H, W are pixels of the canvas, the possibly enlarged photo, uint8 RGB (H, W, 3); a label
map of another size is brought to it by nearest neighbours, so that its own pixels stay visible.
"""

import math
from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from van_dense.core.dataset_info import Color, DatasetInfo
from van_dense.core.structures import IGNORE_LABEL, Size
from van_dense.data.transforms.detection import resize_map
from van_dense.visualize.labels import CanvasBox, font, font_size
from van_dense.visualize.legend import MAX_ENTRIES, heat, short_name
from van_dense.visualize.palette import BLACK, CROWD, WHITE, class_colors
from van_dense.visualize.strokes import blend, line_thickness, stripe_width, stripes

WRONG: Color = (255, 45, 45)  # pixels of a wrong class
_OPACITY = 0.55  # of classes over the photo
_WRONG_OPACITY = 0.75
_SEARCH = 256  # pixels of the long side where places for names are searched
_GLOW = 0.6  # opacity of saliency colours; the photo has the rest, so that black darkens it


def draw_classes(canvas: np.ndarray, semantic: np.ndarray, info: DatasetInfo) -> None:
    """Tint every pixel by its class, in place, with borders, and names where there is room.

    Ignored pixels (255) keep the photo and are hatched in grey.
    """
    labels = fit_map(semantic.astype(np.uint8, copy=False), canvas)
    table = np.full((256, 3), CROWD, dtype=np.uint8)
    table[: info.num_classes] = class_colors(info)
    tint_regions(canvas, labels, table, ignored=IGNORE_LABEL)
    name_regions(canvas, labels, info.class_names)


def tint_regions(
    canvas: np.ndarray, regions: np.ndarray, table: np.ndarray, *, ignored: int
) -> None:
    """Tint every pixel by its region, in place, with borders in the colours of both sides.

    Args:
        canvas: RGB picture, uint8 (H, W, 3), changed in place.
        regions: Number of the region of each pixel, uint8 or uint16 (H, W).
        table: RGB of each region, uint8 (R, 3); R is 256 for uint8.
        ignored: Number of pixels that keep the photo and are hatched in grey.
    """
    is_small = regions.dtype == np.uint8
    tint = cv2.applyColorMap(regions, table[:, None]) if is_small else table[regions]
    mask = _where(regions, ignored)
    photo = canvas.copy()
    cv2.addWeighted(photo, 1 - _OPACITY, tint, _OPACITY, 0, dst=canvas)
    cv2.copyTo(photo, mask, canvas)
    _hatch(canvas, mask)
    reach = 2 * line_thickness(canvas.shape[:2], thin=True) + 1
    borders = cv2.morphologyEx(regions, cv2.MORPH_GRADIENT, np.ones((reach, reach), np.uint8))
    cv2.copyTo(tint, (borders > 0).view(np.uint8), canvas)


def draw_errors(canvas: np.ndarray, truth: np.ndarray, prediction: np.ndarray) -> None:
    """Turn the canvas grey, in place, with pixels of a wrong class red and ignored ones hatched.

    Both are integer label maps of one size; where the truth is 255, a pixel is ignored.
    """
    errors = (truth != prediction).astype(np.uint8)
    errors[truth == IGNORE_LABEL] = IGNORE_LABEL
    errors = fit_map(errors, canvas)
    grey = cv2.cvtColor(canvas, cv2.COLOR_RGB2GRAY)
    cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB, dst=canvas)
    cv2.copyTo(blend(canvas, WRONG, _WRONG_OPACITY), _where(errors, 1), canvas)
    _hatch(canvas, _where(errors, IGNORE_LABEL))


def draw_saliency(canvas: np.ndarray, saliency: np.ndarray) -> None:
    """Turn the canvas dark grey, in place, and let it glow by saliency, floats in [0, 1]."""
    size = (canvas.shape[1], canvas.shape[0])
    values = cv2.resize(cv2.convertScaleAbs(saliency, alpha=255), size)
    grey = cv2.cvtColor(cv2.cvtColor(canvas, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    cv2.addWeighted(grey, 1 - _GLOW, heat(values), _GLOW, 0, dst=canvas)


def class_counts(semantic: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
    """Count the pixels of each of the 256 labels, in a bool (H, W) mask if any, float64 (256,)."""
    if semantic.dtype != np.uint8:
        low, high = int(semantic.min()), int(semantic.max())
        if low < 0 or high > IGNORE_LABEL:
            span = f"values from {low} to {high}"
            raise ValueError(f"a label map holds {span}; labels are 0..254, and 255 is ignore")
        semantic = semantic.astype(np.uint8)
    chosen = None if mask is None else mask.astype(np.uint8)
    counts = cv2.calcHist([semantic], [0], chosen, [256], [0, 256])
    return counts.ravel().astype(np.float64)


def fit_map(labels: np.ndarray, canvas: np.ndarray) -> np.ndarray:
    """Map (H, W) of any integers, in the size of the canvas."""
    size = canvas.shape[0], canvas.shape[1]
    return labels if labels.shape == size else resize_map(labels, size)


def _where(labels: np.ndarray, label: int) -> np.ndarray:
    """Mask uint8 {0, 1} of one label."""
    return (labels == label).view(np.uint8)


def _hatch(canvas: np.ndarray, mask: np.ndarray) -> None:
    """Stripe the pixels of a uint8 {0, 1} mask in grey, in place."""
    if mask.any():
        size = canvas.shape[:2]
        fill = mask * stripes(size, stripe_width(size))
        cv2.copyTo(blend(canvas, CROWD, _OPACITY), fill, canvas)


def name_regions(canvas: np.ndarray, labels: np.ndarray, names: Sequence[str]) -> list[CanvasBox]:
    """Write the name of each class into its region, in place, where there is room for it.

    ``labels`` is uint8 (H, W), ``names`` are those from 0 on. The search runs on a small copy, so
    that 4K costs no more than VGA. Returns the boxes of what was written, xyxy on the canvas.
    """
    written: list[CanvasBox] = []
    counts = class_counts(labels)[: len(names)]
    largest = [k for k in np.argsort(-counts, kind="stable").tolist()[:MAX_ENTRIES] if counts[k]]
    words = "".join(names[k] for k in largest)
    letters = font(font_size(canvas.shape[:2], len(largest)), text=words)
    shrink = min(1.0, _SEARCH / max(labels.shape))
    height, width = (max(1, round(side * shrink)) for side in labels.shape)
    small = resize_map(labels, (height, width))
    for label in largest:
        text = short_name(names[label])
        sides = (letters.size * 1.3, letters.getlength(text) + letters.size * 0.6)
        tile = (math.ceil(sides[0] * shrink), math.ceil(sides[1] * shrink))
        place = roomiest(_where(small, label), tile)
        if place is not None:
            middle = (place[0] + 0.5) / shrink, (place[1] + 0.5) / shrink
            written.append(_write(canvas, text, middle, letters))
    return written


def roomiest(region: np.ndarray, tile: Size) -> tuple[int, int] | None:
    """Middle (x, y) of a tile inside a uint8 {0, 1} region (H, W), far from its border but central.

    An erosion by the tile, (height, width), leaves the places where it fits; None without any. Of
    those at least 0.7 times as far from the border as the farthest, the one nearest to the middle
    of the region is taken.
    """
    room = cv2.erode(region, np.ones(tile, np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=0)
    if not room.any():
        return None
    framed = cv2.copyMakeBorder(region, 1, 1, 1, 1, cv2.BORDER_CONSTANT)
    depth = np.where(room, cv2.distanceTransform(framed, cv2.DIST_L2, 5)[1:-1, 1:-1], 0)
    rows, columns = np.nonzero(depth >= 0.7 * depth.max())
    moments = cv2.moments(region)
    middle = (moments["m10"] / moments["m00"], moments["m01"] / moments["m00"])
    best = int(np.hypot(columns - middle[0], rows - middle[1]).argmin())
    return int(columns[best]), int(rows[best])


def _write(
    canvas: np.ndarray, text: str, middle: tuple[float, float], letters: ImageFont.FreeTypeFont
) -> CanvasBox:
    """Write white letters with a dark rim around (x, y), in place; returns their xyxy."""
    rim = max(1, round(letters.size / 10))
    half_width, half_height = letters.getlength(text) / 2 + rim + 1, letters.size
    x, y = max(0, int(middle[0] - half_width)), max(0, int(middle[1] - half_height))
    right, bottom = int(middle[0] + half_width) + 1, int(middle[1] + half_height) + 1
    crop = Image.fromarray(canvas[y:bottom, x:right].copy())
    place = (middle[0] - x, middle[1] - y)
    ImageDraw.Draw(crop).text(
        place, text, WHITE, letters, anchor="mm", stroke_width=rim, stroke_fill=BLACK
    )
    canvas[y:bottom, x:right] = np.asarray(crop)
    return x, y, right, bottom
