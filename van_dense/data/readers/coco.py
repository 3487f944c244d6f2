"""Reader of COCO annotation files: boxes, masks and keypoints of any data set in that format.

Source of the format: https://cocodataset.org/#format-data. pycocotools' own index prints, keeps
every annotation as a dictionary, and fails on the first bad record with a bare KeyError.
"""

import logging
import os
from dataclasses import asdict, replace
from functools import cached_property, partial
from pathlib import Path

from van_dense.core.dataset_info import DatasetInfo
from van_dense.data.io.columns import stamp_of
from van_dense.data.io.json_file import paused_garbage_collection
from van_dense.data.messages import CHECK
from van_dense.data.readers.annotation_columns import (
    AnnotationColumns,
    ImageRecord,
    build_columns,
)
from van_dense.data.readers.annotation_index import (
    Arrays,
    Facts,
    Index,
    IndexUse,
    Source,
    is_wanted,
    open_index,
)
from van_dense.data.readers.coco_images import Broken
from van_dense.data.readers.coco_json import (
    CocoDict,
    Skeleton,
    dataset_info,
    empty_root,
    read_coco_json,
    root_words,
    skeleton_notes,
)
from van_dense.data.readers.coco_records import CocoRecords, Crowds
from van_dense.data.readers.image_places import Places, find_images
from van_dense.data.readers.quarantine import Quarantine, QuarantinedPart, fingerprint
from van_dense.data.readers.table import TableDataset

logger = logging.getLogger(__name__)

_SAID = ("warnings", "notes", "bones", "root", "first")  # sentences about a file


class CocoDataset(TableDataset):
    """A ``DenseDataset`` from a folder of images and a COCO annotation file.

    ``CocoRecords`` says which records are read, and as what: broken ones (a category or image that
    does not exist, no usable box or mask) are left out with one warning that counts them.

    Args:
        images: Folder that the file names of the annotations start from.
        annotations: JSON file with images, annotations and categories.
        name: Name of the data set in titles and logs.
        quarantine: Bad images and annotations to leave out.
        drop_empty: Leave out images without a box that is no crowd, as mmdet does in training.
        masks: Whether to read segmentations; an annotation without one is then broken, unless none
            of the file has any. False reads boxes alone, in less time.
        keypoints: Whether to read keypoints, where a category names some.
        crowds: What ``iscrowd: 1`` means: a region of many objects, or one object.
        skeleton: Keypoints of the annotations, instead of what the file says about them.
        index: Whether to keep what was read in an index, which opens at once and is shared by all
            processes: "never", "always", or "auto" for large files. See ``open_index``.

    Raises:
        ValueError: For a missing or foreign file, with key and fix, and when no image remains.
    """

    @paused_garbage_collection()
    def __init__(
        self,
        images: str | Path,
        annotations: str | Path,
        *,
        name: str,
        quarantine: Quarantine | None = None,
        drop_empty: bool,
        masks: bool = True,
        keypoints: bool = True,
        crowds: Crowds = "regions",
        skeleton: Skeleton | None = None,
        index: IndexUse = "never",
    ) -> None:
        self._file, self._images, self._name = str(annotations), str(images), name
        self._quarantine = quarantine or Quarantine()
        self._masks_wanted, self._keypoints_wanted = masks, keypoints
        self._crowds, self._skeleton = crowds, skeleton
        if (found := self._open_index(index)) is None:
            arrays, facts = self._read(None)
            columns = AnnotationColumns.of(arrays)
        else:
            columns, facts = found.columns, found.facts
            self._check_folder()
        places = find_images(images, columns.paths, found.folder if found else None)
        super().__init__(
            replace(DatasetInfo.from_dict(facts["info"]), name=name),
            columns,
            masks=facts["masks"],
            drop_empty=drop_empty,
            image_folder=images,
            paths=places.paths,
        )
        self.index_note = None if found is None else found.note
        self.left_out = frozenset(facts["left_out"])
        self._take_notes(facts, places)
        if len(self) == 0:
            what = f"no image remains of {facts['num_images']} with a usable box"
            raise ValueError(f"{annotations}: {what}; {CHECK}")

    def _take_notes(self, facts: Facts, places: Places) -> None:
        said = {key: [f"{self._file}: {what}" for what in facts[key]] for key in _SAID}
        self.warnings = said["warnings"] + said["bones"]
        if places.absent is not None:
            self.warnings.append(f"{self._file}: {places.absent}")
            self.notes.append(self.warnings[-1])
        self.notes += said["notes"] + said["bones"] + said["root"]
        if places.spelling is not None:
            self.notes.append(f"{self._file}: {places.spelling}")
        for note in self.notes:
            logger.log(logging.WARNING if note in self.warnings else logging.INFO, "%s", note)
        self.warnings += said["first"]
        self.notes += said["first"]

    @cached_property
    def _part(self) -> QuarantinedPart:
        return self._quarantine.of(self._file)

    def _open_index(self, use: IndexUse) -> Index | None:
        file = Path(self._file)
        if not is_wanted(use, file, os.path.getsize(file) if file.is_file() else 0):
            return None
        skeleton = self._skeleton
        reads = {
            "format": "coco",
            "masks": self._masks_wanted,
            "keypoints": self._keypoints_wanted,
            "crowds": self._crowds,
            "skeleton": None if skeleton is None else asdict(skeleton),
        }
        state = self._part.listed()
        restamp, content = partial(stamp_of, file), partial(fingerprint, file)
        source = Source(file, reads, state, restamp(), restamp, content)
        return open_index(source, self._read)

    def _check_folder(self) -> None:
        if not Path(self._images).is_dir():
            what = "no such folder; give the folder that holds the images"
            raise ValueError(f"{self._images}: {what}")

    def _read(self, folder: Path | None) -> tuple[Arrays, Facts]:
        """Columns of the file, in files of a folder if there is one, and what is to be said."""
        file, skeleton = self._file, self._skeleton
        data = read_coco_json(file, in_file=folder is not None)
        self._check_folder()
        info = dataset_info(file, data, self._name, skeleton, keypoints=self._keypoints_wanted)
        found = self._judge(data, info)
        if not found.images:
            raise ValueError(f"{file}: {_no_image(found)}; {CHECK}")
        records = zip(found.images, found.sizes, strict=True)
        arrays = build_columns(
            (ImageRecord(one["file_name"], one["id"], size) for one, size in records),
            (instance for _, instance in found.usable()),
            num_keypoints=len(info.keypoint_names),
            masks=found.masks,
            folder=folder,
        )
        bones = skeleton_notes(file, data, skeleton) if self._keypoints_wanted else []
        root = empty_root(data)
        images, told = found.image_records, f"{file}: "
        facts = {
            "info": info.to_dict(),
            "masks": found.masks,
            "num_images": len(data["images"]),
            "left_out": sorted(images.quarantined_ids | images.broken_ids, key=str),
            "warnings": found.warnings(),
            "notes": [note.removeprefix(told) for note in found.notes(file)],
            "bones": [note.removeprefix(told) for note in bones],
            "root": [] if root is None else [root_words(root)],
        }
        return arrays, {**facts, "first": first_broken(found)}  # spoils the counters

    def _judge(self, data: CocoDict, info: DatasetInfo) -> CocoRecords:
        return CocoRecords(
            data,
            info,
            self._part,
            masks=self._masks_wanted,
            keypoints=self._keypoints_wanted,
            crowds=self._crowds,
        )

    def coco_dict(self) -> CocoDict:
        """Parse the annotation file again, without what this reader leaves out.

        See ``CocoRecords.cleaned``: sound records stay as they are, and keys that evaluators need
        are filled in.
        """
        return self._judge(read_coco_json(self._file), self.info).cleaned()


def first_broken(records: CocoRecords) -> list[str]:
    """The first record of each reason for which some are left out; counters are spoilt."""
    first: dict[str, str] = {}
    for index, broken in records.image_records.broken:
        first.setdefault(f"images {broken.reason}", f"images[{index}]: {broken.what}")
    wanted = set(records.dropped) - first.keys()
    for index, entry in enumerate(records.data["annotations"]):
        if not wanted - first.keys():
            break
        if not records.is_left_out(index, entry) and isinstance(
            found := records.read(index, entry), Broken
        ):
            what = f"{records.place(index, entry)}: {found.what}"
            first.setdefault(f"annotations {found.reason}", what)
    return [f"left out: {what}" for what in first.values()]


def _no_image(found: CocoRecords) -> str:
    """Say why there is no usable image."""
    what = f"no image remains of {len(found.data['images'])}"
    if not found.image_records.broken:
        return what
    index, broken = found.image_records.broken[0]
    return f"{what}, such as images[{index}]: {broken.what}; {broken.fix}"
