"""What ``van-dense convert-panoptic`` reads: instances, label maps, and which belong together."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from van_dense.core.counting import shorten
from van_dense.core.structures import IGNORE_LABEL, Size, size_of
from van_dense.data.dataset import ReadError
from van_dense.data.io.image import image_size
from van_dense.data.io.label_map import LabelMap
from van_dense.data.io.masks import read_classes
from van_dense.data.readers.coco import CocoDataset
from van_dense.data.readers.image_mask import files_by_key, key_of, mask_size_problem
from van_dense.data.readers.panoptic_json import class_count_problem
from van_dense.data.readers.table import TableDataset, size_problem
from van_dense.data.readers.yolo import YoloDataset
from van_dense.runs.panoptic_painting import Objects
from van_dense.visualize.palette import distinct_colors

logger = logging.getLogger(__name__)

_SHOWN = 5  # names in a message


@dataclass(frozen=True)
class Things:
    """Instances with masks; ``has_ids`` tells whether ids of images and categories are kept."""

    dataset: TableDataset
    has_ids: bool

    @staticmethod
    def of_coco(images: str, annotations: str) -> Things:
        """Read a COCO annotation file; a ValueError if it cannot be read or has no masks."""
        dataset = CocoDataset(
            images, annotations, name="instances", drop_empty=False, keypoints=False
        )
        return Things._with_masks(dataset, annotations, has_ids=True)

    @staticmethod
    def of_yolo(root: str, part: str) -> Things:
        """Read a part of a YOLO folder; a ValueError if it cannot be read or has no polygons."""
        dataset = YoloDataset(root, part, name="instances", drop_empty=False)
        return Things._with_masks(dataset, f"{root}, {part}", has_ids=False)

    @staticmethod
    def _with_masks(dataset: TableDataset, source: str, *, has_ids: bool) -> Things:
        if not dataset.has_masks:
            what = "no instance has a mask, and a box does not say which pixels it means"
            raise ValueError(f"{source}: {what}; annotate polygons or RLE")
        return Things(dataset, has_ids)

    def objects(self, position: int, size: Size) -> Objects:
        """Instances of an image whose file has (height, width) ``size``, or a ReadError."""
        data = self.dataset
        if (problem := size_problem(size, data.size(position))) is not None:
            raise ReadError(f"{data.path(position)}: {problem}")
        instances = data.instances(position)
        assert instances.crowd is not None  # the readers give it always
        labels, crowd = instances.labels.numpy(), instances.crowd.numpy()
        return Objects(data.masks(position), labels, crowd)


@dataclass(frozen=True)
class LabelMaps:
    """A folder of label maps, and what their values mean."""

    folder: str
    pattern: str  #: file names, such as "{key}_labels.png"
    labels: LabelMap  #: of raw values to 0..K-1
    class_names: tuple[str, ...]  #: K names

    def read(self, file: str, size: Size) -> np.ndarray:
        """Labels uint8 (H, W), 255 = ignored, for an image of ``size``, or a ReadError."""
        path = os.path.join(self.folder, file)
        classes = read_classes(path, self.labels)
        if (problem := mask_size_problem(size_of(classes), size)) is not None:
            raise ReadError(f"{path}: {problem}")
        return classes


@dataclass(frozen=True)
class Sources:
    """Images, and what is known of them: instances, label maps, or both."""

    images: str  #: folder
    image_pattern: str  #: file names of the images, whose key finds the label map
    things: Things | None
    maps: LabelMaps | None

    def read(self, entry: Entry, categories: Categories) -> tuple[Objects, np.ndarray, np.ndarray]:
        """Objects of an image, its stuff as ``paint`` takes it, and where else things are.

        The image itself is not decoded. What is missing, broken or of another size is a ReadError.
        """
        size = image_size(os.path.join(self.images, entry.file))
        objects = Objects(np.zeros((0, *size), np.uint8), np.zeros(0, np.int64), np.zeros(0, bool))
        labels = np.full(size, IGNORE_LABEL, dtype=np.uint8)
        if self.things is not None and entry.position is not None:
            objects = self.things.objects(entry.position, size)
        if self.maps is not None and entry.map is not None:
            labels = self.maps.read(entry.map, size)
        is_thing = np.zeros(IGNORE_LABEL + 1, dtype=bool)
        is_thing[list(categories.shared)] = True
        return objects, categories.stuff_of[labels], is_thing[labels]

    def entries(self) -> tuple[list[Entry], list[str]]:
        """Images with all that is to be known of them, and what others lack, in words.

        Two images of one key, and files outside of the image folder, are a ValueError.
        """
        images = self._images()
        if self.maps is None:
            return list(images.values()), []
        found, twice, left_out = files_by_key(self.maps.folder, self.maps.pattern)
        _warn(left_out)
        _require_none([reason for _, reason in twice])
        entries, incomplete = [], []
        for key, entry in images.items():
            if key in found:
                entries.append(Entry(entry.file, entry.id, entry.position, found[key]))
            else:
                incomplete.append(f"{entry.file} has no label map")
        whose = "image" if self.things is None else "image among the instances"
        unused = [file for key, file in found.items() if key not in images]
        incomplete += [f"the label map {file} has no {whose}" for file in unused]
        return entries, incomplete

    def _images(self) -> dict[str, Entry]:
        """Images by key, in the order of the instances or else of their names."""
        if self.things is None:
            found, twice, left_out = files_by_key(self.images, self.image_pattern)
            _warn(left_out)
            _require_none([reason for _, reason in twice])
            ordered = enumerate(found.items(), 1)
            return {key: Entry(file, number, None, None) for number, (key, file) in ordered}
        data, entries = self.things.dataset, dict[str, Entry]()
        for position in range(len(data)):
            file = Path(os.path.relpath(data.path(position), self.images)).as_posix()
            if file.startswith("../"):
                what = f"{data.path(position)} lies outside of the image folder {self.images}"
                raise ValueError(f"{what}; give one that holds all images")
            key = file if self.maps is None else key_of(file, self.image_pattern)
            if key is None:
                what = f"{file} is not named as the pattern {self.image_pattern!r} says"
                raise ValueError(f"{what}; correct --image-pattern")
            if key in entries:
                raise ValueError(f"{entries[key].file} and {file} both have the key {key!r}")
            number = data.image_id(position) if self.things.has_ids else position + 1
            entries[key] = Entry(file, number, position, None)
        return entries


def _warn(left_out: list[str]) -> None:
    for words in left_out:
        logger.warning("%s", words)


def _require_none(problems: list[str]) -> None:
    if problems:
        raise ValueError(f"{shorten(problems, _SHOWN)}; the key must tell files apart")


@dataclass(frozen=True)
class Entry:
    """One image: its file below the image folder, its id, and where its truth is."""

    file: str
    id: int | str
    position: int | None  #: among the images of the instances
    map: str | None  #: file below the folder of the label maps


@dataclass(frozen=True)
class Categories:
    """All classes of the new data set, things first; positions count from 0 in ``records``."""

    records: list[dict[str, Any]]  #: as the JSON holds them
    stuff_of: np.ndarray  #: int64 (256,), position of the stuff of each label plus one, or 0 = void
    shared: Mapping[int, str]  #: labels whose class is a thing, and its name

    @staticmethod
    def of(sources: Sources) -> Categories:
        """Things keep their ids where they have some, else they are 1.. ; stuff comes after them.

        Names that differ in case alone are of one class. More classes than labels can name are a
        ValueError.
        """
        ids: list[int] = []
        names: list[str] = []
        if sources.things is not None:
            info = sources.things.dataset.info
            names = list(info.class_names)
            has_ids = sources.things.has_ids
            ids = list(info.category_ids) if has_ids else list(range(1, len(names) + 1))
        known, num_things = {name.casefold() for name in names}, len(names)
        stuff_of = np.zeros(IGNORE_LABEL + 1, dtype=np.int64)
        shared: dict[int, str] = {}
        for label, name in enumerate(sources.maps.class_names if sources.maps is not None else ()):
            if name.casefold() in known:
                shared[label] = name
                continue
            names.append(name)
            ids.append(max(ids, default=0) + 1)
            stuff_of[label] = len(names)
        if (problem := class_count_problem(len(names))) is not None:
            raise ValueError(f"the new data set would have {problem}")
        records = []
        for position, color in enumerate(distinct_colors(len(names))):
            is_thing = position < num_things
            record = {"id": ids[position], "name": names[position], "isthing": int(is_thing)}
            kind = "thing" if is_thing else "stuff"
            records.append({**record, "supercategory": kind, "color": list(color)})
        return Categories(records, stuff_of, shared)
