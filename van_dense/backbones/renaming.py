"""Names of weights here and in other code bases: beginnings, with numbers counted otherwise."""

import re
from collections.abc import Iterable
from functools import cache

Pair = tuple[str, str]  # how a name begins: (ours, theirs)
_NUMBER = re.compile(r"\{(\d)(?::(\d))?\}")


def renamed(key: str, pairs: Iterable[Pair], *, back: bool = False) -> str | None:
    """The name of a weight in the other code base, by the first pair that fits, if one does.

    Args:
        key: One of our names; one of theirs with ``back``, which gives ours.
        pairs: Beginnings. "{1}" is a number counted from 1 on, "{1:3}" one counted 1, 4, 7, ...
        back: Whether to go from theirs to ours.
    """
    for ours, theirs in pairs:
        old, new = (theirs, ours) if back else (ours, theirs)
        if match := _pattern(old).match(key):  # numbers stand in one order on both sides
            counts = zip(match.groups(), _counts(old), strict=True)
            numbers = [divmod(int(number) - first, step) for number, (first, step) in counts]
            if not any(rest for _, rest in numbers):
                for (number, _), (first, step) in zip(numbers, _counts(new), strict=True):
                    new = _NUMBER.sub(str(first + number * step), new, count=1)
                return new + key[match.end() :]
    return None


@cache
def _pattern(beginning: str) -> re.Pattern[str]:
    return re.compile(r"(\d+)".join(map(re.escape, re.split(r"\{[\d:]+\}", beginning))))


def _counts(beginning: str) -> list[tuple[int, int]]:
    """First value and step of each number."""
    return [(int(first), int(step or 1)) for first, step in _NUMBER.findall(beginning)]
