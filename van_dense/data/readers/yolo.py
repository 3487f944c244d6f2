"""Reader of YOLO folders: ``data.yaml``, images, a text file of boxes or polygons for each.

A line is ``class cx cy width height`` or ``class x1 y1 x2 y2 x3 y3 ...``, in units of the width and
height of the image. The label file of ``images/a.jpg`` is ``labels/a.txt``; an image without one,
or with an empty one, shows no object.
Source of the format: https://docs.ultralytics.com/datasets/segment/.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from van_dense.core.dataset_info import DatasetInfo
from van_dense.core.structures import Size
from van_dense.data.dataset import ReadError
from van_dense.data.io.image import SUFFIXES, image_size
from van_dense.data.messages import CHECK, list_counts
from van_dense.data.readers.foreign import way_in
from van_dense.data.readers.quarantine import Quarantine, QuarantinedPart
from van_dense.data.readers.segmentation import MIN_POINTS
from van_dense.data.readers.table import (
    BoxXYXY,
    ImageRecord,
    InstanceRecord,
    TableDataset,
    clip_box,
)

logger = logging.getLogger(__name__)

TOLERANCE = 0.01  # coordinates may leave 0..1 by this much; beyond it they are no fractions
_HEADER_THREADS = 8


class YoloDataset(TableDataset):
    """A ``DenseDataset`` from a YOLO folder; category ids are 0..C-1, image ids relative paths.

    Broken lines are left out with one warning that counts them.

    Args:
        root: Folder that holds ``data.yaml``.
        split: Key of ``data.yaml``: train, val or test.
        name: Name of the data set in titles and logs.
        quarantine: Bad images and lines to leave out.
        drop_empty: Leave out images without a box.
        masks: Whether to read polygons as masks; a line without a polygon is then broken, unless
            there is no polygon at all. False takes the boxes around polygons.

    Raises:
        ValueError: For a missing or foreign ``data.yaml``, and when no image or no label is found.
    """

    def __init__(
        self,
        root: str | Path,
        split: str,
        *,
        name: str,
        quarantine: Quarantine | None = None,
        drop_empty: bool,
        masks: bool = True,
    ) -> None:
        layout = YoloLayout.read(root)
        info = DatasetInfo(name, layout.names, tuple(range(len(layout.names))))
        files = layout.images(split)
        labels = map(layout.label_file, files)
        left_out = (quarantine or Quarantine()).of(Path(root) / split, *labels)
        kept = layout.read_labels(files, left_out)
        with ThreadPoolExecutor(_HEADER_THREADS) as pool:
            sizes = list(pool.map(size_or_zero, kept))
        records = [
            ImageRecord(str(file), layout.image_id(file), size)
            for file, size in zip(kept, sizes, strict=True)
        ]
        dropped: Counter[str] = Counter()
        lines = [(position, line) for position, file in enumerate(kept) for line in kept[file]]
        has_masks = masks and any(line.is_polygon for _, line in lines)
        instances = _instances(lines, records, info, has_masks, dropped)
        super().__init__(info, records, instances, masks=has_masks, drop_empty=drop_empty)
        if dropped:
            self.notes.append(f"{root}, {split}: left out: {list_counts(dropped)}; {CHECK}")
            logger.warning("%s", self.notes[-1])
        if len(self) == 0:
            raise ValueError(f"{root}, {split}: no image remains of {len(files)}; {CHECK}")


@dataclass(frozen=True)
class YoloLayout:
    """Files of a YOLO folder, and the names of its classes."""

    file: Path
    names: tuple[str, ...]
    entries: dict[str, Any]

    @staticmethod
    def read(root: str | Path) -> YoloLayout:
        """Parse ``data.yaml``; errors are a ValueError with file, key and fix."""
        file = Path(root) / "data.yaml"
        try:
            entries = yaml.safe_load(file.read_bytes())
        except OSError as error:
            what = f"cannot be read ({error.strerror}); give the folder that holds data.yaml"
            raise ValueError(f"{file}: {what}{way_in(root)}") from None
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise ValueError(f"{file}: not valid YAML: {error}") from None
        if not isinstance(entries, dict) or "names" not in entries:
            raise ValueError(f"{file}: 'names' is missing; list the names of the classes there")
        if "kpt_shape" in entries:
            what = "YOLO pose labels are not read; convert them to COCO JSON"
            raise ValueError(f"{file}: 'kpt_shape': {what}")
        return YoloLayout(file, _class_names(file, entries), entries)

    def images(self, split: str) -> list[Path]:
        """Image files of a split, sorted; an entry is a folder, a text file of paths, or several.

        A split that is missing or holds no image is a ValueError with the places searched.
        """
        value = self.entries.get(split)
        values: list[Any] = value if isinstance(value, list) else [value]
        if not value or not all(isinstance(v, str) for v in values):
            raise ValueError(f"{self.file}: {split!r} must be a path or several, got {value!r}")
        found = sorted({file for v in values for file in self._files_of(v)})
        if not found:
            known = ", ".join(sorted(SUFFIXES))
            what = f"no image under {value}; known suffixes: {known}"
            raise ValueError(f"{self.file}: {split!r}: {what}")
        if not any(self.label_file(file).is_file() for file in found):
            what = f"none of {len(found)} images has a label file"
            fix = f"the one of {found[0]} should be {self.label_file(found[0])}"
            raise ValueError(f"{self.file}: {split!r}: {what}; {fix}")
        return found

    def _files_of(self, value: str) -> list[Path]:
        root = self.file.parent
        base = root / str(self.entries.get("path") or "")
        # Roboflow writes ../train/images for a folder beside data.yaml.
        paths = [base / value, root / value, root / value.removeprefix("../")]
        path = next((path for path in paths if path.exists()), None)
        if path is None:
            tried = ", ".join(dict.fromkeys(map(str, paths)))
            raise ValueError(f"{self.file}: {value!r} does not exist; tried {tried}")
        if path.is_dir():
            return [file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES]
        lines = path.read_text(encoding="utf-8").split("\n")
        return [path.parent / line.strip() for line in lines if line.strip()]

    def label_file(self, image: Path) -> Path:
        """Label file of an image: the last folder named images becomes labels."""
        parts = list(image.parts)
        if "images" in parts[:-1]:
            last = len(parts) - 2 - parts[-2::-1].index("images")
            parts[last] = "labels"
        return Path(*parts).with_suffix(".txt")

    def read_labels(
        self, files: Sequence[Path], left_out: QuarantinedPart
    ) -> dict[Path, list[LabelLine]]:
        """Lines of the label file of each image, without what is in quarantine."""
        return {
            file: [
                line
                for line in read_lines(self.label_file(file), image_id)
                if line.id not in left_out.annotations
            ]
            for file in files
            if (image_id := self.image_id(file)) not in left_out.images
        }

    def image_id(self, image: Path) -> str:
        """Path of an image relative to the folder of ``data.yaml`` where it lies inside."""
        root = self.file.parent.absolute()
        image = image.absolute()
        return (image.relative_to(root) if image.is_relative_to(root) else image).as_posix()


def _class_names(file: Path, entries: dict[str, Any]) -> tuple[str, ...]:
    names = entries["names"]
    if isinstance(names, dict):
        if sorted(names, key=str) != sorted(range(len(names)), key=str):
            raise ValueError(f"{file}: 'names' must be numbered 0..{len(names) - 1}, got {names}")
        names = [names[label] for label in range(len(names))]
    if not isinstance(names, list) or not names:
        raise ValueError(f"{file}: 'names' must be a list or a mapping from 0, got {names!r}")
    if "nc" in entries and entries["nc"] != len(names):
        raise ValueError(f"{file}: 'nc' is {entries['nc']}, but there are {len(names)} names")
    return tuple(str(name) for name in names)


@dataclass(frozen=True)
class LabelLine:
    """One line of a label file: its id ``image:line``, and its fields or what is wrong."""

    id: str
    label: int = -1
    numbers: tuple[float, ...] = ()  # fractions of the sides: 4 of a box, 6 or more of a polygon
    problem: str | None = None

    @property
    def is_polygon(self) -> bool:
        """Whether the line describes a polygon."""
        return len(self.numbers) >= 2 * MIN_POINTS

    def box(self, size: Size) -> BoxXYXY:
        """xyxy box in pixels, not clipped."""
        if self.is_polygon:
            xs, ys = self.numbers[0::2], self.numbers[1::2]
            x1, y1, x2, y2 = min(xs), min(ys), max(xs), max(ys)
        else:
            cx, cy, w, h = self.numbers
            x1, y1, x2, y2 = cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2
        height, width = size
        return x1 * width, y1 * height, x2 * width, y2 * height

    def polygons(self, size: Size) -> list[list[float]]:
        """The polygon in pixels."""
        height, width = size
        return [[v * (height if i % 2 else width) for i, v in enumerate(self.numbers)]]


def read_lines(file: Path, image_id: str) -> list[LabelLine]:
    """Parse a label file; no file means no object."""
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        return [LabelLine(f"{image_id}:0", problem=f"an unreadable file ({error})")]
    return [
        _parse_line(f"{image_id}:{number}", line.split())
        for number, line in enumerate(text.splitlines(), 1)
        if line.strip()
    ]


def _parse_line(line_id: str, words: list[str]) -> LabelLine:
    try:
        label, *numbers = (float(word) for word in words)
    except ValueError:
        return LabelLine(line_id, problem="something that is not a number")
    if len(numbers) != 4 and (len(numbers) < 2 * MIN_POINTS or len(numbers) % 2):
        return LabelLine(line_id, problem="neither 4 numbers of a box nor pairs of a polygon")
    if not all(math.isfinite(v) and -TOLERANCE <= v <= 1 + TOLERANCE for v in numbers):
        return LabelLine(line_id, problem="coordinates outside 0..1")
    if not label.is_integer():
        return LabelLine(line_id, problem="a class that is not a whole number")
    return LabelLine(line_id, int(label), tuple(numbers))


def line_problem(line: LabelLine, size: Size, num_classes: int, *, has_masks: bool) -> str | None:
    """Say what a line of an image of known size has that is wrong, or None."""
    if line.problem is not None:
        return line.problem
    if not 0 <= line.label < num_classes:
        return f"a class that does not exist (0..{num_classes - 1} do)"
    if clip_box(line.box(size), size) is None:
        return "no box of positive size inside the image"
    if has_masks and not line.is_polygon:
        return "a box where other lines have polygons"
    return None


def _instances(
    lines: list[tuple[int, LabelLine]],
    images: list[ImageRecord],
    info: DatasetInfo,
    has_masks: bool,
    dropped: Counter[str],
) -> Iterator[InstanceRecord]:
    for image, line in lines:
        size = images[image].size
        if size == (0, 0):
            continue  # reading the image will say what is wrong with it
        problem = line_problem(line, size, info.num_classes, has_masks=has_masks)
        if problem is not None:
            dropped[f"lines with {problem}"] += 1
            continue
        box = clip_box(line.box(size), size)
        assert box is not None  # otherwise there is a problem
        polygons = line.polygons(size) if has_masks else None
        yield InstanceRecord(image, box, line.label, segmentation=polygons)


def size_or_zero(file: Path) -> Size:
    """(height, width) of an image, (0, 0) where its header cannot be read."""
    try:
        return image_size(file)
    except ReadError:  # raised again, with the reason, when the image is read
        return 0, 0
