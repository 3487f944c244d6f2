"""The label file of each image of a YOLO part, where exporters put it and as they spell it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from van_dense.core.counting import counted, shorten
from van_dense.data.io.names import plain_stem
from van_dense.data.io.suffixes import SUFFIXES
from van_dense.data.io.walk import is_left_out
from van_dense.data.messages import Remark
from van_dense.data.readers.yolo_layout import YoloLayout

# Exporters put the list of classes and lists of images among the label files.
_NO_LABELS = {"classes", "train", "val", "valid", "test", "notes", "predefined_classes"}


@dataclass
class LabelFiles:
    """The label file of each image of a part.

    The last folder named ``images`` becomes ``labels``; without one, labels lie beside the images.
    Where no image has its label there, the usual other places are tried.

    Attributes:
        files: Label file of each image, also where none exists.
        remarks: What is unusual.
    """

    layout: YoloLayout
    split: str
    images: Sequence[Path]
    files: list[Path] = field(default_factory=list)
    remarks: list[Remark] = field(default_factory=list)
    _listings: dict[Path, _Folder] = field(default_factory=dict)
    _exists: list[bool] = field(default_factory=list)

    def __post_init__(self) -> None:
        places = {folder: self._places(folder) for folder in {i.parent for i in self.images}}
        for number in range(max(map(len, places.values()))):
            folders = {
                folder: tried[min(number, len(tried) - 1)] for folder, tried in places.items()
            }
            self.files = [self._find(image, folders[image.parent]) for image in self.images]
            self._exists = [file.name in self._folder(file.parent).names for file in self.files]
            if any(self._exists):
                break
        else:
            self._refuse(places)
        if number:
            what = f"label files are read from {self.files[0].parent}: none lies in "
            what += str(places[self.images[0].parent][0])
            self._note("info", what, "none needed here; other programs look there")
        self._judge({folder: tried[0] for folder, tried in places.items()})

    def orphans(self) -> list[Path]:
        """Label files without an image."""
        expected = set(self.files)
        images: dict[Path, set[str]] = {}  # of other parts too, which may share the folders
        pairs = zip(self.files, self.images, strict=True)
        for folder, beside in {(file.parent, image.parent) for file, image in pairs}:
            images.setdefault(folder, set()).update(self._folder(beside).image_stems)
        found = [folder / name for folder in sorted(images) for name in self._folder(folder).texts]
        return [
            file
            for file in found
            if file not in expected
            and not _is_no_label(file.stem)
            and plain_stem(file.name) not in images[file.parent]
        ]

    def missing(self) -> list[Path]:
        """Label files that do not exist."""
        pairs = zip(self.files, self._exists, strict=True)
        return sorted(file for file, exists in pairs if not exists)

    def _places(self, folder: Path) -> list[Path]:
        """Folders where the labels of a folder's images may lie, the usual one first."""
        usual = label_folder(folder)
        parts = folder.parts
        root = self.layout.file.parent
        inside = len(root.parts) if folder.is_relative_to(root) else max(1, len(parts) - 3)
        swapped = [
            Path(*parts[:i], "labels", *parts[i + 1 :]) for i in reversed(range(inside, len(parts)))
        ]
        return list(dict.fromkeys([usual, folder, folder / "labels", *swapped]))

    def _find(self, image: Path, folder: Path) -> Path:
        listing = self._folder(folder)
        name = f"{image.stem}.txt"
        return folder / (name if name in listing.names else listing.find(image.name) or name)

    def _folder(self, folder: Path) -> _Folder:
        if folder not in self._listings:
            self._listings[folder] = _Folder.read(folder)
        return self._listings[folder]

    def _refuse(self, places: dict[Path, list[Path]]) -> None:
        usual = places[self.images[0].parent][0]
        what = f"none of {len(self.images)} images has a label file"
        fix = f"the one of {self.images[0]} should be {usual / self.images[0].stem}.txt"
        others = Counter(Path(name).suffix.lower() for name in self._folder(usual).names)
        others = Counter(
            {s: n for s, n in others.items() if s in (".xml", ".json", ".csv", ".txt")}
        )
        if others:
            kinds = ", ".join(f"{count} {suffix}" for suffix, count in others.most_common())
            fix += f"; that folder holds {kinds} files"
        raise ValueError(f"{self.layout.file}: {self.split!r}: {what}; {fix}")

    def _judge(self, usual: dict[Path, Path]) -> None:
        odd = [
            (file, image)
            for file, image, exists in zip(self.files, self.images, self._exists, strict=True)
            if exists and file.name != f"{image.stem}.txt"
        ]
        if odd:
            what = (
                f"{counted(len(odd), 'label file is', 'label files are')} spelled otherwise than "
                "their images: "
            )
            self._note("info", f"{what}{odd[0][0].name} of {odd[0][1].name}", "none needed")
        shared = [file for file, count in Counter(self.files).items() if count > 1]
        if shared:
            what = (
                f"{counted(len(shared), 'label file belongs', 'label files belong')} to several "
                f"images each, such as {shared[0]}"
            )
            self._note("warning", what, "give every image a name of its own")
        beside = [
            image
            for image, exists in zip(self.images, self._exists, strict=True)
            if not exists and f"{image.stem}.txt" in self._folder(image.parent).names
        ]
        if beside:
            what = (
                f"{counted(len(beside), 'image')} without a label file, and with a .txt beside "
                "it, such as "
            )
            what += str(beside[0].with_suffix(".txt"))
            fix = f"move labels to {usual[beside[0].parent]}; other texts may stay"
            self._note("warning", f"{what}, which is not read", fix)
        if lost := self.missing():
            what = (
                f"{counted(len(lost), 'image has', 'images have')} no label file, such as {lost[0]}"
            )
            self._note("info", what, "none needed if they show no object")
        if orphans := self.orphans():
            what = (
                f"{counted(len(orphans), 'label file has', 'label files have')} no image: "
                f"{shorten(list(map(str, orphans)))}"
            )
            self._note("warning", what, "add the images, or delete the files")

    def _note(self, severity: Any, what: str, fix: str) -> None:
        self.remarks.append(Remark(severity, f"{self.layout.file}: {self.split!r}", what, fix))


@dataclass(frozen=True)
class _Folder:
    """Names of the files of a folder, and its texts by what their names mean."""

    names: frozenset[str]
    texts: list[str]  # sorted
    by_stem: dict[str, list[str]]
    image_stems: frozenset[str]

    @staticmethod
    def read(folder: Path) -> _Folder:
        names = frozenset(os.listdir(folder) if os.path.isdir(folder) else ())
        texts = sorted(n for n in names if n.lower().endswith(".txt") and not is_left_out(n))
        by_stem: dict[str, list[str]] = {}
        for name in texts:
            by_stem.setdefault(plain_stem(name), []).append(name)
        images = (n for n in names if os.path.splitext(n)[1].lower() in SUFFIXES)
        return _Folder(names, texts, by_stem, frozenset(map(plain_stem, images)))

    def find(self, image: str) -> str | None:
        """The only text that is meant by the name of an image, or None."""
        found = self.by_stem.get(plain_stem(image), [])
        return found[0] if len(found) == 1 else None


def label_folder(folder: Path) -> Path:
    """Where labels of the images of a folder lie: the last folder named images becomes labels."""
    parts = list(folder.parts)
    named = [index for index, part in enumerate(parts) if part == "images"]
    if not named:
        return folder
    parts[named[-1]] = "labels"
    return Path(*parts)


def _is_no_label(stem: str) -> bool:
    return stem.lower() in _NO_LABELS or stem.lower().startswith("readme")
