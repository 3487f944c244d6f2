"""Paint instances over a label map, so that every pixel belongs to one segment or to none.

Legend: H, W pixels; N instances; C categories, things and stuff in one list. A value is 0 for void,
1..C for stuff of that category, and C + 1.. for the instances.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from van_dense.core.dataset_info import Color
from van_dense.core.regions import find_regions
from van_dense.core.segments import LARGEST_ID

Overlap = Literal["later", "smaller"]
_ID_STEP = 5  # from one segment of a class to the next: 5 levels of red, a shade of its colour


@dataclass(frozen=True)
class Objects:
    """Instances of one image, in the order of their file."""

    masks: np.ndarray  #: uint8 {0, 1} (N, H, W)
    categories: np.ndarray  #: int64 (N,), position of each among the C categories
    crowd: np.ndarray  #: bool (N,)


@dataclass(frozen=True)
class Painted:
    """The panoptic map of one image, and what became of its objects."""

    ids: np.ndarray  #: int32 (H, W), 0 = void
    segments: list[dict[str, Any]]  #: id, area, bbox and iscrowd, as the JSON holds them
    categories: list[int]  #: position of the category of each segment
    covered: list[int]  #: objects of which others leave no pixel
    empty: list[int]  #: objects whose mask has no pixel
    small: list[int]  #: categories of the regions that became void, being too small


def paint(
    objects: Objects,
    stuff: np.ndarray,
    colors: Sequence[Color],
    *,
    overlap: Overlap,
    min_area: int,
) -> Painted:
    """Paint objects over stuff, crowds below all others, and number what is visible.

    Ids are chosen near the colour of the class, so that people can look at the PNG.

    Args:
        objects: Instances of the image.
        stuff: Integers (H, W), position of the category of stuff plus one, 0 = void.
        colors: Colours of the C categories.
        overlap: Which of two objects wins: the later one of the file, or the smaller one, and the
            later one of equal areas.
        min_area: Segments with fewer visible pixels become void.
    """
    first, count = len(colors) + 1, len(objects.masks)
    values = stuff.astype(np.int64)
    for position in _back_to_front(objects, overlap):
        values[objects.masks[position] > 0] = first + position
    category_of = [-1, *range(len(colors)), *objects.categories.tolist()]
    crowd_of = [False] * first + objects.crowd.tolist()
    regions = find_regions(values)
    id_of = np.zeros(first + count, dtype=np.int32)
    segments: list[dict[str, Any]] = []
    categories: list[int] = []
    small: list[int] = []
    used = {0}
    columns = regions.ids.tolist(), regions.areas.tolist(), regions.boxes.tolist()
    for value, area, (x1, y1, x2, y2) in zip(*columns, strict=True):
        category = category_of[value]
        if value == 0:
            continue
        if area < min_area:
            small.append(category)
            continue
        number = _free_id(colors[category], used)
        used.add(number)
        id_of[value] = number
        box = [x1, y1, x2 - x1, y2 - y1]
        segment = {"id": number, "area": area, "bbox": box, "iscrowd": int(crowd_of[value])}
        segments.append(segment)
        categories.append(category)
    hidden = sorted({*range(count)} - {value - first for value in regions.ids.tolist()})
    covered = [position for position in hidden if objects.masks[position].any()]
    empty = sorted(set(hidden) - set(covered))
    return Painted(id_of[values], segments, categories, covered, empty, small)


def _back_to_front(objects: Objects, overlap: Overlap) -> list[int]:
    """Positions of the objects in the order of painting; the sort keeps that of the file."""
    areas = objects.masks.sum(axis=(1, 2), dtype=np.int64)
    by_area = -areas if overlap == "smaller" else np.zeros_like(areas)
    order: list[int] = np.lexsort((by_area, ~objects.crowd)).tolist()
    return order


def _free_id(color: Color, used: set[int]) -> int:
    """The first unused id from a colour on."""
    red, green, blue = color
    number = red + 256 * green + 65536 * blue
    while number in used:
        number = (number + _ID_STEP) % (LARGEST_ID + 1)  # odd steps meet all
    return number
