"""The data doctor: find bad records before training does, and say how to fix each.

Errors are what the readers leave out or what falsifies results; warnings are used as they are.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from van_dense.data.check_coco import CocoPart, check_coco
from van_dense.data.check_yolo import YoloPart, check_yolo
from van_dense.data.dataset import ReadError
from van_dense.data.image import read_image
from van_dense.data.problem import PartReport, Problem, Report
from van_dense.data.quarantine import Quarantine
from van_dense.data.table import ImageRecord, size_problem

__all__ = ["CocoPart", "Problem", "Quarantine", "Report", "YoloPart", "check_dataset"]

Part = CocoPart | YoloPart
Inspection = tuple[str | None, str]  # what is wrong with an image file, and a hash of its bytes
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
    reports = [
        check_coco(part, known) if isinstance(part, CocoPart) else check_yolo(part, known)
        for part in parts
    ]
    total = sum(len(report.images) for report in reports)
    owners: dict[str, tuple[PartReport, ImageRecord]] = {}
    with ThreadPoolExecutor(threads) as pool:
        images = [image for report in reports for image in report.images]
        inspections = pool.map(_inspect, images)
        found = iter(progress(inspections, total) if progress else inspections)
        for report in reports:
            _check_images(report, found, owners)
    _check_names(reports)
    _check_categories(reports)
    return Report(reports, known)


def _inspect(image: ImageRecord) -> Inspection:
    try:
        pixels = read_image(image.path)
    except ReadError as error:
        return str(error).removeprefix(f"{image.path}: "), ""
    digest = hashlib.blake2b(Path(image.path).read_bytes(), digest_size=16).hexdigest()
    if image.size == (0, 0):
        return None, digest
    return size_problem((pixels.shape[0], pixels.shape[1]), image.size), digest


def _check_images(
    report: PartReport,
    inspections: Iterator[Inspection],
    owners: dict[str, tuple[PartReport, ImageRecord]],
) -> None:
    """Report broken files of one part, and pictures that ``owners`` knows already."""
    for index, (image, inspection) in enumerate(zip(report.images, inspections, strict=False)):
        problem, digest = inspection
        where = f"image {index}, id {image.id!r}"
        if problem is not None:
            report.problems.append(
                Problem("error", image.path, where, problem, _RESTORE, image_id=image.id)
            )
        if not digest:
            continue
        owner, twin = owners.setdefault(digest, (report, image))
        if owner is not report:
            what = f"the part {report.name!r} holds the same picture: {image.path}"
            fix = "delete one of them, or quarantine this one: results would be too good"
            owner.problems.append(
                Problem("error", twin.path, f"image id {twin.id!r}", what, fix, image_id=twin.id)
            )
        elif twin.path != image.path:
            what = f"the same picture as {twin.path} (image id {twin.id!r})"
            report.problems.append(
                Problem("warning", image.path, where, what, "delete one of them")
            )


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
