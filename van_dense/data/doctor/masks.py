"""The data doctor's check of pairs of images and masks, and a count of the values found."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from van_dense.core.counting import counted, shorten
from van_dense.core.plain_text import one_line
from van_dense.core.structures import IGNORE_LABEL, Size, size_of
from van_dense.data.dataset import ReadError
from van_dense.data.doctor.report import PartReport
from van_dense.data.io.image import orientation_tag
from van_dense.data.io.known_labels import start_lines
from van_dense.data.io.label_map import LabelMap, count_values, spell_value, suggest_lines
from van_dense.data.io.masks import full_ade20k, read_labels, read_saliency, read_stored
from van_dense.data.io.stored import some_of
from van_dense.data.messages import Fault
from van_dense.data.readers.annotation_columns import ImageRecord
from van_dense.data.readers.image_mask import Pairs, mask_size_problem
from van_dense.data.readers.mask_folder import (
    SALIENT,
    Palettes,
    classes_of_others,
    color_of,
    foreign_ids,
    nothing_named,
    nothing_salient,
)
from van_dense.data.readers.quarantine import Id, Quarantine

MAX_ROWS = 256  # of the summary, and values of a sensible label map; soft edges make thousands
SOFT_FRACTION = 0.05  # of grey pixels; the smooth outline of a binary mask has fewer
MAX_UNCOVERED = 20  # values without a line that get an error each; soft edges make thousands
_FEW_GREYS = 3  # of a mask; soft edges have many
_REPAIR = "correct the mask, or leave the image out with --quarantine"


@dataclass(frozen=True)
class MaskPart:
    """Two folders of images and masks."""

    name: str  #: name in messages
    images: str  #: folder of the images, which keys the quarantine
    masks: str  #: folder of the masks
    image_pattern: str  #: file names of the images, such as "{key}.jpg"
    mask_pattern: str  #: file names of the masks, such as "{key}_labels.png"
    label_map: LabelMap | None = None  #: meaning of the values; None counts and suggests one
    class_names: tuple[str, ...] = ()  #: names of the classes 0..C-1; empty shows their numbers
    is_saliency: bool = False  #: whether masks are grey, white = salient

    @property
    def source(self) -> str:
        """Folder that keys the quarantine."""
        return self.images


@dataclass(frozen=True)
class MaskContent:
    """What one mask holds: why it cannot be read, or its size and the pixels of each value.

    Beside them its palette and its orientation tag.
    """

    problem: str | None
    size: Size = (0, 0)
    counts: dict[int, int] = field(default_factory=dict)
    palette: bytes | None = None
    orientation: int = 1


@dataclass
class MaskReport(PartReport):
    """Findings about one part of image and mask pairs."""

    part: MaskPart = field(kw_only=True)  #: folders and label map that are checked
    masks: list[str] = field(default_factory=list)  #: mask file of each image
    is_color: bool = False  #: whether values are colours, 65536 R + 256 G + B
    num_pixels: Counter[int] = field(default_factory=Counter)  #: pixels of each value found
    num_masks: Counter[int] = field(default_factory=Counter)  #: masks with each value
    _uncovered: dict[int, list[Id]] = field(default_factory=lambda: defaultdict(list))
    _num_soft: int = 0
    _palettes: dict[tuple[bytes, frozenset[int]], list[int]] = field(default_factory=dict)
    _contradict: bool = False
    _turned: list[str] = field(default_factory=list)

    def read_more(self, index: int) -> MaskContent:
        """Read the mask of an image; safe in several threads at the same time."""
        path, palette = self.masks[index], None
        try:
            if self.part.is_saliency:
                values = read_saliency(path)
            else:
                labels = read_stored(path, color=self.is_color)
                values, palette = labels.values, labels.palette
        except ReadError as error:
            return MaskContent(str(error).removeprefix(f"{path}: "))
        counts = count_values(values)
        tag = orientation_tag(path)
        return MaskContent(None, size_of(values), counts, palette, tag)

    def add(self, index: int, size: Size | None, more: MaskContent) -> None:
        """Judge a mask beside its image, whose size is None where it is broken, and count it."""
        image, mask = self.images[index], self.masks[index]
        fault = None if more.problem is None else Fault(more.problem, _REPAIR)
        if fault is None and size is not None:
            fault = mask_size_problem(more.size, size)
        if fault is not None:
            self.note("error", *fault, file=mask, image_id=image.id)
            return
        self.num_pixels.update(more.counts)
        self.num_masks.update(more.counts.keys())
        if more.palette is not None:
            key = more.palette, frozenset(more.counts)
            self._palettes.setdefault(key, []).append(index)
        if more.orientation != 1:
            self._turned.append(mask)
        judge = self._judge_saliency if self.part.is_saliency else self._judge_labels
        for what, fix in judge(more, image.id):
            self.note("warning", what, fix, file=mask)

    def _judge_saliency(self, mask: MaskContent, _: Id) -> Iterator[tuple[str, str]]:
        for value, name, nothing in ((0, "black", "salient"), (255, "white", "background")):
            if set(mask.counts) == {value}:
                what = f"the mask is {name} everywhere: nothing is {nothing}"
                yield what, "check that it is the right file"
        brightest = max(mask.counts)
        if 0 < brightest <= SALIENT:
            what = f"nothing is salient: no pixel is above {SALIENT}, the brightest is {brightest}"
            yield what, "check that white = 255 marks what is salient"
        fraction = _num_grey(mask.counts) / sum(mask.counts.values())
        self._num_soft += fraction > 0
        if fraction > SOFT_FRACTION:
            what = f"{fraction:.1%} of the pixels are grey, neither 0 nor 255"
            fix = "none needed if the truth is soft; a binary mask should be saved as such, white"
            greys = sorted(value for value in mask.counts if 0 < value < 255)
            if len(greys) <= _FEW_GREYS:
                what += f", and have the values {greys} only: ids or colours made grey, perhaps"
            yield what, f"{fix} = 255"

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
        """Note what is known only after all masks were added."""
        masks = self.part.masks
        self._note_turned()
        faults: list[Fault | None] = []
        if self.part.label_map is not None:
            names = [Path(mask).name for mask in self.masks]
            faults.append(foreign_ids(self.part.label_map, self.num_pixels, names))
            faults.append(nothing_named(self.part.label_map, self.num_pixels))
        if self.part.is_saliency and self.num_pixels:
            faults.append(nothing_salient(max(self.num_pixels)))
        for fault in filter(None, faults):
            self.note("error", *fault, file=masks)
        self._note_uncovered()
        if not self.part.is_saliency and len(self.num_pixels) > MAX_ROWS:
            num_values = len(self.num_pixels)
            what = (
                f"the masks hold {counted(num_values, 'value')}, more than the {MAX_ROWS} of 8 bits"
            )
            fix = "check that they are label maps: resizing or smoothing edges mixes labels, and"
            self.note("warning", what, f"{fix} instance ids are no classes", file=masks)
        if self._num_soft:
            fraction = _num_grey(self.num_pixels) / self.num_pixels.total()
            what = (
                f"{counted(self._num_soft, 'mask is', 'masks are')} not binary; of all pixels "
                f"{fraction:.2%} are grey"
            )
            fix = "none needed for outlines; metrics split greys in the middle"
            self.note("info", what, fix, file=masks)
        if self.part.label_map is not None and self.num_pixels:
            used = {self.part.label_map.label_of.get(value) for value in self.num_pixels}
            classes = range(self.part.label_map.num_classes)
            names = [self._class_name(label) for label in classes if label not in used]
            others = classes_of_others(self.part.label_map, self.num_pixels, self.part.class_names)
            if others is not None:
                self.note("warning", *others, file=masks)
            elif names:
                what = f"{len(names)} of {len(classes)} classes have no pixel: {shorten(names, 5)}"
                self.note("info", what, "annotate some, or remove the classes", file=masks)

    def _note_uncovered(self) -> None:
        """Note the values that have no line: the commonest one by one, the others together."""
        by_pixels = sorted(self._uncovered, key=lambda value: -self.num_pixels[value])
        for value in sorted(by_pixels[:MAX_UNCOVERED]):
            ids = self._uncovered[value]
            text = spell_value(value, self.is_color)
            found = f"{self.num_pixels[value]} pixels of {len(ids)} images"
            some = ", ".join(map(str, ids[:3]))
            what = f"the value {text} is not in data.label_map: {found}, such as {some}"
            fix = f'add "{text} -> ignore" or the class that it means, or quarantine the images'
            self.note("error", what, fix, file=self.part.masks, image_ids=tuple(ids))
        if others := by_pixels[MAX_UNCOVERED:]:
            images = tuple({image: None for value in others for image in self._uncovered[value]})
            some = ", ".join(map(str, images[:3]))
            what = (
                f"{counted(len(others), 'more value is', 'more values are')} not in "
                f"data.label_map: {counted(len(images), 'image')}"
            )
            fix = (
                "export the masks without smooth edges and without compression, or quarantine them"
            )
            file = self.part.masks
            self.note("error", f"{what}, such as {some}", fix, file=file, image_ids=images)

    def note_palettes(self, seen: Palettes) -> None:
        """Note the masks whose palettes contradict those seen before, or most others here."""
        number: Counter[bytes] = Counter()
        for (palette, _), indices in self._palettes.items():
            number[palette] += len(indices)
        bad = []
        for palette, used in sorted(self._palettes, key=lambda found: -number[found[0]]):
            indices = self._palettes[palette, used]
            if fault := seen.add_palette(self.masks[indices[0]], palette, used):
                bad += [(index, fault) for index in indices]
        if bad:
            self._contradict = True
            first, fault = bad[0]
            what = (
                f"{counted(len(bad), 'mask has', 'masks have')} a palette of their own, such as "
                f"{self.masks[first]}: "
            )
            ids = tuple(self.images[index].id for index, _ in bad)
            self.note("error", what + fault.what, fault.fix, file=self.part.masks, image_ids=ids)

    def _note_turned(self) -> None:
        """Note masks that have an orientation tag."""
        if self._turned:
            what = (
                f"{counted(len(self._turned), 'mask has', 'masks have')} an orientation tag, such "
                f"as {self._turned[0]}"
            )
            fix = "they are read as stored, whatever the tag says; --draw shows whether they fit"
            self.note("warning", what, fix, file=self.part.masks)

    def _class_name(self, label: int) -> str:
        return one_line(" ".join([str(label), *self.part.class_names[label : label + 1]]))

    def summary(self) -> str:
        """Table of the values found: pixels, their fraction, masks, and the meaning."""
        title = "meaning" if self.part.is_saliency or self.part.label_map is not None else ""
        lines = [
            f"{self.name} ({self.part.images}, {self.part.masks})",
            f"  images     {len(self.images)}",
            f"       value          pixels  fraction    masks  {title}".rstrip(),
        ]
        total = max(1, self.num_pixels.total())
        rows = self._values()
        for name, pixels, masks, meaning in rows[:MAX_ROWS]:
            row = f"  {name:>10}  {pixels:>14}  {pixels / total:>8.3%}  {masks:>7}  {meaning}"
            lines.append(row.rstrip())
        if len(rows) > MAX_ROWS:
            lines.append(f"  and {counted(len(rows) - MAX_ROWS, 'more value')}")
        elif self.part.label_map is None and not self.part.is_saliency and rows:
            lines.append(self._start())
        return "\n".join(lines)

    def _start(self) -> str:
        """The line with a label map to start from."""
        palettes = {palette for palette, _ in self._palettes}
        if self._contradict:
            colors = {color_of(palette, i) for palette, used in self._palettes for i in used}
            suggested, known = suggest_lines(colors, is_color=True), ""
        else:
            suggested, known = start_lines(
                self.num_pixels,
                is_color=self.is_color,
                files=[Path(mask).name for mask in self.masks],
                palette=palettes.pop() if len(palettes) == 1 else None,
            )
        listed = ", ".join(f'"{line}"' for line in suggested)
        of = f" (of {known})" if known else ""
        if not known and set(self.num_pixels) == set(range(12)):
            of = ' (in CamVid of SegNet 11 is void: "0..10 -> 0..10", "11 -> ignore")'
        return f"  a label map to start from{of}: [{listed}]"

    def _values(self) -> list[tuple[str, int, int, str]]:
        """Spelling, pixels, masks and meaning of each value; the greys of saliency are one row."""
        if self.part.is_saliency:
            return [
                ("0", self.num_pixels[0], self.num_masks[0], "background"),
                ("1..254", _num_grey(self.num_pixels), self._num_soft, "grey"),
                ("255", self.num_pixels[255], self.num_masks[255], "salient"),
            ]
        return [
            (spell_value(value, self.is_color), pixels, self.num_masks[value], self._meaning(value))
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
    report = MaskReport(part.name, part.source, (part.masks,), part=part)
    try:
        patterns = {"image_pattern": part.image_pattern, "mask_pattern": part.mask_pattern}
        pairs = Pairs(part.images, part.masks, **patterns)
    except ValueError as error:
        report.note_unreadable(error)
        return report
    for words in pairs.left_out:
        report.note("info", words.partition(": ")[2], "none needed", file=words.partition(": ")[0])
    left_out = quarantine.of(part.source, part.masks).images
    fix = "give every image one mask, correct the patterns, or leave it out with --quarantine"
    for key, what in pairs.problems:
        if key not in left_out:
            report.note("error", what, fix, where=f"key {key!r}", image_id=key)
    for key in pairs.complete:
        if key not in left_out:
            path = str(Path(part.images) / pairs.images[key])
            report.images.append(ImageRecord(path, key, (0, 0)))
            report.masks.append(str(Path(part.masks) / pairs.masks[key]))
    if part.label_map is not None:
        report.is_color = part.label_map.is_color
    elif report.masks and not part.is_saliency:
        some = [report.masks[index] for index in some_of(len(report.masks))]  # one may be black
        colored = next((mask for mask in some if _has_colors(mask)), None)
        report.is_color = colored is not None
        if colored is not None:
            _note_full_ade20k(report, colored)
    return report


def check_palettes(reports: Sequence[PartReport]) -> None:
    """Note masks whose palettes contradict each other, in a part and between parts."""
    seen = Palettes()
    for report in reports:
        if isinstance(report, MaskReport):
            report.note_palettes(seen)


def _has_colors(mask: str) -> bool:
    """Whether a mask can be read by colour only."""

    def is_readable(color: bool) -> bool:
        try:
            read_labels(mask, color=color)
        except ReadError:
            return False
        return True

    return not is_readable(False) and is_readable(True)


def _note_full_ade20k(report: MaskReport, mask: str) -> None:
    way_in = full_ade20k(mask, read_labels(mask, color=True))
    if way_in is not None:
        what, fix = way_in.split(": ", 1)
        report.note("error", what, fix, file=report.part.masks)


def _num_grey(counts: Mapping[int, int]) -> int:
    return sum(count for value, count in counts.items() if 0 < value < 255)
