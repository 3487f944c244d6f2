"""The data doctor's check of the records of a COCO annotation file."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from van_dense.core.dataset_info import DatasetInfo
from van_dense.core.structures import Size
from van_dense.data.doctor.report import PartReport, Severity
from van_dense.data.readers.coco import parse_box, parse_id, parse_keypoints, record_size
from van_dense.data.readers.coco_json import (
    CocoDict,
    Record,
    Skeleton,
    dataset_info,
    read_coco_json,
)
from van_dense.data.readers.quarantine import Quarantine, QuarantinedPart
from van_dense.data.readers.segmentation import usable_segmentation
from van_dense.data.readers.table import ImageRecord, clip_box

Finding = tuple[Severity, str, str]  # severity, what, fix
OUTSIDE_TOLERANCE = 1.0  # pixels; COCO's own boxes leave their images by rounding


@dataclass(frozen=True)
class CocoPart:
    """A folder of images with its annotation file."""

    name: str  #: name in messages
    images: str  #: folder of the images
    annotations: str  #: JSON file
    poses: tuple[str, ...] = ()  #: keypoint names of a pose model; masks are then not checked
    skeleton: Skeleton | None = None  #: keypoints, instead of what the file says of them

    @property
    def source(self) -> str:
        """File that keys the quarantine."""
        return self.annotations


def check_coco(part: CocoPart, quarantine: Quarantine) -> PartReport:
    """Check every record of an annotation file, without opening images."""
    report = PartReport(part.name, part.annotations)
    try:
        data = read_coco_json(part.annotations)
        info = dataset_info(part.annotations, data, part.name, part.skeleton)
        if not Path(part.images).is_dir():
            what = "no such folder; give the folder that holds the images"
            raise ValueError(f"{part.images}: {what}")
    except ValueError as error:
        report.note_unreadable(error)
        return report
    report.categories = dict(zip(info.category_ids, info.class_names, strict=True))
    left_out = quarantine.of(part.annotations)
    repeated = "give each image its own id; the reader keeps the first"
    sizes = check_images(report, data, part.images, left_out, repeated=repeated)
    records: list[Record] = data["annotations"]
    masks = not part.poses and any(record.get("segmentation") for record in records)
    _AnnotationCheck(info, sizes, masks).run(report, records, left_out)
    report.note_unused()
    if part.poses:
        _check_poses(report, data, info, part.poses)
    return report


def check_images(
    report: PartReport, data: CocoDict, folder: str, left_out: QuarantinedPart, *, repeated: str
) -> dict[Any, Size]:
    """Report ids and file names that repeat; returns the (height, width) of each image id.

    ``repeated`` says what to do about ids that repeat.
    """
    sizes: dict[Any, Size] = {}
    first_with_name: dict[str, int] = {}
    for index, record in enumerate(data["images"]):
        place = f"images[{index}]"
        where = f"{place} (id {record['id']!r}, {record['file_name']})"
        if record["id"] in left_out.images or place in left_out.records:
            continue
        if record["id"] in sizes:
            what = "an earlier image has the same id"
            report.note("error", what, repeated, where=where, record=place)
            continue
        sizes[record["id"]] = record_size(record)
        first = first_with_name.setdefault(record["file_name"], index)
        if first != index:
            what = f"images[{first}] names the same file"
            fix = "join the two records; the picture counts twice"
            report.note("error", what, fix, where=where)
        path = str(Path(folder) / record["file_name"])
        report.images.append(ImageRecord(path, record["id"], sizes[record["id"]]))
    if report.images and not any(Path(image.path).exists() for image in report.images):
        what = f"none of the {len(report.images)} images is there, such as {report.images[0].path}"
        report.note("error", what, "give the folder that the file names start from", file=folder)
        report.images.clear()
    return sizes


@dataclass
class _AnnotationCheck:
    """Judges annotations one by one, and counts them."""

    info: DatasetInfo
    sizes: dict[Any, Size]
    masks: bool
    _first_with_id: dict[Any, int] = field(default_factory=dict)
    _first_alike: dict[Any, int] = field(default_factory=dict)

    def run(self, report: PartReport, records: list[Record], left_out: QuarantinedPart) -> None:
        """Report every problem of annotations that are not in quarantine."""
        with_objects = set()
        for index, record in enumerate(records):
            annotation_id, image_id = parse_id(record.get("id")), parse_id(record.get("image_id"))
            if annotation_id in left_out.annotations or image_id in left_out.images:
                continue
            where = f"annotations[{index}] (id {record.get('id')!r})"
            usable = True
            for severity, what, fix in self._judge(index, record):
                usable &= severity != "error"
                has_id = severity == "error" and isinstance(record.get("id"), int | str)
                quarantined = annotation_id if has_id else None
                report.note(severity, what, fix, where=where, annotation_id=quarantined)
            if not usable:
                continue
            if record.get("iscrowd") in (1, "1"):
                report.num_crowds += 1
            else:
                report.counts[record["category_id"]] += 1
                with_objects.add(image_id)
        report.num_empty = sum(image.id not in with_objects for image in report.images)

    def _judge(self, index: int, record: Record) -> Iterator[Finding]:
        yield from self._judge_identity(index, record)
        size = self.sizes.get(parse_id(record.get("image_id")))
        if size is None:
            what = f"the image id {record.get('image_id')!r} does not exist"
            yield "error", what, "add the image, or remove the annotation"
            return
        if parse_id(record.get("category_id")) not in self.info.label_of:
            what = f"the category id {record.get('category_id')!r} does not exist"
            known = f"{self.info.category_ids[0]}..{self.info.category_ids[-1]}"
            yield "error", what, f"add the category or correct the id (known: {known})"
        yield from _judge_box(record.get("bbox"), size)
        if self.masks:
            usable, problem = usable_segmentation(record.get("segmentation"), size)
            if usable is None:
                yield "error", problem or "", "draw the object again, or remove the annotation"
            elif problem is not None:
                yield "warning", f"{problem}; it is left out", "remove the polygon"
        num_keypoints = len(self.info.keypoint_names)
        if num_keypoints and "keypoints" in record:
            yield from _judge_keypoints(record, size, num_keypoints)

    def _judge_identity(self, index: int, record: Record) -> Iterator[Finding]:
        key = parse_id(record.get("id"))
        if not isinstance(record.get("id"), int | str):
            yield "warning", "it has no id of its own", "number the annotations from 1"
        elif (first := self._first_with_id.setdefault(key, index)) != index:
            what = f"annotations[{first}] has the same id"
            yield "warning", what, "number the annotations from 1; evaluators keep one of the two"
        alike = (record.get("image_id"), record.get("category_id"), record.get("bbox"))
        if (first := self._first_alike.setdefault(repr(alike), index)) != index:
            what = f"annotations[{first}] has the same image, category and box"
            yield "warning", what, "remove one; the object counts twice"


def _judge_keypoints(record: Record, size: Size, num_keypoints: int) -> Iterator[Finding]:
    points = parse_keypoints(record["keypoints"], num_keypoints)
    if points is None:
        values = record["keypoints"]
        count = len(values) if isinstance(values, list) else 0
        what = f"the keypoints are not {num_keypoints} times x, y and visibility 0, 1 or 2"
        what += f" ({count} values)" if count != 3 * num_keypoints else ""
        yield "error", what, "correct the list"
        return
    labelled = [points[i : i + 2] for i in range(0, len(points), 3) if points[i + 2] > 0]
    height, width = size
    far = [
        (x - 0.5, y - 0.5)
        for x, y in labelled
        if max(-x, -y, x - width, y - height) > OUTSIDE_TOLERANCE
    ]
    if far:
        what = f"{len(far)} labelled keypoints lie outside of the {width}x{height} image: {far[:3]}"
        yield "warning", what, "correct them, or set their visibility to 0"
    stated = record.get("num_keypoints", len(labelled))
    if stated != len(labelled):
        what = f"num_keypoints says {stated!r}, but {len(labelled)} keypoints have a visibility > 0"
        yield "warning", what, "correct the number; COCO's evaluation ignores persons where it is 0"


def _check_poses(
    report: PartReport, data: CocoDict, info: DatasetInfo, expected: tuple[str, ...]
) -> None:
    """What a pose model needs of the whole file."""
    if not info.keypoint_names:
        fix = "add 'keypoints' to the category, or describe them in data.skeleton"
        report.note("error", "no category names keypoints", fix)
        return
    if info.keypoint_names != expected:
        what = f"its keypoints are {list(info.keypoint_names)}, the model expects {list(expected)}"
        report.note("error", what, "describe those of the file in data.skeleton")
    posed = sum(any((r.get("keypoints") or [])[2::3]) for r in data["annotations"])
    what = f"{posed} of {len(data['annotations'])} annotations have a labelled keypoint"
    fix = "none needed; training takes these" if posed else "are these the keypoint annotations?"
    report.note("info" if posed else "error", what, fix)


def _judge_box(value: Any, size: Size) -> Iterator[Finding]:
    fix = "correct the box (x, y, width, height in pixels), or remove the annotation"
    box = parse_box(value)
    if box is None:
        yield "error", f"the box is not four finite numbers: {value!r:.80}", fix
        return
    x1, y1, x2, y2 = box
    height, width = size
    if x2 <= x1 or y2 <= y1:
        yield "error", f"the box {value} has no positive size", fix
    elif clip_box(box, size) is None:
        yield "error", f"the box {value} shows nothing inside its {width}x{height} image", fix
    elif max(-x1, -y1, x2 - width, y2 - height) > OUTSIDE_TOLERANCE:
        what = f"the box {value} leaves its {width}x{height} image, and is clipped"
        yield "warning", what, "check that it is x, y, width, height, not two corners"
