"""Judge the image records of a COCO file of instances or of panoptic segments."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from van_dense.core.structures import Size
from van_dense.data.readers.coco_json import MAX_SIDE, Record
from van_dense.data.readers.coco_values import is_id, parse_id, parse_number
from van_dense.data.readers.quarantine import QuarantinedPart


class Broken(NamedTuple):
    """Why a record is left out."""

    reason: str  #: behind "3 annotations", to be counted
    what: str  #: what is wrong with this one
    fix: str  #: what to do about it


class ImageRecords:
    """Usable image records of a file, and what is wrong with the others.

    Args:
        records: The list ``images`` of the file, left unchanged.
        part: Bad images to leave out.
        files: Whether images are read, so that a record without a file name is broken.
        sizes: Whether sizes are needed, so that a record without one is broken.

    Attributes:
        usable: Usable records with whole sizes; 0 is an unknown one.
        sizes: (height, width) of each usable record.
        indices: Position of each usable record in the file.
        position: Position of each image id in ``usable``.
        broken: Position in the file and fault of each broken record.
        broken_ids: Ids of which there are broken records alone.
        quarantined_ids: Ids in quarantine, and those of which all records are.
        num_quarantined: Number of images in quarantine.
    """

    def __init__(
        self, records: Sequence[Record], part: QuarantinedPart, *, files: bool, sizes: bool
    ) -> None:
        self._files, self._sizes = files, sizes
        self.usable: list[Record] = []
        self.sizes: list[Size] = []
        self.indices: list[int] = []
        self.position: dict[Any, int] = {}
        self.broken: list[tuple[int, Broken]] = []
        self.broken_ids: set[Any] = set()
        self.quarantined_ids: set[Any] = set(part.images)
        self.num_quarantined = 0
        for index, record in enumerate(records):
            key = parse_id(record.get("id"))
            if key in part.images or (part.records and f"images[{index}]" in part.records):
                self.num_quarantined += 1
                self.quarantined_ids.add(key)
            else:
                self._add(index, key, record)
        self.quarantined_ids.difference_update(self.position, self.broken_ids)
        self.broken_ids.difference_update(self.position)

    def _add(self, index: int, key: Any, record: Record) -> None:
        size = _stated_size(record)
        if (broken := self._problem(record, key, size)) is not None:
            self.broken.append((index, broken))
            self.broken_ids.add(key)
            return
        self.position[key] = len(self.usable)
        height, width = size or (0, 0)
        stated = record.get("height"), record.get("width")
        if stated != (height, width) or type(record["id"]) is float:
            record = {**record, "height": height, "width": width, "id": key}
        self.usable.append(record)
        self.sizes.append((height, width))
        self.indices.append(index)

    def _problem(self, record: Record, key: Any, size: Size | None) -> Broken | None:
        stated, name = record.get("id"), record.get("file_name")
        if not is_id(stated):
            what = f"'id' must be a number or text, got {stated!r:.80}"
            return Broken("have no id", what, "give each image its own id")
        if self._files and (not isinstance(name, str) or not name):
            what = f"'file_name' must be a path below the image folder, got {name!r:.80}"
            return Broken("have no file name", what, "write the name of the image file there")
        if size is None and self._sizes:
            sides = f"{record.get('width')!r:.40} and {record.get('height')!r:.40}"
            what = f"'width' and 'height' must be a whole number of pixels, got {sides}"
            return Broken("have no size", what, "write the size of the image file there")
        if key in self.position:
            fix = "give each image its own id; the reader keeps the first"
            return Broken("repeat the id of another image", "an earlier image has the same id", fix)
        return None

    def dropped(self) -> Counter[str]:
        """Number of broken records by reason."""
        return Counter(f"images {broken.reason}" for _, broken in self.broken)


def _stated_size(record: Record) -> Size | None:
    """(height, width) that an image record states, or None where it is none."""
    sides = [parse_number(record.get(key)) for key in ("height", "width")]
    if any(side is None or not 1 <= side <= MAX_SIDE or side % 1 for side in sides):
        return None
    height, width = (int(side or 0) for side in sides)
    return height, width
