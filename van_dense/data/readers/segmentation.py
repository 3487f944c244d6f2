"""COCO segmentations of one instance: judge, encode and decode polygons and run lengths.

pycocotools trusts its input: run lengths that do not add up to the image make it write outside of
its buffers. Nothing reaches it here that ``usable_segmentation`` has not passed.
Source of the formats: ``common/maskApi.c`` of https://github.com/cocodataset/cocoapi.
"""

import math
from collections.abc import Sequence
from operator import mul
from typing import Any

import numpy as np
from pycocotools import mask as mask_utils

from van_dense.core.counting import counted
from van_dense.core.rle import decode_crop, run_lengths
from van_dense.core.structures import RLE, Size

Polygons = Sequence[Any]  # each a list or array x1, y1, x2, y2, ... in pixels
Segmentation = Polygons | RLE

MIN_POINTS = 3
# pycocotools walks along every edge in steps of 1/5 pixel, so wild coordinates exhaust the memory.
MAX_COORDINATE = 1e5
_NUMBER = (int, float)
_MAX_DIGITS = 7  # of five bits: more than any run of an image needs
# What ``plain_form`` changes, in words.
FORMS = "segmentations are not in COCO's form, and are read as what they mean"


def usable_segmentation(value: Any, size: Size) -> tuple[Segmentation | None, str | None]:
    """Take what can be rasterised from an annotation's segmentation, in an image of ``size``.

    ``value`` is parsed JSON: a list of polygons, or RLE with counts as a list or as text. Returns
    the sound polygons, or compressed RLE, or None; and what is wrong in words, or None.
    """
    if isinstance(value, list):
        problems = [_polygon_problem(polygon) for polygon in value]
        sound = [polygon for polygon, problem in zip(value, problems, strict=True) if not problem]
        first = next((problem for problem in problems if problem), None)
        return sound or None, first if value else "the segmentation is empty"
    if isinstance(value, dict):
        return _usable_rle(value, size)
    return None, f"the segmentation is neither polygons nor RLE, but {type(value).__name__}"


def plain_form(value: Any) -> Any:
    """A segmentation in COCO's form where a file has another that means one thing.

    That is one polygon without the list around it (VIA), points as pairs or as objects of x and y,
    and run lengths in a list of one. Anything else is returned as it is.
    """
    if not isinstance(value, list) or not value:
        return value
    first = value[0]
    if type(first) in _NUMBER:
        return [value]
    if isinstance(first, dict) and "counts" in first:
        return first if len(value) == 1 else value
    if _is_point(first) and len(value) >= MIN_POINTS and all(map(_is_point, value)):
        return [_flat(value)]
    if isinstance(first, list) and first and type(first[0]) not in _NUMBER:
        return [_flat(p) if _is_points(p) else p for p in value]
    return value


def _is_points(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(map(_is_point, value))


def _is_point(value: Any) -> bool:
    if isinstance(value, dict):
        return {"x", "y"} == value.keys()
    return isinstance(value, list) and len(value) == 2 and all(type(v) in _NUMBER for v in value)


def _flat(points: list[Any]) -> list[Any]:
    pairs = ((p["x"], p["y"]) if isinstance(p, dict) else p for p in points)
    return [value for pair in pairs for value in pair]


def _polygon_problem(polygon: Any) -> str | None:
    if not isinstance(polygon, list):
        return "a polygon is not a list [x1, y1, x2, y2, ...]"
    try:  # one sum meets every bad value, and COCO has 40 million good ones
        is_finite = math.isfinite(sum(polygon))
    except (TypeError, OverflowError):
        is_finite = False
    if not is_finite:
        return "a polygon holds something that is not a finite number"
    if len(polygon) % 2:
        return f"a polygon has an odd number of coordinates ({len(polygon)})"
    if len(polygon) < 2 * MIN_POINTS:
        return f"a polygon has {len(polygon) // 2} points, fewer than {MIN_POINTS}"
    if max(polygon) > MAX_COORDINATE or min(polygon) < -MAX_COORDINATE:
        return f"a polygon has coordinates beyond {MAX_COORDINATE:g}"
    return None


def _usable_rle(value: dict[str, Any], size: Size) -> tuple[RLE | None, str | None]:
    counts = value.get("counts")
    if value.get("size") != list(size):
        return None, f"the RLE has size {value.get('size')}, its image {list(size)}"
    if isinstance(counts, str | bytes):
        data = counts.encode(errors="replace") if isinstance(counts, str) else counts
        if (runs := _checked_runs(data)) is None:
            return None, "the RLE counts are not in the COCO alphabet"
        if runs and min(runs) < 0:
            return None, "the RLE counts hold a negative length"
    elif not isinstance(counts, list):
        return None, "the RLE has no counts"
    elif not all(type(run) is int and run >= 0 for run in counts):
        return None, "the RLE counts hold something that is not a length"
    else:
        runs = counts
    height, width = size
    if sum(runs) != height * width:
        return None, f"the RLE covers {counted(sum(runs), 'pixel')}, its image has {height * width}"
    if isinstance(counts, list):
        return mask_utils.frPyObjects({"size": list(size), "counts": counts}, height, width), None
    return {"size": list(size), "counts": data}, None


def _checked_runs(counts: bytes) -> list[int] | None:
    """Decode the text of a compressed RLE to run lengths, or None where it is no such text."""
    digits = np.frombuffer(counts, dtype=np.uint8).astype(np.int64) - 48
    ends = np.flatnonzero((digits & 32) == 0)
    lengths = np.diff(ends, prepend=-1)
    if ((digits < 0) | (digits >= 64)).any() or lengths.sum() != len(digits):
        return None
    return run_lengths(counts).tolist() if (lengths <= _MAX_DIGITS).all() else None


def has_no_pixel(segmentation: Segmentation, size: Size) -> bool:
    """Whether a usable segmentation shows nothing: run lengths of nothing, a line, a sliver.

    A polygon that encloses a pixel or more is taken for sound; drawing all would take long.
    """
    if not isinstance(segmentation, dict) and any(_encloses(one) for one in segmentation):
        return False
    return not mask_utils.area(to_rle(segmentation, size))


def _encloses(polygon: Any) -> bool:
    """Whether three of a polygon's points span a pixel or more, or all of them do.

    The former is true of most, and walking around 860,000 polygons takes seconds.
    """
    b = len(polygon) // 6 * 2
    c, x, y = 2 * b, polygon[0], polygon[1]
    spanned = (polygon[b] - x) * (polygon[c + 1] - y) - (polygon[b + 1] - y) * (polygon[c] - x)
    if not -2 < spanned < 2:
        return True
    xs, ys = polygon[0::2], polygon[1::2]
    twice = sum(map(mul, xs, ys[1:])) - sum(map(mul, ys, xs[1:]))
    return bool(abs(twice + xs[-1] * ys[0] - ys[-1] * xs[0]) >= 2)


def to_rle(segmentation: Segmentation, size: Size) -> RLE:
    """Compress a usable segmentation; overlapping polygons are joined."""
    if isinstance(segmentation, dict):
        return segmentation
    return mask_utils.merge(mask_utils.frPyObjects(segmentation, *size))


def mask_areas(rles: Sequence[Any]) -> list[float]:
    """Pixels of N compressed RLE, 255 at a time: pycocotools fails for more (2.0.11, NumPy 2)."""
    blocks = (rles[start : start + 255] for start in range(0, len(rles), 255))
    return [float(area) for block in blocks for area in mask_utils.area(list(block)).tolist()]


def rle_to_json(rle: RLE) -> dict[str, Any]:
    """Make a compressed RLE fit for JSON: its counts become text."""
    counts = rle["counts"]
    text = counts.decode("ascii") if isinstance(counts, bytes) else counts
    return {"size": [int(side) for side in rle["size"]], "counts": text}


def to_rles(segmentations: Sequence[Segmentation], size: Size) -> list[RLE]:
    """Compress usable segmentations; those of one polygon in one call, in half of the time."""
    single = [k for k, s in enumerate(segmentations) if not isinstance(s, dict) and len(s) == 1]
    polygons = [next(iter(segmentations[k])) for k in single]
    drawn = (
        dict(zip(single, mask_utils.frPyObjects(polygons, *size), strict=True)) if single else {}
    )
    return [drawn[k] if k in drawn else to_rle(s, size) for k, s in enumerate(segmentations)]


def decode_into(rle: RLE, mask: np.ndarray) -> None:
    """Paint an RLE into a zeroed uint8 (H, W) mask, at the cost of the object."""
    x, y, part = decode_crop(rle)
    mask[y : y + part.shape[0], x : x + part.shape[1]] = part
