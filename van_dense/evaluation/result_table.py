"""Results of objects in columns, which leave the memory where there are many.

A record with a box takes 0.5 kB as a dictionary and 48 bytes here; beyond some 300,000 of them they
lie in a temporary file without a name, so that memory does not grow with a data set. Where the
folder of temporary files is in memory itself (tmpfs), so are they: TMPDIR names another one.
"""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from van_dense.core.counting import counted
from van_dense.core.writing import writing
from van_dense.data.readers.coco_json import CocoDict
from van_dense.data.readers.segmentation import mask_areas
from van_dense.evaluation.results import FIELD_OF_KIND, CocoResult

_IN_MEMORY = 1 << 24  # bytes of each of the two files
_BLOCK = 1 << 16  # rows
_MOST_SPARSE = 4  # times as many bytes as are needed are read at once, rather than one by one
_FIELDS = tuple(FIELD_OF_KIND.values())


class Masks(NamedTuple):
    """Masks of N results as compressed run lengths."""

    sizes: np.ndarray  #: (height, width) of their images, (N, 2)
    counts: Sequence[str]
    areas: np.ndarray  #: pixels, (N,)

    @staticmethod
    def of(masks: Sequence[Mapping[str, Any]]) -> Masks:
        """From RLE, whose counts may be bytes."""
        sizes = np.array([mask["size"] for mask in masks], dtype=np.int64).reshape(-1, 2)
        found = (mask["counts"] for mask in masks)
        counts = [text if isinstance(text, str) else text.decode("ascii") for text in found]
        return Masks(sizes, counts, np.array(mask_areas(masks), dtype=np.float64))


class ResultTable:
    """Results in the order they came; images and categories are positions in the ground truth.

    Args:
        ground_truth: COCO annotations. Its images in ascending order of their ids, numbers before
            text, are what the column "image" counts; "category" counts its sorted category ids.
        fields: Which of "bbox", "segmentation" and "keypoints" to keep; None keeps what the first
            record holds, as all others then must.

    Attributes:
        image_ids: Id of each image.
        category_ids: Id of each category.
    """

    def __init__(self, ground_truth: CocoDict, fields: Collection[str] | None = None) -> None:
        self.image_ids = sorted_ids(image["id"] for image in ground_truth["images"])
        self.category_ids = sorted(category["id"] for category in ground_truth["categories"])
        self._images = {key: position for position, key in enumerate(self.image_ids)}
        self._categories = {key: position for position, key in enumerate(self.category_ids)}
        self._wanted, self._dtype = fields, np.dtype([])
        self._num_rows = self._num_bytes = 0
        self._rows = tempfile.SpooledTemporaryFile(_IN_MEMORY)
        self._masks = tempfile.SpooledTemporaryFile(_IN_MEMORY)
        for file in (self._rows, self._masks):
            weakref.finalize(self, file.close)

    @classmethod
    def of(cls, records: Iterable[CocoResult], ground_truth: CocoDict) -> ResultTable:
        """A table of records of images and categories of the ground truth."""
        table = cls(ground_truth)
        table.extend(records)
        return table

    def extend(self, records: Iterable[CocoResult]) -> None:
        """Append records, or ValueError where their fields are not those of the first one."""
        block: list[CocoResult] = []
        for record in records:
            block.append(record)
            if len(block) == _BLOCK:
                self._append(block)
                block = []
        self._append(block)

    def _append(self, records: Sequence[CocoResult]) -> None:
        if not records:
            return
        if not self._num_rows:
            self._dtype = self._columns(records[0])
        rows = np.zeros(len(records), dtype=self._dtype)
        try:
            rows["image"] = [self._images[record["image_id"]] for record in records]
            rows["category"] = [self._categories[record["category_id"]] for record in records]
        except KeyError as error:
            what = (
                f"results name {error.args[0]!r}, which is no image or category of the annotations"
            )
            raise ValueError(what) from None
        rows["score"] = [record["score"] for record in records]
        for field in self.fields:
            try:
                values: Any = [record[field] for record in records]  # type: ignore[literal-required]
                self._put(rows, field, Masks.of(values) if field == "segmentation" else values)
            except (KeyError, ValueError):
                held = [len(r[field]) if field in r else None for r in records]  # type: ignore[literal-required]
                raise ValueError(
                    f"results differ in their {field}: there are records without, or with another "
                    f"number of values ({sorted(set(map(str, held)))})"
                ) from None
        self._append_rows(rows)

    def append_columns(
        self,
        images: np.ndarray,
        categories: np.ndarray,
        scores: np.ndarray,
        fields: Mapping[str, np.ndarray | Masks],
    ) -> bool:
        """Append N records as columns; False where their fields are not those of earlier rows.

        Args:
            images: Position of the image of each.
            categories: Position of the category of each.
            scores: Score of each.
            fields: Values of each field that is kept, N lists of numbers, or N masks.
        """
        first = {f: v[0] for f, v in fields.items()}
        dtype = self._dtype if self._num_rows else self._columns(first)  # type: ignore[arg-type]
        if dtype != self._columns(first):  # type: ignore[arg-type]
            return False
        self._dtype = dtype
        rows = np.zeros(len(scores), dtype=dtype)
        rows["image"], rows["category"], rows["score"] = images, categories, scores
        for field, values in fields.items():
            self._put(rows, field, values)
        self._append_rows(rows)
        return True

    def _append_rows(self, rows: np.ndarray) -> None:
        if not np.isfinite(rows["score"]).all():
            raise ValueError("results have scores that are not finite")
        self._write(self._rows, rows.tobytes())
        self._num_rows += len(rows)

    def _write(self, file: tempfile.SpooledTemporaryFile[bytes], data: bytes) -> None:
        """Append to a file, or OSError that names the folder of temporary files."""
        with writing(f"{tempfile.gettempdir()} (TMPDIR)", keep=True):
            file.seek(0, 2)
            file.write(data)

    def _columns(self, record: CocoResult) -> np.dtype[Any]:
        columns: list[Any] = [("image", "i4"), ("category", "i4"), ("score", "f8")]
        kept = [f for f in _FIELDS if f in record and (self._wanted is None or f in self._wanted)]
        for field in kept:
            if field == "segmentation":  # where the text of its run lengths is
                numbers = [("start", "i8"), ("length", "i4"), ("hash", "i8"), ("area", "f8")]
                columns.append((field, [("size", "i4", 2), *numbers]))
            else:
                columns.append((field, "f8", len(record[field])))  # type: ignore[literal-required]
        return np.dtype(columns)

    def _put(self, rows: np.ndarray, field: str, values: Any) -> None:
        """Fill a column, of masks with where their run lengths are written."""
        if not isinstance(values, Masks):
            rows[field] = values
            return
        lengths = np.fromiter(map(len, values.counts), dtype=np.int64, count=len(rows))
        column = rows[field]
        column["size"], column["area"], column["length"] = values.sizes, values.areas, lengths
        column["start"] = self._num_bytes + np.cumsum(lengths) - lengths
        column["hash"] = list(map(hash, values.counts))
        self._write(self._masks, "".join(values.counts).encode("ascii"))
        self._num_bytes += int(lengths.sum())

    @property
    def fields(self) -> list[str]:
        """Which of "bbox", "segmentation" and "keypoints" the rows hold; none without a row."""
        return [field for field in _FIELDS if field in (self._dtype.names or ())]

    def __len__(self) -> int:
        return self._num_rows

    def blocks(self) -> Iterator[np.ndarray]:
        """The rows, some ten thousand at a time, as structured arrays.

        Columns: "image" and "category" (positions), "score", and the ``fields``: "bbox" (N, 4),
        "keypoints" (N, 3 K), and "segmentation", which ``masks_of`` reads.
        """
        size = self._dtype.itemsize
        for start in range(0, self._num_rows, _BLOCK):
            self._rows.seek(start * size)
            count = min(_BLOCK, self._num_rows - start)
            yield np.frombuffer(self._rows.read(count * size), dtype=self._dtype)

    def _numbered_blocks(self) -> Iterator[tuple[int, np.ndarray]]:
        """The position of the first row of each block, and the block."""
        return zip(range(0, len(self), _BLOCK), self.blocks(), strict=True)

    def check(self, field: str, *, num_joints: int = 0) -> None:
        """ValueError for rows without a field, and for keypoints of another number of joints."""
        if not self._num_rows:
            return
        if field not in self.fields:
            raise ValueError(f"the results have no {field!r}, but {self.fields}")
        if field == "keypoints" and (found := self._dtype[field].shape[0] // 3) != num_joints:
            both = f"{counted(found, 'joint')}, and there are {counted(num_joints, 'OKS sigma')}"
            raise ValueError(f"the results have {both}; give one sigma for each joint")

    def rows_of_each(self, column: Literal["image", "category"]) -> np.ndarray:
        """Number of rows of each image or category, int (N,)."""
        length = len(self.image_ids if column == "image" else self.category_ids)
        counts = np.zeros(length, dtype=np.int64)
        for block in self.blocks():
            counts += np.bincount(block[column], minlength=length)
        return counts

    def best_of_images(self, limit: int) -> np.ndarray:
        """Which rows are among the best of their image, over all categories, bool (N,)."""
        kept = np.ones(len(self), dtype=bool)
        is_crowded = self.rows_of_each("image") > limit
        if not is_crowded.any():
            return kept
        found = [
            (start + np.flatnonzero(is_crowded[block["image"]]), block)
            for start, block in self._numbered_blocks()
        ]
        columns = [
            [block[name][is_crowded[block["image"]]] for _, block in found]
            for name in ("image", "score")
        ]
        index, image, score = map(np.concatenate, ([rows for rows, _ in found], *columns))
        order = np.lexsort((-score, image))  # equal scores in the order they came
        starts = np.flatnonzero(np.diff(image[order], prepend=-1))
        rank = np.arange(len(order)) - np.repeat(starts, np.diff(starts, append=len(order)))
        kept[index[order[rank >= limit]]] = False
        return kept

    def select(self, categories: Collection[int], kept: np.ndarray | None = None) -> np.ndarray:
        """Rows of some categories, image by image, in the order they came.

        Args:
            categories: Positions of the categories.
            kept: bool (N,), rows to choose from; None for all.
        """
        chosen = list(categories)
        if not self._num_rows:
            return np.zeros(0, dtype=[("image", "i4"), ("category", "i4"), ("score", "f8")])
        wanted = np.isin(np.arange(len(self.category_ids)), chosen)
        rows = np.empty(int(self.rows_of_each("category")[chosen].sum()), dtype=self._dtype)
        end = 0
        for start, block in self._numbered_blocks():
            is_wanted = wanted[block["category"]]
            if kept is not None:
                is_wanted &= kept[start : start + len(block)]
            found = block[is_wanted]
            rows[end : end + len(found)] = found
            end += len(found)
        rows = rows[:end]
        if (np.diff(rows["image"]) >= 0).all():  # as evaluators write them; no copy
            return rows
        return rows[np.argsort(rows["image"], kind="stable")]

    def counts(self) -> np.ndarray:
        """Number of rows of each pair of an image and a category that has some, int (P,)."""
        codes = np.empty(len(self), dtype=np.int64)
        for start, block in self._numbered_blocks():
            here = codes[start : start + len(block)]
            np.multiply(block["image"], len(self.category_ids), out=here, dtype=np.int64)
            here += block["category"]
        codes.sort()
        edges = np.flatnonzero(np.diff(codes, prepend=-1))
        return np.diff(edges, append=len(codes))

    def count_repeats(self, field: str) -> int:
        """Number of rows that repeat an earlier one but for their other fields than ``field``."""
        mixed = np.zeros(len(self), dtype=np.uint64)
        for start, block in self._numbered_blocks():
            here = mixed[start : start + len(block)]
            columns = [block["image"], block["category"], _bits(block["score"])]
            values = block[field]
            columns += [values["hash"]] if field == "segmentation" else list(_bits(values).T)
            for column in columns:  # as SplitMix64 does, https://prng.di.unimi.it/splitmix64.c
                here ^= column.astype(np.uint64)
                here *= np.uint64(0xBF58476D1CE4E5B9)
                here ^= here >> np.uint64(31)
        mixed.sort()
        return int((mixed[1:] == mixed[:-1]).sum())

    def masks_of(self, rows: np.ndarray) -> list[dict[str, Any]]:
        """Masks of rows as RLE of JSON, "size" (height, width) and "counts" as text."""
        if not len(rows):
            return []
        found = rows["segmentation"]
        starts, sizes = found["start"], found["size"].tolist()
        ends = starts + found["length"]
        first, last = int(starts.min()), int(ends.max())
        texts: Iterable[str]
        if last - first > _MOST_SPARSE * int(found["length"].sum()):
            texts = map(self._read, starts.tolist(), ends.tolist())
        else:
            spans = map(slice, (starts - first).tolist(), (ends - first).tolist())
            texts = map(self._read(first, last).__getitem__, spans)
        return [{"size": size, "counts": text} for size, text in zip(sizes, texts, strict=True)]

    def _read(self, start: int, end: int) -> str:
        """Run lengths between two places of the file of masks."""
        self._masks.seek(start)
        return self._masks.read(end - start).decode("ascii")

    def __iter__(self) -> Iterator[CocoResult]:
        """The records; coordinates are float."""
        for block in self.blocks():
            columns = {name: block[name].tolist() for name in ("image", "category", "score")}
            fields = {
                field: self.masks_of(block) if field == "segmentation" else block[field].tolist()
                for field in self.fields
            }
            for index in range(len(block)):
                record: dict[str, Any] = {
                    "image_id": self.image_ids[columns["image"][index]],
                    "category_id": self.category_ids[columns["category"][index]],
                    "score": columns["score"][index],
                }
                record |= {field: values[index] for field, values in fields.items()}
                yield record  # type: ignore[misc]


def _bits(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values).view(np.uint64)


def sorted_ids(ids: Iterable[int | str]) -> list[int | str]:
    """Ids in ascending order, numbers before text, as pycocotools orders images."""
    return sorted(ids, key=lambda key: (isinstance(key, str), key))
