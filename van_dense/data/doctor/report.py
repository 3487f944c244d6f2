"""What the data doctor reports: problems of records, a summary of each part, a quarantine list."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from van_dense.core.counting import counted, shorten
from van_dense.core.plain_text import one_line
from van_dense.core.structures import Size
from van_dense.data.crowding import DetectionLimits
from van_dense.data.doctor.boxes import BoxTable
from van_dense.data.doctor.image_list import ImageList
from van_dense.data.readers.quarantine import Id, Quarantine, QuarantinedPart, part_key

Severity = Literal["error", "warning", "info"]

_NOTHING_ELSE = "correct it and check again; nothing else was checked in this part"


@dataclass(frozen=True, slots=True)
class Problem:
    """One finding."""

    severity: Severity  #: "error": the reader leaves it out, or results would be wrong
    file: str  #: image, annotation file or label file
    where: str  #: index and id inside the file, or ""
    what: str  #: what is wrong
    fix: str  #: what to do about it
    image_id: Id | None = None  #: image to quarantine for an error, or None
    annotation_id: Id | None = None  #: annotation to quarantine for an error, or None
    record: str | None = None  #: place to quarantine instead, such as "images[3]", or None
    image_ids: tuple[Id, ...] = ()  #: images to quarantine for an error that several share

    def __str__(self) -> str:
        where = f"{self.where}: " if self.where else ""
        return one_line(f"{self.severity}: {self.file}: {where}{self.what} -> {self.fix}")


@dataclass
class PartReport:
    """Findings about one part of a data set; the counts are those of instances."""

    name: str  #: "train", "val", or a path
    source: str  #: annotation file or folder, which keys the quarantine
    others: tuple[str, ...] = ()  #: what else the ids depend on, as of ``Quarantine.of``
    fingerprint: str = ""  #: of source and others when the check began
    problems: list[Problem] = field(default_factory=list)  #: findings in the order they were made
    images: ImageList = field(default_factory=ImageList)  #: image files to decode
    categories: dict[int, str] = field(default_factory=dict)  #: names by id; empty if unreadable
    counts: Counter[int] = field(default_factory=Counter)  #: instances of each id without crowds
    labels: array[int] = field(default_factory=lambda: array("l"))  #: classes of images in folders
    #: instances without crowds by image id and category id; of poses, those with a joint
    objects: Counter[tuple[Id, int]] = field(default_factory=Counter)
    num_crowds: int = 0  #: number of crowd regions
    num_empty: int = 0  #: number of images without an instance that is no crowd
    tables: list[str] = field(default_factory=list)  #: what else is printed below the summary
    is_beside: bool = False  #: further annotations of the images of an earlier part

    def note(
        self,
        severity: Severity,
        what: str,
        fix: str,
        *,
        file: str | None = None,
        where: str = "",
        **quarantined: Any,
    ) -> None:
        """Add a finding; its file is ``source`` unless another one is given."""
        problem = Problem(severity, file or self.source, where, what, fix, **quarantined)
        self.problems.append(problem)

    def note_unreadable(self, error: ValueError) -> None:
        """Add the error, "file: message", that kept the whole part from being checked."""
        file, _, message = str(error).partition(": ")
        self.note("error", message, _NOTHING_ELSE, file=file)

    def note_unused(self) -> None:
        """Note, as information, classes without an instance and images without a box."""
        unused = [name for key, name in self.categories.items() if not self.counts[key]]
        if unused:
            total = len(self.categories)
            what = f"{len(unused)} of {total} classes have no instance: {shorten(unused, 5)}"
            self.note("info", what, "annotate some, or remove the classes")
        if self.num_empty:
            what = f"{self.num_empty} of {len(self.images)} images show no object"
            fix = "none needed; data.drop_empty decides whether training uses them"
            self.note("info", what, fix)

    def note_no_object(self, *, is_training: bool) -> None:
        """Say that a part shows no object, which the reader of a training part refuses."""
        if not self.categories or self.counts.total():
            return
        what = "no object is left: there is nothing to "
        fix = "correct what is broken, or give another file or folder"
        if is_training:
            self.note("error", f"{what}learn", fix)
        else:
            self.note("warning", f"{what}find, and every number will be empty", fix)

    def note_limits(self, limits: DetectionLimits) -> None:
        """Warn of images with more objects than are counted, or than a model can give."""
        counts = {(image, self.categories[c]): n for (image, c), n in self.objects.items()}
        for note in limits.notes(counts):
            what, _, fix = note.rpartition("; ")
            self.note("warning", what, fix)

    def read_more(self, index: int) -> Any:
        """Read what else belongs to an image; safe in several threads at the same time."""

    def add(self, index: int, size: Size | None, more: Any) -> None:
        """Judge an image of (height, width), None if broken, by what ``read_more`` returned."""

    def box_table(self) -> BoxTable | None:
        """Boxes that only the doctor has seen; None where the reader knows them."""
        return None

    def conclude(self) -> None:
        """Note what is known only after all images were added."""

    def summary(self) -> str:
        """Table of counts: images, instances, and instances of each class."""
        lines = [
            f"{self.name} ({self.source})",
            f"  images     {len(self.images)}, of them {self.num_empty} without an object",
            f"  instances  {sum(self.counts.values())}, and "
            f"{counted(self.num_crowds, 'crowd region')}",
        ]
        return "\n".join([*lines, *self._rows(self.categories)])

    def _rows(self, categories: Iterable[int]) -> list[str]:
        """Lines of id, name and count of some categories."""
        names = {key: one_line(self.categories[key]) for key in categories}
        width = max(map(len, names.values()), default=0)
        return [f"  {key:>10}  {name:<{width}}  {self.counts[key]}" for key, name in names.items()]


@dataclass(frozen=True)
class Report:
    """Findings about a data set; ``known`` is the quarantine that was left out from the start."""

    parts: Sequence[PartReport]
    known: Quarantine = field(default_factory=Quarantine)

    @property
    def problems(self) -> list[Problem]:
        """Problems of all parts."""
        return [problem for part in self.parts for problem in part.problems]

    @property
    def num_errors(self) -> int:
        """Number of errors."""
        return sum(problem.severity == "error" for problem in self.problems)

    def lines(self) -> Iterator[str]:
        """A line for each problem, tables of parts with images, and how much was found."""
        found: Counter[Severity] = Counter()
        for part in self.parts:
            for problem in part.problems:
                found[problem.severity] += 1
                yield str(problem)
        for part in self.parts:
            if len(part.images) > 0:
                yield from (f"\n{table}" for table in (part.summary(), *part.tables))
        errors, warnings = counted(found["error"], "error"), counted(found["warning"], "warning")
        yield f"\n{errors}, {warnings}, {counted(found['info'], 'note')}"

    def text(self) -> str:
        """All ``lines``."""
        return "\n".join(self.lines())

    def quarantine(self) -> Quarantine:
        """The known list, with the images, annotations and records that have an error."""
        merged = dict(self.known.parts)
        for part in self.parts:
            key = self.known.key_of(part.source) or part_key(part.source)
            known = merged.get(key, QuarantinedPart())
            if known.fingerprint != part.fingerprint:  # the list is older than the files
                known = QuarantinedPart()
            errors = [problem for problem in part.problems if problem.severity == "error"]
            annotations = {p.annotation_id for p in errors if p.annotation_id is not None}
            whole = [p.image_id for p in errors if p.annotation_id is None]
            images = {i for i in whole if i is not None}.union(*(p.image_ids for p in errors))
            merged[key] = QuarantinedPart(
                known.images | images,
                known.annotations | annotations,
                known.records | {p.record for p in errors if p.record is not None},
                part.fingerprint,
            )
        return Quarantine({key: part for key, part in merged.items() if part})
