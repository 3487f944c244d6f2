"""Reader of COCO annotation files: boxes, masks and keypoints of any data set in that format.

Source of the format: https://cocodataset.org/#format-data. pycocotools' own index prints, keeps
every annotation as a dictionary, and fails on the first bad record with a bare KeyError.
"""

import logging
import math
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pycocotools import mask as mask_utils

from van_dense.core.dataset_info import DatasetInfo
from van_dense.core.structures import Size
from van_dense.data.io.json_file import paused_garbage_collection
from van_dense.data.messages import CHECK, list_counts
from van_dense.data.readers.coco_json import (
    CocoDict,
    Record,
    Skeleton,
    dataset_info,
    read_coco_json,
)
from van_dense.data.readers.quarantine import Quarantine, QuarantinedPart
from van_dense.data.readers.segmentation import Segmentation, to_rle, usable_segmentation
from van_dense.data.readers.table import (
    BoxXYXY,
    ImageRecord,
    InstanceRecord,
    TableDataset,
    clip_box,
)

logger = logging.getLogger(__name__)


class CocoDataset(TableDataset):
    """A ``DenseDataset`` from a folder of images and a COCO annotation file.

    Broken annotations (a category or image that does not exist, no usable box or mask) are left
    out with one warning that counts them.

    Args:
        images: Folder that the file names of the annotations start from.
        annotations: JSON file with images, annotations and categories.
        name: Name of the data set in titles and logs.
        quarantine: Bad images and annotations to leave out.
        drop_empty: Leave out images without a box that is no crowd, as mmdet does in training.
        masks: Whether to read segmentations; an annotation without one is then broken, unless none
            of the file has any. False reads boxes alone, in less time.
        skeleton: Keypoints of the annotations, instead of what the file says about them.

    Raises:
        ValueError: For a missing or foreign file, with key and fix, and when no image remains.
    """

    @paused_garbage_collection()
    def __init__(
        self,
        images: str | Path,
        annotations: str | Path,
        *,
        name: str,
        quarantine: Quarantine | None = None,
        drop_empty: bool,
        masks: bool = True,
        skeleton: Skeleton | None = None,
    ) -> None:
        self._file = Path(annotations)
        data = read_coco_json(annotations)
        if not Path(images).is_dir():
            raise ValueError(f"{images}: no such folder; give the folder that holds the images")
        info = dataset_info(annotations, data, name, skeleton)
        self._part = (quarantine or Quarantine()).of(annotations)
        self._read_masks = masks
        parser = _Parser(data, info, self._part, masks=masks)
        records = [
            ImageRecord(os.path.join(images, r["file_name"]), r["id"], record_size(r))
            for r in parser.images
        ]
        found = (instance for _, instance in parser.usable(data["annotations"]))
        super().__init__(info, records, found, masks=parser.masks, drop_empty=drop_empty)
        self.notes += parser.warn(annotations)
        if len(self) == 0:
            what = f"no image remains of {len(data['images'])}"
            what += " with a usable box" if drop_empty else ""
            raise ValueError(f"{annotations}: {what}; {CHECK}")

    def coco_dict(self) -> CocoDict:
        """Parse the annotation file again, without what this reader leaves out.

        Sound records stay as they are. Keys that evaluators need and own files often lack are
        filled in: iscrowd 0, and the area of the mask or else of the box. Ids are made anew where
        they repeat or hold a 0, which pycocotools takes for "no match".
        """
        data = read_coco_json(self._file)
        parser = _Parser(data, self.info, self._part, masks=self._read_masks)
        kept = []
        for annotation, instance in parser.usable(data["annotations"]):
            if isinstance(instance.segmentation, list):  # broken polygons are gone
                annotation["segmentation"] = instance.segmentation
            annotation["iscrowd"] = int(instance.crowd)
            if not isinstance(annotation.get("area"), int | float):
                annotation["area"] = _area(instance, record_size(parser.images[instance.image]))
            kept.append(annotation)
        ids = {parse_id(annotation.get("id", 0)) for annotation in kept}
        if len(ids) < len(kept) or 0 in ids:
            kept = [{**annotation, "id": number} for number, annotation in enumerate(kept, 1)]
        return {**data, "images": parser.images, "annotations": kept}


class _Parser:
    """Decide which records of an annotation file are usable, and count the others by reason."""

    def __init__(
        self, data: CocoDict, info: DatasetInfo, part: QuarantinedPart, *, masks: bool
    ) -> None:
        self._part = part
        self.dropped: Counter[str] = Counter()
        self.left_out: Counter[str] = Counter()
        self.masks = masks and any(a.get("segmentation") for a in data["annotations"])
        self._label_of = info.label_of
        self._num_keypoints = len(info.keypoint_names)
        self.images: list[Record] = []
        self._position: dict[int | str, int] = {}
        for record in data["images"]:
            if record["id"] in part.images:
                self.left_out["images"] += 1
            elif record["id"] in self._position:
                self.dropped["images repeat the id of another image"] += 1
            else:
                self._position[record["id"]] = len(self.images)
                self.images.append(record)

    def usable(self, annotations: Sequence[Record]) -> Iterator[tuple[Record, InstanceRecord]]:
        """Usable annotations beside what was read from them, boxes inside their image."""
        for annotation in annotations:
            if parse_id(annotation.get("id")) in self._part.annotations:
                self.left_out["annotations"] += 1
            elif parse_id(annotation.get("image_id")) in self._part.images:
                continue
            elif isinstance(instance := self._instance(annotation), str):
                self.dropped[f"annotations {instance}"] += 1
            else:
                yield annotation, instance

    def _instance(self, annotation: Record) -> InstanceRecord | str:
        """Read one annotation, or say what is wrong with it."""
        image = self._position.get(parse_id(annotation.get("image_id")))
        if image is None:
            return "name an image id that does not exist"
        label = self._label_of.get(parse_id(annotation.get("category_id")))
        if label is None:
            return "name a category id that does not exist"
        size = record_size(self.images[image])
        box = parse_box(annotation.get("bbox"))
        clipped = None if box is None else clip_box(box, size)
        if clipped is None:
            return "have no box of positive size inside the image"
        segmentation: Segmentation | None = None
        if self.masks:
            segmentation, _ = usable_segmentation(annotation.get("segmentation"), size)
            if segmentation is None:
                return "have no usable segmentation"
        keypoints = None
        if self._num_keypoints and "keypoints" in annotation:
            keypoints = parse_keypoints(annotation["keypoints"], self._num_keypoints)
            if keypoints is None:
                return "have broken keypoints"
        crowd = annotation.get("iscrowd") in (1, "1")
        return InstanceRecord(image, clipped, label, crowd, segmentation, keypoints)

    def warn(self, path: str | Path) -> list[str]:
        """Log what was left out, a line for bad records and one for the quarantine; both."""
        notes = []
        if self.left_out:
            notes.append(f"{path}: quarantine leaves out {list_counts(self.left_out)}")
            logger.info("%s", notes[-1])
        if self.dropped:
            notes.append(f"{path}: left out: {list_counts(self.dropped)}; {CHECK}")
            logger.warning("%s", notes[-1])
        return notes


def _are_numbers(value: Any, count: int) -> bool:
    """Whether parsed JSON is a list of so many finite numbers."""
    is_list = isinstance(value, list) and len(value) == count
    return is_list and all(type(v) in (int, float) and math.isfinite(v) for v in value)


def parse_box(value: Any) -> BoxXYXY | None:
    """Read a COCO box (x, y, width, height) as xyxy; None when it is not four finite numbers."""
    if not _are_numbers(value, 4):
        return None
    x, y, width, height = value
    return x, y, x + width, y + height


def parse_keypoints(value: Any, num_keypoints: int) -> list[float] | None:
    """Read K times x, y, visibility; None when they are something else.

    COCO counts pixels, and the centre of pixel 0 lies at 0.5 in the continuous coordinates used
    inside; keypoints of visibility 0 have no place and stay (0, 0, 0).
    """
    if not _are_numbers(value, 3 * num_keypoints) or not all(v in (0, 1, 2) for v in value[2::3]):
        return None
    points: list[float] = []
    for x, y, visibility in zip(value[0::3], value[1::3], value[2::3], strict=True):
        points += [x + 0.5, y + 0.5, visibility] if visibility > 0 else [0.0, 0.0, 0.0]
    return points


def parse_id(value: Any) -> Any:
    """Pass an id on; anything that cannot be one becomes a text that no record has."""
    return value if isinstance(value, int | float | str) else f"not an id: {value!r}"


def _area(instance: InstanceRecord, size: Size) -> float:
    """Pixels of the mask, or of the box where there is no mask."""
    if instance.segmentation is not None:
        return float(mask_utils.area(to_rle(instance.segmentation, size)))
    x1, y1, x2, y2 = instance.box
    return (x2 - x1) * (y2 - y1)


def record_size(record: Record) -> Size:
    """(height, width) that an image record states."""
    return int(record["height"]), int(record["width"])
