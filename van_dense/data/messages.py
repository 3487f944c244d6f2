"""Phrases that the messages of several readers share."""

from collections.abc import Mapping
from typing import Literal, NamedTuple

from van_dense.core.counting import of_kind

CHECK = "run van-dense check to list them, and to quarantine what is broken"


class Fault(NamedTuple):
    """What is wrong, and what to do about it; as text both."""

    what: str
    fix: str

    def __str__(self) -> str:
        return f"{self.what}; {self.fix}"


class Remark(NamedTuple):
    """A finding about a whole file or folder; as text the part behind ``severity``.

    An "error" keeps the reader from reading the part; it says everything else, and goes on.
    """

    severity: Literal["error", "warning", "info"]
    file: str
    what: str
    fix: str

    def __str__(self) -> str:
        return f"{self.file}: {self.what}; {self.fix}"


def list_counts(counts: Mapping[str, int]) -> str:
    """Such as "2 images, 1 line with no number"; kinds are written for several."""
    return ", ".join(of_kind(count, kind) for kind, count in counts.items())
