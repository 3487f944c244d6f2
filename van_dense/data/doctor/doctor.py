"""The data doctor: find bad records before training does, and say how to fix each.

Errors are what the readers leave out or what falsifies results; warnings are used as they are.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from van_dense.core.structures import Size
from van_dense.data.dataset import ReadError
from van_dense.data.doctor.classes import ClassPart, ClassReport, check_classes, image_mode
from van_dense.data.doctor.coco import CocoPart, check_coco
from van_dense.data.doctor.masks import MaskContent, MaskPart, MaskReport, check_masks
from van_dense.data.doctor.report import PartReport, Problem, Report
from van_dense.data.doctor.yolo import YoloPart, check_yolo
from van_dense.data.io.image import read_image
from van_dense.data.readers.quarantine import Quarantine
from van_dense.data.readers.table import ImageRecord, size_problem

__all__ = [
    "ClassPart",
    "CocoPart",
    "MaskPart",
    "Problem",
    "Quarantine",
    "Report",
    "YoloPart",
    "check_dataset",
]

Part = CocoPart | YoloPart | MaskPart | ClassPart


@dataclass(frozen=True)
class Inspection:
    """What a look at the files of one image found.

    Attributes:
        problem: What is wrong with the image file, or None.
        digest: Hash of its bytes, "" where it cannot be read.
        size: Its (height, width), or None.
        mask: What its mask holds, where the part has masks.
        mode: How its pixels are stored, where the part has classes.
    """

    problem: str | None
    digest: str = ""
    size: Size | None = None
    mask: MaskContent | None = None
    mode: str = ""


Progress = Callable[[Iterable[Inspection], int], Iterable[Inspection]]

_RESTORE = "restore the file or correct its annotation, or leave it out with --quarantine"


def check_dataset(
    parts: Sequence[Part],
    *,
    quarantine: Quarantine | None = None,
    threads: int = 4,
    progress: Progress | None = None,
) -> Report:
    """Check all parts of a data set: records, image files, and pictures that several parts share.

    Args:
        parts: Training part first: a picture that a later part holds as well is a problem of it.
        quarantine: Records that are known to be bad; they are not looked at.
        threads: Images decoded at the same time; Pillow frees the interpreter meanwhile.
        progress: Wraps the inspections of images, given their number, to show how far they are.

    Returns:
        Every problem found, in the order of the parts.
    """
    known = quarantine or Quarantine()
    reports = [_check_records(part, known) for part in parts]
    owners: dict[str, tuple[PartReport, ImageRecord]] = {}
    with ThreadPoolExecutor(threads) as pool:
        places = [(report, index) for report in reports for index in range(len(report.images))]
        inspections = pool.map(lambda place: _inspect(*place), places)
        found = iter(progress(inspections, len(places)) if progress else inspections)
        for report in reports:
            _check_images(report, found, owners)
            if isinstance(report, MaskReport | ClassReport):
                report.conclude()
    _check_names(reports)
    _check_categories(reports)
    return Report(reports, known)


def _check_records(part: Part, known: Quarantine) -> PartReport:
    if isinstance(part, CocoPart):
        return check_coco(part, known)
    if isinstance(part, YoloPart):
        return check_yolo(part, known)
    if isinstance(part, ClassPart):
        return check_classes(part, known)
    return check_masks(part, known)


def _inspect(report: PartReport, index: int) -> Inspection:
    image = report.images[index]
    mask = report.read_mask(index) if isinstance(report, MaskReport) else None
    try:
        pixels = read_image(image.path)
    except ReadError as error:
        return Inspection(str(error).removeprefix(f"{image.path}: "), mask=mask)
    digest = hashlib.blake2b(Path(image.path).read_bytes(), digest_size=16).hexdigest()
    size: Size = (pixels.shape[0], pixels.shape[1])
    problem = None if image.size == (0, 0) else size_problem(size, image.size)
    mode = image_mode(image.path) if isinstance(report, ClassReport) else ""
    return Inspection(problem, digest, size, mask, mode)


def _check_images(
    report: PartReport,
    inspections: Iterator[Inspection],
    owners: dict[str, tuple[PartReport, ImageRecord]],
) -> None:
    """Report broken files of one part, and pictures that ``owners`` knows already."""
    for index, (image, inspection) in enumerate(zip(report.images, inspections, strict=False)):
        where = f"image {index}, id {image.id!r}"
        if inspection.problem is not None:
            report.problems.append(
                Problem("error", image.path, where, inspection.problem, _RESTORE, image_id=image.id)
            )
        if isinstance(report, MaskReport) and inspection.mask is not None:
            report.add(index, inspection.mask, inspection.size)
        if isinstance(report, ClassReport):
            report.add(index, inspection.size, inspection.mode)
        if not inspection.digest:
            continue
        owner, twin = owners.setdefault(inspection.digest, (report, image))
        if owner is not report:
            what = f"the part {report.name!r} holds the same picture: {image.path}"
            fix = "delete one of them, or quarantine this one: results would be too good"
            owner.problems.append(
                Problem("error", twin.path, f"image id {twin.id!r}", what, fix, image_id=twin.id)
            )
        elif twin.path != image.path:
            what = f"the same picture as {twin.path} (image id {twin.id!r})"
            fix = "delete one of them"
            if (
                isinstance(report, ClassReport)
                and report.labels[image.id] != report.labels[twin.id]
            ):
                what, fix = f"{what}, but of another class", "delete the one in the wrong class"
            report.problems.append(Problem("warning", image.path, where, what, fix))


def _check_names(reports: Sequence[PartReport]) -> None:
    """Report file names that several parts use, which is harmless for different pictures."""
    names = [{Path(image.path).name for image in report.images} for report in reports]
    for later in range(1, len(reports)):
        for earlier in range(later):
            shared = sorted(names[earlier] & names[later])
            if shared:
                what = (
                    f"{len(shared)} file names occur in {reports[earlier].name!r} as well, such as "
                    f"{', '.join(shared[:3])}"
                )
                fix = "none needed if the pictures differ; equal ones are reported as errors"
                reports[later].problems.append(
                    Problem("info", reports[later].source, "", what, fix)
                )


def _check_categories(reports: Sequence[PartReport]) -> None:
    """Report parts that do not agree about their classes: the cause of many an AP of 0."""
    complete = [report for report in reports if report.categories]
    for report in complete[1:]:
        first = complete[0]
        if report.categories != first.categories:
            differing = defaultdict(list)
            for category, name in set(report.categories.items()) ^ set(first.categories.items()):
                differing[category].append(name)
            what = (
                f"{len(differing)} ids or names differ from those of {first.name!r}, such as "
                f"{dict(sorted(differing.items())[:3])}"
            )
            fix = "write the same list of categories into both files"
            report.problems.append(Problem("error", report.source, "categories", what, fix))


def show_progress(inspections: Iterable[Inspection], total: int) -> Iterable[Inspection]:
    """Pass inspections on below a progress bar on the error stream."""
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    return track(inspections, "checking images", total=total, console=console, transient=True)
