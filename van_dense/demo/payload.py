"""A result as plain data that a browser can draw by itself, at any threshold, without asking again.

Shapes are in pixels of the original image. Maps are numbers and not pictures: browsers may change
the colours of a picture, for colour profiles or against tracking.
Legend: H, W pixels of the original image; h, w of what is sent, at most ``LONGEST`` each.
"""

from __future__ import annotations

import base64
import io
import zlib
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from PIL import Image

from van_dense.core.dataset_info import Color
from van_dense.core.plain_text import one_line
from van_dense.core.structures import IGNORE_LABEL, RLE, Instances, decode_masks
from van_dense.data.readers.class_words import readable_name
from van_dense.inference.result import Result
from van_dense.visualize.keypoints import MIN_JOINT_SCORE, SIDE_COLORS, side_of
from van_dense.visualize.palette import class_colors, text_color

Json = dict[str, Any]

LONGEST = 1600  # pixels of a side of photo and maps: as many as a screen shows of them
_QUALITY = 90  # of the photo, a JPEG
_BEST = 10  # classes of an image
_FINE = 512  # pixels of a mask below which its outline is traced four times as finely
_LOOSE = 0.3  # pixels that an outline may leave its mask by


def describe(result: Result, image: np.ndarray) -> Json:
    """Everything that the page draws of a result: its photo, and parts by the kind of result.

    Args:
        result: What was predicted.
        image: Pixels of its image, uint8 RGB (H, W, 3).
    """
    height, width = result.size
    common = {
        "name": one_line(result.image_id),
        "width": width,
        "height": height,
        "photo": picture_url(_shrunk(image, cv2.INTER_AREA), "JPEG"),
    }
    return common | _parts(result)


def _parts(result: Result) -> Json:
    if result.panoptic is not None:
        return {"kind": "panoptic", "threshold": 0.0, **_panoptic(result)}
    if result.semantic is not None:
        return {"kind": "semantic", **_semantic(result)}
    if result.saliency is not None:
        levels = np.rint(result.saliency.clip(0, 1) * 255).astype(np.uint8)
        return {"kind": "saliency", "threshold": 0.5, "map": _packed(levels)}
    if result.class_scores is not None:
        return {"kind": "classification", **_classes(result)}
    found = result.instances or Instances.empty()
    if found.keypoints is not None:
        return {"kind": "pose", "threshold": MIN_JOINT_SCORE, **_poses(result, found)}
    return {"kind": "detection", "threshold": result.min_score, "objects": _objects(result, found)}


def picture_url(pixels: np.ndarray, form: str = "PNG") -> str:
    """An RGB picture as an address that holds it; ``form`` is PNG or JPEG."""
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, form, **({"quality": _QUALITY} if form == "JPEG" else {}))
    text = base64.b64encode(data.getvalue()).decode("ascii")
    return f"data:image/{form.lower()};base64,{text}"


def _shrunk(pixels: np.ndarray, interpolation: int) -> np.ndarray:
    """An image or map with sides of at most ``LONGEST``; smaller ones stay."""
    height, width = pixels.shape[:2]
    scale = LONGEST / max(height, width)
    if scale >= 1:
        return pixels
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(pixels, size, interpolation=interpolation)


def _packed(values: np.ndarray) -> Json:
    """A map, uint8 or uint16 (H, W), as zlib stream in base64, little-endian, row by row."""
    small = _shrunk(values, cv2.INTER_NEAREST)
    stream = zlib.compress(small.astype(small.dtype.newbyteorder("<")).tobytes(), 6)
    height, width = small.shape
    data = base64.b64encode(stream).decode("ascii")
    return {"width": width, "height": height, "bytes": small.dtype.itemsize, "data": data}


def _named(result: Result, label: int) -> Json:
    """How a class is called and coloured, with a colour for letters on it."""
    color = class_colors(result.info)[label]
    name = one_line(readable_name(result.info.class_names[label]))
    return {"label": label, "name": name, "color": _hex(color), "ink": _hex(text_color(color))}


def _hex(color: Color) -> str:
    return "#{:02x}{:02x}{:02x}".format(*color)


def _semantic(result: Result) -> Json:
    """Classes by area; the map holds their position from 1 on, 0 where a pixel is ignored."""
    assert result.semantic is not None
    labels, counts = np.unique(result.semantic, return_counts=True)
    order = [i for i in np.argsort(-counts, kind="stable") if labels[i] != IGNORE_LABEL]
    table = {int(labels[i]): place for place, i in enumerate(order, start=1)}
    places = [table.get(int(label), 0) for label in labels]
    flat = np.searchsorted(labels, result.semantic)
    positions = np.array(places, dtype=np.uint8 if len(order) < 256 else np.uint16)[flat]
    regions = [
        {**_named(result, int(labels[i])), "share": float(counts[i] / result.semantic.size)}
        for i in order
    ]
    return {"regions": regions, "map": _packed(positions)}


def _panoptic(result: Result) -> Json:
    """Segments by area; the map holds their position from 1 on, 0 for void."""
    assert result.panoptic is not None and result.segments is not None
    ids, counts = np.unique(result.panoptic, return_counts=True)
    area = dict(zip(ids.tolist(), counts.tolist(), strict=True))
    segments = sorted(result.segments, key=lambda segment: -area.get(segment["id"], 0))
    place = {segment["id"]: i for i, segment in enumerate(segments, start=1)}
    places = [place.get(value, 0) for value in ids.tolist()]
    dtype = np.uint8 if len(segments) < 256 else np.uint16
    positions = np.array(places, dtype=dtype)[np.searchsorted(ids, result.panoptic)]
    regions = [
        {
            **_named(result, segment["label"]),
            "share": area.get(segment["id"], 0) / result.panoptic.size,
            "score": round(segment["score"], 4),
        }
        for segment in segments
    ]
    return {"regions": regions, "map": _packed(positions)}


def _classes(result: Result) -> Json:
    assert result.class_scores is not None
    scores = result.class_scores
    order = scores.argsort(descending=True, stable=True)[:_BEST].tolist()
    best = [{**_named(result, label), "score": round(float(scores[label]), 6)} for label in order]
    return {"classes": best, "total": len(scores)}


def _objects(result: Result, found: Instances) -> list[Json]:
    """Objects as they are stored, with boxes xyxy, and outlines of their masks if any."""
    scores = [1.0] * len(found) if found.scores is None else found.scores.tolist()
    masks: Sequence[RLE | None] = [None] * len(found)
    if isinstance(found.masks, list):
        masks = found.masks
    boxes = found.boxes.double().numpy().round(2).tolist()
    rows = zip(found.labels.tolist(), scores, boxes, masks, strict=True)
    return [
        {
            **_named(result, label),
            "index": index,
            "score": round(score, 4),
            "box": box,
            "outlines": None if mask is None else _outlines(mask),
        }
        for index, (label, score, box, mask) in enumerate(rows)
    ]


def _outlines(rle: RLE) -> list[list[float]]:
    """Closed outlines of a mask, holes too, each as x, y, x, y, ..."""
    height, width = rle["size"]
    mask = decode_masks([rle], (height, width))[0]
    left, top, wide, high = cv2.boundingRect(mask)
    if wide == 0:
        return []
    part = mask[top : top + high, left : left + wide]
    finer = 4 if max(wide, high) <= _FINE else 1
    if finer > 1:  # contours run through the centres of pixels, and lose half of one at the rim
        part = cv2.resize(part, None, fx=finer, fy=finer, interpolation=cv2.INTER_NEAREST)
    contours, _ = cv2.findContours(part, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    outlines = []
    for contour in contours:
        points = cv2.approxPolyDP(contour, _LOOSE * finer, True)[:, 0]
        places = (points + 0.5) / finer + (left, top)
        outlines.append(places.round(2).reshape(-1).tolist())
    return outlines


def _poses(result: Result, found: Instances) -> Json:
    """Joints by name, bones as pairs of their positions, and the points of each pose."""
    assert found.keypoints is not None
    info = result.info
    sides = [side_of(name) for name in info.keypoint_names]
    joints = [
        {
            "name": one_line(readable_name(name)),
            "color": _hex(SIDE_COLORS[side]),
            "ink": _hex(text_color(SIDE_COLORS[side])),
        }
        for name, side in zip(info.keypoint_names, sides, strict=True)
    ]
    index = {name: position for position, name in enumerate(info.keypoint_names)}
    bones = []
    for a, b in info.skeleton:
        of_bone = {side_of(a), side_of(b)} - {"middle"}
        color = SIDE_COLORS[of_bone.pop() if len(of_bone) == 1 else "middle"]
        bones.append({"ends": [index[a], index[b]], "color": _hex(color)})
    points = found.keypoints.double().numpy().round(4).tolist()
    return {"joints": joints, "bones": bones, "poses": [{"points": one} for one in points]}
