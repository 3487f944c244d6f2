"""Reader of Pascal VOC: an XML file for each image, and lists of the images of each part.

    Annotations/a.xml   JPEGImages/a.jpg   ImageSets/Main/train.txt

A part is a list, or a folder with XML files beside their images, as Roboflow and LabelImg write.

Corners of VOC count pixels from 1, both included, so (xmin, ymin, xmax, ymax) is the box
(xmin - 1, ymin - 1, xmax, ymax), as Detectron2 reads it (``data/datasets/pascal_voc.py``). Other
programs write corners from 0 (labelme2voc, CVAT and Label Studio with fractions); a corner below 1
anywhere, or fractions in most boxes, show it, and they are taken as they stand.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from van_dense.core.counting import counted, shorten
from van_dense.core.dataset_info import DatasetInfo
from van_dense.data.io.names import read_text
from van_dense.data.messages import list_counts
from van_dense.data.readers.annotated_images import (
    AnnotatedDataset,
    AnnotatedImage,
    AnnotatedObject,
    AnnotatedPart,
    Finding,
    Rules,
    alike_names,
    class_names,
    names_of,
    repeated,
)
from van_dense.data.readers.annotation_columns import BoxXYXY
from van_dense.data.readers.foreign import VOC, way_in
from van_dense.data.readers.image_index import ImageIndex, files_below, stated_name
from van_dense.data.readers.quarantine import Quarantine
from van_dense.data.readers.voc_xml import VocFile, VocObject, parse_voc

FirstPixel = Literal["auto", 0, 1]
_LISTS = PurePosixPath("ImageSets/Main")
_MARKS = ("-1", "0", "1")  # of a class list: absent, difficult only, present


class VocDataset(AnnotatedDataset):
    """A ``DenseDataset`` of one part of a VOC folder; image ids are the stems of the XML files.

    Args:
        root: Folder of the data set.
        split: The part to read, one of ``splits``.
        splits: Names of all parts, the training part first: each a list of ImageSets/Main, a text
            file, or a folder with XML files, below ``root``.
        name: Name of the data set in titles and logs.
        rules: How names and marks are meant.
        first_pixel: Number of the first pixel; "auto" takes 0 where a corner lies below 1 or most
            boxes have fractions, else 1.
        quarantine: Bad images and objects to leave out.
        drop_empty: Leave out images without an object that counts.

    Raises:
        ValueError: For a missing list or folder, a class that the training part lacks, and when no
            image remains.
    """

    def __init__(
        self,
        root: str | Path,
        split: str,
        *,
        splits: Sequence[str],
        name: str,
        rules: Rules,
        first_pixel: FirstPixel,
        quarantine: Quarantine | None = None,
        drop_empty: bool,
    ) -> None:
        parts, info = read_voc(
            root,
            splits,
            name=name,
            rules=rules,
            first_pixel=first_pixel,
            quarantine=quarantine,
        )
        part = parts[list(splits).index(split)]
        super().__init__(part, info, quarantine=quarantine, drop_empty=drop_empty, masks=False)


def read_voc(
    root: str | Path,
    splits: Sequence[str],
    *,
    name: str,
    rules: Rules,
    first_pixel: FirstPixel,
    quarantine: Quarantine | None = None,
    strict: bool = True,
) -> tuple[list[AnnotatedPart], DatasetInfo]:
    """Parse all parts of a VOC folder, which decide together about classes and the first pixel.

    Args:
        root: Folder of the data set.
        splits: Names of the parts, the training part first.
        name: Name of the data set.
        rules: How names and marks are meant.
        first_pixel: Number of the first pixel.
        quarantine: Bad images and objects, whose classes do not count.
        strict: Whether a class that the training part lacks is a ValueError.
    """
    if not Path(root).is_dir():
        raise ValueError(f"{root}: no such folder; give the folder that holds Annotations")
    index = ImageIndex(root)
    lists = [_find_split(Path(root), split) for split in splits]
    parsed = [[parse_voc(file) for file in one.files] for one in lists]
    first, why = _first_pixel(first_pixel, lists, parsed)
    parts = []
    for one, files in zip(lists, parsed, strict=True):
        images = [
            _image(Path(root), index, file, image_id, content, rules, first)
            for file, image_id, content in zip(one.files, one.ids, files, strict=True)
        ]
        part = AnnotatedPart(one.source, images, [*one.notes, why])
        if index.left_out is not None:
            part.notes.append(f"{root}: {index.left_out}")
        part.images += one.missing
        part.warnings = [*one.warnings, *alike_names(names_of(part), "data.voc")]
        parts.append(part)
    others = parts[1:] if strict else []
    names = class_names(rules, parts[0], others, quarantine, section="data.voc")
    return parts, DatasetInfo(name, names, tuple(range(1, len(names) + 1)))


def find_parts(root: str | Path) -> list[str]:
    """Names of the parts that a folder holds, the training part first.

    They are lists or folders called as usual, or any other lists that are not of one class, or the
    folder itself (".").
    """
    names = ("train", "val", "valid", "validation", "test")
    lists = sorted((Path(root) / _LISTS).glob("*.txt"))
    stems = [file.stem for file in lists]
    usual = [name for name in names if name in stems]
    if usual:
        return usual
    # cat_train.txt is a list of a class; trainval.txt repeats train.txt and val.txt.
    if others := [stem for stem in stems if not stem.endswith(tuple(f"_{name}" for name in names))]:
        return others
    folders = [name for name in names if (Path(root) / name).is_dir()]
    return folders or ["."]


@dataclass
class _Split:
    source: str
    files: list[str]  # XML files
    ids: list[str]
    missing: list[AnnotatedImage]  # named by the list, without an XML file
    notes: list[str]
    warnings: list[str]


def source_of(root: str | Path, split: str) -> str:
    """List or folder of a part; a folder where neither exists."""
    root = Path(root)
    for file in (root / _LISTS / f"{split}.txt", root / split, root / f"{split}.txt"):
        if file.is_file():
            return str(file)
    return str(root / split)


def _find_split(root: Path, split: str) -> _Split:
    folder = Path(source_of(root, split))
    if folder.is_file():
        return _from_list(root, folder)
    if folder.is_dir():
        inner = folder / "Annotations"
        start = inner if inner.is_dir() else folder
        files = files_below(start, (".xml",))
        if not files:
            raise ValueError(f"{folder}: no XML file in this folder{way_in(folder, read_as=VOC)}")
        ids = [str(PurePosixPath(file).with_suffix("")) for file in files]
        paths = [str(start / file) for file in files]
        bare = [] if start == inner else _unannotated(folder, set(ids))
        return _Split(str(folder), paths, ids, [], [], bare)
    known = find_parts(root)
    there = f"there are {', '.join(known)}" if known != ["."] else 'give "." for the folder itself'
    raise ValueError(
        f"{root}: no part {split!r}: neither {_LISTS}/{split}.txt nor a folder; {there}, to be "
        f"named in data.voc.train and data.voc.val{way_in(root, read_as=VOC)}"
    )


def _unannotated(folder: Path, ids: set[str]) -> list[str]:
    lower = {image_id.lower() for image_id in ids}
    stems = [str(PurePosixPath(path).with_suffix("")) for path in ImageIndex(folder).paths]
    bare = [stem for stem in stems if stem.lower() not in lower]
    if not bare:
        return []
    what = (
        f"{counted(len(bare), 'image has', 'images have')} no XML file of their name, and are "
        f"left out: {shorten(bare)}"
    )
    return [f"{what}; annotate them, or move them away"]


def _from_list(root: Path, file: Path) -> _Split:
    folder = root / "Annotations"
    start = folder if folder.is_dir() else root
    known = {PurePosixPath(f).with_suffix("").as_posix(): f for f in files_below(start, (".xml",))}
    by_lower = {image_id.lower(): image_id for image_id in known}
    by_stem = {PurePosixPath(image_id).name.lower(): image_id for image_id in known}
    found: dict[str, str] = {}
    missing, marks = [], dict.fromkeys(_MARKS, 0)
    twice = 0
    for number, line in enumerate(read_text(file).splitlines(), 1):
        entry = line.strip()
        head, _, tail = entry.rpartition(" ")
        if head and tail in _MARKS and entry.lower() not in by_lower:
            entry, marks[tail] = head.strip(), marks[tail] + 1
        if not entry:
            continue
        plain = entry.replace("\\", "/").removeprefix("./")
        bare = str(PurePosixPath(plain).with_suffix("")) if PurePosixPath(plain).suffix else plain
        names = [plain.lower(), bare.lower()]
        image_id = next((by_lower[name] for name in names if name in by_lower), None)
        if image_id is None:
            stems = [PurePosixPath(name).name for name in names]
            image_id = next((by_stem[stem] for stem in stems if stem in by_stem), None)
        if image_id is None:
            what = f"{file}, line {number}: no XML file of this name below {start}"
            fix = "annotate the image, or remove it from the list"
            finding = Finding("error", "images of the list without an XML file", what, fix)
            missing.append(AnnotatedImage(bare, str(file), None, findings=(finding,)))
        elif image_id in found:
            twice += 1
        else:
            found[image_id] = str(start / known[image_id])
    if not found:
        what = f"{file}: names no XML file below {start}"
        raise ValueError(f"{what}; expected one name in each line{way_in(root, read_as=VOC)}")
    notes, warnings = [], []
    if twice:
        repeats = counted(twice, "line repeats", "lines repeat")
        warnings.append(f"{repeats} an image, which is read once")
    if used := {f"lines marked {mark}": n for mark, n in marks.items() if n}:
        what = f"{file.name} is the list of one class ({list_counts(used)})"
        notes.append(f"{what}; its marks are not used, and all images and classes are read")
    return _Split(str(file), list(found.values()), list(found), missing, notes, warnings)


def _first_pixel(
    given: FirstPixel, lists: Sequence[_Split], parsed: Sequence[Sequence[VocFile]]
) -> tuple[int, str]:
    """Number of the first pixel, and a sentence about it."""
    boxes = [
        (file, one.corners)
        for split, files in zip(lists, parsed, strict=True)
        for file, content in zip(split.files, files, strict=True)
        for one in content.objects
        if one.corners is not None
    ]
    below = [(file, corners) for file, corners in boxes if min(corners[:2]) < 1]
    fractions = [corners for _, corners in boxes if any(value % 1 for value in corners)]
    one_based = "corners count pixels from 1, as VOC's own: the box is (xmin - 1, ymin - 1, xmax, "
    one_based += "ymax)"
    if given == "auto":
        if not below and 2 * len(fractions) <= len(boxes):
            fix = "data.voc.first_pixel=0 takes them as they stand"
            return 1, f"{one_based}, since no corner lies below 1; {fix}"
        why = f"{len(fractions)} of {len(boxes)} boxes have fractions, which no pixel number has"
        if below:
            file, corners = below[0]
            why = (
                f"{counted(len(below), 'box begins', 'boxes begin')} below 1, such as at "
                f"{min(corners[:2]):g} in {file}"
            )
        fix = "data.voc.first_pixel=1 reads them as VOC's own, from 1"
        return 0, f"corners count from 0 and are taken as they stand, since {why}; {fix}"
    if given == 1:
        return 1, one_based
    return 0, "corners count from 0, and are taken as they stand"


def _image(
    root: Path,
    index: ImageIndex,
    file: str,
    image_id: str,
    content: VocFile,
    rules: Rules,
    first: int,
) -> AnnotatedImage:
    objects = repeated(
        [
            _object(f"{image_id}:{number}", one, rules, first)
            for number, one in enumerate(content.objects, 1)
        ]
    )
    if any(finding.severity == "error" for finding in content.findings):
        return AnnotatedImage(image_id, file, None, findings=content.findings)
    path, findings = _find_image(root, index, file, content.named)
    findings = (*content.findings, *findings)
    return AnnotatedImage(image_id, file, path, content.stated, objects, findings)


def _object(object_id: str, one: VocObject, rules: Rules, first: int) -> AnnotatedObject:
    name = rules.rename.get(one.name, one.name)
    ignored = one.difficult and rules.difficult == "ignore"
    box: BoxXYXY | None = None
    if one.corners is not None:
        x1, y1, x2, y2 = one.corners
        box = (x1 - first, y1 - first, x2, y2)
    return AnnotatedObject(object_id, name, box, ignored=ignored, findings=one.findings)


def _find_image(
    root: Path, index: ImageIndex, file: str, named: str
) -> tuple[str | None, tuple[Finding, ...]]:
    """The image of the XML file's stem, as all readers of VOC take it, else the named one."""
    annotation, name = PurePosixPath(Path(file).relative_to(root).as_posix()), stated_name(named)
    by_stem = index.find(annotation, annotation.stem, name)
    by_name = index.find(annotation, PurePosixPath(name).stem, name) if name else []
    found = by_stem or by_name
    if len(found) > 1:
        what = f"several images could be meant: {', '.join(found[:3])}"
        fix = "delete all but one, or write its name into <filename>"
        return None, (Finding("error", "files with several images", what, fix),)
    if not found:
        what = f"no image is called {annotation.stem} or {name!r} below {root}"
        return None, (Finding("error", "files without an image", what, "add it, or delete this"),)
    findings: tuple[Finding, ...] = ()
    if by_stem and by_name and by_name != by_stem:
        what = f"<filename> names another image, {by_name[0]}; the one of its own name is taken"
        kind = "files whose <filename> is another image"
        findings = (Finding("warning", kind, what, "correct <filename>"),)
    return str(root / found[0]), findings
