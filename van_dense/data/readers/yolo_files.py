"""The files of a part of a YOLO folder, which nobody has opened yet, and their index."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from van_dense.core.digest import digest_of
from van_dense.data.io.columns import Stamp, is_settled, stamp_of
from van_dense.data.readers.annotation_index import (
    Arrays,
    Facts,
    Index,
    IndexUse,
    Source,
    is_wanted,
    open_index,
)
from van_dense.data.readers.quarantine import Quarantine
from van_dense.data.readers.yolo_labels import LabelFiles
from van_dense.data.readers.yolo_layout import YoloLayout, part_source

_COST = 4096  # bytes of an annotation file that take as long to read as a label file


class YoloFiles:
    """Images and label files of a part.

    Args:
        root: Folder that holds ``data.yaml`` or Darknet's ``obj.data``, or such a file.
        split: Key of the data file: train, val or test.
        quarantine: Bad images and lines to leave out.

    Attributes:
        split: As given.
        layout: The data file.
        images: Image files, sorted.
        labels: Label file of each.
        quarantined: What is left out.
        remarks: Findings about the files, before any is read.

    Raises:
        ValueError: For a missing or foreign data file, and when no image or no label is found.
    """

    def __init__(self, root: str | Path, split: str, quarantine: Quarantine) -> None:
        self.split = split
        self.layout = YoloLayout.read(root)
        self.images, self.remarks = self.layout.images(split)
        self.labels = LabelFiles(self.layout, split, self.images)
        self.quarantined = quarantine.of(part_source(root, split), *self.labels.files)
        self.remarks += self.labels.remarks

    def open_index(
        self,
        use: IndexUse,
        reads: Mapping[str, Any],
        build: Callable[[Path], tuple[Arrays, Facts]],
    ) -> Index | None:
        """The index of the part, whose files are known by their names, sizes and times.

        Reading all again takes hardly longer than hashing them. There is none yet of files that
        were written just now, since a change would not show.
        """
        file = self.layout.file
        if not is_wanted(use, file, _COST * len(self.images)):
            return None
        if not is_settled(stamp := self._stamp()):
            return None
        meaning = self.layout.meaning
        state = [self.quarantined.listed(), list(meaning.names.items()), meaning.keypoints]
        content = partial(digest_of, stamp)
        return open_index(Source(file, reads, state, stamp, self._stamp, content), build)

    def _stamp(self) -> Stamp:
        """Number of files, time of the newest, and a hash of what is known of each."""
        digest, newest, count = hashlib.blake2b(digest_size=6), 0, 0
        for file in (self.layout.file, *self.images, *self.labels.files):
            try:
                stamp = stamp_of(file)
            except OSError:
                stamp = [0, 0, 0]
            newest, count = max(newest, stamp[1]), count + 1
            digest.update(f"{file}\n{stamp}\n".encode("utf-8", "surrogateescape"))
        return [count, newest, int.from_bytes(digest.digest(), "big")]
