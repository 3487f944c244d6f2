"""Results that any program saved: read, brought to COCO records, and compared with the truth.

Source of the format: https://cocodataset.org/#format-results, a list of records. Tools that export
predictions write other shapes as well; what they mean is read where it is certain, and a sentence
names the others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, NamedTuple

import numpy as np

from van_dense.core.counting import counted, of_kind, shorten
from van_dense.core.structures import Size
from van_dense.data.io.json_file import paused_garbage_collection
from van_dense.data.readers.coco_json import CocoDict, Record, posed_categories
from van_dense.data.readers.coco_values import (
    are_coordinates,
    are_numbers,
    is_id,
    parse_box,
    parse_id,
    parse_number,
)
from van_dense.data.readers.segmentation import (
    plain_form,
    rle_to_json,
    to_rle,
    usable_segmentation,
)
from van_dense.data.readers.skeleton_file import check_order
from van_dense.evaluation.ground_truth import Kind
from van_dense.evaluation.result_blocks import BlockReader
from van_dense.evaluation.result_shapes import read_records, renamed
from van_dense.evaluation.result_table import ResultTable
from van_dense.evaluation.results import FIELD_OF_KIND, CocoResult

_AT_ONCE = 1 << 14  # records that wait for the table
# Shares of the boxes that must be odd for a word about their convention.
_SOME, _MANY, _ALMOST_ALL = 0.2, 0.5, 0.95
_HINTS = {
    "image_id": "results and annotations must be of the same split",
    "category_id": "results need category ids of the file, not 0-based labels",
}
_WORDS = {
    "image_id": "records name images by {}, and are read so",
    "category_id": "records name categories by {}, and are read so",
    "score": "scores are written as text, and are read so",
    "polygons": "masks are polygons or lists of run lengths, and are read so",
    "gone": "records are of images that are left out of the annotations, and are left out too",
}


class SavedResults(NamedTuple):
    """Results of a file, and a sentence for each kind of thing that was read otherwise."""

    table: ResultTable
    notes: list[str]
    has_masks: bool  #: whether records hold a segmentation, measured or not


@paused_garbage_collection()
def load_results(
    path: str | Path,
    ground_truth: CocoDict,
    kinds: Sequence[Kind],
    *,
    left_out: Collection[Any] = (),
    keypoints: tuple[str, ...] = (),
) -> SavedResults:
    """Read results, or ValueError at the first record that the annotations contradict.

    A list of COCO records, which is read record by record, or an object that holds them under
    "annotations" beside "images" and "categories", which are then compared with those of the
    annotations. Ids that are text where the annotations count, file names instead of image ids and
    names instead of category ids are brought to ids where they stand for one image or category.

    Args:
        path: Results file, JSON.
        ground_truth: Annotations, cleaned.
        kinds: Fields of the records that will be measured.
        left_out: Ids of images that were left out of the annotations; their records are as well.
        keypoints: Names of the joints, as many as records must have, compared with those that the
            results name.
    """
    reader = _Reader(ground_truth, kinds, frozenset(map(parse_id, left_out)), len(keypoints))
    records = _Records(path, reader, ResultTable(ground_truth, [FIELD_OF_KIND[k] for k in kinds]))
    data, entries = read_records(path, records)
    if isinstance(data, dict):
        _check_tables(path, data, ground_truth, keypoints)
    for entry in entries:
        records.append(entry)
    table = records.finish()
    odd = _odd_boxes(table, reader) if "bbox" in kinds else []
    found = [f"{path}: {note}" for note in (*reader.notes(), *odd)]
    for repeats in sorted({table.count_repeats(field) for field in table.fields} - {0}):
        what = f"{repeats} of {len(table)} records repeat another one, and count as mistakes"
        found.append(f"{path}: {what}; were files joined twice?")
    if not len(table):
        found.append(f"{path}: holds no record, so nothing is found")
    return SavedResults(table, found, reader.has_masks)


class _Records:
    """Takes the records of a file one by one, and fills a table with them."""

    def __init__(self, path: str | Path, reader: _Reader, table: ResultTable) -> None:
        self._path, self._reader, self._table = path, reader, table
        self._count = 0
        self._waiting: list[CocoResult] = []
        self._blocks = reader.blocks(table)
        self._last: tuple[Any, str] = (None, "")

    @property
    def wants_blocks(self) -> bool:
        return self._count > 0

    def append_block(self, text: str) -> int:
        self.finish()  # rows keep their order
        entry, written = self._last
        if not (written and self._blocks.learn(written, entry)):
            return 0
        length, count = self._blocks.read(text)
        self._count += count
        return length

    def append(self, entry: Any, text: str = "") -> None:
        self._last = entry, text
        try:
            record = self._reader.read(entry)
        except ValueError as error:
            where = f"record {self._count} (counted from 0)"
            raise ValueError(f"{self._path}, {where}: {error}") from None
        self._count += 1
        if record is not None:
            self._waiting.append(record)
        if len(self._waiting) == _AT_ONCE:
            self.finish()

    def finish(self) -> ResultTable:
        """The table of all records so far."""
        try:
            self._table.extend(self._waiting)
        except ValueError as error:
            raise ValueError(f"{self._path}: {error}") from None
        self._waiting = []
        return self._table


class _Reader:
    """Brings records of any origin to COCO's, one by one, and counts what it changes."""

    def __init__(
        self, truth: CocoDict, kinds: Sequence[Kind], left_out: frozenset[Any], num_joints: int
    ) -> None:
        self._kinds, self._left_out, self._num_joints = kinds, left_out, num_joints
        self._needed = ("image_id", "category_id", "score", *(FIELD_OF_KIND[k] for k in kinds))
        self.has_masks = False
        images, categories = truth["images"], truth["categories"]
        self.sizes: dict[Any, Size] = {
            image["id"]: (image["height"], image["width"]) for image in images
        }
        self._known: dict[str, Collection[Any]] = {
            "image_id": self.sizes,
            "category_id": {category["id"] for category in categories},
        }
        self._images, self._categories = images, categories
        self._counts: Counter[str] = Counter()

    @cached_property
    def _by_name(self) -> dict[str, dict[str, Any]]:
        """Ids by names, which most files do not ask for."""
        images = ((name, r["id"]) for r in self._images for name in _names_of(r))
        categories = ((r["name"], r["id"]) for r in self._categories if "name" in r)
        return {"image_id": _unique(images), "category_id": _unique(categories)}

    def blocks(self, table: ResultTable) -> BlockReader:
        """Reads many records at once into a table, by the same rules."""
        fields = [FIELD_OF_KIND[kind] for kind in self._kinds]
        return BlockReader(table, self.sizes, self._left_out, fields, self._num_joints)

    def read(self, entry: Any) -> CocoResult | None:
        """The record, or None for one of an image that is left out."""
        if not isinstance(entry, dict):
            raise ValueError(f"is of type {type(entry).__name__}, expected an object")
        self.has_masks = self.has_masks or "segmentation" in entry
        missing = [key for key in self._needed if key not in entry]
        if missing:
            hint = renamed(entry, missing)
            types = " and ".join(self._kinds)
            needs = f"--type {types} needs them, it has {sorted(map(str, entry))}"
            raise ValueError(f"lacks {missing}; {needs}{hint}")
        if parse_id(entry["image_id"]) in self._left_out:
            self._counts[_WORDS["gone"]] += 1
            return None
        changed: dict[str, Any] = {}
        for key in ("image_id", "category_id"):
            stated = entry[key]
            if not (is_id(stated) and stated in self._known[key]):
                changed[key] = self._other_id(key, stated)
        if not are_numbers([entry["score"]], 1):
            score = parse_number(entry["score"])
            if score is None:
                raise ValueError(f"score is {entry['score']!r:.40}, expected a finite number")
            changed["score"] = score
            self._counts[_WORDS["score"]] += 1
        record: Record = {**entry, **changed} if changed else entry
        for kind in self._kinds:
            record = self._checked(record, kind)
        return record  # type: ignore[return-value]

    def _other_id(self, key: str, stated: Any) -> Any:
        """The id that text stands for: a number of the file, or a name of one record."""
        known, by_name = self._known[key], self._by_name[key]
        if isinstance(stated, str):
            number = int(stated) if stated.isascii() and stated.isdigit() else None
            if number in known and str(number) == stated:
                self._counts[_WORDS[key].format("text instead of numbers")] += 1
                return number
            file = PureWindowsPath(stated).name if key == "image_id" else stated
            if (found := by_name.get(stated, by_name.get(file))) is not None:
                self._counts[_WORDS[key].format("name instead of id")] += 1
                return found
        elif type(stated) is int and str(stated) in known:
            self._counts[_WORDS[key].format("number instead of text")] += 1
            return str(stated)
        absent = f"is not in the annotation file, whose ids are {_first(known)}"
        raise ValueError(f"{key} {stated!r:.80} {absent}; {_HINTS[key]}")

    def _checked(self, record: Record, kind: Kind) -> Record:
        value: Any = record[FIELD_OF_KIND[kind]]
        if kind == "bbox" and (parse_box(value) is None or min(value[2:]) < 0):
            form = "x, y, width >= 0, height >= 0 in pixels, below 1e30"
            raise ValueError(f"bbox is {value!r:.80}, expected {form}")
        if kind == "keypoints":
            count = len(value) if isinstance(value, list) else 1
            if not count or count % 3 or not are_coordinates(value, count):
                raise ValueError("keypoints must be 3 K numbers below 1e30: x, y and score of each")
            if self._num_joints and count != 3 * self._num_joints:
                what = f"has {counted(count // 3, 'joint')}, the data set {self._num_joints}"
                raise ValueError(f"{what}; its names in data.skeleton must be those of the file")
        return self._with_mask(record, value) if kind == "segm" else record

    def _with_mask(self, record: Record, value: Any) -> Record:
        size = self.sizes[record["image_id"]]
        stated = value.get("size") if isinstance(value, dict) else None
        if isinstance(value, dict) and stated != list(size):
            sizes = f"size {stated}, its image {list(size)} (height, width)"
            raise ValueError(f"segmentation has {sizes}; masks are given in original-image pixels")
        usable, problem = usable_segmentation(plain_form(value), size)
        if usable is None or problem is not None:
            form = "RLE, {'size': [height, width], 'counts': text}, or polygons"
            raise ValueError(f"segmentation must be {form}: {problem}")
        if isinstance(value, dict) and isinstance(value["counts"], str):
            return record
        self._counts[_WORDS["polygons"]] += 1
        return {**record, "segmentation": rle_to_json(to_rle(usable, size))}

    def notes(self) -> list[str]:
        """What was changed or left out, with counts; after the last record."""
        return [of_kind(count, what) for what, count in self._counts.items()]


def _names_of(image: Record) -> set[str]:
    """File name of an image with and without its folders and its suffix."""
    name = image.get("file_name")
    if not isinstance(name, str) or not name:
        return set()
    path = PurePosixPath(name.replace("\\", "/"))
    return {name, str(path), path.name, path.stem, str(path.with_suffix(""))}


def _unique(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Ids by names that stand for one id alone."""
    found: dict[str, Any] = {}
    several = set()
    for name, key in pairs:
        if found.setdefault(name, key) != key:
            several.add(name)
    return {name: key for name, key in found.items() if name not in several}


def _check_tables(
    path: str | Path, data: Record, truth: CocoDict, keypoints: tuple[str, ...]
) -> None:
    """Compare what the results say of images, categories and joints with the annotations."""
    for table, key in (("images", "file_name"), ("categories", "name")):
        known = {record["id"]: record.get(key) for record in truth[table]}
        for record in _objects(data.get(table)):
            there, here = record.get(key), known.get(parse_id(record.get("id")))
            if isinstance(there, str) and isinstance(here, str) and _end(there) != _end(here):
                what = f"{table} with id {record['id']!r}: {key} is {there!r} in the results and "
                fix = "results need the ids of the annotation file"
                raise ValueError(f"{path}: {what}{here!r} in the annotations; {fix}")
    if keypoints:
        for category in posed_categories({"categories": _objects(data.get("categories"))}):
            names = category["keypoints"]
            if isinstance(names, list) and all(isinstance(name, str) for name in names):
                check_order(str(path), str(category.get("name")), names, keypoints)


def _end(name: str) -> str:
    return PurePosixPath(name.replace("\\", "/")).name.strip().casefold()


def _objects(value: Any) -> list[Record]:
    found = value if isinstance(value, list) else []
    return [record for record in found if isinstance(record, dict) and is_id(record.get("id"))]


def _odd_boxes(table: ResultTable, reader: _Reader) -> list[str]:
    """Say that most boxes look like another convention than x, y, width, height in pixels."""
    sides = np.array([reader.sizes[key][::-1] for key in table.image_ids], dtype=np.float64)
    corners = leaving = fractions = known = 0
    for block in table.blocks():
        (width, height), (x, y, w, h) = sides[block["image"]].T, block["bbox"].T
        largest, side = block["bbox"].max(axis=1), np.maximum(width, height)
        fractions += int(((np.maximum(w, h) > 0) & (largest <= 1) & (side > 1)).sum())
        sized = (width > 0) & (height > 0)
        known += int(sized.sum())
        leaving += int((sized & ((x + w > width + 1) | (y + h > height + 1))).sum())
        inside = (x < w) & (w <= width + 1) & (y < h) & (h <= height + 1)
        corners += int((sized & inside).sum())
    notes = []
    if leaving > _SOME * known and corners > _ALMOST_ALL * known:
        what = f"{leaving} of {len(table)} boxes leave their image, and would not as two corners"
        notes.append(f"{what}; a box is x, y, width, height")
    if fractions > _MANY * len(table):
        what = f"{fractions} of {len(table)} boxes lie within 0..1"
        notes.append(f"{what}; a box is in pixels of the original image, not in fractions")
    return notes


def _first(ids: Iterable[Any]) -> str:
    ordered = sorted(ids, key=lambda value: (isinstance(value, str), value))
    return shorten([repr(one) for one in ordered], 5)
