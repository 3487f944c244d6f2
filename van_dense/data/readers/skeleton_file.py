"""What an annotation file says about its skeleton: order of the keypoints, and bones.

Source of the format: https://cocodataset.org/#format-data, where a category lists the names of its
keypoints and, as pairs of numbers from 1, the bones to draw.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

Bones = tuple[tuple[str, str], ...]


def check_order(path: str, category: str, found: Sequence[str], named: Sequence[str]) -> None:
    """Compare the keypoints of a file with those of ``data.skeleton``, whose order must be equal.

    Case, blanks and the like in a name do not count ("Left Ear" is "left_ear").

    Raises:
        ValueError: When they differ, with both orders and the line to write.
    """
    if [_plain(name) for name in found] == [_plain(name) for name in named]:
        return
    raise ValueError(
        f"{path}: category {category!r} has the keypoints {list(found)}, data.skeleton says "
        f"{list(named)}: {_difference(found, named)}. Annotations follow the order of their file: "
        f"write data.skeleton.keypoints={spell(found)}, or, if the file is wrong, correct its "
        "'keypoints' or remove them"
    )


def spell(names: Sequence[str]) -> str:
    """Names as a list of YAML, such as "[nose, left_eye]"."""
    is_plain = re.compile(r"[A-Za-z_][\w .-]*").fullmatch
    return f"[{', '.join(name if is_plain(name) else repr(name) for name in names)}]"


def _plain(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter.isalnum()) or name


def _difference(found: Sequence[str], named: Sequence[str]) -> str:
    there, here = [_plain(name) for name in found], [_plain(name) for name in named]
    if sorted(there) == sorted(here):
        exchanged = [_other_side(name) for name in there] == here
        return "left and right are exchanged" if exchanged else "the same names in another order"
    if len(there) != len(here):
        return f"{len(there)} keypoints and {len(here)}"
    alone = [name for name in found if _plain(name) not in here]
    return f"other names, such as {alone[0]!r}" if alone else "names that repeat"


def _other_side(name: str) -> str:
    return re.sub("left|right", lambda side: "right" if side[0] == "left" else "left", name)


def read_bones(names: Sequence[str], value: Any) -> tuple[Bones, str | None]:
    """Bones of a category as pairs of names, and what is wrong with the others, or None.

    Numbers that count from 0 where the format says from 1, and names, are read as what they are.

    Args:
        names: K keypoints of the category.
        value: Entry "skeleton" of the category, which may be anything.
    """
    if not value:
        return (), None
    if not isinstance(value, list):
        return (), f"'skeleton' is no list of bones, but {value!r:.60}"
    number_of = {name: number for number, name in enumerate(names, 1)}
    numbers = [[number_of.get(end, end) for end in _ends(bone)] for bone in value]
    flat = [end for bone in numbers for end in bone]
    whole = all(type(end) is int for end in flat) and all(len(bone) == 2 for bone in numbers)
    if whole and min(flat) == 0 and max(flat) < len(names):
        bones = tuple((names[a], names[b]) for a, b in numbers)
        return bones, "its bones count the keypoints from 0, the format from 1; they are read so"
    sound = [bone for bone in numbers if len(bone) == 2 and all(map(_in(len(names)), bone))]
    bones = tuple((names[a - 1], names[b - 1]) for a, b in sound)
    if len(sound) == len(value):
        return bones, None
    first = next(bone for bone, ends in zip(value, numbers, strict=True) if ends not in sound)
    what = f"{len(value) - len(sound)} of {len(value)} bones are no pairs of keypoint numbers"
    return bones, f"{what} from 1 to {len(names)}, such as {first!r:.40}; they are not drawn"


def _ends(bone: Any) -> list[Any]:
    """Both ends of a bone, hashable; something of another length for what is none."""
    ends = bone if isinstance(bone, list) else [None]
    return [end if isinstance(end, int | str) else None for end in ends]


def _in(count: int) -> Any:
    return lambda end: type(end) is int and 1 <= end <= count
