"""The data doctor's check of the label files of a YOLO folder."""

from dataclasses import dataclass

from van_dense.data.doctor.image_list import ImageList
from van_dense.data.doctor.report import PartReport, Severity
from van_dense.data.readers.quarantine import Quarantine, StaleQuarantine
from van_dense.data.readers.yolo import YoloRecords
from van_dense.data.readers.yolo_files import YoloFiles
from van_dense.data.readers.yolo_layout import YoloLayout, part_source
from van_dense.data.readers.yolo_lines import LabelLine

_BOX_AMONG_POLYGONS = "a box where other lines have polygons"


@dataclass(frozen=True)
class YoloPart:
    """One split of a YOLO folder."""

    root: str  #: folder that holds the data file, or that file
    split: str
    #: Whether masks are read; None where nobody knows, and lines without are then a warning.
    masks: bool | None = None

    @property
    def source(self) -> str:
        """Path that keys the quarantine, which need not exist."""
        return part_source(self.root, self.split)


def yolo_parts(root: str) -> list[YoloPart]:
    """Those of train, val and test that the data file names, or its ValueError."""
    layout = YoloLayout.read(root)
    return [YoloPart(root, split) for split in ("train", "val", "test") if layout.value(split)]


def check_yolo(part: YoloPart, quarantine: Quarantine) -> PartReport:
    """Check every line of the label files; of images only the header is read."""
    report = PartReport(part.split, part.source)
    try:
        masks = part.masks is not False
        records = YoloRecords(YoloFiles(part.root, part.split, quarantine), masks=masks)
    except StaleQuarantine:
        raise  # the caller judges everything, so that a new list can be written
    except ValueError as error:
        report.note_unreadable(error)
        return report
    report.categories = dict(records.layout.meaning.names)
    report.images = ImageList(records.images)
    report.others = tuple(map(str, records.labels.files))
    for remark in records.remarks:
        report.note(remark.severity, remark.what, remark.fix, file=remark.file)
    for image, lines in enumerate(records.lines):
        usable: list[LabelLine] = []
        for line in lines:
            problem = records.problem(image, line)
            if part.masks is None and problem == _BOX_AMONG_POLYGONS:
                what = f"it has {problem}; training of masks leaves it out"
                _note(report, "warning", records, image, line, what)
                problem = None
            if problem is None:
                usable.append(line)
                report.counts[line.label] += 1
                report.objects[records.images[image].id, line.label] += 1
            else:
                _note(report, "error", records, image, line, f"it has {problem}")
        report.num_empty += not usable
        for line, what in records.unusual(image, usable):
            _note(report, "warning", records, image, line, what.removeprefix("lines with "))
    report.note_unused()
    return report


def _note(
    report: PartReport,
    severity: Severity,
    records: YoloRecords,
    image: int,
    line: LabelLine,
    what: str,
) -> None:
    where, file = f"line {line.id.rpartition(':')[2]}", str(records.label_files[image])
    bad = {"annotation_id": line.id} if severity == "error" else {}
    report.note(severity, what, "correct the line, or remove it", file=file, where=where, **bad)
