"""Reader of COCO annotation files: boxes, masks and keypoints of any data set in that format.

Source of the format: https://cocodataset.org/#format-data. pycocotools' own index prints, keeps
every annotation as a dictionary, and fails on the first bad record with a bare KeyError.
"""

import logging
from pathlib import Path

from van_dense.core.dataset_info import DatasetInfo
from van_dense.data.io.json_file import paused_garbage_collection
from van_dense.data.io.names import find_all_below
from van_dense.data.messages import CHECK
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
from van_dense.data.readers.missing_images import missing_images
from van_dense.data.readers.quarantine import Quarantine
from van_dense.data.readers.table import ImageRecord, TableDataset

logger = logging.getLogger(__name__)


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
    ) -> None:
        self._file = Path(annotations)
        data = read_coco_json(annotations)
        if not Path(images).is_dir():
            raise ValueError(f"{images}: no such folder; give the folder that holds the images")
        info = dataset_info(annotations, data, name, skeleton, keypoints=keypoints)
        self._part = (quarantine or Quarantine()).of(annotations)
        self._masks_wanted, self._keypoints_wanted, self._crowds = masks, keypoints, crowds
        found = self._judge(data, info)
        if not found.images:
            raise ValueError(f"{annotations}: {_no_image(found)}; {CHECK}")
        paths, spelling = find_all_below(images, [record["file_name"] for record in found.images])
        files = [
            ImageRecord(path, record["id"], size)
            for path, record, size in zip(paths, found.images, found.sizes, strict=True)
        ]
        instances = (instance for _, instance in found.usable())
        super().__init__(info, files, instances, masks=found.masks, drop_empty=drop_empty)
        records = found.image_records
        self.left_out = frozenset(records.quarantined_ids | records.broken_ids)
        bones = skeleton_notes(annotations, data, skeleton) if keypoints else []
        self.warnings = [f"{annotations}: {what}" for what in found.warnings()] + bones
        if (absent := missing_images(str(images), paths)) is not None:
            self.warnings.append(f"{annotations}: {absent}")
            self.notes.append(self.warnings[-1])
        self.notes += found.notes(annotations) + bones
        if (root := empty_root(data)) is not None:
            self.notes.append(f"{annotations}: {root_words(root)}")
        if spelling is not None:
            self.notes.append(f"{annotations}: {spelling}")
        for note in self.notes:
            logger.log(logging.WARNING if note in self.warnings else logging.INFO, "%s", note)
        first = [f"{annotations}: {what}" for what in first_broken(found)]  # spoils the counters
        self.warnings += first
        self.notes += first
        if len(self) == 0:
            what = f"no image remains of {len(data['images'])} with a usable box"
            raise ValueError(f"{annotations}: {what}; {CHECK}")

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
            what = f"annotations[{index}] (id {entry.get('id')!r:.40}): {found.what}"
            first.setdefault(f"annotations {found.reason}", what)
    return [f"left out: {what}" for what in first.values()]


def _no_image(found: CocoRecords) -> str:
    """Say why there is no usable image."""
    what = f"no image remains of {len(found.data['images'])}"
    if not found.image_records.broken:
        return what
    index, broken = found.image_records.broken[0]
    return f"{what}, such as images[{index}]: {broken.what}; {broken.fix}"
