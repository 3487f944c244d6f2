"""Lines of YOLO label files: parse each, and tell apart those of other programs.

A line is ``class cx cy width height`` or ``class x1 y1 x2 y2 x3 y3 ...``, in units of the width and
height of the image. What looks alike is not the same: predictions carry a confidence, trackers a
number, poses their joints, and nothing in the file says which it is.
Sources: https://docs.ultralytics.com/datasets/ (detect, segment, pose, obb), and what ``save_txt``
with ``save_conf`` writes (``engine/results.py`` of ultralytics).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from van_dense.core.counting import counted
from van_dense.core.structures import Size
from van_dense.data.io.names import read_text
from van_dense.data.readers.annotation_columns import BoxXYXY
from van_dense.data.readers.segmentation import MIN_POINTS
from van_dense.data.readers.table import clip_box

TOLERANCE = 0.01  # coordinates may leave 0..1 by this much; beyond it they are no fractions
_PIXELS = 2.0  # coordinates beyond it are pixels, not fractions that leave the image
_BOX = 4


@dataclass(frozen=True)
class Meaning:
    """What ``data.yaml`` says about lines."""

    names: Mapping[int, str]  #: name of each class by its number, in ascending order
    keypoints: tuple[int, int] | None = None  #: number of joints, and of numbers of each


class LabelLine(NamedTuple):
    """One line of a label file: its id ``image:line``, and its fields or what is wrong."""

    id: str
    label: int = -1  #: number of the class, as the file has it
    numbers: tuple[float, ...] = ()  #: fractions of the sides: 4 of a box, 6 or more of a polygon
    problem: str | None = None
    by_name: bool = False  #: whether the file names the class, which the reader looks up

    @property
    def is_polygon(self) -> bool:
        """Whether the line describes a polygon."""
        return self.problem is None and len(self.numbers) >= 2 * MIN_POINTS

    @property
    def is_box(self) -> bool:
        """Whether the line describes a box."""
        return self.problem is None and len(self.numbers) == _BOX

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


def read_lines(file: Path, image_id: str, meaning: Meaning) -> list[LabelLine]:
    """Parse a label file; no file means no object."""
    try:
        text = read_text(file)
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        reason = str(error).removeprefix(f"{file}: ")
        return [LabelLine(f"{image_id}:0", problem=f"an unreadable file ({reason})")]
    if text and not text.strip("\0"):
        what = "nothing but null characters, as a full disk or a crash leaves it"
        return [LabelLine(f"{image_id}:0", problem=what)]
    return [
        _parse(f"{image_id}:{number}", words, meaning)
        for number, line in enumerate(text.splitlines(), 1)
        if (words := line.split())
    ]


def _parse(line_id: str, words: list[str], meaning: Meaning) -> LabelLine:
    try:
        label, *numbers = map(float, words)
    except ValueError:
        return _parse_words(line_id, words, meaning)
    values = tuple(numbers)
    if meaning.keypoints is not None and len(values) != _BOX:
        count = math.prod(meaning.keypoints)
        if len(values) != _BOX + count:
            what = (
                f"{counted(len(values), 'number')} where kpt_shape asks for {_BOX} of a box and "
                f"{count} "
            )
            return LabelLine(line_id, -1, values, f"{what}of joints")
        values = values[:_BOX]
    problem = _count_problem(values) or _range_problem(values)
    if problem is None and not label.is_integer():
        problem = "a class that is not a whole number"
    return LabelLine(line_id, -1 if problem else int(label), values, problem)


def _parse_words(line_id: str, words: list[str], meaning: Meaning) -> LabelLine:
    """Parse a line that begins with the name of a class, or say what it looks like."""
    name, numbers = " ".join(words[:-_BOX]), words[-_BOX:]
    known = [number for number, known in meaning.names.items() if known == name]
    if known and not any(word.isdecimal() for word in words[:-_BOX]):
        line = _parse(line_id, [str(known[0]), *numbers], meaning)
        return LabelLine(line.id, line.label, line.numbers, line.problem, by_name=True)
    problem = "something that is not a number"
    if any("\0" in word for word in words):
        return LabelLine(line_id, problem=f"{problem} (null characters)")
    if "," in words[0] or (len(words) > 1 and all("," in word for word in words[1:])):
        problem += " (commas where spaces and points belong)"
    elif len(words) in (9, 10) and all(map(_is_number, words[:8])):
        problem += " (four points and then a class: DOTA's format)"
    elif len(words) in (15, 16) and all(map(_is_number, words[1:])):
        problem += " (a class and 14 numbers: KITTI's format)"
    elif all(map(_is_number, words[1:])) and len(words) > 1:
        problem += f" (no class is called {words[0]!r:.40})"
    return LabelLine(line_id, problem=problem)


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _count_problem(numbers: Sequence[float]) -> str | None:
    """Say what lines of another count of numbers look like, or None."""
    count = len(numbers)
    if count == _BOX:
        return None
    if count == _BOX + 1 and 0 <= numbers[-1] <= 1:
        return "a box and a confidence, as predictions saved with save_conf have"
    if count == _BOX + 1:
        return "a box and a fifth number, as a tracker's or an angle"
    if count == _BOX + 2 and numbers[-1] >= _PIXELS and numbers[-1].is_integer():
        return "a box, a confidence and the number of a tracker"
    joints = (count - _BOX) // 3
    if joints and (count - _BOX) % 3 == 0 and _are_visibilities(numbers[6::3]):
        what = f"a box and {counted(joints, 'joint')}, as poses have"
        return f"{what} (kpt_shape: [{joints}, 3] is missing in data.yaml)"
    if count < 2 * MIN_POINTS or count % 2:
        return f"{counted(count, 'number')}, neither 4 numbers of a box nor pairs of a polygon"
    return None


def _are_visibilities(values: Sequence[float]) -> bool:
    """Whether numbers are 0, 1 and 2 as no coordinates of a polygon are."""
    is_whole = all(value in (0, 1, 2) for value in values)
    return is_whole and (2 in values or len(values) >= 4)


def _range_problem(numbers: Sequence[float]) -> str | None:
    is_finite = math.isfinite(sum(numbers))
    if is_finite and min(numbers) >= -TOLERANCE and max(numbers) <= 1 + TOLERANCE:
        return None
    if is_finite and max(numbers) >= _PIXELS:
        return "coordinates outside 0..1: pixels, where fractions of the image's sides belong"
    return "coordinates outside 0..1"


def line_problem(line: LabelLine, size: Size, meaning: Meaning, *, has_masks: bool) -> str | None:
    """Say what a line of an image of known size has that is wrong, or None."""
    if line.problem is not None:
        return line.problem
    if line.label not in meaning.names:
        numbers = list(meaning.names)
        known = f"0..{len(numbers) - 1}" if numbers == list(range(len(numbers))) else str(numbers)
        return f"a class that does not exist ({known:.60} do)"
    if clip_box(line.box(size), size) is None:
        return "no box of positive size inside the image"
    if has_masks and not line.is_polygon:
        return "a box where other lines have polygons"
    if has_masks and _is_flat(line.numbers):
        return "a polygon without area"
    return None


def _is_flat(numbers: Sequence[float]) -> bool:
    xs, ys = numbers[0::2], numbers[1::2]
    after_x, after_y = (*xs[1:], xs[0]), (*ys[1:], ys[0])
    terms = [x * v - u * y for x, y, u, v in zip(xs, ys, after_x, after_y, strict=True)]
    return abs(math.fsum(terms)) < 1e-12


def is_cut(line: LabelLine) -> bool:
    """Whether a box reaches beyond its image by more than rounding explains."""
    if not line.is_box:
        return False  # points lie inside
    x1, y1, x2, y2 = line.box((1, 1))
    return min(x1, y1) < -TOLERANCE or max(x2, y2) > 1 + TOLERANCE
