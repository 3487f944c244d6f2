"""Read single values of COCO records as exporters write them: ids, numbers, crowds, joints.

What means one thing only is read as that, such as the text "12" where a number belongs; anything
else is None, and its record broken.
"""

import math
from collections.abc import Sequence
from typing import Any

from van_dense.data.readers.annotation_columns import BoxXYXY

_NUMBER = frozenset((int, float))
_BOX_NAMES = (("x", "y", "width", "height"), ("x", "y", "w", "h"))
_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_HUGE = 1e30  # beyond it are no pixels, and integers that are no floats
_YES_NO = {
    **dict.fromkeys(("", "0", "0.0", "false", "no", "none", "null"), False),
    **dict.fromkeys(("1", "1.0", "true", "yes"), True),
}


def is_id(value: Any) -> bool:
    """Whether a value can be an id: a whole number or text; ``true`` is neither."""
    return type(value) in (int, str) or (type(value) is float and value.is_integer())


def parse_id(value: Any) -> Any:
    """Read an id; anything that cannot be one becomes a text that no record has."""
    if type(value) is int or type(value) is str:
        return value
    return int(value) if is_id(value) else f"not an id: {value!r}"


def other_type(value: Any) -> Any:
    """The same id as number instead of text, or as text instead of a number."""
    if type(value) is str:
        stripped = value.strip()
        return int(stripped) if stripped.isascii() and stripped.isdigit() else None
    return str(value) if type(value) is int else None


def are_same(record: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two annotations have the same JSON, their order aside."""
    numbers = "image_id", "category_id", "iscrowd"
    return record == other and all(type(record[key]) is type(other[key]) for key in numbers)


def parse_number(value: Any) -> float | None:
    """Read a finite number, which may be written as text; None for anything else."""
    if type(value) is str:
        try:
            value = float(value)
        except ValueError:
            return None
    try:
        return value if type(value) in (int, float) and math.isfinite(value) else None
    except OverflowError:  # an integer beyond the floats
        return None


def are_numbers(value: Any, count: int) -> bool:
    """Whether parsed JSON is a list of so many finite numbers."""
    if not isinstance(value, list) or len(value) != count:
        return False
    if not _NUMBER.issuperset(map(type, value)):
        return False
    try:  # one sum meets every bad value
        return math.isfinite(sum(value)) or all(map(math.isfinite, value))
    except OverflowError:
        return False


def are_coordinates(value: Any, count: int) -> bool:
    """Whether parsed JSON is a list of so many numbers that can be pixels.

    Beyond 1e30, products of finite numbers overflow.
    """
    if not are_numbers(value, count):
        return False
    return not value or (-_HUGE < min(value) and max(value) < _HUGE)


def parse_box(value: Any) -> BoxXYXY | None:
    """Read a COCO box (x, y, width, height) as xyxy; None when it is not four finite numbers."""
    if type(value) is not list or len(value) != 4:
        return None
    x, y, width, height = value
    if not (  # written out, since COCO has a million boxes
        type(x) in _NUMBER and type(y) in _NUMBER
        and type(width) in _NUMBER and type(height) in _NUMBER
    ):  # fmt: skip
        return None
    x2, y2 = x + width, y + height
    is_finite = -_HUGE < x < _HUGE and -_HUGE < y < _HUGE and -_HUGE < x2 < _HUGE
    return (x, y, x2, y2) if is_finite and -_HUGE < y2 < _HUGE else None


def box_in_other_form(value: Any) -> BoxXYXY | None:
    """Read a box that is no list of numbers but means one thing, as xyxy, or None.

    That are numbers as text, a list in a list, or numbers with names: x, y, width and
    height (or w, h), or the corners xmin, ymin, xmax, ymax.
    """
    if isinstance(value, list):
        if len(value) == 1 and isinstance(value[0], list):
            return parse_box(value[0])
        return parse_box([parse_number(v) for v in value])
    if isinstance(value, dict):
        for names in _BOX_NAMES:
            if set(names) == value.keys():
                return parse_box([parse_number(value[name]) for name in names])
        if set(_CORNERS) == value.keys():
            x1, y1, x2, y2 = (parse_number(value[name]) for name in _CORNERS)
            if x1 is not None and y1 is not None and x2 is not None and y2 is not None:
                return parse_box([x1, y1, x2 - x1, y2 - y1])
    return None


def parse_crowd(value: Any) -> bool | None:
    """Read ``iscrowd``: 0, 1, truth values, and words for them; nothing is 0, others are None."""
    if type(value) is int and 0 <= value <= 1:
        return value == 1
    if type(value) in (float, bool) and value in (0, 1):
        return bool(value)
    if type(value) is str:
        return _YES_NO.get(value.strip().casefold())
    return False if value is None else None


def sound_keypoints(value: Any, num_keypoints: int) -> list[float] | None:
    """Read K times x, y and visibility 0, 1, 2, in COCO's pixels; None for something else.

    A list of joints, each a list of three, is read as well.
    Joints of visibility 0 have no place, so whatever stands there passes and becomes 0, 0. Sound
    lists are passed on as they are, and no list, or an empty one, has no labelled joint.
    """
    if value is None or value == []:
        return [0] * (3 * num_keypoints)
    if isinstance(value, list) and len(value) == num_keypoints and isinstance(value[0], list):
        if any(not isinstance(point, list) or len(point) != 3 for point in value):
            return None
        value = [number for point in value for number in point]
    if are_coordinates(value, 3 * num_keypoints):
        return value if all(v in (0, 1, 2) for v in value[2::3]) else None
    if not isinstance(value, list) or len(value) != 3 * num_keypoints:
        return None
    points: list[float] = []
    for x, y, visibility in zip(value[0::3], value[1::3], value[2::3], strict=True):
        if x is None and y is None and visibility is None:
            points += [0, 0, 0]
        elif type(visibility) not in (int, float) or visibility not in (0, 1, 2):
            return None
        elif visibility == 0:
            points += [0, 0, 0]
        elif are_coordinates([x, y], 2):
            points += [x, y, visibility]
        else:
            return None
    return points


def shift_keypoints(points: Sequence[float]) -> list[float]:
    """Move sound keypoints to the coordinates used inside.

    COCO counts pixels, and the centre of pixel 0 lies at 0.5 in continuous coordinates; keypoints
    of visibility 0 have no place and stay (0, 0, 0).
    """
    shifted: list[float] = []
    for x, y, visibility in zip(points[0::3], points[1::3], points[2::3], strict=True):
        shifted += [x + 0.5, y + 0.5, visibility] if visibility > 0 else [0.0, 0.0, 0.0]
    return shifted


def box_around(points: Sequence[float]) -> BoxXYXY | None:
    """Box around the labelled joints of sound keypoints, of positive size, or None."""
    xs = [x for x, v in zip(points[0::3], points[2::3], strict=True) if v > 0]
    ys = [y for y, v in zip(points[1::3], points[2::3], strict=True) if v > 0]
    if not xs or max(xs) <= min(xs) or max(ys) <= min(ys):
        return None
    return min(xs), min(ys), max(xs), max(ys)


def num_labelled(points: Sequence[float]) -> int:
    """Number of labelled joints of sound keypoints."""
    return sum(v > 0 for v in points[2::3])
