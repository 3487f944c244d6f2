"""The data doctor's look at pairs of images and masks, and a count of the values found."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from van_dense.core.structures import IGNORE_LABEL, Size
from van_dense.data.dataset import ReadError
from van_dense.data.doctor.report import NOTHING_ELSE, PartReport, Problem, Severity
from van_dense.data.io.label_map import LabelMap, count_values, spell_value, suggest_lines
from van_dense.data.io.masks import read_labels, read_saliency
from van_dense.data.readers.image_mask import Pairs, mask_size_problem
from van_dense.data.readers.quarantine import Id, Quarantine
from van_dense.data.readers.table import ImageRecord

MAX_ROWS = 256  # of the summary, and values of a sensible label map; soft edges make thousands
SOFT_SHARE = 0.05  # of grey pixels; the smooth outline of a binary mask has fewer
_REPAIR = "correct the mask, or leave the image out with --quarantine"


@dataclass(frozen=True)
class MaskPart:
    """Two folders of images and masks.

    Attributes:
        name: For messages.
        images: Folder of the images, which keys the quarantine.
        masks: Folder of the masks.
        image_pattern: Of the image files.
        mask_pattern: Of the mask files.
        label_map: Meaning of the values; None counts them only, and suggests one.
        class_names: Of the classes that ``label_map`` maps to; empty shows their numbers.
        is_saliency: Whether masks are grey, white = salient.
    """

    name: str
    images: str
    masks: str
    image_pattern: str
    mask_pattern: str
    label_map: LabelMap | None = None
    class_names: tuple[str, ...] = ()
    is_saliency: bool = False


@dataclass(frozen=True)
class MaskContent:
    """What one mask holds: why it cannot be read, or its size and the pixels of each value."""

    problem: str | None
    size: Size = (0, 0)
    counts: dict[int, int] = field(default_factory=dict)


@dataclass
class MaskReport(PartReport):
    """Findings about one part of image and mask pairs.

    Attributes:
        part: What is checked.
        masks: Mask of each image.
        is_color: Whether masks are read as colours; values are then 65536 R + 256 G + B.
        num_pixels: Pixels of each value found.
        num_masks: Masks with each value.
    """

    part: MaskPart = field(kw_only=True)
    masks: list[str] = field(default_factory=list)
    is_color: bool = False
    num_pixels: Counter[int] = field(default_factory=Counter)
    num_masks: Counter[int] = field(default_factory=Counter)
    _uncovered: dict[int, list[Id]] = field(default_factory=lambda: defaultdict(list))
    _num_soft: int = 0

    def read_mask(self, index: int) -> MaskContent:
        """Read the mask of an image; safe in several threads at the same time."""
        path = self.masks[index]
        try:
            if self.part.is_saliency:
                values = read_saliency(path)
            else:
                values = read_labels(path, color=self.is_color)
        except ReadError as error:
            return MaskContent(str(error).removeprefix(f"{path}: "))
        return MaskContent(None, (values.shape[0], values.shape[1]), count_values(values))

    def add(self, index: int, mask: MaskContent, image_size: Size | None) -> None:
        """Judge a mask beside its image, whose size is None where it is broken, and count it."""
        image = self.images[index]
        problem = mask.problem
        if problem is None and image_size is not None:
            problem = mask_size_problem(mask.size, image_size)
        if problem is not None:
            self._report("error", self.masks[index], problem, _REPAIR, image_id=image.id)
            return
        self.num_pixels.update(mask.counts)
        self.num_masks.update(mask.counts.keys())
        judge = self._judge_saliency if self.part.is_saliency else self._judge_labels
        for what, fix in judge(mask, image.id):
            self._report("warning", self.masks[index], what, fix)

    def _judge_saliency(self, mask: MaskContent, _: Id) -> Iterator[tuple[str, str]]:
        for value, name, nothing in ((0, "black", "salient"), (255, "white", "background")):
            if set(mask.counts) == {value}:
                what = f"the mask is {name} everywhere: nothing is {nothing}"
                yield what, "check that it is the right file"
        share = sum(n for value, n in mask.counts.items() if 0 < value < 255) / _area(mask)
        self._num_soft += share > 0
        if share > SOFT_SHARE:
            yield (
                f"{share:.1%} of the pixels are grey, neither 0 nor 255",
                "none needed if the truth is soft; a binary mask should be saved as such, white = "
                "255",
            )

    def _judge_labels(self, mask: MaskContent, image_id: Id) -> Iterator[tuple[str, str]]:
        if self.part.label_map is None:
            return
        label_of = self.part.label_map.label_of
        for value in mask.counts:
            if value not in label_of:
                self._uncovered[value].append(image_id)
        if all(label_of.get(value) == IGNORE_LABEL for value in mask.counts):
            yield "every pixel is ignored", "check that it is the right file; it teaches nothing"

    def conclude(self) -> None:
        """Report what is known only after all masks were added."""
        for value, ids in sorted(self._uncovered.items()):
            text = spell_value(value, self.is_color)
            what = (
                f"the value {text} is not in data.label_map: {self.num_pixels[value]} pixels of "
                f"{len(ids)} images, such as {', '.join(map(str, ids[:3]))}"
            )
            fix = f'add "{text} -> ignore" or the class that it means, or quarantine the images'
            self._report("error", self.part.masks, what, fix, image_ids=tuple(ids))
        if not self.part.is_saliency and len(self.num_pixels) > MAX_ROWS:
            self._report(
                "warning",
                self.part.masks,
                f"the masks hold {len(self.num_pixels)} values, more than the {MAX_ROWS} of 8 bits",
                "check that they are label maps: resizing or smoothing edges mixes labels, and "
                "instance ids are no classes",
            )
        if self._num_soft:
            grey = sum(n for value, n in self.num_pixels.items() if 0 < value < 255)
            share = grey / self.num_pixels.total()
            what = f"{self._num_soft} masks are not binary; of all pixels {share:.2%} are grey"
            fix = "none needed for outlines; metrics split greys in the middle"
            self._report("info", self.part.masks, what, fix)
        self._report_unused()

    def _report_unused(self) -> None:
        if self.part.label_map is None or not self.num_pixels:
            return
        found = {self.part.label_map.label_of.get(value) for value in self.num_pixels}
        classes = range(self.part.label_map.num_classes)
        names = [self._class_name(label) for label in classes if label not in found]
        if names:
            more = ", ..." if len(names) > 5 else ""
            what = (
                f"{len(names)} of {len(classes)} classes have no pixel: "
                f"{', '.join(names[:5])}{more}"
            )
            self._report("info", self.part.masks, what, "annotate some, or remove the classes")

    def _class_name(self, label: int) -> str:
        return " ".join([str(label), *self.part.class_names[label : label + 1]])

    def _report(
        self,
        severity: Severity,
        file: str,
        what: str,
        fix: str,
        *,
        image_id: Id | None = None,
        image_ids: tuple[Id, ...] = (),
    ) -> None:
        problem = Problem(severity, file, "", what, fix, image_id=image_id, image_ids=image_ids)
        self.problems.append(problem)

    def summary(self) -> str:
        """Table of the values found: pixels, their share, masks, and the meaning."""
        title = "meaning" if self.part.is_saliency or self.part.label_map is not None else ""
        lines = [
            f"{self.name} ({self.part.images}, {self.part.masks})",
            f"  images     {len(self.images)}",
            f"       value          pixels     share    masks  {title}".rstrip(),
        ]
        total = max(1, self.num_pixels.total())
        rows = self._rows()
        for name, pixels, masks, meaning in rows[:MAX_ROWS]:
            row = f"  {name:>10}  {pixels:>14}  {pixels / total:>8.3%}  {masks:>7}  {meaning}"
            lines.append(row.rstrip())
        if len(rows) > MAX_ROWS:
            lines.append(f"  and {len(rows) - MAX_ROWS} more values")
        elif self.part.label_map is None and not self.part.is_saliency and rows:
            suggestion = ", ".join(
                f'"{line}"' for line in suggest_lines(self.num_pixels, is_color=self.is_color)
            )
            lines.append(f"  a label map to start from: [{suggestion}]")
        return "\n".join(lines)

    def _rows(self) -> list[tuple[str, int, int, str]]:
        """Spelling, pixels, masks and meaning of each value; the greys of saliency are one row."""
        if self.part.is_saliency:
            grey = sum(n for value, n in self.num_pixels.items() if 0 < value < 255)
            return [
                ("0", self.num_pixels[0], self.num_masks[0], "background"),
                ("1..254", grey, self._num_soft, "grey"),
                ("255", self.num_pixels[255], self.num_masks[255], "salient"),
            ]
        return [
            (
                spell_value(value, self.is_color),
                pixels,
                self.num_masks[value],
                self._meaning(value),
            )
            for value, pixels in sorted(self.num_pixels.items())
        ]

    def _meaning(self, value: int) -> str:
        if self.part.label_map is None:
            return ""
        label = self.part.label_map.label_of.get(value)
        if label is None:
            return "NOT IN data.label_map"
        return "ignore" if label == IGNORE_LABEL else self._class_name(label)


def check_masks(part: MaskPart, quarantine: Quarantine) -> MaskReport:
    """Find the pairs of a part, without opening files; ``MaskReport.add`` judges the masks."""
    report = MaskReport(part.name, part.images, part=part)
    try:
        pairs = Pairs.find(
            part.images,
            part.masks,
            image_pattern=part.image_pattern,
            mask_pattern=part.mask_pattern,
        )
    except ValueError as error:
        source, _, message = str(error).partition(": ")
        report.problems.append(Problem("error", source, "", message, NOTHING_ELSE))
        return report
    left_out = quarantine.of(part.images).images
    for key, what in pairs.problems:
        if key not in left_out:
            fix = (
                "give every image one mask, correct the patterns, or leave it out with --quarantine"
            )
            report.problems.append(
                Problem("error", part.images, f"key {key!r}", what, fix, image_id=key)
            )
    for key in pairs.complete:
        if key not in left_out:
            path = str(Path(part.images) / pairs.images[key])
            report.images.append(ImageRecord(path, key, (0, 0)))
            report.masks.append(str(Path(part.masks) / pairs.masks[key]))
    if part.label_map is not None:
        report.is_color = part.label_map.is_color
    elif report.masks and not part.is_saliency:
        report.is_color = _has_colors(report.masks[0])
    return report


def _has_colors(mask: str) -> bool:
    """Whether a mask can be read by colour only."""
    try:
        read_labels(mask)
    except ReadError:
        try:
            read_labels(mask, color=True)
        except ReadError:
            return False
        return True
    return False


def _area(mask: MaskContent) -> int:
    return mask.size[0] * mask.size[1]
