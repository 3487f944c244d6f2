"""What exporters say about an object beside its box, which COCO has no place for.

Readers go on without it, so that a word is needed: a turned box is another box.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from van_dense.data.readers.coco_json import Record
from van_dense.data.readers.coco_values import parse_number

_TURNED = "boxes have a rotation, and are read as upright, which shows another place"
_IGNORED = "objects are marked as ignore or difficult, and are read as all others"
_AT_ZERO = "objects have labelled joints at 0, 0, as missing ones are written; they are learnt"
_NESTED = "lists of keypoints hold a list for each joint, and are read as what they mean"
_MARKS = ("ignore", "difficult")
MARKED = frozenset(("attributes", "rotation", *_MARKS))  # keys that may need a word
_LEAST_TURN = 1e-3  # degrees or radians; below it rounding


def unread_marks(annotation: Record, joints: Sequence[float] | None) -> Iterator[tuple[str, str]]:
    """Kinds of what is not read of an annotation, each with what stands there.

    Args:
        annotation: A usable record.
        joints: Sound keypoints, x, y and visibility of each, or None where none are read.
    """
    attributes = annotation.get("attributes")
    places = (annotation, attributes) if isinstance(attributes, dict) else (annotation,)
    for place in places:
        if "rotation" in place and not annotation.get("segmentation"):
            turn = parse_number(place["rotation"])
            if turn is not None and abs(turn) > _LEAST_TURN:
                yield _TURNED, f"rotation {place['rotation']!r:.40}"
        for key in _MARKS:
            if key in place and _is_set(place[key]):
                yield _IGNORED, f"{key} {place[key]!r:.40}"
    written = annotation.get("keypoints") if joints is not None else None
    if written and isinstance(written[0], list):
        yield _NESTED, f"keypoints {written!r:.40}"
    if joints is not None and any(
        v > 0 and x == 0 and y == 0
        for x, y, v in zip(joints[0::3], joints[1::3], joints[2::3], strict=True)
    ):
        yield _AT_ZERO, "x 0, y 0 with a visibility above 0"


def _is_set(value: Any) -> bool:
    return value is True or value == 1 or (isinstance(value, str) and value.lower() == "true")
