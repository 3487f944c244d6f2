"""Annotations as the evaluation libraries take them: renumbered, complete, and made when needed."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import numpy as np

from van_dense.core.counting import counted
from van_dense.data.readers.coco_json import CocoDict
from van_dense.data.readers.segmentation import mask_areas
from van_dense.evaluation.ground_truth import Kind, annotation_rle
from van_dense.evaluation.result_table import sorted_ids
from van_dense.evaluation.results import FIELD_OF_KIND


class TruthTable:
    """Where each annotation belongs, and the records themselves on demand.

    Image ids may be text and ids of categories negative or beyond 2^53, which the libraries refuse,
    so both are numbered from 1 on. The order of images decides between equal scores and is kept:
    ascending, as in pycocotools.

    Args:
        ground_truth: COCO annotations. A missing "iscrowd" is 0, a missing "area" that of the box
            or mask which is measured.
        kind: What will be measured.
        num_joints: Number of OKS sigmas, which poses must have as many joints as.
        lists: Keys of images that hold lists of category ids, for ``images`` to hand on.

    Raises:
        ValueError: When an image id repeats, or an annotation is of no image of the file.
    """

    def __init__(
        self, ground_truth: CocoDict, kind: Kind, num_joints: int, *, lists: Sequence[str] = ()
    ) -> None:
        self._kind, self._num_joints, self._lists = kind, num_joints, lists
        self._annotations: Sequence[dict[str, Any]] = ground_truth["annotations"]
        images = {image["id"]: image for image in ground_truth["images"]}
        if len(images) < len(ground_truth["images"]):
            raise ValueError("the annotation file lists an image id twice; ids must be unique")
        self._images = [images[key] for key in sorted_ids(images)]
        position = {image["id"]: index for index, image in enumerate(self._images)}
        category_ids = sorted(category["id"] for category in ground_truth["categories"])
        self._numbers = {key: index + 1 for index, key in enumerate(category_ids)}
        self._image = np.empty(len(self._annotations), dtype=np.int32)
        self._category = np.empty(len(self._annotations), dtype=np.int32)
        for index, entry in enumerate(self._annotations):
            if entry["image_id"] not in position:
                absent = f"image {entry['image_id']!r}, which the file does not list"
                fix = "van-dense check finds such records"
                raise ValueError(f"{_where(index, entry)} belongs to {absent}; {fix}")
            self._image[index] = position[entry["image_id"]]
            self._category[index] = self._numbers.get(entry["category_id"], 0) - 1

    def select(self, categories: Collection[int]) -> np.ndarray:
        """Indices of the annotations of some categories (positions), image by image."""
        chosen = np.flatnonzero(np.isin(self._category, list(categories)))
        return chosen[np.argsort(self._image[chosen], kind="stable")]

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
        return self._image[indices]

    def categories_of(self, indices: np.ndarray) -> np.ndarray:
        """Position of the category of annotations, from 0 on."""
        return self._category[indices]

    def annotations(self, indices: Iterable[int]) -> list[dict[str, Any]]:
        """Records whose ids count from 1 on, or ValueError for what is unusable."""
        return [self._prepare(int(index)) for index in indices]

    def _prepare(self, index: int) -> dict[str, Any]:
        entry, kind = self._annotations[index], self._kind
        needed = ["keypoints", "bbox", "area"] if kind == "keypoints" else [FIELD_OF_KIND[kind]]
        missing = [key for key in needed if entry.get(key) in (None, [])]
        if missing:
            fix = f"add it to the annotations, or do not measure {kind!r}"
            raise ValueError(
                f"{_where(index, entry)} has no {missing}, which {kind!r} needs; {fix}"
            )
        position = int(self._image[index])
        annotation = {
            "id": index + 1,
            "image_id": position + 1,
            "category_id": int(self._category[index]) + 1,
            "iscrowd": int(entry.get("iscrowd", 0)),
            **{key: entry[key] for key in needed},
        }
        if kind == "keypoints":
            self._check_joints(entry["keypoints"])
            visible = sum(v > 0 for v in entry["keypoints"][2::3])
            annotation["num_keypoints"] = entry.get("num_keypoints", visible)
        if kind == "segm":
            image = self._images[position]
            annotation["segmentation"] = annotation_rle(entry, (image["height"], image["width"]))
        annotation["area"] = entry["area"] if "area" in entry else area_of(annotation, kind)
        return annotation

    def _check_joints(self, keypoints: Sequence[float]) -> None:
        count = len(keypoints) // 3
        if count != self._num_joints:
            both = f"{counted(count, 'keypoint')}, but there are {self._num_joints} OKS sigmas"
            raise ValueError(f"annotations have {both}; give one sigma for each keypoint")


def _where(index: int, entry: dict[str, Any]) -> str:
    return f"annotation {index} (counted from 0, id {entry.get('id')!r})"


def area_of(entry: dict[str, Any], kind: Kind) -> float:
    """Area of a box, a mask, or the extent of keypoints, as ``COCO.loadRes`` defines it."""
    return areas_of([entry[FIELD_OF_KIND[kind]]], kind)[0]


def areas_of(values: Sequence[Any], kind: Kind) -> list[float]:
    """``area_of`` of N boxes, masks as RLE, or lists of keypoints, which are all as long."""
    if kind == "bbox":
        return [float(box[2] * box[3]) for box in values]
    if kind == "segm":
        return mask_areas(values)
    points = np.array(values, dtype=np.float64)
    sides = (np.ptp(points[:, axis::3], axis=1) for axis in (0, 1))
    return np.multiply(*sides).tolist()
