"""What formats with one annotation file for each image share: Pascal VOC and labelme.

A reader parses files into ``AnnotatedImage``; ``judge`` says what of it is used, for the data set
and for the data doctor alike, so that both always agree.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

from van_dense.core.dataset_info import DatasetInfo
from van_dense.core.structures import Size
from van_dense.data.io.sizes import read_sizes
from van_dense.data.messages import CHECK, list_counts
from van_dense.data.readers.annotation_columns import (
    BoxXYXY,
    ImageRecord,
    InstanceRecord,
    columns_of,
)
from van_dense.data.readers.missing_images import unreadable_images
from van_dense.data.readers.quarantine import Quarantine, QuarantinedPart
from van_dense.data.readers.segmentation import has_no_pixel, usable_segmentation
from van_dense.data.readers.table import TableDataset, clip_box, size_problem

logger = logging.getLogger(__name__)

#: Begins the kind of finding of an object whose class is none of those that are learnt.
OTHER_CLASS = "objects of other classes"
_OUTSIDE = 1.0  # pixels that a box may leave its image by without a word, as by rounding


class Finding(NamedTuple):
    """What is to be said of a file or an object."""

    #: "error": it is left out though a human sees something; "warning": it is read all the same;
    #: "info": it is left out or changed as its format wants.
    severity: Literal["error", "warning", "info"]
    kind: str  # counted in notes, behind a number: "objects without a name"
    what: str  # of the one at hand
    fix: str


class Rules(NamedTuple):
    """How names and marks of the files are meant."""

    classes: tuple[str, ...] | None  # None: all names of the training part, sorted
    rename: Mapping[str, str]  # names of the files -> names of classes
    difficult: Literal["ignore", "use"]  # "ignore": regions, never a target and never a mistake


@dataclass(frozen=True)
class AnnotatedObject:
    """One object as its file describes it."""

    id: str  #: ``image id:number``, counted from 1 in the order of the file
    name: str  #: class
    box: BoxXYXY | None  #: in pixels from 0, not clipped; None: it is left out, see ``findings``
    #: Polygons or RLE in an image of some size, or None where there is only a box.
    outline: Callable[[Size], Any] | None = None
    is_box: bool = True  #: whether the outline, if any, is the box itself
    ignored: bool = False  #: marked as difficult
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True)
class AnnotatedImage:
    """One image with what its file says about it."""

    id: str  #: path of the annotation file below its folder, without suffix
    file: str  #: the annotation file
    path: str | None  #: the image; None: the whole is left out, see ``findings``
    stated: Size = (0, 0)  #: (height, width) that the file says, (0, 0) where it says none
    objects: tuple[AnnotatedObject, ...] = ()
    findings: tuple[Finding, ...] = ()


@dataclass
class AnnotatedPart:
    """One part of a data set."""

    source: str  #: list or folder that defines it, which keys the quarantine
    images: list[AnnotatedImage]
    notes: list[str] = field(default_factory=list)  #: conventions that were taken, in sentences
    warnings: list[str] = field(default_factory=list)  #: what may be meant otherwise, in sentences

    @property
    def files(self) -> tuple[str, ...]:
        """Annotation files, whose content the ids of objects depend on."""
        return tuple(sorted({image.file for image in self.images}))

    def left_out(self, quarantine: Quarantine | None) -> QuarantinedPart:
        """What the quarantine leaves out."""
        return (quarantine or Quarantine()).of(self.source, *self.files)


class Verdict(NamedTuple):
    """What becomes of an image (``object`` is None) or of one of its objects."""

    image: AnnotatedImage
    object: AnnotatedObject | None
    findings: tuple[Finding, ...]
    record: ImageRecord | None = None  # of an image that is used
    instance: InstanceRecord | None = None  # of an object that is used


def judge(
    part: AnnotatedPart, info: DatasetInfo, quarantined: QuarantinedPart, *, masks: bool
) -> Iterator[Verdict]:
    """Say of each image, and then of each of its objects, what is used and what is wrong.

    What is in quarantine is passed over. Images of which nothing can be known, such as their place,
    are left out with all of their objects.
    """
    kept = [image for image in part.images if image.id not in quarantined.images]
    labels = {name: label for label, name in enumerate(info.class_names)}
    owners: dict[str, str] = {}
    position = 0
    for image, size in with_sizes(kept):
        findings = image.findings
        if image.path is not None:
            key = os.path.realpath(image.path)
            if (first := owners.setdefault(key, image.file)) != image.file:
                what, fix = f"{first} describes the same image, {image.path}", "delete one of them"
                kind = "files of an image that another file describes"
                findings = (*findings, Finding("error", kind, what, fix))
        if image.path is None or any(finding.severity == "error" for finding in findings):
            yield Verdict(image, None, findings)
            continue
        yield Verdict(image, None, findings, ImageRecord(image.path, image.id, size))
        for one in image.objects:
            if one.id not in quarantined.annotations:
                found, instance = _judge_object(one, size, position, labels, masks=masks)
                yield Verdict(image, one, found, instance=instance)
        position += 1


def with_sizes(images: Sequence[AnnotatedImage]) -> Iterator[tuple[AnnotatedImage, Size]]:
    """Images with the (height, width) of their files, (0, 0) where one is unreadable.

    Where a file states another one, a finding says so: an error, or a warning where the two numbers
    were written the wrong way round: some box of the part shows it, and none speaks against it.
    """
    real = read_sizes([image.path for image in images])
    turned = [
        (image.stated, size, [one.box for one in image.objects if one.box])
        for image, size in zip(images, real, strict=True)
        if size != image.stated and size[0] > 0 and size == image.stated[::-1]
    ]
    is_slip = all(_fit(boxes, size) for _, size, boxes in turned)
    is_slip &= any(not _fit(boxes, stated) for stated, _, boxes in turned)
    for image, size in zip(images, real, strict=True):
        if image.stated in ((0, 0), size) or size == (0, 0):
            yield image, size
            continue
        what = size_problem(size, image.stated) or ""
        kind, fix = "images of another size than their file says", "annotate the image anew"
        finding = Finding("error", kind, what, fix)
        if is_slip and size == image.stated[::-1]:
            kind = "files that state width and height the wrong way round"
            what = f"it states {image.stated[1]}x{image.stated[0]} (width x height), its image is "
            what += f"{size[1]}x{size[0]}, and so are the boxes; the size of the image is taken"
            finding = Finding("warning", kind, what, "exchange width and height in it")
        yield replace(image, findings=(*image.findings, finding)), size


def _fit(boxes: Sequence[BoxXYXY], size: Size) -> bool:
    return all(b[2] <= size[1] + _OUTSIDE and b[3] <= size[0] + _OUTSIDE for b in boxes)


def _judge_object(
    one: AnnotatedObject, size: Size, image: int, labels: Mapping[str, int], *, masks: bool
) -> tuple[tuple[Finding, ...], InstanceRecord | None]:
    if one.box is None or size == (0, 0):
        return one.findings, None
    found = list(one.findings)
    label = labels.get(one.name)
    if label is None:
        fix = "name it in classes, or rename it"
        what = f"its class {one.name!r} is none of {', '.join(labels)}"
        return (*found, Finding("info", f"{OTHER_CLASS} ({one.name}), left out", what, fix)), None
    fix = "correct the box, or remove the object"
    if max(one.box) <= 1 and any(value % 1 for value in one.box):
        kind, what = "objects with fractions as box", "its coordinates are fractions of the sides"
        return (*found, Finding("error", kind, what, f"write pixels: {fix}")), None
    x1, y1, x2, y2 = one.box
    clipped = clip_box(one.box, size)
    if clipped is None:
        shape = f"({x1:g}, {y1:g}) to ({x2:g}, {y2:g})"
        what = f"its box {shape} shows nothing inside its {size[1]}x{size[0]} image"
        kind = "objects without a box of positive size inside the image"
        return (*found, Finding("error", kind, what, fix)), None
    beyond = max(-x1, -y1, x2 - size[1], y2 - size[0])
    if beyond > _OUTSIDE:
        what = f"its box leaves the {size[1]}x{size[0]} image by {beyond:g} pixels, and is clipped"
        found.append(Finding("warning", "boxes that leave their image, clipped", what, fix))
    segmentation = None
    if masks:
        outline = None if one.outline is None else one.outline(size)
        segmentation, problem = usable_segmentation(outline, size)
        if segmentation is None:
            kind, fix = "objects without a usable mask", "draw the object again, or remove it"
            return (*found, Finding("error", kind, problem or "", fix)), None
        if has_no_pixel(segmentation, size):
            kind, what = "objects whose mask has no pixel", "its mask is a line, and has no pixel"
            found.append(Finding("warning", kind, what, "draw the object again, or remove it"))
        if one.is_box:
            what = "its mask is the whole rectangle"
            found.append(Finding("info", "rectangles with a filled mask", what, "none needed"))
    return tuple(found), InstanceRecord(image, clipped, label, one.ignored, segmentation)


class AnnotatedDataset(TableDataset):
    """A ``DenseDataset`` of one part; image ids are those of ``AnnotatedImage``.

    What is left out is counted in ``notes`` and one warning.

    Args:
        part: Files of the part, parsed.
        info: Classes.
        quarantine: Bad images and objects to leave out.
        drop_empty: Leave out images without an object that counts.
        masks: Whether to read masks; False reads boxes alone.

    Raises:
        ValueError: When no image remains.
    """

    def __init__(
        self,
        part: AnnotatedPart,
        info: DatasetInfo,
        *,
        quarantine: Quarantine | None,
        drop_empty: bool,
        masks: bool,
    ) -> None:
        known = part.left_out(quarantine)
        records: list[ImageRecord] = []
        instances: list[InstanceRecord] = []
        counts: dict[str, Counter[str]] = {s: Counter() for s in ("error", "warning", "info")}
        reads_masks = masks and has_masks(part)
        for verdict in judge(part, info, known, masks=reads_masks):
            for finding in verdict.findings:
                counts[finding.severity][finding.kind] += 1
            if verdict.record is not None:
                records.append(verdict.record)
            if verdict.instance is not None:
                instances.append(verdict.instance)
        columns = columns_of(records, instances, info, masks=reads_masks)
        super().__init__(info, columns, masks=reads_masks, drop_empty=drop_empty)
        self.left_out = frozenset(image.id for image in part.images) - {r.id for r in records}
        if (unreadable := unreadable_images(records)) is not None:
            self._warn(f"{part.source}: {unreadable}")
        if what := known.words():
            self.notes.append(f"{part.source}: {what}")
        self._take_notes(part, counts)
        if len(self) == 0:
            what = f"no image remains of {len(part.images)}"
            lost = counts["error"] + counts["info"]
            what += f" (left out: {list_counts(lost)})" if lost else " that shows an object"
            raise ValueError(f"{part.source}: {what}; {CHECK}")

    def _take_notes(self, part: AnnotatedPart, counts: Mapping[str, Counter[str]]) -> None:
        quiet = list(part.notes)
        if counts["info"]:
            quiet.append(f"as the format or the config wants: {list_counts(counts['info'])}")
        loud = list(part.warnings)
        if counts["warning"]:
            loud.append(f"read all the same: {list_counts(counts['warning'])}; {CHECK}")
        if counts["error"]:
            loud.append(f"left out: {list_counts(counts['error'])}; {CHECK}")
        for note in quiet:
            self.notes.append(f"{part.source}: {note}")
            logger.info("%s", self.notes[-1])
        for note in loud:
            self._warn(f"{part.source}: {note}")


def has_masks(part: AnnotatedPart) -> bool:
    """Whether any object has more than its box."""
    return any(not one.is_box for image in part.images for one in image.objects)


def class_names(
    rules: Rules,
    train: AnnotatedPart,
    others: Sequence[AnnotatedPart],
    quarantine: Quarantine | None,
    *,
    section: str,
) -> tuple[str, ...]:
    """Names of the classes: those of the rules, or all of the training part, sorted.

    What is in quarantine does not count. A class of another part that the training part lacks is
    a ValueError with the line to add, for the ``section`` of the config.
    """
    if rules.classes is not None:
        return rules.classes
    names = names_of(train, quarantine)
    for part in others:
        if unknown := sorted(names_of(part, quarantine) - names):
            what = f"classes that the training part lacks: {', '.join(unknown)}"
            fix = f"name all classes in {section}.classes, or rename these in {section}.rename"
            raise ValueError(f"{part.source}: {what}; {fix}")
    return tuple(sorted(names))


def names_of(part: AnnotatedPart, quarantine: Quarantine | None = None) -> set[str]:
    """Names of all objects that have a box and are not in quarantine."""
    known = part.left_out(quarantine)
    return {
        one.name
        for image in part.images
        if image.path is not None and image.id not in known.images
        for one in image.objects
        if one.box is not None and one.id not in known.annotations
    }


def alike_names(names: Collection[str], section: str) -> list[str]:
    """A sentence for each pair of names that differ in case or spaces alone."""
    first: dict[str, str] = {}
    found = []
    for name in sorted(names):
        twin = first.setdefault("".join(name.lower().split()), name)
        if twin != name:
            line = f"'{section}.rename={{{name}: {twin}}}'"
            what = f"the classes {twin!r} and {name!r} are alike but for case or spaces"
            found.append(f"{what}, and are two classes here; {line} makes them one")
    return found


def repeated(objects: Sequence[AnnotatedObject]) -> tuple[AnnotatedObject, ...]:
    """The objects, with a warning at each that has class and box of an earlier one."""
    first: dict[tuple[str, BoxXYXY], str] = {}
    found = []
    for one in objects:
        if one.box is not None:
            twin = first.setdefault((one.name, one.box), one.id)
            if twin != one.id:
                what = f"object {twin.rpartition(':')[2]} has the same class and box"
                fix = "remove one; the object counts twice"
                finding = Finding("warning", "objects that repeat another one", what, fix)
                one = replace(one, findings=(*one.findings, finding))
        found.append(one)
    return tuple(found)
