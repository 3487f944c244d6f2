"""The data doctor's check of the records of a COCO annotation file."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from van_dense.core.counting import counted, of_kind
from van_dense.core.dataset_info import DatasetInfo
from van_dense.core.structures import Size
from van_dense.data.doctor.coco_geometry import GeometryCheck
from van_dense.data.doctor.report import PartReport, Severity
from van_dense.data.io.names import find_all_below
from van_dense.data.readers.annotation_columns import ImageRecord, InstanceRecord
from van_dense.data.readers.coco_geometry import OUTSIDE_TOLERANCE
from van_dense.data.readers.coco_images import Broken, ImageRecords
from van_dense.data.readers.coco_json import (
    CocoDict,
    Record,
    Skeleton,
    dataset_info,
    empty_root,
    read_coco_json,
    root_words,
    skeleton_notes,
)
from van_dense.data.readers.coco_records import (
    KEYPOINTS,
    LEAVES,
    MASKS,
    MASKS_DIFFER,
    NO_PIXEL,
    NUM_KEYPOINTS,
    ORPHANS,
    CocoRecords,
    Crowds,
)
from van_dense.data.readers.coco_values import is_id, parse_box, parse_id
from van_dense.data.readers.missing_images import missing_images
from van_dense.data.readers.quarantine import Quarantine
from van_dense.data.readers.skeleton_file import spell

Finding = tuple[Severity, str, str]  # severity, what, fix


@dataclass(frozen=True)
class CocoPart:
    """A folder of images with its annotation file."""

    name: str  #: name in messages
    images: str  #: folder of the images
    annotations: str  #: JSON file
    poses: tuple[str, ...] = ()  #: keypoint names of a pose model; masks are then not checked
    skeleton: Skeleton | None = None  #: keypoints, instead of what the file says of them
    masks: bool | None = None  #: whether a model learns masks; None checks what the file has
    keypoints: bool | None = None  #: whether keypoints are read; None checks what the file has
    crowds: Crowds = "regions"  #: what ``iscrowd: 1`` means
    is_beside: bool = False  #: whether an earlier part has the same images, and judges these

    @property
    def source(self) -> str:
        """File that keys the quarantine."""
        return self.annotations


def check_coco(part: CocoPart, quarantine: Quarantine) -> PartReport:
    """Check every record of an annotation file, without opening images."""
    report = PartReport(part.name, part.annotations, is_beside=part.is_beside)
    try:
        data = read_coco_json(part.annotations)
        info = _info(report, part, data)
        if not Path(part.images).is_dir():
            what = "no such folder; give the folder that holds the images"
            raise ValueError(f"{part.images}: {what}")
    except ValueError as error:
        report.note_unreadable(error)
        return report
    if (root := empty_root(data)) is not None:
        report.note("info", root_words(root), "none needed", where="categories")
    report.categories = dict(zip(info.category_ids, info.class_names, strict=True))
    left_out = quarantine.of(part.annotations)
    records = CocoRecords(
        data,
        info,
        left_out,
        masks=part.masks is not False and not part.poses,
        keypoints=bool(info.keypoint_names),
        crowds=part.crowds,
        files=not part.is_beside,
    )
    check_images(report, data, records.image_records, part.images)
    geometry = GeometryCheck(records.masks, records.num_keypoints)
    check = _AnnotationCheck(records, bool(part.poses), geometry)
    check.run(report)
    check.conclude(report)
    if part.masks is None and not part.poses:
        _note_readers(report, check.broken)
    if part.masks and not records.masks:
        what = "no annotation has a segmentation, and the model of the config learns masks"
        report.note("error", what, "draw masks, or train a model of boxes")
    report.note_unused()
    if part.poses:
        for note in skeleton_notes(part.annotations, data, part.skeleton):
            what, _, fix = note.removeprefix(f"{part.annotations}: ").rpartition("; ")
            report.note("warning", what, fix)
        _check_poses(report, info, part.poses, check.num_posed, len(data["annotations"]))
    return report


def _note_readers(report: PartReport, broken: Counter[str]) -> None:
    """Say which models the errors do not concern, where no config says what is read."""
    masks, joints = (sum(broken[reason] for reason in reasons) for reasons in (MASKS, KEYPOINTS))
    if masks or joints:
        what = f"{masks} of the broken annotations are so for masks alone, {joints} for poses alone"
        fix = "check with --config what a model reads: one of boxes reads these records"
        report.note("info", what, fix)


def _info(report: PartReport, part: CocoPart, data: CocoDict) -> DatasetInfo:
    """Classes, and keypoints where they are read; their faults are the file's for poses alone."""
    described: Any = (part.annotations, data, part.name, part.skeleton)
    if part.poses or part.keypoints:
        return dataset_info(*described)
    if part.keypoints is None:
        try:
            return dataset_info(*described)
        except ValueError as error:
            _, _, what = str(error).partition(": ")
            fix = "needed by poses alone; boxes and masks are read without"
            report.note("error", what, fix, where="categories")
    return dataset_info(*described, keypoints=False)


def check_images(report: PartReport, data: CocoDict, found: ImageRecords, folder: str) -> None:
    """Report broken image records and file names that repeat; sound ones go into the report."""
    records = data["images"]
    for index, broken in found.broken:
        record = records[index]
        where = f"images[{index}] (id {record.get('id')!r:.40}, {record.get('file_name')!s:.80})"
        report.note("error", broken.what, broken.fix, where=where, record=f"images[{index}]")
    if report.is_beside:
        return
    first_with_name: dict[str, int] = {}
    paths, spelling = find_all_below(folder, [record["file_name"] for record in found.usable])
    if spelling is not None:
        report.note("info", spelling, "none needed", where="images")
    rows = zip(found.indices, found.usable, found.sizes, paths, strict=True)
    for index, record, size, path in rows:
        first = first_with_name.setdefault(record["file_name"], index)
        if first != index:
            where = f"images[{index}] (id {record['id']!r}, {record['file_name']})"
            what = f"images[{first}] names the same file"
            fix = "join the two records; the picture counts twice"
            report.note("error", what, fix, where=where, record=f"images[{index}]")
        report.images.append(ImageRecord(path, record["id"], size))
    if report.images and not any(Path(image.path).exists() for image in report.images):
        absent = missing_images(folder, paths)
        what = f"none of the {len(report.images)} images is there, such as {report.images[0].path}"
        report.note("error", what, absent.fix if absent else "", file=folder)
        report.images.clear()


@dataclass
class _AnnotationCheck:
    """Judges annotations one by one, and counts them."""

    records: CocoRecords
    poses: bool  #: whether objects without a labelled joint are nothing to find
    geometry: GeometryCheck
    broken: Counter[str] = field(default_factory=Counter)  #: left out, by reason
    num_posed: int = 0  #: objects with a labelled joint, without crowds
    _first_with_id: dict[Any, int] = field(default_factory=dict)
    _first_alike: dict[Any, int] = field(default_factory=dict)

    def run(self, report: PartReport) -> None:
        """Report every problem of annotations that are not in quarantine."""
        with_objects: set[int] = set()
        records = self.records
        annotations: Sequence[Record] = records.data["annotations"]
        uses = Counter(parse_id(record.get("id")) for record in annotations)
        for index, record in enumerate(annotations):
            if records.is_left_out(index, record):
                continue
            where = records.place(index, record)
            for severity, what, fix in self._judge_identity(index, record):
                report.note(severity, what, fix, where=where)
            found = records.read(index, record)
            if isinstance(found, Broken):
                self.broken[found.reason] += 1
                self._compare(record)
                if found.reason != ORPHANS:
                    key = parse_id(record.get("id"))
                    place: dict[str, Any] = {"annotation_id": key}
                    if uses[key] > 1 or not is_id(record.get("id")):
                        place = {"record": f"annotations[{index}]"}
                    report.note("error", found.what, found.fix, where=where, **place)
                continue
            for severity, what, fix in self._judge(record, found):
                report.note(severity, what, fix, where=where)
            if found.crowd:
                report.num_crowds += 1
            else:
                category_id = records.info.category_ids[found.label]
                report.counts[category_id] += 1
                has_joint = any((found.keypoints or [])[2::3])
                self.num_posed += has_joint
                if not self.poses or has_joint:
                    image_id = records.images[found.image]["id"]
                    report.objects[image_id, category_id] += 1
                with_objects.add(found.image)
        report.num_empty = sum(i not in with_objects for i in range(len(report.images)))

    def _compare(self, record: Record) -> Iterable[tuple[str, str]]:
        """Compare box, mask and joints of a record, sound or not."""
        position = self.records.image_records.position.get(parse_id(record.get("image_id")))
        size = (0, 0) if position is None else self.records.sizes[position]
        return list(self.geometry.judge(record, size))

    def conclude(self, report: PartReport) -> None:
        """Report what concerns the whole file, after all annotations."""
        records = self.records
        if orphans := self.broken[ORPHANS]:
            one = "annotation is of an image whose record is"
            several = "annotations are of images whose records are"
            what = f"{counted(orphans, one, several)} broken"
            report.note("warning", what, "correct the records of these images")
        for kind, change in records.changes.items():
            if kind in (LEAVES, MASKS_DIFFER, NO_PIXEL, NUM_KEYPOINTS):
                continue  # each of them has its own line
            what = f"{of_kind(change.count, kind)}; the first: {change.example}"
            report.note("warning", what, "correct the file, or leave it so", where=change.where)
        for what, fix in records.unclear_classes():
            report.note("warning", what, fix, where="categories")
        if (suspicious := records.suspicious_crowds()) is not None:
            report.note("warning", suspicious, "look at some of them with --draw")
        for severity, what, fix in self.geometry.causes():
            report.note(severity, what, fix)
        if (remark := self.geometry.remark()) is not None:
            report.note("info", *remark)
        if crowds := records.crowds.total():
            names, ids = records.info.class_names, records.info.category_ids
            rows = [
                f"  {ids[label]:>10}  {names[label]}  {count} of {records.counts[label]}"
                for label, count in sorted(records.crowds.items())
                if count
            ]
            title = f"crowd regions (iscrowd 1), {crowds} of {records.counts.total()}"
            report.tables.append("\n".join([title, *rows]))

    def _judge(self, record: Record, found: InstanceRecord) -> Iterator[Finding]:
        size = self.records.sizes[found.image]
        yield from _judge_box(record.get("bbox"), size)
        if found.keypoints is not None:
            yield from _judge_keypoints(record, found.keypoints, size)
        for what, fix in self._compare(record):
            yield "warning", what, fix

    def _judge_identity(self, index: int, record: Record) -> Iterator[Finding]:
        key = parse_id(record.get("id"))
        if not is_id(record.get("id")):
            yield "warning", "it has no id of its own", "number the annotations from 1"
        elif (first := self._first_with_id.setdefault(key, index)) != index:
            what = f"annotations[{first}] has the same id"
            yield "warning", what, "number the annotations from 1; evaluators keep one of the two"
        alike = (record.get("image_id"), record.get("category_id"), record.get("bbox"))
        if (first := self._first_alike.setdefault(repr(alike), index)) != index:
            what = f"annotations[{first}] has the same image, category and box"
            yield "warning", what, "remove one; the object counts twice"


def _judge_keypoints(record: Record, points: Sequence[float], size: Size) -> Iterator[Finding]:
    labelled = [points[i : i + 2] for i in range(0, len(points), 3) if points[i + 2] > 0]
    height, width = size
    far = [
        (x - 0.5, y - 0.5)
        for x, y in labelled
        if max(-x, -y, x - width, y - height) > OUTSIDE_TOLERANCE
    ]
    if far:
        what = (
            f"{counted(len(far), 'labelled keypoint lies', 'labelled keypoints lie')} outside of "
            f"the {width}x{height} image: {far[:3]}"
        )
        yield "warning", what, "correct them, or set their visibility to 0"
    stated = record.get("num_keypoints", len(labelled))
    if stated != len(labelled):
        what = (
            f"num_keypoints says {stated!r}, but "
            f"{counted(len(labelled), 'keypoint has', 'keypoints have')} a visibility > 0"
        )
        yield "warning", what, "correct the number; COCO's evaluation ignores persons where it is 0"


def _check_poses(
    report: PartReport, info: DatasetInfo, expected: tuple[str, ...], posed: int, total: int
) -> None:
    """What a pose model needs of the whole file."""
    if not info.keypoint_names:
        fix = "add 'keypoints' to the category, or describe them in data.skeleton"
        report.note("error", "no category names keypoints", fix)
        return
    if info.keypoint_names != expected:
        what = f"its keypoints are {list(info.keypoint_names)}, the model expects {list(expected)}"
        line = f"data.skeleton={{keypoints: {spell(info.keypoint_names)}}}"
        report.note("error", what, f"describe those of the file: {line}")
    what = f"{posed} of {total} annotations have a labelled keypoint"
    fix = "none needed; training takes these" if posed else "are these the keypoint annotations?"
    report.note("info" if posed else "error", what, fix)


def _judge_box(value: Any, size: Size) -> Iterator[Finding]:
    box = parse_box(value)
    if box is None:
        return  # it was derived
    x1, y1, x2, y2 = box
    height, width = size
    if max(-x1, -y1, x2 - width, y2 - height) > OUTSIDE_TOLERANCE:
        what = f"the box {value} leaves its {width}x{height} image, and is clipped"
        yield "warning", what, "check that it is x, y, width, height, not two corners"
