"""Shapes that files of predictions have: those that hold COCO records, and others by name."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from van_dense.core.parse import parse_json

_FORM = "a list of {image_id, category_id, score, bbox: [x, y, width, height], ...}"
_MAGIC = {
    b"PK": "a ZIP archive; unpack it",
    b"\x1f\x8b": "a gzip archive; unpack it",
    b"\x80": "a pickle, which may run code when it is read; have its program write COCO JSON",
    b"\x93NUMPY": "a NumPy array; write it as COCO JSON",
}
_LISTS = ("annotations", "results", "predictions", "detections")  # keys of records in an object
_ALIASES: Mapping[str, tuple[str, ...]] = {
    "score": ("confidence", "conf", "probability", "prob", "scores"),
    "bbox": ("box", "bounding_box", "boxes", "xyxy", "xywh"),
    "category_id": ("category", "class_id", "class", "label", "labels", "cls", "name"),
    "image_id": ("image", "file_name", "filename", "img_id", "img_name", "imgname"),
    "segmentation": ("mask", "rle", "segments", "polygon"),
    "keypoints": ("keypoint", "pose", "joints"),
}


def records_of(path: str | Path) -> tuple[Any, list[Any]]:
    """Parsed content of a results file, and the records in it; ValueError for other shapes."""
    data = _parse(path)
    if isinstance(data, list):
        _check_list(path, data)
        return data, data
    if not isinstance(data, dict):
        what = f"it holds a {type(data).__name__} instead of a list of records"
        raise ValueError(f"{path} is no COCO results file: {what}")
    for key in _LISTS:
        records = data.get(key)
        if isinstance(records, list) and (not records or _is_record(records[0])):
            if key == "annotations":
                _check_list(path, records)
            return data, records
    what = f"it holds a dict instead of a list of records, with {sorted(map(str, data))[:6]}"
    raise ValueError(f"{path} is no COCO results file: {what}; {_shape(data) or _FORM}")


def _parse(path: str | Path) -> Any:
    file = Path(path)
    if file.is_dir():
        raise ValueError(f"{path} is a folder; give the JSON file of results, {_FORM}")
    try:
        content = file.read_bytes()
    except OSError as error:
        what = "no such file" if isinstance(error, FileNotFoundError) else error.strerror
        raise ValueError(f"{path}: {what}; give the JSON file of results, {_FORM}") from None
    for magic, what in _MAGIC.items():
        if content.startswith(magic):
            raise ValueError(f"{path} is not JSON but {what}")
    try:
        return parse_json(content, str(path), allow_nan=False)
    except ValueError:
        first = content.split(b"\n", 1)[0].strip()
        if first.startswith(b"{") and first.endswith(b"}"):
            fix = f"make a list of its lines: jq -s . {path} > results.json"
            raise ValueError(f"{path} is not JSON but a record on each line; {fix}") from None
        raise


def _is_record(value: Any) -> bool:
    return isinstance(value, dict) and bool({"image_id", "score", "category_id"} & value.keys())


def _check_list(path: str | Path, records: list[Any]) -> None:
    """ValueError for annotations, and for records of shapes that are known to be others."""
    objects = [record for record in records[:100] if isinstance(record, dict)]
    if objects and not any(renames(record, "score") or "score" in record for record in objects):
        if any({"area", "iscrowd", "segments_info"} & record.keys() for record in objects):
            what = "its records have no score, as those of an annotation file"
            panoptic = any("segments_info" in record for record in objects)
            fix = "panoptic results are --type panoptic" if panoptic else "give the predictions"
            raise ValueError(f"{path} holds no results: {what}; {fix}")
    if records and isinstance(records[0], list):
        what = "a list of lists, as mmdet dumps arrays by image and class"
        raise ValueError(f"{path} is no COCO results file but {what}; write {_FORM}")
    if objects and "image_id" not in objects[0] and (shape := _shape(objects[0])) is not None:
        raise ValueError(f"{path} is no COCO results file; {shape}")


def _shape(entry: Mapping[str, Any]) -> str | None:
    """Name the shape of predictions that are not COCO's, and the way in."""
    keys = entry.keys()
    if {"images", "annotations", "categories"} <= keys:
        return "is it the annotation file?"
    if {"boxes", "scores"} <= keys or {"bboxes", "scores"} <= keys:
        return f"arrays of one image, as torchvision and mmdet give them; write {_FORM}"
    if "predictions" in keys or {"x", "y", "width", "height", "confidence"} <= keys:
        return f"Roboflow's inference answers so, with centres as x, y; write {_FORM}"
    if {"name", "class", "box"} <= keys:
        return f"it looks like Ultralytics' to_json(); yolo val save_json=True writes {_FORM}"
    if {"shapes", "imagePath"} <= keys:
        return f"it looks like labelme; write {_FORM}"
    return None


def renames(entry: Mapping[str, Any], key: str) -> str | None:
    """The key that an entry most likely has in place of another one, or None."""
    return next((alias for alias in _ALIASES.get(key, ()) if alias in entry), None)


def renamed(entry: Mapping[str, Any], missing: Collection[str]) -> str:
    """The end of a message: "; call 'confidence' 'score'", or nothing."""
    found = [(alias, key) for key in missing if (alias := renames(entry, key)) is not None]
    return "".join(f"; call {alias!r} {key!r}" for alias, key in found)
