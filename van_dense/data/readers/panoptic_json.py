"""Parse and validate a COCO panoptic annotation file, and what it says about classes.

Source of the format: https://cocodataset.org/#format-data, "Panoptic Segmentation".
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from van_dense.core.counting import counted, shorten
from van_dense.core.dataset_info import Color, DatasetInfo
from van_dense.core.segments import LARGEST_ID
from van_dense.core.structures import IGNORE_LABEL, Segment, Size
from van_dense.data.io.json_file import paused_garbage_collection
from van_dense.data.messages import CHECK
from van_dense.data.readers.coco_images import ImageRecords
from van_dense.data.readers.coco_json import (
    CocoDict,
    Record,
    coco_info,
    read_coco_lists,
    split_categories,
)
from van_dense.data.readers.quarantine import QuarantinedPart

# Category id and name of the stuff in panoptic_{train,val}2017.json, behind the 80 things.
_STUFF = (
    "92 banner; 93 blanket; 95 bridge; 100 cardboard; 107 counter; 109 curtain; 112 door-stuff; "
    "118 floor-wood; 119 flower; 122 fruit; 125 gravel; 128 house; 130 light; 133 mirror-stuff; "
    "138 net; 141 pillow; 144 platform; 145 playingfield; 147 railroad; 148 river; 149 road; "
    "151 roof; 154 sand; 155 sea; 156 shelf; 159 snow; 161 stairs; 166 tent; 168 towel; "
    "171 wall-brick; 175 wall-stone; 176 wall-tile; 177 wall-wood; 178 water-other; "
    "180 window-blind; 181 window-other; 184 tree-merged; 185 fence-merged; 186 ceiling-merged; "
    "187 sky-other-merged; 188 cabinet-merged; 189 table-merged; 190 floor-other-merged; "
    "191 pavement-merged; 192 mountain-merged; 193 grass-merged; 194 dirt-merged; "
    "195 paper-merged; 196 food-other-merged; 197 building-other-merged; 198 rock-merged; "
    "199 wall-other-merged; 200 rug-merged"
)


@dataclass(frozen=True, slots=True)
class SegmentRecord:
    """What the file says about one segment; the pixels are in the PNG."""

    id: int  #: value in the PNG, 1..2**24-1
    category_id: int  #: one of the categories of the file
    area: float | None  #: pixels, where the file tells
    bbox: tuple[float, float, float, float] | None  #: x, y, width, height, where the file tells
    crowd: bool  #: a region of many things


@dataclass(frozen=True, slots=True)
class PanopticImage:
    """One image and its annotation."""

    id: int | str
    file_name: str  #: of the image, below the image folder
    png: str  #: file of the segment ids, below the folder of the PNGs
    size: Size  #: (height, width)
    segments: tuple[SegmentRecord, ...]


@dataclass(frozen=True)
class PanopticFile:
    """Content of an annotation file, in the order of its images."""

    info: DatasetInfo
    images: list[PanopticImage]
    path: Path


def labelled(records: Iterable[SegmentRecord], label_of: Mapping[int, int]) -> list[Segment]:
    """Segments with 0-based classes, by ``DatasetInfo.label_of``."""
    return to_segments((one.id, label_of[one.category_id], one.crowd) for one in records)


def to_segments(rows: Iterable[tuple[int, int, bool]]) -> list[Segment]:
    """Segments of annotations, from rows (id, label, whether it is a crowd); only crowds say so."""
    segments = []
    for number, label, crowd in rows:
        segment = Segment(id=number, label=label, score=1.0)
        if crowd:
            segment["crowd"] = True
        segments.append(segment)
    return segments


def coco_panoptic_info() -> DatasetInfo:
    """Describe COCO's 80 things and 53 kinds of stuff, without reading a file."""
    things = coco_info()
    ids, names = split_categories(_STUFF)
    return DatasetInfo(
        "coco_panoptic",
        things.class_names + names,
        things.category_ids + ids,
        is_thing=(True,) * things.num_classes + (False,) * len(names),
    )


@paused_garbage_collection()
def read_panoptic_json(
    path: str | Path, *, name: str, left_out: QuarantinedPart | None = None
) -> PanopticFile:
    """Parse a panoptic annotation file; the PNGs are not opened.

    Classes are in the order of their category ids, with the colours of the file if all have one.
    ``area``, ``bbox`` and ``iscrowd`` of a segment may be missing.

    Args:
        path: The file, such as panoptic_val2017.json.
        name: Name of the data set in titles and logs.
        left_out: Images and records in quarantine, that nothing is asked of.

    Raises:
        ValueError: With the file, the record and the fix, for a file of another kind, ids that
            repeat or do not exist, values out of range, and images and annotations that have no
            counterpart.
    """
    data, left_out = read_coco_lists(path), left_out or QuarantinedPart()
    found = ImageRecords(data["images"], left_out, files=True, sizes=True)
    if found.broken:
        index, broken = found.broken[0]
        record = data["images"][index]
        where = f"images[{index}] (id {record.get('id')!r:.40}, {record.get('file_name')!s:.80})"
        raise ValueError(f"{path}: {where}: {broken.what}; {broken.fix}; {CHECK}")
    images = {record["id"]: record for record in found.usable}
    absent = found.quarantined_ids
    annotations = _annotations_by_image(path, data["annotations"], images, absent, left_out)
    info = panoptic_info(path, data, name)
    known = frozenset(info.category_ids)
    entries = []
    for image_id, image in images.items():
        annotation = annotations[image_id]
        where = f"{path}: annotation of image {image_id!r}"
        segments = read_segments(where, annotation, known, "add it to 'categories'")
        size = (int(image["height"]), int(image["width"]))
        png = annotation["file_name"]
        entries.append(PanopticImage(image_id, image["file_name"], png, size, segments))
    return PanopticFile(info, entries, Path(path))


def panoptic_info(path: str | Path, data: CocoDict, name: str) -> DatasetInfo:
    """Classes by ascending category id, of parsed lists.

    The colours are those of the file if all categories have one.

    Raises:
        ValueError: Where a category is no class, or there are more than labels can name.
    """
    categories = sorted(data["categories"], key=lambda record: record["id"])
    if (problem := class_count_problem(len(categories))) is not None:
        raise ValueError(f"{path}: {problem}")
    for record in categories:
        if record.get("isthing") not in (0, 1):
            what = f"'isthing' must be 1 (thing) or 0 (stuff), got {record.get('isthing')!r}"
            raise ValueError(f"{path}: category {record['name']!r}: {what}")
    colors = [_color(path, record) for record in categories if "color" in record]
    return DatasetInfo(
        name,
        class_names=tuple(record["name"] for record in categories),
        category_ids=tuple(record["id"] for record in categories),
        is_thing=tuple(bool(record["isthing"]) for record in categories),
        colors=tuple(colors) if len(colors) == len(categories) else (),
    )


def class_count_problem(count: int) -> str | None:
    """Say that so many classes are too many, and what to do, or None."""
    if count <= IGNORE_LABEL:
        return None
    what = f"{counted(count, 'category')}, and a pixel has one of at most {IGNORE_LABEL} classes"
    what += f" (labels are of 8 bits, and {IGNORE_LABEL} is void)"
    return f"{what}; join rare classes, or take out categories without a segment"


def _color(path: str | Path, category: Record) -> Color:
    color = category["color"]
    channels = color if isinstance(color, list) and len(color) == 3 else [None]
    if not all(type(channel) is int and 0 <= channel <= 255 for channel in channels):
        what = f"'color' must be [R, G, B] of 0..255, got {color!r:.80}"
        raise ValueError(f"{path}: category {category['name']!r}: {what}")
    return (color[0], color[1], color[2])


def _annotations_by_image(
    path: str | Path,
    annotations: Sequence[Record],
    images: Mapping[int | str, Record],
    absent: Collection[int | str],
    left_out: QuarantinedPart,
) -> dict[int | str, Record]:
    """Annotation of each image, or a ValueError where there is not exactly one."""
    by_image: dict[int | str, Record] = {}
    png_of: dict[str, int | str] = {}
    for index, record in enumerate(annotations):
        where = f"annotations[{index}]"
        if image_id_of(record) in absent or where in left_out.records:
            continue
        image_id, png = check_annotation(f"{path}: {where}", record)
        if image_id in by_image:
            what = f"image {image_id!r} has two annotations, {by_image[image_id]['file_name']}"
            raise ValueError(f"{path}: {what} and {png}; join them in one PNG")
        if png in png_of:
            both = f"the images {png_of[png]!r} and {image_id!r}"
            raise ValueError(f"{path}: {png} belongs to {both}; each needs a PNG of its own")
        by_image[image_id] = record
        png_of[png] = image_id
    if foreign := [record["file_name"] for i, record in by_image.items() if i not in images]:
        one, several = "annotation is of an image that is", "annotations are of images that are"
        what = f"{counted(len(foreign), one, several)} not in 'images'"
        raise ValueError(f"{path}: {what}: {shorten(foreign)}; add the images, or take them out")
    if bare := [record["file_name"] for i, record in images.items() if i not in by_image]:
        what = f"{len(bare)} of {len(images)} images have no annotation"
        raise ValueError(f"{path}: {what}: {shorten(bare)}; annotate them, or take them out")
    return by_image


def image_id_of(record: Record) -> int | str | None:
    """Image id of an annotation that may be broken; None where it has no usable one."""
    image_id = record.get("image_id")
    is_id = isinstance(image_id, int | str) and not isinstance(image_id, bool)
    return image_id if is_id else None


def check_annotation(where: str, record: Record) -> tuple[int | str, str]:
    """Image id and name of the PNG of an annotation or prediction, or a ValueError at ``where``."""
    if "segments_info" not in record:
        fix = "give a panoptic file, such as panoptic_train2017.json"
        raise ValueError(f"{where}: 'segments_info' is missing, as in a file of instances; {fix}")
    image_id, png = image_id_of(record), record.get("file_name")
    if image_id is None:
        what = f"'image_id' must be a number or text, got {record.get('image_id')!r:.80}"
        raise ValueError(f"{where}: {what}")
    if not isinstance(png, str) or not png:
        what = f"'file_name' must name the PNG of image {image_id!r}, got {png!r:.80}"
        raise ValueError(f"{where}: {what}")
    if PurePath(png).anchor or ".." in PurePath(png).parts:
        what = f"'file_name' of image {image_id!r} leads out of the folder of the PNGs: {png!r:.80}"
        raise ValueError(f"{where}: {what}; write a path below it, without '..'")
    return image_id, png


def read_segments(
    where: str, record: Record, known: frozenset[int], fix: str
) -> tuple[SegmentRecord, ...]:
    """Segments of an annotation or prediction, or a ValueError.

    Args:
        where: Start of the message.
        record: Entry of ``annotations``, checked by ``check_annotation``.
        known: Category ids that exist.
        fix: What to do about others.
    """
    entries = record["segments_info"]
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ValueError(f"{where}: 'segments_info' must be a list of objects")
    segments = []
    seen: set[int] = set()
    for entry in entries:
        segment = _segment(where, entry, known, fix)
        if segment.id in seen:
            what = f"two segments have the id {segment.id}"
            raise ValueError(f"{where}: {what}; give each its own, in the PNG as well")
        seen.add(segment.id)
        segments.append(segment)
    return tuple(segments)


def _segment(where: str, entry: Record, known: frozenset[int], fix: str) -> SegmentRecord:
    number, category = entry.get("id"), entry.get("category_id")
    if type(number) is not int or not 1 <= number <= LARGEST_ID:
        what = f"the 'id' of a segment is 1 to {LARGEST_ID}, as its colour in the PNG"
        raise ValueError(f"{where}: {what}; got {number!r:.80}")
    if type(category) is not int or category not in known:
        what = f"the category {category!r:.80} is none of {shorten(_texts(known), 5)}"
        raise ValueError(f"{where}: segment {number}: {what}; {fix}")
    crowd = entry.get("iscrowd", 0)
    if crowd not in (0, 1):
        raise ValueError(f"{where}: segment {number}: 'iscrowd' must be 0 or 1, got {crowd!r:.80}")
    area, box = entry.get("area"), entry.get("bbox")
    if area is not None and not _is_number(area):
        what = f"'area' must be a number of pixels, got {area!r:.80}"
        raise ValueError(f"{where}: segment {number}: {what}")
    if box is None:
        return SegmentRecord(number, category, area, None, bool(crowd))
    if not isinstance(box, list) or len(box) != 4 or not all(map(_is_number, box)):
        what = f"'bbox' must be [x, y, width, height] in pixels, got {box!r:.80}"
        raise ValueError(f"{where}: segment {number}: {what}")
    return SegmentRecord(number, category, area, (box[0], box[1], box[2], box[3]), bool(crowd))


def _texts(known: frozenset[int]) -> list[str]:
    return [str(category) for category in sorted(known)]


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)
