"""Reader of YOLO folders: ``data.yaml``, images, a text file of boxes or polygons for each.

The label file of ``images/a.jpg`` is ``labels/a.txt``; an image without one, or with an empty one,
shows no object. What a line is, is told by ``yolo_lines.py``; where files lie by
``yolo_layout.py`` and ``yolo_labels.py``.
Source of the format: https://docs.ultralytics.com/datasets/segment/.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from van_dense.data.io.sizes import read_sizes
from van_dense.data.messages import CHECK, Remark, list_counts
from van_dense.data.readers.annotation_columns import (
    AnnotationColumns,
    ImageRecord,
    InstanceRecord,
    build_columns,
)
from van_dense.data.readers.annotation_index import Arrays, Facts, IndexUse
from van_dense.data.readers.class_names import alike_classes
from van_dense.data.readers.missing_images import unreadable_images
from van_dense.data.readers.quarantine import Quarantine
from van_dense.data.readers.segmentation import has_no_pixel
from van_dense.data.readers.table import TableDataset, clip_box
from van_dense.data.readers.yolo_dialect import judge_dialect, mark_tracked
from van_dense.data.readers.yolo_files import YoloFiles
from van_dense.data.readers.yolo_lines import LabelLine, is_cut, line_problem, read_lines

logger = logging.getLogger(__name__)


class YoloDataset(TableDataset):
    """A ``DenseDataset`` from a YOLO folder; category ids are the file's, image ids relative paths.

    Broken lines are left out with one warning that counts them.

    Args:
        root: Folder that holds ``data.yaml`` or Darknet's ``obj.data``, or such a file.
        split: Key of the data file: train, val or test.
        name: Name of the data set in titles and logs.
        quarantine: Bad images and lines to leave out.
        drop_empty: Leave out images without a box.
        masks: Whether to read polygons as masks; a line without a polygon is then broken, unless
            there is no polygon at all. False takes the boxes around polygons.
        index: Whether to keep what was read in an index, which opens at once and is shared by all
            processes: "never", "always", or "auto" for many files. See ``open_index``.

    Raises:
        ValueError: For a missing or foreign data file, when no image or no label is found, and when
            the lines are of another convention or none of them can be read.
    """

    def __init__(
        self,
        root: str | Path,
        split: str,
        *,
        name: str,
        quarantine: Quarantine | None = None,
        drop_empty: bool,
        masks: bool = True,
        index: IndexUse = "never",
    ) -> None:
        files = YoloFiles(root, split, quarantine or Quarantine())
        reads = {"format": "yolo", "root": str(root), "split": split, "masks": masks}
        found = files.open_index(index, reads, lambda folder: _read(files, masks, folder))
        if found is None:
            arrays, facts = _read(files, masks, None)
            columns = AnnotationColumns.of(arrays)
        else:
            columns, facts = found.columns, found.facts
        _refuse(files.remarks)
        info = files.layout.info(name)
        super().__init__(info, columns, masks=facts["masks"], drop_empty=drop_empty)
        self.index_note = None if found is None else found.note
        self.left_out = files.quarantined.images
        self._take_notes(f"{files.layout.file}, {split}", files, facts)
        if len(self) == 0:
            where, count = f"{files.layout.file}, {split}", len(columns.sizes)
            raise ValueError(f"{where}: no image remains of {count}; {CHECK}")

    def _take_notes(self, where: str, files: YoloFiles, facts: Facts) -> None:
        if facts["unreadable"] is not None:
            self._warn(f"{where}: {facts['unreadable']}")
        if what := files.quarantined.words():
            self.notes.append(f"{where}: {what}")
        if facts["dropped"] and not facts["num_used"]:
            left = list_counts(facts["dropped"])
            raise ValueError(f"{where}: no line of the label files can be read: {left}; {CHECK}")
        changed = facts["dropped"], facts["changed"]
        for what, counts in zip(("left out", "to be known"), changed, strict=True):
            if counts:
                self._warn(f"{where}: {what}: {list_counts(counts)}; {CHECK}")
        for remark in files.remarks + [Remark(*of_lines) for of_lines in facts["remarks"]]:
            if remark.severity == "warning":
                self._warn(str(remark))
            else:
                self.notes.append(f"{remark.file}: {remark.what}")
                logger.info("%s", remark)


def _read(files: YoloFiles, masks: bool, folder: Path | None) -> tuple[Arrays, Facts]:
    """Columns of a part, in files of a folder if there is one, and what is to be said."""
    records = YoloRecords(files, masks=masks)
    _refuse(records.remarks)
    arrays = build_columns(
        records.images,
        records.usable(),
        num_keypoints=0,
        masks=records.has_masks,
        folder=folder,
    )
    return arrays, {
        "masks": records.has_masks,
        "remarks": records.remarks[len(files.remarks) :],
        "unreadable": unreadable_images(records.images),
        "dropped": records.dropped,
        "changed": records.changed,
        "num_used": records.num_used,
    }


def _refuse(remarks: list[Remark]) -> None:
    if errors := [remark for remark in remarks if remark.severity == "error"]:
        raise ValueError(str(errors[0]))


class YoloRecords:
    """Images and lines of a part, as the reader takes them and the data doctor judges them.

    Attributes:
        layout: The data file.
        labels: The label files.
        quarantined: What is left out.
        remarks: Findings about the part as a whole, those of its files first; errors keep the
            reader from reading it.
        images: Records of the images, without those in quarantine; size (0, 0) if unreadable.
        lines: Lines of each image, without those in quarantine.
        has_masks: Whether the lines are read as masks.
        dropped: Number of lines that ``usable`` left out, by what is wrong.
        changed: Number of lines that it read otherwise than they stand there, by what is unusual.
        num_used: Number of lines that it gave.
    """

    def __init__(self, files: YoloFiles, *, masks: bool) -> None:
        self.layout, self.labels = files.layout, files.labels
        left_out = self.quarantined = files.quarantined
        self.remarks = list(files.remarks)
        self.label_files: list[Path] = []  #: of each image
        self.lines: list[list[LabelLine]] = []
        kept = []
        for file, labels in zip(files.images, self.labels.files, strict=True):
            if (image_id := self.layout.image_id(file)) not in left_out.images:
                lines = read_lines(labels, image_id, self.layout.meaning)
                self.lines.append([one for one in lines if one.id not in left_out.annotations])
                self.label_files.append(labels)
                kept.append((str(file), image_id))
        self.lines = mark_tracked(self.lines)
        sizes = read_sizes([path for path, _ in kept])
        self.images = [ImageRecord(*one, size) for one, size in zip(kept, sizes, strict=True)]
        every = [line for lines in self.lines for line in lines]
        self.has_masks = masks and any(line.is_polygon for line in every)
        where = f"{self.layout.file}: {files.split!r}"
        self.remarks += judge_dialect(where, every, self.layout.meaning)
        for fault in alike_classes(self.layout.meaning.names.items()):
            self.remarks.append(Remark("warning", str(self.layout.file), fault.what, fault.fix))
        if self.layout.meaning.keypoints is not None:
            what = "kpt_shape: the lines are poses; their boxes are read, and no joints"
            fix = "convert them to COCO JSON to learn joints"
            self.remarks.append(Remark("warning", where, what, fix))
        self.dropped: Counter[str] = Counter()
        self.changed: Counter[str] = Counter()
        self.num_used = 0

    def problem(self, image: int, line: LabelLine) -> str | None:
        """What is wrong with a line of an image, or None; any line of a broken image is sound."""
        size = self.images[image].size
        if size == (0, 0):
            return line.problem  # reading the image will say what is wrong with it
        return line_problem(line, size, self.layout.meaning, has_masks=self.has_masks)

    def usable(self) -> Iterator[InstanceRecord]:
        """Instances of the sound lines, while the others are counted."""
        labels = {number: label for label, number in enumerate(self.layout.meaning.names)}
        for image, lines in enumerate(self.lines):
            size = self.images[image].size
            sound: list[LabelLine] = []
            for line in lines:
                if (problem := self.problem(image, line)) is not None:
                    self.dropped[f"lines with {problem}"] += 1
                    continue
                sound.append(line)
                if size != (0, 0):
                    box = clip_box(line.box(size), size)
                    assert box is not None  # otherwise there is a problem
                    polygons = line.polygons(size) if self.has_masks else None
                    yield InstanceRecord(image, box, labels[line.label], segmentation=polygons)
            self.num_used += len(sound)
            self.changed.update(what for _, what in self.unusual(image, sound))

    def unusual(self, image: int, lines: list[LabelLine]) -> Iterator[tuple[LabelLine, str]]:
        """Sound lines of an image with what is to be known about them."""
        yield from unusual_lines(lines)
        size = self.images[image].size
        for line in lines if self.has_masks and size != (0, 0) else []:
            if has_no_pixel(line.polygons(size), size):
                yield line, "lines with a mask of no pixel"


def unusual_lines(lines: list[LabelLine]) -> Iterator[tuple[LabelLine, str]]:
    """Sound lines of an image with what is to be known about them."""
    seen: set[tuple[int, tuple[float, ...]]] = set()
    for line in lines:
        if (key := (line.label, line.numbers)) in seen:
            yield line, "lines with the same object as another line"
        seen.add(key)
        if line.by_name:
            yield line, "lines with the name of a class in place of its number"
        if is_cut(line):
            yield line, "lines with a box that reaches beyond its image, where it is cut"
