"""Numbers with what they count, and the first of many names, in words."""

import re
from collections.abc import Sequence

# What stands behind the numbers of ``of_kind``, and the first verb of a clause about it.
_NOUN = re.compile(
    r"^((?:broken|turned|rotated|JSON) )?(image|annotation|line|record|object|file|shape|box|mask|"
    r"circle|segmentation|area|id|list|polygon|rectangle|score|crowd|value)e?s\b"
)
_VERB = re.compile(
    r"(^(?:(?!\b(?:with|without|where|whose)\b)[^,])*?|, and )"
    r"\b(are|have|name|repeat|leave|hold|show|contradict|state)\b"
)

# What stands for the noun or goes along with it.
_OBJECTS = {" their ": " its ", "they mean": "it means", "images that are": "an image that is"}


def counted(number: int, one: str, several: str | None = None) -> str:
    """Such as "1 image", "2 images" and "0 entries".

    >>> counted(1, "image has", "images have"), counted(2, "label file")
    ('1 image has', '2 label files')
    >>> counted(2, "epoch"), counted(0, "batch"), counted(3, "match")
    ('2 epochs', '0 batches', '3 matches')

    Args:
        number: How many.
        one: What is counted, for a single one.
        several: The same for any other number; by default the plural of the last word.
    """
    if number == 1:
        return f"1 {one}"
    return f"{number} {_plural(one) if several is None else several}"


def shorten(names: Sequence[str], count: int = 3) -> str:
    """The first ``count`` names, and dots for the others."""
    return ", ".join(names[:count]) + (", ..." if len(names) > count else "")


def of_kind(number: int, kind: str) -> str:
    """A number and a kind of mistake, which is written for several.

    >>> of_kind(1, "boxes leave their image, and are clipped")
    '1 box leaves its image, and is clipped'
    """
    return f"{number} {_single(kind) if number == 1 else kind}"


def _plural(noun: str) -> str:
    if re.search(r"([sx]|[^o]ch|sh)$", noun):
        return f"{noun}es"
    return re.sub(r"(?<![aeiou])y$", "ie", noun) + "s"


def _single(kind: str) -> str:
    """The kind for one: its noun, the first verb of each clause, and what refers to the noun."""
    kind = _NOUN.sub(lambda match: f"{match[1] or ''}{match[2]}", kind)
    verbs = {"are": "is", "have": "has"}
    kind = _VERB.sub(lambda match: match[1] + verbs.get(match[2], f"{match[2]}s"), kind)
    for several, one in _OBJECTS.items():
        kind = kind.replace(several, one)
    return kind
