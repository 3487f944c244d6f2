"""Readers and checks of the data formats of detectors, chosen by the config."""

from typing import Any

from van_dense.config.detection_data import DetectionData, PerImageFiles
from van_dense.data.doctor.annotated_images import labelme_parts, voc_parts
from van_dense.data.doctor.doctor import CocoPart, Part, YoloPart
from van_dense.data.readers.annotated_images import Rules
from van_dense.data.readers.coco import CocoDataset
from van_dense.data.readers.labelme import LabelmeDataset
from van_dense.data.readers.table import TableDataset
from van_dense.data.readers.voc import VocDataset
from van_dense.data.readers.yolo import YoloDataset
from van_dense.tasks.base import Split


def read_part(data: DetectionData, split: Split, *, masks: bool, **options: Any) -> TableDataset:
    """Reader of one part in the format of the config.

    Args:
        data: Section ``data`` of the config.
        split: "train" or "val".
        masks: Whether to read masks.
        options: name, quarantine and drop_empty, as all readers take them.
    """
    if data.format == "yolo":
        assert data.yolo_root is not None  # the schema demands it
        return YoloDataset(data.yolo_root, split, masks=masks, index=data.index, **options)
    if data.format == "voc":
        assert data.voc is not None  # as above
        splits = (data.voc.train, data.voc.val)
        return VocDataset(
            data.voc.root,
            getattr(data.voc, split),
            splits=splits,
            rules=rules_of(data.voc),
            first_pixel=data.voc.first_pixel,
            **options,
        )
    if data.format == "labelme":
        assert data.labelme is not None  # as above
        return LabelmeDataset(
            getattr(data.labelme, split),
            folders=(data.labelme.train, data.labelme.val),
            rules=rules_of(data.labelme),
            numbers=data.labelme.numbers,
            join_groups=data.labelme.join_groups,
            masks=masks,
            **options,
        )
    part = data.train if split == "train" else data.val
    assert part is not None  # as above
    return CocoDataset(
        part.images,
        part.annotations,
        masks=masks,
        keypoints=False,
        crowds=data.crowds,
        index=data.index,
        **options,
    )


def check_parts(data: DetectionData, *, masks: bool) -> list[Part]:
    """What the data doctor checks of both parts."""
    if data.format == "yolo":
        return [YoloPart(str(data.yolo_root), split, masks) for split in ("train", "val")]
    if data.format == "voc":
        assert data.voc is not None  # the schema demands it
        splits = (data.voc.train, data.voc.val)
        rules, first_pixel = rules_of(data.voc), data.voc.first_pixel
        named: dict[str, Any] = {"needs_masks": masks, "names": ("train", "val")}
        return [*voc_parts(data.voc.root, splits, rules, first_pixel, **named)]
    if data.format == "labelme":
        assert data.labelme is not None  # as above
        folders = (data.labelme.train, data.labelme.val)
        rules, numbers = rules_of(data.labelme), data.labelme.numbers
        settings: dict[str, Any] = {"masks": masks, "needs_masks": masks, "names": ("train", "val")}
        settings["join_groups"] = data.labelme.join_groups
        return [*labelme_parts(folders, rules, numbers, **settings)]
    assert data.train is not None and data.val is not None  # as above
    reads: dict[str, Any] = {"masks": masks, "keypoints": False, "crowds": data.crowds}
    return [
        CocoPart(name, part.images, part.annotations, **reads)
        for name, part in (("train", data.train), ("val", data.val))
    ]


def rules_of(section: PerImageFiles) -> Rules:
    """How names and marks of the files are meant."""
    return Rules(section.classes, section.rename, section.difficult)
