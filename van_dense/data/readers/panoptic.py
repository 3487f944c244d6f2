"""Reader of COCO's panoptic layout: images, PNGs of segment ids, and a JSON file of the segments.

Source of the format: https://cocodataset.org/#format-data, section 4. The JSON says the class of
each segment and whether it is a crowd; which pixels it has, the PNG alone says.
"""

import logging
import os
from array import array
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from van_dense.core.regions import find_regions
from van_dense.core.structures import Sample, Segment, Size, size_of
from van_dense.data.dataset import ReadError
from van_dense.data.io.image import read_image
from van_dense.data.io.json_file import paused_garbage_collection
from van_dense.data.io.names import find_all_below
from van_dense.data.io.panoptic import read_ids
from van_dense.data.io.stored import notes_of_some
from van_dense.data.messages import CHECK, Fault
from van_dense.data.readers.image_files import pack
from van_dense.data.readers.image_mask import mask_size_problem
from van_dense.data.readers.panoptic_json import PanopticImage, read_panoptic_json, to_segments
from van_dense.data.readers.quarantine import Quarantine
from van_dense.data.readers.table import size_problem

logger = logging.getLogger(__name__)

REPAIR = "correct the PNG or the JSON, or leave the image out with van-dense check --quarantine"
_SHOWN = 5  # ids in a message


class PanopticDataset:
    """A ``DenseDataset`` in COCO's panoptic layout, in the order of the JSON's images.

    Segments lie in flat arrays, as those of ``TableDataset`` do and for the same reason.

    Args:
        images: Folder that the file names of the images start from.
        annotations: JSON file with images, annotations and categories.
        masks: Folder that the file names of the PNGs start from.
        name: Name of the data set in titles and logs.
        quarantine: Bad images to leave out.

    Raises:
        ValueError: For a missing folder, for a file that ``read_panoptic_json`` refuses, and when
            no image remains.
    """

    @paused_garbage_collection()
    def __init__(
        self,
        images: str | Path,
        annotations: str | Path,
        masks: str | Path,
        *,
        name: str,
        quarantine: Quarantine | None = None,
    ) -> None:
        self._file = str(annotations)
        self._mask_root = str(masks)
        left_out = (quarantine or Quarantine()).of(annotations)
        file = read_panoptic_json(annotations, name=name, left_out=left_out)
        require_folders(images, masks)
        if not (kept := file.images):
            raise ValueError(f"{annotations}: the quarantine leaves no image; {CHECK}")
        self.info = file.info
        self._ids = [image.id for image in kept]
        self.notes: list[str] = []  # see ``HasNotes``
        if what := left_out.words():
            self.notes.append(f"{annotations}: {what}")
            logger.info("%s", self.notes[-1])
        self._images = pack(self._find(images, [image.file_name for image in kept]))
        self._masks = self._mask_files = pack([image.png for image in kept])
        found = self._find(masks, [image.png for image in kept])
        if any(path != os.path.join(masks, i.png) for path, i in zip(found, kept, strict=True)):
            self._mask_files = pack([os.path.relpath(path, masks) for path in found])
        self._sizes = np.array([image.size for image in kept], dtype=np.int32)
        self._pack_segments(kept)
        self.notes += notes_of_some(len(self), self.path)

    def _find(self, root: str | Path, names: Sequence[str]) -> list[str]:
        paths, spelling = find_all_below(root, names)
        if spelling is not None:
            self.notes.append(f"{self._file}: {spelling}")
        return paths

    def _pack_segments(self, images: Collection[PanopticImage]) -> None:
        ids, labels, crowd, ends = array("i"), array("h"), array("b"), array("q", [0])
        label_of = self.info.label_of
        for image in images:
            for segment in image.segments:
                ids.append(segment.id)
                labels.append(label_of[segment.category_id])
                crowd.append(segment.crowd)
            ends.append(len(ids))
        self._segment_ids = np.array(ids, dtype=np.int32)
        self._labels = np.array(labels, dtype=np.int16)
        self._crowd = np.array(crowd, dtype=bool)
        self._ends = np.array(ends)

    def __len__(self) -> int:
        return len(self._ids)

    def size(self, index: int) -> Size:
        """(height, width) as the JSON states it; see ``DenseDataset``."""
        height, width = self._sizes[index].tolist()
        return height, width

    def image_id(self, index: int) -> int | str:
        """Id of an image in the JSON."""
        return self._ids[index]

    def path(self, index: int) -> str:
        """File of an image."""
        return os.fsdecode(self._images[index])

    def mask_name(self, index: int) -> str:
        """PNG of an image as the JSON names it, below the folder of the PNGs."""
        return os.fsdecode(self._masks[index])

    def mask_path(self, index: int) -> str:
        """PNG of an image."""
        return os.path.join(self._mask_root, os.fsdecode(self._mask_files[index]))

    def segments(self, index: int) -> list[Segment]:
        """Segments of an image as the JSON lists them; the PNG is not read."""
        rows = slice(self._ends[index], self._ends[index + 1])
        columns = self._segment_ids[rows], self._labels[rows], self._crowd[rows]
        return to_segments(zip(*(column.tolist() for column in columns), strict=True))

    def object_counts(self) -> Counter[tuple[int | str, str]]:
        """Things that are no crowd, by image id and class name."""
        owner = np.repeat(np.arange(len(self)), np.diff(self._ends))
        is_thing = np.array(self.info.thing_flags, dtype=bool)[self._labels]
        kept = is_thing & ~self._crowd
        pairs = zip(owner[kept].tolist(), self._labels[kept].tolist(), strict=True)
        return Counter((self._ids[i], self.info.class_names[label]) for i, label in pairs)

    def truth(self, index: int) -> tuple[np.ndarray, list[Segment]]:
        """Segment ids int32 (H, W) of the stored pixels, 0 = void, and what they stand for.

        The image itself is not read. A broken PNG, one whose size is not that of the JSON, ids
        without a segment and segments without a pixel are a ReadError.
        """
        path, segments = self.mask_path(index), self.segments(index)
        ids = read_ids(path)
        problem = mask_size_problem(size_of(ids), self.size(index))
        problem = problem or ids_problem(
            find_regions(ids).ids.tolist(), [s["id"] for s in segments]
        )
        if problem is not None:
            where = f"image id {self.image_id(index)!r} of {self._file}"
            raise ReadError(f"{path} ({where}): {problem}")
        return ids, segments

    def raw(self, index: int) -> Sample:
        """Read one image and its segments; see ``DenseDataset``."""
        path = self.path(index)
        image = read_image(path)
        if (problem := size_problem(size_of(image), self.size(index))) is not None:
            raise ReadError(f"{path} (image id {self.image_id(index)!r}): {problem}")
        sample = Sample(image, self.image_id(index), path, size_of(image))
        sample.panoptic, sample.segments = self.truth(index)
        return sample


def require_folders(images: str | Path, masks: str | Path) -> None:
    """Raise a ValueError for a missing folder of images or of PNGs."""
    if not Path(images).is_dir():
        raise ValueError(f"{images}: no such folder; give the folder that holds the images")
    require_masks(masks)


def require_masks(masks: str | Path) -> None:
    """Raise a ValueError for a missing folder of PNGs."""
    if not Path(masks).is_dir():
        fix = "give the folder that holds the PNGs, which COCO names as the JSON"
        raise ValueError(f"{masks}: no such folder; {fix}")


def ids_problem(found: Collection[int], stated: Collection[int]) -> Fault | None:
    """Say how the values of a PNG, 0 = void among them, and the ids of the JSON differ, or None."""
    missing = sorted(set(found) - set(stated) - {0})
    empty = sorted(set(stated) - set(found))
    problems = []
    if missing:
        problems.append(f"the PNG holds {_spell(missing)} without a segment in the JSON")
    if empty:
        problems.append(f"the JSON holds {_spell(empty)} without a pixel in the PNG")
    return Fault(" and ".join(problems), REPAIR) if problems else None


def _spell(ids: list[int]) -> str:
    """Such as "the ids 1, 2, 3, 4, 5 and 7 more"."""
    more = f" and {len(ids) - _SHOWN} more" if len(ids) > _SHOWN else ""
    return f"the id{'s' * (len(ids) > 1)} {', '.join(map(str, ids[:_SHOWN]))}{more}"
