"""Make a panoptic data set, in COCO's layout, of instances, of label maps, or of both.

Things come from the instances and stuff from the label maps, below the things. Where a class of the
label maps is called like a class of the instances, its pixels that no instance covers are void:
nobody says how many objects they show.
"""

import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from van_dense.core.counting import counted, of_kind, shorten
from van_dense.data.io.outputs import require_folder
from van_dense.data.io.panoptic import write_ids
from van_dense.runs.panoptic_painting import Objects, Overlap, Painted, paint
from van_dense.runs.panoptic_sources import Categories, Entry, Sources

_SHOWN = 10  # names in a message
Progress = Callable[[Iterable[Entry], int], Iterable[Entry]]


@dataclass(frozen=True)
class Rules:
    """How overlaps are resolved, and what is left out."""

    overlap: Overlap  #: which of two objects wins
    min_area: int  #: segments with fewer visible pixels become void
    skip_incomplete: bool  #: leave out images that one source lacks, instead of an error


@dataclass
class Conversion:
    """What became of the images, counted; classes are positions among the categories."""

    categories: Categories
    skipped: list[str]  #: why images were left out
    num_images: int = 0
    num_crowds: int = 0
    num_void: int = 0  #: pixels
    num_shared: int = 0  #: void pixels of things that the label map knows and no instance covers
    segments: Counter[int] = field(default_factory=Counter)  #: of each class, without crowds
    pixels: Counter[int] = field(default_factory=Counter)  #: of each class
    small: Counter[int] = field(default_factory=Counter)  #: regions of each class that became void
    covered: list[str] = field(default_factory=list)  #: objects of which others leave no pixel
    empty: list[str] = field(default_factory=list)  #: objects whose mask has no pixel

    def add(self, entry: Entry, objects: Objects, painted: Painted, is_thing: np.ndarray) -> None:
        """Count one image; ``is_thing`` (H, W) says where its label map knows things."""
        void = painted.ids == 0
        self.num_images += 1
        self.num_void += int(void.sum())
        self.num_shared += int((void & is_thing).sum())
        for segment, category in zip(painted.segments, painted.categories, strict=True):
            self.pixels[category] += segment["area"]
            self.num_crowds += segment["iscrowd"]
            self.segments[category] += not segment["iscrowd"]
        self.small.update(painted.small)
        for lost, positions in ((self.covered, painted.covered), (self.empty, painted.empty)):
            for position in positions:
                name = self._name(int(objects.categories[position]))
                lost.append(f"{name} (object {position + 1}) of {entry.file}")

    def _name(self, category: int) -> str:
        return str(self.categories.records[category]["name"])

    def text(self) -> str:
        """Counts of all classes, and what was lost."""
        records = self.categories.records
        total = max(1, self.pixels.total() + self.num_void)
        width = max(len(record["name"]) for record in records)
        segments = counted(self.segments.total(), "segment")
        crowds = counted(self.num_crowds, "crowd region")
        lines = [f"  {counted(self.num_images, 'image')}, {segments} and {crowds}"]
        for category, record in enumerate(records):
            row = f"  {record['supercategory']} {record['id']:>5}  {record['name']:<{width}}"
            share = self.pixels[category] / total
            lines.append(f"{row}  {self.segments[category]:>8} segments  {share:>8.3%} of pixels")
        lines.append(f"  void {self.num_void / total:.3%} of pixels")
        if self.categories.shared:
            names = shorten(list(self.categories.shared.values()), _SHOWN)
            what = f"of it {self.num_shared / total:.3%} where label maps know {names}"
            lines.append(f"    {what}, and no instance covers it")
        if self.small:
            counts = [f"{count} of {self._name(c)}" for c, count in self.small.most_common()]
            lines.append(f"  smaller than --min-area, so void: {shorten(counts, _SHOWN)}")
        lost = {
            "objects covered whole by others": self.covered,
            "objects whose mask has no pixel": self.empty,
            "files left out, as their counterpart is missing": self.skipped,
        }
        for what, found in lost.items():
            if found:
                lines.append(f"  {of_kind(len(found), what)}: {shorten(found, _SHOWN)}")
        return "\n".join(lines)


def convert_panoptic(
    output: str | Path, part: str, sources: Sources, rules: Rules, *, progress: Progress | None
) -> Conversion:
    """Write ``annotations/panoptic_<part>.json`` and the PNGs beside it; images stay in place.

    Nothing half-written is left behind, and nothing is overwritten.

    Args:
        output: Folder of the data set, made if missing.
        part: Name of the part, such as train.
        sources: Instances and label maps.
        rules: How overlaps are resolved, and what is left out.
        progress: Wraps the images, given their number, to show how far they are.

    Raises:
        ValueError: For an output that exists, images that one source lacks, files that cannot be
            read, and sizes that differ.
    """
    file = Path(output) / "annotations" / f"panoptic_{part}.json"
    masks = file.with_suffix("")
    for path in (file, masks):
        if os.path.lexists(path):
            raise ValueError(f"{path} exists; name another folder or part, or remove it first")
    require_folder(masks)
    entries, incomplete = sources.entries()
    if incomplete and not rules.skip_incomplete:
        what = (
            f"{counted(len(incomplete), 'file lacks', 'files lack')} their counterpart: "
            f"{shorten(incomplete, _SHOWN)}"
        )
        fix = "correct --image-pattern and --mask-pattern, add what is missing, or leave them out"
        raise ValueError(f"{what}; {fix} with --skip-incomplete")
    if not entries:
        raise ValueError(f"{sources.images}: no image has both instances and a label map")
    pngs = {entry.file: Path(entry.file).with_suffix(".png").as_posix() for entry in entries}
    if len(set(pngs.values())) < len(pngs):
        twice = [png for png, count in Counter(pngs.values()).items() if count > 1]
        raise ValueError(f"two images would have the PNG {shorten(twice)}; rename one of each")
    conversion = Conversion(Categories.of(sources), incomplete)
    temporary = masks.with_name(f".{masks.name}.{os.getpid()}.tmp")
    try:
        shown = entries if progress is None else progress(entries, len(entries))
        data = _write_maps(temporary, shown, pngs, sources, rules, conversion)
        (temporary / file.name).write_text(json.dumps(data), encoding="utf-8")
        os.replace(temporary, masks)
        os.replace(masks / file.name, file)  # last, so that its PNGs are there
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return conversion


def _write_maps(
    folder: Path,
    entries: Iterable[Entry],
    pngs: dict[str, str],
    sources: Sources,
    rules: Rules,
    conversion: Conversion,
) -> dict[str, Any]:
    """Write the PNG of each image, and return what the JSON holds."""
    categories = conversion.categories
    colors = [tuple(record["color"]) for record in categories.records]
    images, annotations = [], []
    for entry in entries:
        objects, stuff, is_thing = sources.read(entry, categories)
        painted = paint(objects, stuff, colors, overlap=rules.overlap, min_area=rules.min_area)
        write_ids(folder / pngs[entry.file], painted.ids)
        height, width = painted.ids.shape
        size = {"height": height, "width": width}
        images.append({"id": entry.id, "file_name": entry.file, **size})
        segments = [
            {**segment, "category_id": categories.records[category]["id"]}
            for segment, category in zip(painted.segments, painted.categories, strict=True)
        ]
        record = {"image_id": entry.id, "file_name": pngs[entry.file], "segments_info": segments}
        annotations.append(record)
        conversion.add(entry, objects, painted, is_thing)
    info = {"description": "made by van-dense convert-panoptic"}
    return {
        "info": info,
        "licenses": [],
        "images": images,
        "annotations": annotations,
        "categories": categories.records,
    }
