"""Judge the records of a COCO file once, for the reader, the data doctor and the evaluation.

Exporters leave out, invent and rename: pycocotools stops at the first such record with a KeyError,
or computes numbers from it. Here a record is read where its meaning is certain, and otherwise left
out; both are counted.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from van_dense.core.counting import counted, of_kind
from van_dense.core.dataset_info import DatasetInfo
from van_dense.core.structures import Size
from van_dense.data.messages import CHECK, Fault, list_counts
from van_dense.data.readers.annotation_columns import BoxXYXY, InstanceRecord
from van_dense.data.readers.class_names import alike_classes
from van_dense.data.readers.coco_cleaning import clean
from van_dense.data.readers.coco_crowds import suspicious_crowds
from van_dense.data.readers.coco_geometry import (
    OUTSIDE_TOLERANCE,
    area_is_possible,
    is_within_first_pixel,
    mask_iou,
    stated_box,
)
from van_dense.data.readers.coco_images import Broken, ImageRecords
from van_dense.data.readers.coco_json import CocoDict, Record
from van_dense.data.readers.coco_marks import unread_marks
from van_dense.data.readers.coco_values import (
    num_labelled,
    other_type,
    parse_crowd,
    parse_id,
    shift_keypoints,
    sound_keypoints,
)
from van_dense.data.readers.quarantine import QuarantinedPart
from van_dense.data.readers.segmentation import (
    FORMS,
    Segmentation,
    has_no_pixel,
    plain_form,
    usable_segmentation,
)
from van_dense.data.readers.table import clip_box

Crowds = Literal["regions", "objects"]

DIFFER = 0.5  # IoU of box and mask below which one of them is wrong
_CORRECT_MASK = "draw the object again, or remove the annotation"
_CORRECT_BOX = "correct the box (x, y, width, height in pixels), or remove the annotation"


@dataclass
class Change:
    """What was read otherwise than it is written, in so many records of one kind."""

    count: int
    where: str  #: the first of them
    example: str  #: what the first of them holds


class CocoRecords:
    """Decides which records of a COCO file are read, and as what, and counts the others.

    Args:
        data: Content of the file, as ``read_coco_json`` returns it; it is left unchanged.
        info: Classes, and keypoints where some are read.
        part: Bad images and annotations to leave out.
        masks: Whether to read segmentations; an annotation without a usable one is then broken,
            unless none of the file has any.
        keypoints: Whether to read keypoints, those of ``info``.
        crowds: What ``iscrowd: 1`` means: a region of many objects, or one object.
        files: Whether images are read, so that a record without name or size is broken. An
            evaluation of boxes and poses needs the ids alone.

    Attributes:
        images: Usable image records with whole sizes; 0 is an unknown one.
        sizes: (height, width) of each usable image.
        image_records: What became of each image record.
        dropped: Number of records left out, by reason, beside those in quarantine.
        left_out: Number of images and annotations in quarantine.
        changes: What was read otherwise than it is written, by kind.
        crowds: Number of crowd regions of each label, also where they are read as objects.
        counts: Number of all annotations read of each label, with crowds.
        masks: Whether masks are read.
    """

    def __init__(
        self,
        data: CocoDict,
        info: DatasetInfo,
        part: QuarantinedPart,
        *,
        masks: bool,
        keypoints: bool,
        crowds: Crowds,
        files: bool = True,
    ) -> None:
        self.data, self.info = data, info
        self.masks = masks and any(a.get("segmentation") for a in data["annotations"])
        self.num_keypoints = len(info.keypoint_names) if keypoints else 0
        self._part, self._labels = part, info.label_of
        self.in_quarantine = bool(part.images or part.annotations or part.records)
        self.crowds_are_objects = crowds == "objects"
        self.image_records = ImageRecords(
            data["images"], part, files=files, sizes=files or self.masks
        )
        self.images, self.sizes = self.image_records.usable, self.image_records.sizes
        self.reset()

    def reset(self) -> None:
        """Begin to count anew."""
        self.dropped = self.image_records.dropped()
        images = self.image_records.num_quarantined
        self.left_out = Counter({"images": images} if images else {})
        self.changes: dict[str, Change] = {}
        self.counts: Counter[int] = Counter()
        self.crowds: Counter[int] = Counter()

    # ------------------------------------------------------------------------------- annotations

    def usable(self) -> Iterator[tuple[Record, InstanceRecord]]:
        """Usable annotations beside what was read from them, boxes inside their image.

        Each call counts anew; the counters are complete when it ends.
        """
        self.reset()
        for index, annotation in enumerate(self.data["annotations"]):
            if (found := self.usable_at(index, annotation)) is not None:
                yield annotation, found

    def usable_at(self, index: int, annotation: Record) -> InstanceRecord | None:
        """What is read of an annotation, or None for one that is left out; both are counted."""
        if self.in_quarantine and self.is_left_out(index, annotation):
            return None
        found = self.read(index, annotation)
        if isinstance(found, Broken):
            self.dropped[f"annotations {found.reason}"] += 1
            return None
        return found

    def is_left_out(self, index: int, annotation: Record) -> bool:
        """Whether the annotation at ``index`` is in quarantine, which is counted, or its image."""
        part = self._part
        if parse_id(annotation.get("id")) in part.annotations or (
            part.records and f"annotations[{index}]" in part.records
        ):
            self.left_out["annotations"] += 1
            return True
        return parse_id(annotation.get("image_id")) in self.image_records.quarantined_ids

    def place(self, index: int, annotation: Record) -> str:
        """Where an annotation stands: position, id, and the file of its image if there is one."""
        where = f"annotations[{index}] (id {annotation.get('id')!r:.40})"
        stated = annotation.get("image_id")
        position = self.image_records.position
        found = position.get(parse_id(stated), position.get(other_type(stated)))
        name = None if found is None else self.images[found].get("file_name")
        return where if name is None else f"{where} of {name}"

    def read(self, index: int, annotation: Record) -> InstanceRecord | Broken:
        """Read one annotation and count it, or say what is wrong with it.

        Args:
            index: Position in the file, counted from 0.
            annotation: The record there.
        """
        image = self._image_of(annotation, index)
        if isinstance(image, Broken):
            return image
        label = self._label_of(annotation, index)
        if isinstance(label, Broken):
            return label
        size = self.sizes[image]
        joints: list[float] | None = None
        if self.num_keypoints:
            joints = sound_keypoints(annotation.get("keypoints"), self.num_keypoints)
            if joints is None:
                return _broken_keypoints(annotation["keypoints"], self.num_keypoints)
        boxes = self._boxes_of(annotation, index, size, joints)
        if isinstance(boxes, Broken):
            return boxes
        box, clipped = boxes
        segmentation: Segmentation | None = None
        if self.masks:
            written = annotation.get("segmentation")
            plain = plain_form(written)
            segmentation, problem = usable_segmentation(plain, size)
            if segmentation is None:
                return Broken(MASKS[0], problem or "", _CORRECT_MASK)
            iou = mask_iou(segmentation, box, size)
            if iou == 0:
                what = f"the mask lies off its box {annotation.get('bbox')!r:.80}"
                return Broken(MASKS[1], what, _CORRECT_MASK)
            if iou < DIFFER:
                self._change(MASKS_DIFFER, index, key="bbox")
            if has_no_pixel(segmentation, size):
                self._change(NO_PIXEL, index, key="segmentation")
            if problem is not None:
                self._change("broken polygons are left out of annotations", index, problem)
            if plain is not written:
                self._change(FORMS, index, key="segmentation")
        crowd = parse_crowd(annotation.get("iscrowd"))
        if crowd is None:
            what = f"'iscrowd' must be 0 or 1, got {annotation['iscrowd']!r:.80}"
            return Broken("have an unknown iscrowd", what, "write 0 for one object")
        self.counts[label] += 1
        self.crowds[label] += crowd
        if type(annotation.get("iscrowd")) is str:
            self._change("values of iscrowd are text, and read as 0 or 1", index, key="iscrowd")
        if not area_is_possible(annotation, box, size):
            self._change(AREAS, index, key="area")
        for kind, what in unread_marks(annotation, joints):
            self._change(kind, index, what)
        points = None if joints is None else self._points_of(annotation, index, joints)
        crowd = crowd and not self.crowds_are_objects
        return InstanceRecord(image, clipped, label, crowd, segmentation, points)

    def _points_of(self, annotation: Record, index: int, joints: list[float]) -> list[float]:
        if not annotation.get("keypoints"):
            kind = "objects have no list of keypoints, so no labelled joint"
            self._change(kind, index, key="keypoints")
        stated = annotation.get("num_keypoints")
        if stated is not None and stated != num_labelled(joints):
            self._change(NUM_KEYPOINTS, index, key="num_keypoints")
        return shift_keypoints(joints)

    def _image_of(self, annotation: Record, index: int) -> int | Broken:
        stated = annotation.get("image_id")
        position = self.image_records.position
        found = position.get(stated if type(stated) is int else parse_id(stated))
        if found is not None:
            return found
        if parse_id(stated) in self.image_records.broken_ids:
            what = f"the record of image {stated!r:.80} is broken"
            return Broken(ORPHANS, what, "correct the record of the image")
        other = self.image_records.position.get(other_type(stated))
        if other is None:
            what = f"the image id {stated!r:.80} does not exist"
            fix = "add the image, or remove the annotation"
            return Broken("name an image id that does not exist", what, fix)
        self._change("ids of an image are text here and a number there", index, key="image_id")
        return other

    def _label_of(self, annotation: Record, index: int) -> int | Broken:
        stated = annotation.get("category_id")
        found = self._labels.get(stated if type(stated) is int else parse_id(stated))
        if found is not None:
            return found
        other = self._labels.get(other_type(stated))
        if other is None:
            known = f"{self.info.category_ids[0]}..{self.info.category_ids[-1]}"
            what = f"the category id {stated!r:.80} does not exist"
            fix = f"add the category or correct the id (known: {known})"
            return Broken("name a category id that does not exist", what, fix)
        self._change("ids of a category are text here and a number there", index, key="category_id")
        return other

    def _boxes_of(
        self, annotation: Record, index: int, size: Size, joints: list[float] | None
    ) -> tuple[BoxXYXY, BoxXYXY] | Broken:
        """Box of an annotation, and what of it lies inside its image."""
        value = annotation.get("bbox")
        box, change = stated_box(annotation, size, joints)
        if box is None:
            what = f"the box is not four finite numbers: {value!r:.80}"
            return Broken("have no box of four numbers", what, _CORRECT_BOX)
        if change is not None:
            self._change(change, index, key="bbox")
        x1, y1, x2, y2 = box
        if x2 <= x1 or y2 <= y1:
            what = f"the box {value!r:.80} has no positive size"
            return Broken("have a box of no size", what, _CORRECT_BOX)
        if is_within_first_pixel(x1, y1, x2, y2):
            what = f"the box {value!r:.80} lies within the first pixel, as shares of 1 would"
            return Broken("have a box within the first pixel", what, "write it in pixels")
        height, width = size
        clipped = box if height == 0 else clip_box(box, size)
        if clipped is None:
            what = f"the box {value!r:.80} shows nothing inside its {width}x{height} image"
            return Broken("have a box outside of their image", what, _CORRECT_BOX)
        if height and max(-x1, -y1, x2 - width, y2 - height) > OUTSIDE_TOLERANCE:
            self._change(LEAVES, index, key="bbox")
        return box, clipped

    def _change(self, kind: str, index: int, problem: str = "", *, key: str = "") -> None:
        """Count what is read otherwise than it is written: a problem, or the value of a key."""
        if kind in self.changes:
            self.changes[kind].count += 1
            return
        annotation = self.data["annotations"][index]
        example = problem or f"{key} {annotation[key]!r:.60}" if key in annotation else f"no {key}"
        self.changes[kind] = Change(1, self.place(index, annotation), problem or example)

    # ------------------------------------------------------------------------------ ground truth

    def cleaned(self) -> CocoDict:
        """The file as it is evaluated: usable records alone, with every key that evaluators need.

        Sound records stay as they are. Filled in or derived are iscrowd, boxes and areas that are
        missing or impossible (``derive_area``), keypoints and num_keypoints where those are read,
        and ids that repeat, are missing or 0, which pycocotools takes for "no match".
        """
        return clean(self)

    # ------------------------------------------------------------------------------------- words

    def notes(self, path: object) -> list[str]:
        """Sentences on what was left out, changed, and read as crowds; after ``usable``."""
        notes = []
        if self.left_out:
            notes.append(f"{path}: quarantine leaves out {list_counts(self.left_out)}")
        return notes + [f"{path}: {what}" for what in (*self.warnings(), *self.remarks())]

    def warnings(self) -> list[str]:
        """What needs a look: records left out or changed, and suspiciously many crowds."""
        found = []
        if self.dropped:
            found.append(f"left out: {list_counts(self.dropped)}; {CHECK}")
        for kind, change in self.changes.items():
            found.append(f"{of_kind(change.count, kind)}, such as {change.where}: {change.example}")
        if (what := self.suspicious_crowds()) is not None:
            found.append(what)
        return found + [str(unclear) for unclear in self.unclear_classes()]

    def unclear_classes(self) -> list[Fault]:
        """Classes of one name, or of names that are alike."""
        info = self.info
        return alike_classes(zip(info.category_ids, info.class_names, strict=True))

    def remarks(self) -> list[str]:
        """What is as the format has it, and worth knowing."""
        crowds = self.crowds.total()
        found = counted(crowds, "crowd region (iscrowd 1) is", "crowd regions (iscrowd 1) are")
        if crowds and self.crowds_are_objects:
            return [f"{found} read as objects: data.crowds"]
        if crowds and self.suspicious_crowds() is None:
            return [f"{found} neither learnt nor counted as objects"]
        return []

    def suspicious_crowds(self) -> str | None:
        """Say that objects have most likely become crowds, by class, or None."""
        if self.crowds_are_objects:
            return None
        return suspicious_crowds(self.crowds, self.counts, self.info.class_names)


MASKS = "have no usable segmentation", "have a mask that lies off its box"
KEYPOINTS = ("have broken keypoints",)
ORPHANS = "are of images that are left out"
NUM_KEYPOINTS = "num_keypoints contradict the keypoints, and are counted anew"
MASKS_DIFFER = "annotations have mask and box in different places"
LEAVES = "boxes leave their image, and are clipped"
AREAS = "areas cannot be right, and are taken from the mask or else the box"
NO_PIXEL = "masks have no pixel, as lines and slivers, and are learnt and counted as empty"


def _broken_keypoints(value: Any, num_keypoints: int) -> Broken:
    count = len(value) if isinstance(value, list) else 0
    what = f"the keypoints are not {num_keypoints} times x, y and visibility 0, 1 or 2"
    if count != 3 * num_keypoints:
        what += f" ({counted(count, 'value')})"
    elif odd := [v for v in value[2::3] if v not in (0, 1, 2)]:
        what += f" (there is {odd[0]!r:.40})"
    return Broken(KEYPOINTS[0], what, "correct the list")
