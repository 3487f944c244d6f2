"""Annotations as the evaluation libraries take them: renumbered, complete, and made when needed."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from van_dense.core.counting import counted
from van_dense.core.structures import RLE, Size
from van_dense.data.io.packed_records import PackedRecords
from van_dense.data.readers.coco_columns import CleanedRecords, new_columns
from van_dense.data.readers.coco_json import CocoDict, Record
from van_dense.data.readers.segmentation import mask_areas
from van_dense.evaluation.ground_truth import Kind, annotation_rle, annotation_rles
from van_dense.evaluation.result_table import sorted_ids
from van_dense.evaluation.results import FIELD_OF_KIND


class TruthTable:
    """What is asked of each annotation in columns, and records for the libraries on demand.

    Image ids may be text and ids of categories negative or beyond 2^53, which the libraries refuse,
    so both are numbered from 1 on. The order of images decides between equal scores and is kept:
    ascending, as in pycocotools.

    Args:
        ground_truth: COCO annotations. A missing "iscrowd" is 0, a missing "area" that of the box
            or mask which is measured. Those of ``CocoRecords.cleaned`` are not read again.
        kind: What will be measured.
        num_joints: Number of joints, which poses must have; 0 for that of the first one.
        lists: Keys of images that hold lists of category ids, for ``images`` to hand on.

    Attributes:
        columns: Structured array (N,), see ``new_columns``; "image" and "category" are positions
            among the ascending ids, of a category -1 where the file does not list it.

    Raises:
        ValueError: When an image id repeats, or an annotation is of no image of the file, or lacks
            what is measured.
    """

    def __init__(
        self, ground_truth: CocoDict, kind: Kind, num_joints: int = 0, *, lists: Sequence[str] = ()
    ) -> None:
        self._kind, self._num_joints, self._lists = kind, num_joints, lists
        self._annotations: Sequence[Record] = ground_truth["annotations"]
        images = {image["id"]: image for image in ground_truth["images"]}
        if len(images) < len(ground_truth["images"]):
            raise ValueError("the annotation file lists an image id twice; ids must be unique")
        self._images = [images[key] for key in sorted_ids(images)]
        position = {image["id"]: index for index, image in enumerate(self._images)}
        category_ids = sorted(category["id"] for category in ground_truth["categories"])
        self._numbers = {key: index + 1 for index, key in enumerate(category_ids)}
        found = self._annotations
        is_read = isinstance(found, CleanedRecords) and position.keys() >= set(found.image_ids)
        if is_read and (kind != "keypoints" or found.columns["keypoints"].shape[1]):
            self.columns = self._renumbered(found, position)
        else:
            self.columns = self._read(position)

    def _renumbered(self, found: CleanedRecords, position: Mapping[Any, int]) -> np.ndarray:
        columns = found.columns.copy()
        images = np.array([position[key] for key in found.image_ids], dtype=np.int32)
        classes = np.array([self._numbers.get(key, 0) - 1 for key in found.category_ids])
        columns["image"] = images[columns["image"]]
        columns["category"] = classes[columns["category"]]
        if self._kind == "keypoints" and len(columns):
            self._check_joints(columns["keypoints"].shape[1])
        return columns

    def _read(self, position: Mapping[Any, int]) -> np.ndarray:
        if self._kind == "keypoints" and not self._num_joints:
            lists = (entry.get("keypoints") or () for entry in self._annotations)
            self._num_joints = len(next(filter(None, lists), ())) // 3
        columns = new_columns(len(self._annotations), self._num_joints)
        for index, entry in enumerate(self._annotations):
            if entry["image_id"] not in position:
                absent = f"image {entry['image_id']!r}, which the file does not list"
                fix = "van-dense check finds such records"
                raise ValueError(f"{_where(index, entry)} belongs to {absent}; {fix}")
            row = columns[index]
            row["image"] = position[entry["image_id"]]
            row["category"] = self._numbers.get(entry["category_id"], 0) - 1
            if row["category"] >= 0:
                self._fill(row, entry, index)
        return columns

    def _fill(self, row: Any, entry: Record, index: int) -> None:
        kind = self._kind
        needed = ["keypoints", "bbox", "area"] if kind == "keypoints" else [FIELD_OF_KIND[kind]]
        missing = [key for key in needed if entry.get(key) in (None, [])]
        if missing:
            raise ValueError(_lacking(index, entry, missing, kind))
        row["crowd"] = int(entry.get("iscrowd", 0))
        if "bbox" in needed:
            row["bbox"] = entry["bbox"]
        if kind == "keypoints":
            self._check_joints(len(entry["keypoints"]))
            row["keypoints"] = entry["keypoints"]
            visible = sum(v > 0 for v in entry["keypoints"][2::3])
            row["num_keypoints"] = entry.get("num_keypoints", visible)
        if "area" not in entry and kind == "segm":
            rle = annotation_rle(entry, self._size(row["image"]))
            entry = {**entry, "segmentation": rle}
        row["area"] = entry["area"] if "area" in entry else area_of(entry, kind)

    def _size(self, position: int) -> Size:
        image = self._images[position]
        return image["height"], image["width"]

    def select(self, categories: Collection[int]) -> np.ndarray:
        """Indices of the annotations of some categories (positions), image by image."""
        chosen = np.flatnonzero(np.isin(self.columns["category"], list(categories)))
        return chosen[np.argsort(self.columns["image"][chosen], kind="stable")]

    def images(self, positions: np.ndarray) -> list[dict[str, Any]]:
        """Records of images, numbered from 1 on; sizes are 0 where nobody needs them."""
        found = [(position, self._images[position]) for position in positions.tolist()]
        return [
            {"id": i + 1, "height": image.get("height", 0), "width": image.get("width", 0)}
            | {key: [self._numbers[id_] for id_ in image[key]] for key in self._lists}
            for i, image in found
        ]

    def images_of(self, indices: np.ndarray) -> np.ndarray:
        """Position of the image of annotations, from 0 on."""
        return self.columns["image"][indices]

    def categories_of(self, indices: np.ndarray) -> np.ndarray:
        """Position of the category of annotations, from 0 on."""
        return self.columns["category"][indices]

    def annotations(self, indices: np.ndarray) -> list[dict[str, Any]]:
        """Records whose ids count from 1 on, or ValueError for masks that are unusable."""
        rows = self.columns[indices]
        columns = {
            "id": indices + 1,
            "image_id": rows["image"] + 1,
            "category_id": rows["category"] + 1,
            "iscrowd": rows["crowd"].astype(int),
            "area": rows["area"],
        }
        if self._kind != "segm":
            columns["bbox"] = rows["bbox"]
        if self._kind == "keypoints":
            columns |= {key: rows[key] for key in ("keypoints", "num_keypoints")}
        lists = {key: column.tolist() for key, column in columns.items()}
        if self._kind == "segm":
            lists["segmentation"] = self._masks(indices)
        return [
            dict(zip(lists, values, strict=True)) for values in zip(*lists.values(), strict=True)
        ]

    def _masks(self, indices: np.ndarray) -> list[RLE]:
        found = self._annotations
        chosen = indices.tolist()
        entries = (
            found.take(chosen) if isinstance(found, PackedRecords) else [found[i] for i in chosen]
        )
        for index, entry in zip(chosen, entries, strict=True):
            if not entry.get("segmentation"):
                raise ValueError(_lacking(index, entry, ["segmentation"], "segm"))
        sizes = [self._size(position) for position in self.images_of(indices).tolist()]
        is_judged = isinstance(found, CleanedRecords) and found.has_masks
        return annotation_rles(entries, sizes, is_judged=is_judged)

    def _check_joints(self, numbers: int) -> None:
        count = numbers // 3
        if self._num_joints not in (0, count):
            both = f"{counted(count, 'keypoint')}, but there are {self._num_joints} OKS sigmas"
            raise ValueError(f"annotations have {both}; give one sigma for each keypoint")


def _lacking(index: int, entry: Record, missing: Sequence[str], kind: Kind) -> str:
    fix = f"add it to the annotations, or do not measure {kind!r}"
    return f"{_where(index, entry)} has no {list(missing)}, which {kind!r} needs; {fix}"


def _where(index: int, entry: dict[str, Any]) -> str:
    return f"annotation {index} (counted from 0, id {entry.get('id')!r})"


def area_of(entry: dict[str, Any], kind: Kind) -> float:
    """Area of a box, a mask, or the extent of keypoints, as ``COCO.loadRes`` defines it."""
    return float(areas_of([entry[FIELD_OF_KIND[kind]]], kind)[0])


def areas_of(values: Any, kind: Kind) -> np.ndarray:
    """``area_of`` of N boxes, masks as RLE or rows of them, or lists of keypoints, float64 (N,)."""
    if kind == "segm":
        is_stored = isinstance(values, np.ndarray)
        return values["area"] if is_stored else np.array(mask_areas(values), dtype=np.float64)
    numbers = np.array(values, dtype=np.float64)
    if kind == "bbox":
        return numbers[:, 2] * numbers[:, 3]
    sides = (np.ptp(numbers[:, axis::3], axis=1) for axis in (0, 1))
    return np.multiply(*sides)
