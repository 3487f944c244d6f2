"""Reader of labelme's files: a JSON file for each image, with polygons, boxes, circles and masks.

Shapes of one label and one ``group_id`` are one object, as labelme's own converters take them.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Literal

from van_dense.core.counting import counted, shorten
from van_dense.core.dataset_info import DatasetInfo
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
from van_dense.data.readers.foreign import LABELME, way_in
from van_dense.data.readers.image_index import ImageIndex, files_below, stated_name
from van_dense.data.readers.labelme_json import LabelmeFile, Shape, parse_labelme, segmentation_of
from van_dense.data.readers.quarantine import Quarantine

#: What a number behind a label counts, such as person-1: objects of a class, or classes.
Numbers = Literal["objects", "classes"] | None
_NUMBERED = re.compile(r"(.+?)[-_]\d+")


class LabelmeDataset(AnnotatedDataset):
    """A ``DenseDataset`` from a folder of labelme's files; image ids are their paths and stems.

    Args:
        folder: The part to read, one of ``folders``.
        folders: Folders of all parts, the training part first.
        name: Name of the data set in titles and logs.
        rules: How names and marks are meant.
        numbers: What numbers behind labels count; None where there are none.
        join_groups: Whether shapes of one label and one ``group_id`` are one object.
        quarantine: Bad images and objects to leave out.
        drop_empty: Leave out images without an object that counts.
        masks: Whether to read masks; False takes the boxes around all shapes.

    Raises:
        ValueError: For a folder without such files, a class that the training part lacks, and when
            no image remains.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        folders: Sequence[str | Path],
        name: str,
        rules: Rules,
        numbers: Numbers,
        join_groups: bool,
        quarantine: Quarantine | None = None,
        drop_empty: bool,
        masks: bool,
    ) -> None:
        parts, info = read_labelme(
            folders,
            name=name,
            rules=rules,
            numbers=numbers,
            join_groups=join_groups,
            quarantine=quarantine,
        )
        part = parts[[str(one) for one in folders].index(str(folder))]
        super().__init__(part, info, quarantine=quarantine, drop_empty=drop_empty, masks=masks)


def read_labelme(
    folders: Sequence[str | Path],
    *,
    name: str,
    rules: Rules,
    numbers: Numbers,
    join_groups: bool,
    quarantine: Quarantine | None = None,
    strict: bool = True,
) -> tuple[list[AnnotatedPart], DatasetInfo]:
    """Parse all parts, which decide together about classes.

    ``strict`` makes a class that the training part lacks a ValueError; the other arguments are
    those of ``LabelmeDataset``.
    """
    parts = [_read_part(Path(one), rules, numbers, join_groups=join_groups) for one in folders]
    others = parts[1:] if strict else []
    classes = class_names(rules, parts[0], others, quarantine, section="data.labelme")
    return parts, DatasetInfo(name, classes, tuple(range(1, len(classes) + 1)))


def _read_part(folder: Path, rules: Rules, numbers: Numbers, *, join_groups: bool) -> AnnotatedPart:
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder; give the folder that holds labelme's files")
    files = files_below(folder, (".json",))
    if not files:
        raise ValueError(f"{folder}: no JSON file in this folder{way_in(folder, read_as=LABELME)}")
    parsed = [parse_labelme(folder / file) for file in files]
    if all(content.findings for content in parsed):
        first = parsed[0].findings[0]
        what = f"none of {len(files)} JSON files is one of labelme"
        raise ValueError(f"{folder}: {what}; {files[0]}: {first.what}; {first.fix}")
    if all(not content.shapes for content in parsed) and any(c.has_flags for c in parsed):
        what = "no file has a shape, and their flags name classes of whole images"
        raise ValueError(f"{folder}: {what}; sort the images into class folders for a classifier")
    _check_numbers(folder, parsed, numbers)
    index = ImageIndex(folder)
    images = []
    for file, content in zip(files, parsed, strict=True):
        image_id = PurePosixPath(file).with_suffix("").as_posix()
        path, found = _find_image(folder, index, file, content)
        objects = _objects(image_id, content.shapes, rules, numbers, join_groups=join_groups)
        findings = (*content.findings, *found)
        images.append(
            AnnotatedImage(image_id, str(folder / file), path, content.stated, objects, findings)
        )
    part = AnnotatedPart(str(folder), images, [index.left_out] if index.left_out else [])
    described = {image.path for image in images}
    bare = [path for path in index.paths if str(folder / path) not in described]
    if bare:
        what = (
            f"{counted(len(bare), 'image has', 'images have')} no JSON file, and are left out: "
            f"{shorten(bare)}"
        )
        part.warnings.append(f"{what}; annotate them, or move them away")
    part.warnings += alike_names(names_of(part), "data.labelme")
    return part


def _check_numbers(folder: Path, parsed: Sequence[LabelmeFile], numbers: Numbers) -> None:
    """Refuse labels such as person-1 and person-2 where nobody says what the number counts."""
    labels = {shape.label for content in parsed for shape in content.shapes}
    numbered: dict[str, list[str]] = defaultdict(list)
    for label in sorted(labels):
        if match := _NUMBERED.fullmatch(label):
            numbered[match[1]].append(label)
    for name, found in numbered.items():
        if numbers is None and (len(found) > 1 or name in labels):
            what = f"the labels {shorten(found)} differ in their number: objects of the class"
            fix = "data.labelme.numbers=objects, or data.labelme.numbers=classes"
            raise ValueError(f"{folder}: {what} {name!r}, or classes? Set {fix}")


def _objects(
    image_id: str,
    shapes: Sequence[Shape],
    rules: Rules,
    numbers: Numbers,
    *,
    join_groups: bool,
) -> tuple[AnnotatedObject, ...]:
    groups: dict[object, list[tuple[int, Shape]]] = defaultdict(list)
    for number, shape in enumerate(shapes, 1):
        match = _NUMBERED.fullmatch(shape.label) if numbers == "objects" else None
        label = match[1] if match else shape.label
        group = shape.group if join_groups else None
        if match and group is None:
            group = shape.label
        known = shape.box is not None and group is not None
        shape = replace(shape, label=rules.rename.get(label, label))
        groups[(shape.label, group) if known else number].append((number, shape))
    return repeated(
        [
            _object(f"{image_id}:{members[0][0]}", [shape for _, shape in members], rules)
            for members in groups.values()
        ]
    )


def _object(object_id: str, shapes: Sequence[Shape], rules: Rules) -> AnnotatedObject:
    first, findings = shapes[0], [finding for shape in shapes for finding in shape.findings]
    boxes = [shape.box for shape in shapes if shape.box is not None]
    box = None
    if boxes:
        lower, upper = zip(*((b[:2], b[2:]) for b in boxes), strict=True)
        (x1, y1), (x2, y2) = map(min, *lower, lower[0]), map(max, *upper, upper[0])
        box = x1, y1, x2, y2
    if len(shapes) > 1:
        what = f"{len(shapes)} shapes of one label and group_id are one object"
        fix = "if they are objects of their own: data.labelme.join_groups=false"
        severity: Literal["warning", "info"] = "info"
        if all(shape.is_rectangle for shape in shapes):
            severity, what = "warning", f"{what}, whose box holds all of these rectangles"
        kind = "objects of several shapes with one group_id"
        findings.append(Finding(severity, kind, what, fix))
    return AnnotatedObject(
        object_id,
        first.label,
        box,
        partial(segmentation_of, shapes) if boxes else None,
        is_box=len(shapes) == 1 and first.is_rectangle,
        ignored=any(shape.difficult for shape in shapes) and rules.difficult == "ignore",
        findings=tuple(findings),
    )


def _find_image(
    folder: Path, index: ImageIndex, file: str, content: LabelmeFile
) -> tuple[str | None, tuple[Finding, ...]]:
    """The image that a file names, else that of its stem, else the one that it holds itself."""
    if content.findings:
        return None, ()
    annotation = PurePosixPath(file)
    name = stated_name(content.named)
    stated = folder / annotation.parent / PureWindowsPath(content.named).as_posix()
    own = index.find(annotation, annotation.stem, name)
    if content.named and stated.suffix.lower() != ".json" and stated.is_file():
        other = folder / own[0] if own else None
        if other is not None and other.stem != stated.stem and not _same(other, stated):
            what = f"imagePath names {stated}, and {other} has the name of the file"
            fix = "correct imagePath; a copied file keeps that of the original"
            return None, (Finding("error", "files that could mean two images", what, fix),)
        return str(stated), ()
    found = own or (index.find(annotation, PurePosixPath(name).stem, name) if name else [])
    if len(found) > 1:
        what = f"several images could be meant: {', '.join(found[:3])}"
        fix = "delete all but one, or write its name into imagePath"
        return None, (Finding("error", "files with several images", what, fix),)
    if found:
        return str(folder / found[0]), ()
    if content.has_image:
        what = f"{content.named!r} is not there; the image inside of the file is taken"
        kind = "images taken from inside of their annotation file"
        return str(folder / file), (Finding("info", kind, what, "none needed"),)
    what = f"its image {content.named!r} is not there, nor one called {annotation.stem}"
    fix = "add the image, or correct imagePath"
    return None, (Finding("error", "files without an image", what, fix),)


def _same(first: Path, second: Path) -> bool:
    return first.resolve() == second.resolve()
