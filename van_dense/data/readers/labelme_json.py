"""Parse one JSON file of labelme, AnyLabeling or X-AnyLabeling.

Source of the format: ``labelme/_label_file.py`` and ``labelme/_utils/shape.py`` of
https://github.com/wkentaro/labelme (version 5.7). Points are x, y in pixels from the upper left
corner of the image; a mask is a PNG of its box, whose corner pixels are both included.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as mask_utils

from van_dense.core.budgets import OverBudget
from van_dense.core.counting import counted
from van_dense.core.structures import RLE, Size
from van_dense.data.io.json_file import read_json
from van_dense.data.io.pixels import open_image
from van_dense.data.readers.annotated_images import Finding
from van_dense.data.readers.annotation_columns import BoxXYXY
from van_dense.data.readers.foreign import LABELME, name_of_json
from van_dense.data.readers.segmentation import MAX_COORDINATE

_LINES = ("point", "line", "linestrip", "points", "lines")
_FOUR_POINTS = ("oriented_rectangle", "rotation", "quadrilateral")
_NOT_CLASSES = ("__ignore__", "_background_")  # labels.txt of labelme's own examples
_NO_AREA = "shapes without area (points, lines), left out"
_CIRCLE_ERROR = 0.1  # pixels between a circle and its polygon
_FIX = "draw it again, or remove it"


@dataclass(frozen=True)
class Shape:
    """One shape; polygon or RLE and box, or None where it cannot be used."""

    label: str
    group: int | str | None = None
    box: BoxXYXY | None = None
    polygon: list[float] | None = None  #: x1, y1, x2, y2, ... in pixels
    mask: tuple[int, int, np.ndarray] | None = None  #: left, top, bool (h, w)
    is_rectangle: bool = False
    difficult: bool = False
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True)
class LabelmeFile:
    """What one file says."""

    named: str = ""  #: path of the image
    has_image: bool = False  #: whether it holds the image itself
    stated: Size = (0, 0)  #: (height, width), (0, 0) where none is stated
    shapes: tuple[Shape, ...] = ()
    has_flags: bool = False  #: whether flags of the whole image are set, as for classes of images
    findings: tuple[Finding, ...] = ()


def parse_labelme(file: str | Path) -> LabelmeFile:
    """Parse a file; where it is none of labelme, its findings say so."""
    try:
        data = read_json(file, "file of labelme")
    except ValueError as error:
        what = str(error).removeprefix(f"{file}: ")
        return _unreadable("files that cannot be read", what, "restore it")
    if not isinstance(data, dict) or not isinstance(data.get("shapes"), list):
        foreign = name_of_json(data)
        if foreign is not None and foreign is not LABELME:
            kind = f"files of another format ({foreign.name})"
            return _unreadable(kind, f"it is {foreign.name}", foreign.way_in)
        kind = "JSON files that are not labelme's"
        return _unreadable(kind, "it has no list 'shapes'", "move it elsewhere")
    flags = data.get("flags")
    named = data.get("imagePath")
    image = data.get("imageData")
    return LabelmeFile(
        named if isinstance(named, str) else "",
        isinstance(image, str) and bool(image),
        _size(data),
        tuple(map(_shape, data["shapes"])),
        isinstance(flags, dict) and any(value is True for value in flags.values()),
    )


def _unreadable(kind: str, what: str, fix: str) -> LabelmeFile:
    return LabelmeFile(findings=(Finding("error", kind, what, fix),))


def _size(data: dict[str, Any]) -> Size:
    height, width = data.get("imageHeight"), data.get("imageWidth")
    if type(height) is int and type(width) is int and min(height, width) > 0:
        return height, width
    return 0, 0


def _shape(record: Any) -> Shape:
    if not isinstance(record, dict):
        return _broken("", "shapes that are not an object", f"it is {record!r:.40}")
    label = record.get("label")
    if not isinstance(label, str) or not label.strip():
        return _broken("", "shapes without a label", "it has no label")
    label = label.strip()
    if label in _NOT_CLASSES:
        what = f"{label} is no class"
        return _left_out(label, f"shapes called {label}, left out", what)
    kind = record.get("shape_type") or "polygon"  # labelme 2 wrote none
    points = _points(record.get("points"))
    if points is None:
        what = f"its points are no list of finite x, y: {record.get('points')!r:.60}"
        return _broken(label, "shapes whose points are no finite numbers", what)
    if kind in _LINES:
        return _left_out(label, _NO_AREA, f"it is a {kind}")
    group = record.get("group_id")
    if type(group) not in (int, str):
        group = None
    marks = {"group": group, "difficult": record.get("difficult") is True}
    return _of_kind(label, kind, points, record.get("mask"), marks)


def _of_kind(
    label: str, kind: Any, points: list[tuple[float, float]], mask: Any, marks: dict[str, Any]
) -> Shape:
    if kind == "mask":
        return _mask(label, points, mask, marks)
    if kind == "circle":
        if len(points) != 2 or points[0] == points[1]:
            return _broken(label, "circles without a radius", f"its points are {points}")
        (x, y), radius = points[0], math.dist(*points)
        box = x - radius, y - radius, x + radius, y + radius
        return Shape(label, box=box, polygon=_circle(x, y, radius), **marks)
    xs, ys = [x for x, _ in points], [y for _, y in points]
    box = min(xs), min(ys), max(xs), max(ys)
    if kind == "rectangle":
        if len(points) not in (2, 4):  # X-AnyLabeling writes all four corners
            what = f"it has {counted(len(points), 'point')}"
            return _broken(label, "rectangles without two corners", what)
        if box[0] == box[2] or box[1] == box[3]:
            what = f"its corners {points[0]} and {points[-2 % len(points)]} enclose nothing"
            return _broken(label, "rectangles of no size", what)
        x1, y1, x2, y2 = box
        polygon = [x1, y1, x2, y1, x2, y2, x1, y2]
        return Shape(label, box=box, polygon=polygon, is_rectangle=True, **marks)
    if kind not in ("polygon", *_FOUR_POINTS):
        return _broken(label, f"shapes of the kind {kind}", f"a {kind} has no meaning here")
    if len(points) < 3:
        what = f"it has {counted(len(points), 'point')}, fewer than 3"
        return _broken(label, "polygons of fewer than 3 points", what)
    findings: tuple[Finding, ...] = ()
    if kind in _FOUR_POINTS:
        what = "its box is the upright one around it"
        findings = (Finding("info", "rotated rectangles, each a polygon", what, "none needed"),)
    flat = [value for point in points for value in point]
    return Shape(label, box=box, polygon=flat, findings=findings, **marks)


def _points(value: Any) -> list[tuple[float, float]] | None:
    if not isinstance(value, list) or not value:
        return None
    for point in value:
        if not isinstance(point, list) or len(point) != 2:
            return None
        if not all(type(v) in (int, float) and abs(v) <= MAX_COORDINATE for v in point):
            return None  # a comparison with NaN is false
    return [(float(x), float(y)) for x, y in value]


def _circle(x: float, y: float, radius: float) -> list[float]:
    """Polygon that leaves a circle by less than a tenth of a pixel."""
    count = 12
    if radius > _CIRCLE_ERROR:
        count = max(count, math.ceil(math.pi / math.acos(1 - _CIRCLE_ERROR / radius)))
    angles = 2 * math.pi / count * np.arange(count)
    points = np.stack([x + radius * np.cos(angles), y + radius * np.sin(angles)], axis=1)
    flat: list[float] = points.reshape(-1).tolist()
    return flat


def _mask(label: str, points: list[tuple[float, float]], text: Any, marks: dict[str, Any]) -> Shape:
    kind = "masks that cannot be read"
    if len(points) != 2 or not isinstance(text, str):
        return _broken(label, kind, "it lacks the corners of its box, or its PNG")
    try:
        image = open_image("its mask", base64.b64decode(text, validate=True))
        pixels = np.asarray(image.convert("L")) > 0
    except OverBudget as error:
        return _broken(label, kind, str(error))
    except (binascii.Error, ValueError):
        return _broken(label, kind, "its mask is not base64")
    except Exception as error:  # decoders meet hostile bytes with more than OSError
        return _broken(label, kind, f"its mask is no PNG: {error}")
    rows, columns = np.flatnonzero(pixels.any(axis=1)), np.flatnonzero(pixels.any(axis=0))
    if len(rows) == 0:
        return _broken(label, "masks without a pixel", "its mask has no pixel")
    left = round(min(x for x, _ in points)) + int(columns[0])
    top = round(min(y for _, y in points)) + int(rows[0])
    crop = pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    box = float(left), float(top), float(left + crop.shape[1]), float(top + crop.shape[0])
    return Shape(label, box=box, mask=(left, top, crop), **marks)


def _broken(label: str, kind: str, what: str) -> Shape:
    return Shape(label, findings=(Finding("error", kind, what, _FIX),))


def _left_out(label: str, kind: str, what: str) -> Shape:
    return Shape(label, findings=(Finding("info", kind, what, "none needed"),))


def segmentation_of(shapes: Sequence[Shape], size: Size) -> list[list[float]] | RLE:
    """Polygons of shapes, or one RLE where one of them is a mask, in an image of ``size``."""
    polygons = [shape.polygon for shape in shapes if shape.polygon is not None]
    if len(polygons) == len(shapes):
        return polygons
    whole = np.zeros(size, dtype=bool)
    for shape in shapes:
        if shape.mask is not None:
            left, top, crop = shape.mask
            region = whole[max(top, 0) : top + len(crop), max(left, 0) : left + crop.shape[1]]
            inner = crop[max(-top, 0) :, max(-left, 0) :]
            region |= inner[: region.shape[0], : region.shape[1]]
    rle = mask_utils.encode(np.asfortranarray(whole, dtype=np.uint8))
    parts = [rle, *(mask_utils.frPyObjects(polygons, *size) if polygons else [])]
    merged: RLE = mask_utils.merge(parts)
    return merged
