"""The data doctor's check of formats with one annotation file for each image: VOC, labelme."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from van_dense.core.counting import of_kind
from van_dense.core.dataset_info import DatasetInfo
from van_dense.data.doctor.report import PartReport
from van_dense.data.messages import Fault
from van_dense.data.readers.annotated_images import (
    OTHER_CLASS,
    AnnotatedPart,
    Rules,
    Verdict,
    has_masks,
    judge,
)
from van_dense.data.readers.labelme import Numbers, read_labelme
from van_dense.data.readers.quarantine import Quarantine, StaleQuarantine
from van_dense.data.readers.voc import FirstPixel, read_voc, source_of

_NONE_NEEDED = "none needed"


@dataclass(frozen=True)
class VocPart:
    """One part of a VOC folder; see ``VocDataset``."""

    root: str
    split: str
    splits: tuple[str, ...]
    rules: Rules
    first_pixel: FirstPixel
    needs_masks: bool = False  # whether a model is to learn masks, which VOC's files lack
    name: str = ""  #: name in messages; empty: that of the list or folder

    masks: ClassVar[bool] = False
    no_masks: ClassVar[Fault] = Fault(
        "the model learns masks, and XML files of VOC have boxes",
        "use a retinanet project, or convert the masks of SegmentationObject to COCO JSON",
    )

    @property
    def source(self) -> str:
        """List or folder that keys the quarantine, which need not exist."""
        return source_of(self.root, self.split)

    @property
    def usual_name(self) -> str:
        """Name in messages where none is given."""
        return Path(self.source).stem

    def read(self, quarantine: Quarantine) -> tuple[AnnotatedPart, DatasetInfo]:
        """The part, of whose classes the training part may lack some; see ``read_voc``."""
        parts, info = read_voc(
            self.root,
            self.splits,
            name="",
            rules=self.rules,
            first_pixel=self.first_pixel,
            quarantine=quarantine,
            strict=False,
        )
        return parts[self.splits.index(self.split)], info


@dataclass(frozen=True)
class LabelmePart:
    """One folder of labelme's files; see ``LabelmeDataset``."""

    folder: str
    folders: tuple[str, ...]  # of all parts, the training part first
    rules: Rules
    numbers: Numbers
    join_groups: bool
    masks: bool
    needs_masks: bool = False  # whether a model is to learn masks
    name: str = ""  #: name in messages; empty: the folder

    no_masks: ClassVar[Fault] = Fault(
        "the model learns masks, and all shapes are rectangles",
        "draw polygons, or use a retinanet project",
    )

    @property
    def source(self) -> str:
        """Folder that keys the quarantine, which need not exist."""
        return self.folder

    @property
    def usual_name(self) -> str:
        """Name in messages where none is given."""
        return self.folder

    def read(self, quarantine: Quarantine) -> tuple[AnnotatedPart, DatasetInfo]:
        """The part, of whose classes the training part may lack some; see ``read_labelme``."""
        parts, info = read_labelme(
            self.folders,
            name="",
            rules=self.rules,
            numbers=self.numbers,
            join_groups=self.join_groups,
            quarantine=quarantine,
            strict=False,
        )
        return parts[self.folders.index(self.folder)], info


def check_annotated(part: VocPart | LabelmePart, quarantine: Quarantine) -> PartReport:
    """Check every annotation file of a part; of images only the header is read."""
    report = PartReport(part.name or part.usual_name, part.source)
    try:
        found, info = part.read(quarantine)
    except StaleQuarantine:
        raise  # the caller judges everything, so that a new list can be written
    except ValueError as error:
        report.note_unreadable(error)
        return report
    _check(report, found, info, quarantine, masks=part.masks, rules=part.rules)
    if part.needs_masks and not (part.masks and has_masks(found)):
        report.note("error", *part.no_masks)
    return report


def _check(
    report: PartReport,
    part: AnnotatedPart,
    info: DatasetInfo,
    quarantine: Quarantine,
    *,
    masks: bool,
    rules: Rules,
) -> None:
    report.source, report.others = part.source, part.files
    report.categories = dict(zip(info.category_ids, info.class_names, strict=True))
    usable: Counter[str] = Counter()
    quiet: dict[str, list[str]] = defaultdict(list)
    verdicts = judge(part, info, part.left_out(quarantine), masks=masks and has_masks(part))
    for verdict in verdicts:
        if verdict.record is not None:
            report.images.append(verdict.record)
        if verdict.instance is not None:
            if verdict.instance.crowd:
                report.num_crowds += 1
            else:
                category_id = info.category_ids[verdict.instance.label]
                report.counts[category_id] += 1
                report.objects[verdict.image.id, category_id] += 1
                usable[verdict.image.id] += 1
        _note(report, verdict, quiet, unknown_is_error=rules.classes is None)
    report.num_empty = sum(usable[str(image.id)] == 0 for image in report.images)
    for kind, where in quiet.items():
        report.note("info", f"{of_kind(len(where), kind)}, such as in {where[0]}", _NONE_NEEDED)
    for severity, sentences in (("info", part.notes), ("warning", part.warnings)):
        for sentence in sentences:
            what, _, fix = sentence.partition("; ")
            report.note(severity, what, fix or _NONE_NEEDED)  # type: ignore[arg-type]
    report.note_unused()


def _note(
    report: PartReport, verdict: Verdict, quiet: dict[str, list[str]], *, unknown_is_error: bool
) -> None:
    """Report what is wrong; what is only to be known is collected by kind."""
    image, one = verdict.image, verdict.object
    for finding in verdict.findings:
        severity, fix = finding.severity, finding.fix
        if unknown_is_error and finding.kind.startswith(OTHER_CLASS):
            severity = "error"  # the training part names all classes, and lacks this one
            fix = "name all classes in the config (classes), or rename this one (rename)"
        if severity == "info":
            quiet[finding.kind].append(image.file)
            continue
        where = "" if one is None else f"object {one.id.rpartition(':')[2]} ({one.name or '?'})"
        ids: dict[str, str] = {}
        if severity == "error":
            ids = {"image_id": image.id} if one is None else {"annotation_id": one.id}
        report.note(severity, finding.what, fix, file=image.file, where=where, **ids)


def voc_parts(
    root: str,
    splits: Sequence[str],
    rules: Rules,
    first_pixel: FirstPixel,
    *,
    needs_masks: bool = False,
    names: Sequence[str] = (),
) -> list[VocPart]:
    """All parts of a VOC folder, which share the training part's classes."""
    shared = (tuple(splits), rules, first_pixel, needs_masks)
    names = names or [""] * len(splits)
    pairs = zip(splits, names, strict=True)
    return [VocPart(root, split, *shared, name) for split, name in pairs]


def labelme_parts(
    folders: Sequence[str],
    rules: Rules,
    numbers: Numbers,
    *,
    join_groups: bool,
    masks: bool,
    needs_masks: bool = False,
    names: Sequence[str] = (),
) -> list[LabelmePart]:
    """All parts of a data set of labelme, which share the training part's classes."""
    shared = (tuple(folders), rules, numbers, join_groups, masks, needs_masks)
    names = names or [""] * len(folders)
    pairs = zip(folders, names, strict=True)
    return [LabelmePart(folder, *shared, name) for folder, name in pairs]
