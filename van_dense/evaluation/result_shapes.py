"""Shapes that files of predictions have: those that hold COCO records, and others by name."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from van_dense.data.io.json_stream import BlockSink, stream_json

_FORM = "a list of {image_id, category_id, score, bbox: [x, y, width, height], ...}"
_MAGIC = {
    b"PK": "a ZIP archive; unpack it",
    b"\x1f\x8b": "a gzip archive; unpack it",
    b"\x80": "a pickle, which may run code when it is read; have its program write COCO JSON",
    b"\x93NUMPY": "a NumPy array; write it as COCO JSON",
}
_BEGINNING = 1 << 16  # bytes that may show what a file is instead
_LOOKED_AT = 100  # records of a list that may
_LISTS = ("annotations", "results", "predictions", "detections")  # keys of records in an object
_ALIASES: Mapping[str, tuple[str, ...]] = {
    "score": ("confidence", "conf", "probability", "prob", "scores"),
    "bbox": ("box", "bounding_box", "boxes", "xyxy", "xywh"),
    "category_id": ("category", "class_id", "class", "label", "labels", "cls", "name"),
    "image_id": ("image", "file_name", "filename", "img_id", "img_name", "imgname"),
    "segmentation": ("mask", "rle", "segments", "polygon"),
    "keypoints": ("keypoint", "pose", "joints"),
}


def read_records(path: str | Path, records: BlockSink) -> tuple[Any, list[Any]]:
    """Content of a results file, and records in it that ``records`` has not taken yet.

    It takes those of a list while the file is read; those of an object are parsed with the rest of
    it, and are returned. ValueError for other shapes.
    """
    first = _First(path, records)
    data = _parse(path, first)
    if data is first:
        first.finish()
        return data, []
    if not isinstance(data, dict):
        what = f"it holds a {type(data).__name__} instead of a list of records"
        raise ValueError(f"{path} is no COCO results file: {what}")
    for key in _LISTS:
        held = data.get(key)
        if isinstance(held, list) and (not held or _is_record(held[0])):
            if key == "annotations":
                _check_list(path, held)
            return data, held
    what = f"it holds a dict instead of a list of records, with {sorted(map(str, data))[:6]}"
    raise ValueError(f"{path} is no COCO results file: {what}; {_shape(data) or _FORM}")


class _First:
    """Looks at the first records of a list before they are handed on."""

    def __init__(self, path: str | Path, records: BlockSink) -> None:
        self._path, self._records = path, records
        self._waiting: list[tuple[Any, str]] | None = []

    def append(self, value: Any, text: str) -> None:
        if self._waiting is None:
            self._records.append(value, text)
            return
        self._waiting.append((value, text))
        if len(self._waiting) == _LOOKED_AT:
            self.finish()

    @property
    def wants_blocks(self) -> bool:
        return self._waiting is None and self._records.wants_blocks

    def append_block(self, text: str) -> int:
        return self._records.append_block(text)

    def finish(self) -> None:
        """Hand on what waits."""
        waiting, self._waiting = self._waiting or [], None
        _check_list(self._path, [value for value, _ in waiting])
        for value, text in waiting:
            self._records.append(value, text)


def _parse(path: str | Path, records: BlockSink) -> Any:
    file = Path(path)
    if file.is_dir():
        raise ValueError(f"{path} is a folder; give the JSON file of results, {_FORM}")
    try:
        with file.open("rb") as stream:
            beginning = stream.read(_BEGINNING)
    except OSError as error:
        what = "no such file" if isinstance(error, FileNotFoundError) else error.strerror
        raise ValueError(f"{path}: {what}; give the JSON file of results, {_FORM}") from None
    for magic, what in _MAGIC.items():
        if beginning.startswith(magic):
            raise ValueError(f"{path} is not JSON but {what}")
    try:
        return stream_json(path, "results file", records, allow_nan=False)
    except ValueError:
        first = beginning.split(b"\n", 1)[0].strip()
        if first.startswith(b"{") and first.endswith(b"}"):
            fix = f"make a list of its lines: jq -s . {path} > results.json"
            raise ValueError(f"{path} is not JSON but a record on each line; {fix}") from None
        raise


def _is_record(value: Any) -> bool:
    return isinstance(value, dict) and bool({"image_id", "score", "category_id"} & value.keys())


def _check_list(path: str | Path, records: list[Any]) -> None:
    """ValueError for annotations, and for records of shapes that are known to be others."""
    objects = [record for record in records[:_LOOKED_AT] if isinstance(record, dict)]
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
