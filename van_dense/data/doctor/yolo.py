"""The data doctor's check of the label files of a YOLO folder."""

from dataclasses import dataclass
from pathlib import Path

from van_dense.data.doctor.report import PartReport
from van_dense.data.readers.quarantine import Quarantine
from van_dense.data.readers.table import ImageRecord
from van_dense.data.readers.yolo import YoloLayout, line_problem, size_or_zero


@dataclass(frozen=True)
class YoloPart:
    """One split of a YOLO folder."""

    root: str
    split: str

    @property
    def source(self) -> str:
        """Path that keys the quarantine, which need not exist."""
        return str(Path(self.root) / self.split)


def yolo_parts(root: str) -> list[YoloPart]:
    """Those of train, val and test that ``data.yaml`` names, or its ValueError."""
    entries = YoloLayout.read(root).entries
    return [YoloPart(root, split) for split in ("train", "val", "test") if entries.get(split)]


def check_yolo(part: YoloPart, quarantine: Quarantine) -> PartReport:
    """Check every line of the label files; of images only the header is read."""
    report = PartReport(part.split, part.source)
    try:
        layout = YoloLayout.read(part.root)
        files = layout.images(part.split)
    except ValueError as error:
        report.note_unreadable(error)
        return report
    report.categories = dict(enumerate(layout.names))
    report.others = tuple(str(layout.label_file(file)) for file in files)
    lines = layout.read_labels(files, quarantine.of(report.source, *report.others))
    has_masks = any(line.is_polygon for found in lines.values() for line in found)
    for file, found in lines.items():
        size = size_or_zero(file)
        report.images.append(ImageRecord(str(file), layout.image_id(file), size))
        if size == (0, 0):
            continue  # the image itself is reported when it is decoded
        usable = 0
        for line in found:
            problem = line_problem(line, size, len(layout.names), has_masks=has_masks)
            if problem is None:
                usable += 1
                report.counts[line.label] += 1
                report.objects[layout.image_id(file), line.label] += 1
                continue
            what, fix = f"it has {problem}", "correct the line, or remove it"
            where, labels = f"line {line.id.rpartition(':')[2]}", str(layout.label_file(file))
            report.note("error", what, fix, file=labels, where=where, annotation_id=line.id)
        report.num_empty += usable == 0
    _check_label_files(report, {layout.label_file(file) for file in files})
    report.note_unused()
    return report


def _check_label_files(report: PartReport, expected: set[Path]) -> None:
    """Report images without a label file, and label files without an image."""
    missing = sorted(file for file in expected if not file.is_file())
    if missing:
        what = f"{len(missing)} images have no label file, such as {missing[0]}"
        report.note("info", what, "none needed if they show no object")
    found = {file for folder in {f.parent for f in expected} for file in folder.glob("*.txt")}
    for orphan in sorted(found - expected):
        what = "no image belongs to it"
        report.note("warning", what, "add the image, or delete it", file=str(orphan))
