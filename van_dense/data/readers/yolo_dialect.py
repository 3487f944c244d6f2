"""What all lines of a YOLO part have in common that tells of another convention.

A single box never shows that its numbers are corners; a thousand do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from van_dense.data.messages import Remark
from van_dense.data.readers.yolo_lines import TOLERANCE, LabelLine, Meaning, is_cut

_FEW = 4  # boxes; fewer may agree with another convention by chance
_SHARE = 0.25  # of the boxes that leave the image when they are read as centre and size
_ALMOST = 0.95  # of the boxes that fit, since some lines are damaged
_FEW_JOINTS = 5  # fewer may lie inside a box that is none by chance
_BOX = 4
_TRACKED_COUNTS = frozenset((_BOX + 2, 2 * _BOX + 2))  # box or oriented box, confidence, number

_Finding = tuple[Literal["error", "warning", "info"], str, str]  # severity, what is wrong, fix


def judge_dialect(file: str, lines: Sequence[LabelLine], meaning: Meaning) -> list[Remark]:
    """Findings about all lines of a part: errors where they are of another convention.

    Args:
        file: Data file and part, for messages.
        lines: All lines, the broken ones too.
        meaning: What the data file says about them.
    """
    sound = [line for line in lines if line.problem is None]
    boxes = [line for line in sound if line.is_box]
    judged = [
        _counted_from_one(sound, meaning),
        None if meaning.keypoints is not None else _other_corners(boxes),
        _hidden_keypoints(sound),
        _oriented(lines),
    ]
    return [Remark(severity, file, what, fix) for severity, what, fix in filter(None, judged)]


def mark_tracked(lines: Sequence[Sequence[LabelLine]]) -> list[list[LabelLine]]:
    """Lines of all images, with a problem at those of a tracker that polygons look like.

    Behind box or points stand a confidence and the number of the track; number 1 is a coordinate as
    well, so that the other lines must tell.
    """
    every = [line for of_image in lines for line in of_image]
    alike = [line for line in every if line.is_polygon and line.numbers[-1] in (0, 1)]
    counts = {len(line.numbers) for line in alike}
    rivals = sum(line.is_polygon and len(line.numbers) in counts for line in every)
    all_end_so = len(alike) > 1 and len(alike) == rivals and counts <= _TRACKED_COUNTS
    if not alike or not (all_end_so or any(map(_is_tracked, every))):
        return [list(of_image) for of_image in lines]
    what = "a whole number at its end, where the lines of trackers have a confidence and a number"
    tracked = {line.id for line in alike}
    return [
        [line._replace(problem=what) if line.id in tracked else line for line in of_image]
        for of_image in lines
    ]


def _is_tracked(line: LabelLine) -> bool:
    """Whether a line ends with a number that can only be that of a track."""
    if len(line.numbers) < _BOX + 2 or len(line.numbers) % 2:
        return False
    *others, last = line.numbers
    is_number = last.is_integer() and last > 1 + TOLERANCE
    return is_number and -TOLERANCE <= min(others) and max(others) <= 1 + TOLERANCE


def _counted_from_one(lines: Sequence[LabelLine], meaning: Meaning) -> _Finding | None:
    count = len(meaning.names)
    present = {line.label for line in lines}
    if list(meaning.names) != list(range(count)) or min(present, default=0) != 1:
        return None
    if max(present) != count or (len(present) == 1 and len(lines) < _FEW):
        return None
    named = ", ".join(f"{number}: {name}" for number, name in enumerate(meaning.names.values(), 1))
    what = f"the classes of the label files are 1 to {count}, those of names 0 to {count - 1}"
    fix = f"if they are counted from 1, write names: {{{named}}}"
    return "error", what, fix


def _other_corners(boxes: Sequence[LabelLine]) -> _Finding | None:
    """Boxes whose numbers only fit as two corners, or as a corner and a size."""
    leaving = sum(map(is_cut, boxes))
    if len(boxes) < _FEW or leaving < _SHARE * len(boxes):
        return None
    numbers, enough = [line.numbers for line in boxes], _ALMOST * len(boxes)
    what = f"{leaving} of {len(boxes)} boxes leave their image as centre and size, and they lie "
    fix = "write class, x and y of the centre, width, height, as fractions of the image"
    if sum(c > a and d > b for a, b, c, d in numbers) >= enough:
        return "error", f"{what}inside as x1 y1 x2 y2, two corners", fix
    most = 1 + TOLERANCE
    if sum(a + c <= most and b + d <= most for a, b, c, d in numbers) >= enough:
        return "error", f"{what}inside as x y width height from the upper left corner", fix
    return None


def _hidden_keypoints(lines: Sequence[LabelLine]) -> _Finding | None:
    """Boxes with joints of two numbers, which look like polygons."""
    counts = {len(line.numbers) for line in lines}
    if len(lines) < _FEW or len(counts) != 1:
        return None
    (count,) = counts
    if count < _BOX + 2 * _FEW_JOINTS or count % 2:
        return None
    if not all(map(_holds_its_points, lines)) or sum(map(_is_tight, lines)) < len(lines) / 2:
        return None
    joints = (count - _BOX) // 2
    what = f"all {len(lines)} lines have {count} numbers, of which the first 4 are a box around "
    what += f"the {joints} points behind them: poses, not polygons"
    return "error", what, f"write kpt_shape: [{joints}, 2] into the data file"


def _points(line: LabelLine) -> list[tuple[float, float]]:
    points = zip(line.numbers[_BOX::2], line.numbers[_BOX + 1 :: 2], strict=True)
    return [(x, y) for x, y in points if x or y]


def _holds_its_points(line: LabelLine) -> bool:
    """Whether the first four numbers are a box inside the image with all points in it."""
    cx, cy, w, h = line.numbers[:_BOX]
    is_inside = w / 2 <= min(cx, 1 - cx) + TOLERANCE and h / 2 <= min(cy, 1 - cy) + TOLERANCE
    half_w, half_h = w / 2 + TOLERANCE, h / 2 + TOLERANCE
    return is_inside and all(
        abs(x - cx) <= half_w and abs(y - cy) <= half_h for x, y in _points(line)
    )


def _is_tight(line: LabelLine) -> bool:
    """Whether the points take at least half of both sides of the box."""
    xs, ys = zip(*(_points(line) or [(0.0, 0.0)]), strict=True)
    return line.numbers[2] <= 2 * (max(xs) - min(xs)) and line.numbers[3] <= 2 * (max(ys) - min(ys))


def _oriented(lines: Sequence[LabelLine]) -> _Finding | None:
    if not lines or any(len(line.numbers) != 8 or not line.is_polygon for line in lines):
        return None
    what = f"all {len(lines)} lines have 4 points: oriented boxes (OBB) look so, and polygons do; "
    what += "they are read as polygons, and a box is the upright one around them"
    return "warning", what, "none needed for polygons; turned boxes are not learned as such"
