"""The quarantine list: bad images and annotations that the readers leave out.

``van-dense check`` writes it. It is JSON, one entry for each annotation file or image folder:
``{"annotations/train.json": {"images": [17], "annotations": [4711]}}``. The key holds the last two
parts of the path, so that the list stays valid when the data set moves as a whole.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Id = int | str


@dataclass(frozen=True)
class QuarantinedPart:
    """Ids of one part of a data set that are left out."""

    images: frozenset[Id] = frozenset()
    annotations: frozenset[Id] = frozenset()
    #: Places of records that no id tells apart, such as "images[3]" and "annotations[17]".
    records: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Quarantine:
    """Bad records of some parts, keyed by ``part_key`` of their annotation file or folder."""

    parts: Mapping[str, QuarantinedPart] = field(default_factory=dict)

    @staticmethod
    def load(path: str | Path) -> Quarantine:
        """Read a list that ``save`` wrote; a ValueError names path and fix where it is none."""
        try:
            data = json.loads(Path(path).read_bytes())
            problem = _structure_problem(data)
        except OSError as error:
            problem = f"cannot be read ({error.strerror})"
        except ValueError as error:
            problem = f"not JSON ({error})"
        if problem is not None:
            fix = "write it with: van-dense check --config PROJECT --quarantine FILE"
            raise ValueError(f"quarantine {path}: {problem}; {fix}")
        parts = {
            key: QuarantinedPart(frozenset(part["images"]), frozenset(part["annotations"]))
            for key, part in data.items()
        }
        return Quarantine(parts)

    def save(self, path: str | Path) -> None:
        """Write the list as JSON, sorted, one part after the other."""

        def ordered(ids: Iterable[Id]) -> list[Id]:
            return sorted(ids, key=lambda i: (isinstance(i, str), i))

        data = {
            key: {"images": ordered(part.images), "annotations": ordered(part.annotations)}
            for key, part in sorted(self.parts.items())
        }
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")

    def of(self, source: str | Path) -> QuarantinedPart:
        """What to leave out of the part that ``source`` describes."""
        return self.parts.get(part_key(source), QuarantinedPart())


def _structure_problem(data: Any) -> str | None:
    if not isinstance(data, dict):
        return "expected an object, not a list or value"
    for key, part in data.items():
        if not isinstance(part, dict) or set(part) != {"images", "annotations"}:
            return f"{key!r} must hold the lists images and annotations"
        for kind, ids in part.items():
            if not isinstance(ids, list) or not all(isinstance(i, int | str) for i in ids):
                return f"{key!r}, {kind}: not a list of ids"
    return None


def part_key(source: str | Path) -> str:
    """Key of an annotation file or image folder: the last two parts of its path."""
    return "/".join(Path(source).absolute().parts[-2:])
