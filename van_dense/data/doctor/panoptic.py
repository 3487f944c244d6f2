"""The data doctor's check of COCO's panoptic layout: images, PNGs and JSON against each other.

In this format no two segments share a pixel, so what can overlap is what the JSON says of them:
an id twice, a kind of stuff twice, areas and boxes of masks from before the PNG was painted.
"""

import os
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from van_dense.core.counting import counted, shorten
from van_dense.core.dataset_info import DatasetInfo
from van_dense.core.regions import Regions, find_regions
from van_dense.core.structures import Size, size_of
from van_dense.data.dataset import ReadError
from van_dense.data.doctor.boxes import BoxRows, BoxTable
from van_dense.data.doctor.coco import Finding, check_images
from van_dense.data.doctor.report import PartReport
from van_dense.data.io.image import orientation_tag
from van_dense.data.io.names import find_below
from van_dense.data.io.panoptic import read_ids
from van_dense.data.io.walk import walk
from van_dense.data.messages import Fault
from van_dense.data.readers.coco_images import ImageRecords
from van_dense.data.readers.coco_json import Record, read_coco_lists
from van_dense.data.readers.image_mask import mask_size_problem
from van_dense.data.readers.panoptic import REPAIR, ids_problem, require_folders
from van_dense.data.readers.panoptic_json import (
    SegmentRecord,
    check_annotation,
    image_id_of,
    panoptic_info,
    read_segments,
)
from van_dense.data.readers.quarantine import Id, Quarantine

BOX_TOLERANCE = 1  # pixels; some tools count to the last pixel, and others round


@dataclass(frozen=True)
class PanopticPart:
    """A folder of images, one of PNGs, and the JSON file of their segments."""

    name: str  #: name in messages
    images: str  #: folder of the images
    annotations: str  #: JSON file, which keys the quarantine
    masks: str  #: folder of the PNGs

    @property
    def source(self) -> str:
        """File that keys the quarantine."""
        return self.annotations


@dataclass(frozen=True)
class MapContent:
    """What one PNG holds: why it cannot be read, or its size and the pixels of each id."""

    problem: str | None
    size: Size = (0, 0)
    regions: Regions | None = None
    orientation: int = 1


@dataclass(frozen=True)
class MapRecord:
    """PNG of an image, and what the JSON says of its segments."""

    path: str
    segments: tuple[SegmentRecord, ...]


@dataclass
class PanopticReport(PartReport):
    """Findings about one part; ``counts`` are those of segments that are no crowd."""

    info: DatasetInfo | None = None  #: classes, None if unreadable
    maps: dict[Id, MapRecord] = field(default_factory=dict)  #: by image id, without broken ones
    num_pixels: Counter[int] = field(default_factory=Counter)  #: of each category id
    num_void: int = 0  #: pixels without a segment
    _num_close: int = 0  # boxes that differ by no more than the tolerance
    _num_bare: int = 0  # segments without area or box
    _turned: list[str] = field(default_factory=list)  # PNGs with an orientation tag
    stuff_crowds: list[str] = field(default_factory=list)  #: segment and place of each
    _boxes: BoxRows = field(default_factory=BoxRows)  # of things

    def read_more(self, index: int) -> MapContent | None:
        """Read the PNG of an image; safe in several threads at the same time."""
        if (record := self.maps.get(self.images[index].id)) is None:
            return None
        try:
            ids = read_ids(record.path)
        except ReadError as error:
            return MapContent(str(error).removeprefix(f"{record.path}: "))
        return MapContent(None, size_of(ids), find_regions(ids), orientation_tag(record.path))

    def add(self, index: int, size: Size | None, more: MapContent | None) -> None:
        """Judge a PNG by the JSON, and count its pixels."""
        if more is None:
            return  # the annotation itself is an error
        image = self.images[index]
        record, where = self.maps[image.id], f"image id {image.id!r}"
        if (fault := _fault(more, record.segments, image.size)) is not None:
            self.note("error", *fault, file=record.path, where=where, image_id=image.id)
            return
        assert more.regions is not None  # otherwise it has a fault
        if more.orientation != 1:
            self._turned.append(record.path)
        areas = dict(zip(more.regions.ids.tolist(), more.regions.areas.tolist(), strict=True))
        self.num_void += areas.get(0, 0)
        for segment in record.segments:
            self.num_pixels[segment.category_id] += areas[segment.id]
        self._add_boxes(record.segments, more)
        for severity, what, fix in self._judge(record.segments, more.regions):
            self.note(severity, what, fix, file=record.path, where=where)

    def _add_boxes(self, segments: tuple[SegmentRecord, ...], more: MapContent) -> None:
        assert self.info is not None and more.regions is not None
        label_of, is_thing = self.info.label_of, self.info.thing_flags
        found = {s.id: label_of[s.category_id] for s in segments if not s.crowd}
        label_of_region = [found.get(region, -1) for region in more.regions.ids.tolist()]
        kept = [label >= 0 and is_thing[label] for label in label_of_region]
        labels = np.array(label_of_region, dtype=np.int64)[kept]
        self._boxes.add(more.size, more.regions.boxes[kept], labels)

    def box_table(self) -> BoxTable | None:
        """Boxes of the things in the PNGs, which training learns."""
        return None if self.info is None else self._boxes.table(self.info.class_names)

    def _judge(self, segments: tuple[SegmentRecord, ...], regions: Regions) -> Iterator[Finding]:
        """Compare areas and boxes of a PNG whose ids are those of the JSON."""
        if not segments:
            yield "warning", "every pixel is void", "check that it is the right file"
        areas = dict(zip(regions.ids.tolist(), regions.areas.tolist(), strict=True))
        boxes = dict(zip(regions.ids.tolist(), regions.boxes.tolist(), strict=True))
        self._num_bare += sum(s.area is None or s.bbox is None for s in segments)
        wrong = [s for s in segments if s.area is not None and s.area != areas[s.id]]
        if wrong:
            first = wrong[0]
            what = f"the JSON says another area of {len(wrong)} of {len(segments)} segments, as of"
            what += f" {self._spell(first)}: {first.area}, and the PNG has {areas[first.id]} pixels"
            if all((s.area or 0) > areas[s.id] for s in wrong):
                what += "; all are larger, as of masks that overlapped before it was painted"
            fix = "write those of the PNG into the JSON: van-dense counts pixels, others trust it"
            yield "warning", what, fix
        far = []
        for segment in segments:
            x1, y1, x2, y2 = boxes[segment.id]
            found = x1, y1, x2 - x1, y2 - y1
            if segment.bbox is None or segment.bbox == found:
                continue
            if _distance(segment.bbox, found) <= BOX_TOLERANCE:
                self._num_close += 1
            else:  # also where it is no number
                far.append((segment, found))
        if far:
            segment, found = far[0]
            what = f"the JSON says another box of {len(far)} of {len(segments)} segments, as of"
            what += f" {self._spell(segment)}: {[*(segment.bbox or ())]}, and the PNG shows"
            yield "warning", f"{what} {[*found]}", "write x, y, width, height of the PNG there"

    def _spell(self, segment: SegmentRecord) -> str:
        return f"{segment.id} ({self.categories[segment.category_id]})"

    def conclude(self) -> None:
        """Note what is known only after all images were added."""
        if self.stuff_crowds:
            what = f"{counted(len(self.stuff_crowds), 'crowd is', 'crowds are')} of stuff, as"
            fix = "set iscrowd to 0; a crowd is never a target, and is left out of PQ"
            self.note("warning", f"{what} {shorten(self.stuff_crowds)}", fix)
        if self._turned:
            what = f"orientation tag in {counted(len(self._turned), 'PNG')}: {self._turned[0]}"
            fix = "they are read as stored, whatever the tag says; --draw shows whether they fit"
            self.note("warning", what, fix)
        if self._num_close:
            what = counted(self._num_close, "box differs", "boxes differ")
            what += f" from the PNG by {BOX_TOLERANCE} px or less"
            self.note("info", what, "none needed; van-dense takes boxes from the PNG")
        if self._num_bare:
            what = f"no area or no box in the JSON: {counted(self._num_bare, 'segment')}"
            self.note("info", what, "none needed here; other programs read both")
        self.note_unused()

    def summary(self) -> str:
        """Table of counts: images, segments and pixels of each thing and each kind of stuff."""
        flags = () if self.info is None else self.info.is_thing
        is_thing = dict(zip(self.categories, flags, strict=True))
        things, stuff = ([c for c in is_thing if is_thing[c] == kind] for kind in (True, False))
        counts = [sum(self.counts[c] for c in found) for found in (things, stuff)]
        total = max(1, self.num_pixels.total() + self.num_void)
        lines = [
            f"{self.name} ({self.source})",
            f"  images     {len(self.images)}, of them {self.num_empty} without a segment",
            f"  segments   {counts[0]} of things, {counts[1]} of stuff, and "
            f"{counted(self.num_crowds, 'crowd region')}",
            f"  void       {self.num_void / total:.2%} of the pixels",
        ]
        width = max(map(len, self.categories.values()), default=0)
        for title, found in (("things", things), ("stuff", stuff)):
            lines.append(f"  {title:<10}  {'':<{width}}  {'segments':>8}    pixels")
            for key in found:
                count, share = self.counts[key], self.num_pixels[key] / total
                name = self.categories[key]
                lines.append(f"  {key:>10}  {name:<{width}}  {count:>8}  {share:>8.3%}")
        return "\n".join(lines)


def _is_other(record: MapRecord, png: str) -> bool:
    """Whether a PNG has another name than the JSON writes."""
    return not record.path.endswith(png)


def _fault(more: MapContent, segments: tuple[SegmentRecord, ...], size: Size) -> Fault | None:
    """What makes a PNG useless for an image of (height, width) ``size``, or None."""
    if more.regions is None:
        return Fault(str(more.problem), REPAIR)
    stated = [segment.id for segment in segments]
    return mask_size_problem(more.size, size) or ids_problem(more.regions.ids.tolist(), stated)


def _distance(first: tuple[float, ...], second: tuple[float, ...]) -> float:
    """Largest difference of the four sides of two boxes (x, y, width, height)."""
    corners = [(x, y, x + width, y + height) for x, y, width, height in (first, second)]
    return max(abs(a - b) for a, b in zip(*corners, strict=True))


def check_panoptic(part: PanopticPart, quarantine: Quarantine) -> PanopticReport:
    """Check every record of a panoptic file, without opening images or PNGs."""
    report = PanopticReport(part.name, part.annotations)
    try:
        data = read_coco_lists(part.annotations)
        records = data["annotations"]
        if records and not any("segments_info" in record for record in records):
            check_annotation(f"{part.annotations}: annotations[0]", records[0])
        info = panoptic_info(part.annotations, data, part.name)
        require_folders(part.images, part.masks)
    except ValueError as error:
        report.note_unreadable(error)
        return report
    report.info = info
    report.categories = dict(zip(info.category_ids, info.class_names, strict=True))
    left_out = quarantine.of(part.annotations)
    found = ImageRecords(data["images"], left_out, files=True, sizes=True)
    check_images(report, data, found, part.images)
    names = {record["id"]: record["file_name"] for record in found.usable}
    absent = found.quarantined_ids | found.broken_ids
    _RecordCheck(report, part, names).run(data["annotations"], absent, left_out.records)
    return report


@dataclass
class _RecordCheck:
    """Judges the annotations one by one, and keeps the sound ones in the report."""

    report: PanopticReport
    part: PanopticPart
    names: dict[Any, str]  # file of each image id
    _pngs: dict[str, Id] = field(default_factory=dict)
    _unused: set[str] = field(default_factory=set)  # PNGs of broken and left out annotations
    _annotated: set[Id] = field(default_factory=set)
    _image_of_stem: dict[str, Id] = field(default_factory=dict)

    def run(self, records: list[Record], absent: set[Any], quarantined: Collection[str]) -> None:
        """Report every problem of annotations, but for those of images that are left out."""
        self._image_of_stem = {Path(name).stem: i for i, name in self.names.items()}
        for index, record in enumerate(records):
            where, stated = f"annotations[{index}]", image_id_of(record)
            if stated in absent or where in quarantined:
                self._unused.add(str(record.get("file_name")))
                continue
            try:
                image_id, png = check_annotation(where, record)
            except ValueError as error:
                what = str(error).removeprefix(f"{where}: ")
                self._unused.add(str(record.get("file_name")))
                self._error(where, what, "correct the record", stated)
                continue
            owner = self._pngs.setdefault(png, image_id)
            where = f"{where} (image id {image_id!r}, {png})"
            if (problem := self._mismatch(image_id, owner)) is not None:
                self._error(where, *problem, image_id)
                continue
            self._annotated.add(image_id)
            self._check_name(where, image_id, png)
            if (segments := self._segments(where, record, image_id)) is not None:
                path = find_below(self.part.masks, png)
                self.report.maps[image_id] = MapRecord(path, segments)
        for image_id, name in self.names.items():
            if image_id not in self._annotated:
                fix = "add one, remove the image, or leave it out with --quarantine"
                where = f"image id {image_id!r} ({name})"
                self._error(where, "no annotation is of this image", fix, image_id)
        self._check_folder()

    def _mismatch(self, image_id: Id, owner: Id) -> tuple[str, str] | None:
        """Say why an annotation cannot belong to its image, and what to do, or None."""
        if image_id not in self.names:
            fix = "add the image to 'images', or remove the annotation"
            return "the image id does not exist", fix
        if image_id in self._annotated:
            what = "an earlier annotation is of the same image"
            return what, "join both in one PNG and one record"
        if owner != image_id:
            return f"the image {owner!r} has the same PNG", "give each image a PNG of its own"
        return None

    def _check_name(self, where: str, image_id: Id, png: str) -> None:
        """Report a PNG that is named as another image than the one of its annotation."""
        name, stem = self.names[image_id], Path(png).stem
        twin = self._image_of_stem.get(stem, image_id)
        if twin != image_id and Path(name).stem != stem:
            what = f"the PNG is named as {self.names[twin]}, which is image {twin!r}, and not as"
            fix = "check image_id and file_name of the annotation"
            self.report.note("warning", f"{what} {name}", fix, where=where)

    def _segments(
        self, where: str, record: Record, image_id: Id
    ) -> tuple[SegmentRecord, ...] | None:
        """Segments of one image, counted; None where one of them is an error."""
        entries = record["segments_info"]
        parts = [[entry] for entry in entries] if isinstance(entries, list) else [entries]
        sound: list[SegmentRecord] = []
        known = frozenset(self.report.categories)
        is_broken = False
        for part in parts:
            try:
                fix = "add it to 'categories'"
                sound += read_segments(where, {"segments_info": part}, known, fix)
            except ValueError as error:
                what = str(error).removeprefix(f"{where}: ")
                self._error(where, what, REPAIR, image_id)
                is_broken = True
        for what, fix in self._twice(sound):
            self._error(where, what, fix, image_id)
            is_broken = True
        if is_broken:
            return None
        self._count(where, sound, image_id)
        return tuple(sound)

    def _twice(self, segments: list[SegmentRecord]) -> Iterator[tuple[str, str]]:
        """What an image may have once only: an id, and a kind of stuff."""
        for number, count in Counter(segment.id for segment in segments).items():
            if count > 1:
                fix = "give each its own, in the PNG as well"
                yield f"{count} segments have the id {number}, so their pixels overlap", fix
        info = self.report.info
        assert info is not None  # otherwise the part is unreadable
        stuff = [s.category_id for s in segments if not info.is_thing[info.label_of[s.category_id]]]
        for category, count in Counter(stuff).items():
            if count > 1:
                name = self.report.categories[category]
                fix = "give them one id; models predict stuff as one, and PQ counts the others"
                yield f"{count} segments are of the stuff {name!r}", f"{fix} as missed"

    def _count(self, where: str, segments: list[SegmentRecord], image_id: Id) -> None:
        report, info = self.report, self.report.info
        assert info is not None  # otherwise the part is unreadable
        report.num_empty += not segments
        for segment in segments:
            is_thing = info.thing_flags[info.label_of[segment.category_id]]
            if not segment.crowd:
                report.counts[segment.category_id] += 1
                if is_thing:
                    report.objects[image_id, segment.category_id] += 1
                continue
            report.num_crowds += 1
            if not is_thing:
                report.stuff_crowds.append(f"{segment.id} of {where}")

    def _check_folder(self) -> None:
        """Report PNGs without a record, and a folder that holds none of those that have one."""
        maps = self.report.maps
        if maps and not any(Path(record.path).exists() for record in maps.values()):
            example = next(iter(maps.values())).path
            what = f"none of the {len(maps)} PNGs is there, such as {example}"
            fix = "give the folder that the file names of the PNGs start from"
            self.report.note("error", what, fix, file=self.part.masks)
            maps.clear()
            return
        root = self.part.masks
        read = {os.path.relpath(record.path, root) for record in maps.values()}
        unnamed = sorted(set(walk(root).files) - read - self._pngs.keys() - self._unused)
        other = [png for png, i in self._pngs.items() if i in maps and _is_other(maps[i], png)]
        if other:
            what = f"{counted(len(other), 'file name')} unlike the PNGs in spelling: {other[0]}"
            self.report.note("info", what, "none needed")
        if unnamed:
            what = f"in no annotation: {counted(len(unnamed), 'PNG')}: {shorten(unnamed)}"
            fix = "add their records, or remove them; nobody reads them"
            self.report.note("warning", what, fix, file=self.part.masks)

    def _error(self, where: str, what: str, fix: str, image_id: Id | None = None) -> None:
        record = where if image_id is None else None  # an annotation of no image
        self.report.note("error", what, fix, where=where, image_id=image_id, record=record)
