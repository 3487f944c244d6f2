"""The data doctor: find bad records before training does, and say how to fix each.

Errors are what the readers leave out or what falsifies results; warnings are used as they are.
"""

import bisect
import hashlib
import itertools
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from van_dense.core.counting import counted
from van_dense.core.structures import Size, size_of
from van_dense.data.crowding import DetectionLimits
from van_dense.data.dataset import ReadError
from van_dense.data.doctor.annotated_images import (
    LabelmePart,
    VocPart,
    check_annotated,
)
from van_dense.data.doctor.classes import ClassPart, check_classes
from van_dense.data.doctor.coco import CocoPart, check_coco
from van_dense.data.doctor.image_list import equal_rows
from van_dense.data.doctor.masks import MaskPart, check_masks, check_palettes
from van_dense.data.doctor.panoptic import PanopticPart, check_panoptic
from van_dense.data.doctor.report import PartReport, Report
from van_dense.data.doctor.yolo import YoloPart, check_yolo
from van_dense.data.io.image import read_image
from van_dense.data.io.prefetch import prefetch_map
from van_dense.data.io.stored import StoredKinds, stored_as
from van_dense.data.readers.quarantine import Quarantine, StaleQuarantine, fingerprint
from van_dense.data.readers.table import size_problem

__all__ = [
    "ClassPart",
    "CocoPart",
    "LabelmePart",
    "MaskPart",
    "PanopticPart",
    "Quarantine",
    "Report",
    "VocPart",
    "YoloPart",
    "check_dataset",
]

Part = CocoPart | YoloPart | VocPart | LabelmePart | MaskPart | ClassPart | PanopticPart
_RECORD_CHECKS: dict[type, Callable[[Any, Quarantine], PartReport]] = {
    CocoPart: check_coco,
    YoloPart: check_yolo,
    VocPart: check_annotated,
    LabelmePart: check_annotated,
    ClassPart: check_classes,
    MaskPart: check_masks,
    PanopticPart: check_panoptic,
}
_DIGEST = 16  # bytes
_RESTORE = "restore the file or correct its annotation, or leave it out with --quarantine"


@dataclass(frozen=True)
class Inspection:
    """What decoding the files of one image found."""

    more: Any  #: what ``PartReport.read_more`` returned, such as the values of a mask
    problem: str | None  #: what is wrong with the image file, or None
    digest: bytes = b""  #: hash of the image file, empty where it cannot be read
    size: Size | None = None  #: (height, width) of the image, or None where it cannot be read
    stored: tuple[str, ...] = ()  #: how the image is stored where that is not 8-bit RGB


Progress = Callable[[Iterable[Inspection], int], Iterable[Inspection]]


def check_dataset(
    parts: Sequence[Part],
    *,
    quarantine: Quarantine | None = None,
    limits: DetectionLimits | None = None,
    threads: int = 4,
    progress: Progress | None = None,
) -> Report:
    """Check all parts of a data set: records, image files, and pictures that several parts share.

    Args:
        parts: Training part first: a picture that a later part holds as well is a problem of it.
        quarantine: Records that are known to be bad; they are left out.
        limits: What an evaluation counts and a model gives, for all parts but the first of several.
        threads: Images decoded at the same time; Pillow frees the interpreter meanwhile.
        progress: Wraps the inspections of images, given their number, to show how far they are.
    """
    known = quarantine or Quarantine()
    reports = [_check_records(part, known) for part in parts]
    if what := known.unused_problem(report.source for report in reports):
        fix = "check without data.quarantine, and write a list for these files"
        reports[0].note("warning", what, fix, file=known.path)
    for index, (part, report) in enumerate(zip(parts, reports, strict=True)):
        if isinstance(part, CocoPart | YoloPart | VocPart | LabelmePart):
            report.note_no_object(is_training=index == 0 and len(parts) > 1)
    if limits is not None:
        for report in reports[1:] or reports:  # the first of several is for training
            report.note_limits(limits)
    positions = ((report, index) for report in reports for index in range(len(report.images)))
    total = sum(len(report.images) for report in reports)
    # A bounded number waits: a million futures take gigabytes.
    inspections: Iterable[Inspection] = prefetch_map(
        lambda position: _inspect(*position), positions, threads=threads, prefetch=4 * threads
    )
    found = iter(progress(inspections, total) if progress else inspections)
    digests = np.zeros((total, _DIGEST), dtype=np.uint8)
    start = 0
    for report in reports:
        count = len(report.images)
        _check_images(report, found, digests[start : start + count])
        start += count
    _check_twins(reports, digests)
    for report in reports:
        report.conclude()
    check_palettes(reports)
    _check_names(reports)
    _check_categories(reports)
    return Report(reports, known)


def _check_records(part: Part, known: Quarantine) -> PartReport:
    check = _RECORD_CHECKS[type(part)]
    try:
        report = check(part, known)
    except StaleQuarantine as error:  # judge everything, so that a new list can be written
        report = check(part, Quarantine())
        what, _, fix = str(error).removeprefix(f"quarantine {known.path}: ").partition("; ")
        report.note("error", what, fix, file=known.path)
    report.fingerprint = fingerprint(report.source, *report.others)
    return report


def _inspect(report: PartReport, index: int) -> Inspection:
    image, more = report.images[index], report.read_more(index)
    try:
        size = size_of(read_image(image.path))
    except ReadError as error:
        return Inspection(more, str(error).removeprefix(f"{image.path}: "))
    digest = hashlib.blake2b(Path(image.path).read_bytes(), digest_size=_DIGEST).digest()
    problem = None if image.size == (0, 0) else size_problem(size, image.size)
    return Inspection(more, problem, digest, size, stored_as(image.path))


def _check_images(report: PartReport, found: Iterator[Inspection], digests: np.ndarray) -> None:
    """Report broken files and unusual storage of one part, and fill in their ``digests``."""
    kinds = StoredKinds()
    for index, image in enumerate(report.images):
        inspection = next(found)
        where = f"image {index}, id {image.id!r}"
        if (what := inspection.problem) is not None:
            report.note("error", what, _RESTORE, file=image.path, where=where, image_id=image.id)
        report.add(index, inspection.size, inspection.more)
        kinds.add(image.path, inspection.stored)
        if inspection.digest:
            digests[index] = np.frombuffer(inspection.digest, dtype=np.uint8)
    for is_warning, what, fix in kinds.notes():
        report.note("warning" if is_warning else "info", what, fix)


def _check_twins(reports: Sequence[PartReport], digests: np.ndarray) -> None:
    """Report equal pictures, within a part and of several."""
    ends = list(itertools.accumulate(len(report.images) for report in reports))

    def locate(position: int) -> tuple[PartReport, int]:
        part = bisect.bisect_right(ends, position)
        return reports[part], position - (ends[part - 1] if part else 0)

    for later, first in equal_rows(digests):
        (report, index), (owner, position) = locate(later), locate(first)
        image, twin = report.images[index], owner.images[position]
        if owner is not report:
            what = f"the part {report.name!r} holds the same picture: {image.path}"
            fix = "delete one of them, or quarantine this one: results would be too good"
            where = f"image id {twin.id!r}"
            owner.note("error", what, fix, file=twin.path, where=where, image_id=twin.id)
        elif twin.path != image.path:
            what = f"the same picture as {twin.path} (image id {twin.id!r})"
            fix = "delete one of them"
            if report.labels and report.labels[index] != report.labels[position]:
                what, fix = f"{what}, but of another class", "delete the one in the wrong class"
            where = f"image {index}, id {image.id!r}"
            report.note("warning", what, fix, file=image.path, where=where)


def _check_names(reports: Sequence[PartReport]) -> None:
    """Report file names that several parts use, which is harmless for different pictures."""
    fix = "none needed if the pictures differ; equal ones are reported as errors"
    for later, report in enumerate(reports):
        for earlier in reports[:later]:
            few, many = sorted((earlier.images, report.images), key=len)
            names = {os.path.basename(image.path) for image in few}
            found = (os.path.basename(image.path) for image in many)
            if shared := sorted({name for name in found if name in names}):
                what = (
                    f"{counted(len(shared), 'file name occurs', 'file names occur')} in "
                    f"{earlier.name!r} as well"
                )
                report.note("info", f"{what}, such as {', '.join(shared[:3])}", fix)


def _check_categories(reports: Sequence[PartReport]) -> None:
    """Report parts that do not agree about their classes: the cause of many an AP of 0."""
    complete = [report for report in reports if report.categories]
    for report in complete[1:]:
        first = complete[0]
        differing_names = report.categories.items() ^ first.categories.items()
        if report.is_beside:  # the file of panoptic maps has stuff too
            differing_names = report.categories.items() - first.categories.items()
        if differing_names:
            differing = defaultdict(list)
            for category, name in differing_names:
                differing[category].append(name)
            some = dict(sorted(differing.items())[:3])
            number = counted(len(differing), "id or name differs", "ids or names differ")
            what = f"{number} from those of {first.name!r}: {some}"
            fix = "write the same list of categories into both files"
            report.note("error", what, fix, where="categories")


def show_progress(inspections: Iterable[Inspection], total: int) -> Iterable[Inspection]:
    """Pass inspections on below a progress bar on the error stream."""
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    return track(inspections, "checking images", total=total, console=console, transient=True)
