"""A few images to begin with: of a folder, or of the validation part of a run."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Lock

import cv2
import numpy as np

from van_dense.core.failure import Failure
from van_dense.core.structures import Sample
from van_dense.data.dataset import FirstImages, ReadError
from van_dense.data.io.image import read_image
from van_dense.data.io.sources import find_files
from van_dense.demo.payload import picture_url
from van_dense.inference.loaded import Loaded
from van_dense.tasks import task_of

log = logging.getLogger(__name__)

COUNT = 6
_THUMBNAIL = 240  # pixels of the long side
_AROUND = 0.12  # of a person's box, which is cut out for a network of poses


@dataclass(frozen=True)
class Example:
    """An image that the page offers."""

    name: str  # of its file, without folders
    read: Callable[[], np.ndarray]  # its pixels, uint8 RGB (H, W, 3)
    thumbnail: str  # address that holds a small picture of it


class Examples:
    """Examples, read when they are first asked for: a validation part may take seconds to open.

    What cannot be read is left out, with a line in the log; there may be none at all.
    """

    def __init__(self, find: Callable[[], Sequence[tuple[str, Callable[[], np.ndarray]]]]) -> None:
        self._find = find
        self._lock = Lock()
        self._found: list[Example] | None = None

    @staticmethod
    def of_folder(folder: str | Path) -> Examples:
        """Images of a folder or a pattern, evenly spread, or one; ValueError where there are none.

        Args:
            folder: Folder, pattern such as ``photos/*.jpg``, or image.
        """
        files = _spread(find_files(folder))
        if not any(file.exists() for file in files):
            raise ValueError(f"{folder}: no such folder or image; give the examples another path")
        return Examples(lambda: [(file.name, partial(read_image, file)) for file in files])

    @staticmethod
    def of_run(loaded: Loaded) -> Examples:
        """Images of the validation part that the config of a run names."""
        return Examples(partial(_of_part, loaded))

    def all(self) -> list[Example]:
        """All of them; the first call reads them."""
        with self._lock:
            if self._found is None:
                self._found = list(self._read())
            return self._found

    def _read(self) -> list[Example]:
        try:
            found = self._find()
        except (ValueError, OSError, Failure) as error:
            log.info("no examples: %s", error)
            return []
        examples = []
        for name, read in found:
            try:
                examples.append(Example(name, read, _thumbnail(read())))
            except (ReadError, OSError) as error:
                log.warning("no example: %s", error)
        return examples


def _of_part(loaded: Loaded) -> list[tuple[str, Callable[[], np.ndarray]]]:
    dataset = task_of(loaded.config).build_dataset(loaded.config, "val")
    few = FirstImages(dataset, COUNT, spread=True)

    def read(index: int) -> np.ndarray:
        sample = few.raw(index)
        return _of_one(sample) if loaded.info.keypoint_names else sample.image

    return [(Path(str(few.image_id(i))).name, partial(read, i)) for i in range(len(few))]


def _of_one(sample: Sample) -> np.ndarray:
    """The largest person, since a network of poses takes an image for the crop of one."""
    if sample.boxes is None or len(sample.boxes) == 0:
        return sample.image
    sides = sample.boxes[:, 2:] - sample.boxes[:, :2]
    largest = int(sides.prod(axis=1).argmax())
    margin = np.ceil(sides[largest] * _AROUND)
    low = np.floor(sample.boxes[largest, :2] - margin).clip(min=0).astype(int)
    high = np.ceil(sample.boxes[largest, 2:] + margin).astype(int)
    part = sample.image[low[1] : high[1], low[0] : high[0]]
    return part if part.size else sample.image


def _spread(files: Sequence[Path]) -> list[Path]:
    count = min(COUNT, len(files))
    return [files[i * len(files) // count] for i in range(count)]


def _thumbnail(image: np.ndarray) -> str:
    height, width = image.shape[:2]
    scale = min(1.0, _THUMBNAIL / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return picture_url(cv2.resize(image, size, interpolation=cv2.INTER_AREA), "JPEG")
