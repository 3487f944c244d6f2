"""The data doctor's check of images in class folders, and of CUB-200-2011."""

import os
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from van_dense.core.counting import counted, shorten
from van_dense.core.structures import Size
from van_dense.data.doctor.report import PartReport
from van_dense.data.readers.annotation_columns import ImageRecord
from van_dense.data.readers.class_folder import Listing, class_names, folder_record
from van_dense.data.readers.class_words import spoken_names
from van_dense.data.readers.cub import Cub200
from van_dense.data.readers.quarantine import Quarantine, StaleQuarantine

FEW_IMAGES = 5  # with fewer, one image is more than a fifth of its class
SMALL_SIDE = 32  # pixels; the stride of a backbone, so that such an image is one position
MAX_ROWS = 100  # of the summary
_PARTS = {"train", "training", "val", "valid", "validation", "test", "testing"}


@dataclass(frozen=True)
class ClassPart:
    """One part of a classification data set."""

    name: str  #: name in messages; "train" and "val" are the parts of CUB
    root: str  #: folder of class folders, or the one that holds CUB's images.txt
    classes: tuple[str, ...] | None = None  #: folders in the order of labels; None takes all
    layout: Literal["folder", "cub"] = "folder"  #: "cub" for CUB

    @property
    def source(self) -> str:
        """Folder that keys the quarantine."""
        return str(Path(self.root) / "images") if self.layout == "cub" else self.root


@dataclass
class ClassReport(PartReport):
    """Findings about one part; ``categories`` and ``counts`` go by label, and count images."""

    _small: list[str] = field(default_factory=list)

    def add(self, index: int, size: Size | None, more: None) -> None:
        """Count an image of (height, width), None if broken."""
        if size is None:
            return
        path = self.images[index].path
        self.counts[self.labels[index]] += 1
        if min(size) < SMALL_SIDE:
            self._small.append(path)

    def conclude(self) -> None:
        """Note what is known only after all images were added."""
        if not self.images:
            return
        number_of = [(name, self.counts[label]) for label, name in self.categories.items()]
        names, total = list(self.categories.values()), len(number_of)
        empty = [name for name, count in number_of if not count]
        few = [f"{name} ({count})" for name, count in number_of if 0 < count < FEW_IMAGES]
        if empty:
            what = f"{len(empty)} of {total} classes have no usable image: {shorten(empty)}"
            self.note("warning", what, "add images, or remove the classes from all parts")
        if few:
            what = f"{len(few)} of {total} classes have fewer than {FEW_IMAGES} images"
            fix = "add images; accuracies of such classes mean little"
            self.note("warning", f"{what}: {shorten(few)}", fix)
        if total == 1:
            what = f"there is one class only, {names[0]!r}; any network is right"
            self.note("warning", what, "give the folder that holds one folder for each class")
        elif {name.lower() for name in names} <= _PARTS:
            what = f"the classes are called {shorten(names)}"
            self.note("warning", what, "give one of these folders, they look like parts")
        if self._small:
            what = (
                f"{counted(len(self._small), 'image has', 'images have')} a side of less than "
                f"{SMALL_SIDE} px"
            )
            fix = "check whether they are thumbnails; they are enlarged"
            self.note("warning", f"{what}: {shorten(self._small)}", fix)

    def summary(self) -> str:
        """Number of images, and of those of each class, the smallest classes first."""
        counts = [self.counts[label] for label in self.categories]
        middle = statistics.median(counts) if counts else 0
        lines = [
            f"{self.name} ({self.source})",
            f"  images     {self.counts.total()} that can be read, of {len(self.images)}",
            f"  classes    {len(counts)}, with {min(counts, default=0)} to "
            f"{max(counts, default=0)} images, median {middle:g}",
        ]
        rows = sorted(self.categories, key=lambda label: (self.counts[label], label))[:MAX_ROWS]
        lines += self._rows(rows)
        if len(counts) > MAX_ROWS:
            lines.append(f"  and {counted(len(counts) - MAX_ROWS, 'larger class')}")
        return "\n".join(lines)


def folder_parts(
    roots: Mapping[str, str], classes: tuple[str, ...] | None = None
) -> list[ClassPart]:
    """Parts of folders by name, training first; ``classes`` None takes those of the first."""
    if classes is None:
        try:
            classes = class_names(next(iter(roots.values())))
        except ValueError:
            pass  # checking that part reports it
    return [ClassPart(name, root, classes) for name, root in roots.items()]


def cub_parts(root: str) -> list[ClassPart]:
    """Training and test part of CUB."""
    return [ClassPart(name, root, layout="cub") for name in ("train", "val")]


def check_classes(part: ClassPart, quarantine: Quarantine) -> ClassReport:
    """List the images of a part, without opening any; ``ClassReport.add`` judges them."""
    is_cub = part.layout == "cub"
    others = (str(Path(part.root) / "images.txt"),) if is_cub else ()
    report = ClassReport(part.name, part.source, others)
    try:
        (_add_cub if is_cub else _add_folder)(report, part, quarantine)
    except StaleQuarantine:
        raise
    except ValueError as error:
        report.note_unreadable(error)
    return report


def _add_cub(report: ClassReport, part: ClassPart, quarantine: Quarantine) -> None:
    split: Literal["train", "val"] = "train" if part.name == "train" else "val"
    dataset = Cub200(part.root, split, name="cub200", quarantine=quarantine)
    report.categories = dict(enumerate(dataset.info.class_names))
    for index in range(len(dataset)):
        report.images.append(ImageRecord(dataset.path(index), dataset.image_id(index), (0, 0)))
        report.labels.append(dataset.label(index))


def _add_folder(report: ClassReport, part: ClassPart, quarantine: Quarantine) -> None:
    listing = Listing.find(part.root, part.classes)
    left_out = quarantine.of(part.root)
    report.categories = dict(enumerate(spoken_names(listing.names)))
    for path, label in zip(listing.paths, listing.labels, strict=True):
        if path not in left_out.images:
            report.images.append(ImageRecord(os.path.join(part.root, path), path, (0, 0)))
            report.labels.append(label)
    for folder in listing.unknown:
        if (record := folder_record(folder)) in left_out.records:
            continue
        what = f"none of the {len(listing.names)} classes, which are {shorten(listing.names)}"
        fix = "rename or remove it, list it in data.classes, or leave it out with --quarantine"
        report.note("error", what, fix, file=os.path.join(part.root, folder), record=record)
    for name in listing.beside:
        if name not in left_out.images:
            what, fix = "it lies in no class folder", "move it into one, or use --quarantine"
            report.note("error", what, fix, file=os.path.join(part.root, name), image_id=name)
    if listing.left_out is not None:
        report.note("info", listing.left_out, "none needed if nobody is to read them")
