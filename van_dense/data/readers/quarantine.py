"""The quarantine list: bad images, annotations and records that the readers leave out.

``van-dense check`` writes it. It is JSON, an entry for each annotation file or folder with faults::

    {"version": 2, "parts": [{"source": "annotations/train.json", "fingerprint": "9f86d0...",
     "images": [17], "annotations": [4711], "records": ["images[3]"]}]}

Sources are relative to the folder of the list, so that list and data set may move together. The
fingerprint binds the ids to the content that they were found in: ids of one file say nothing of
another, and nothing of the same file after a change.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from van_dense.core.counting import counted
from van_dense.data.io.json_file import read_json
from van_dense.data.io.walk import walk
from van_dense.data.messages import list_counts

Id = int | str

VERSION = 2  # 1 had keys of two parts of a path, which several files can share
_LISTS = ("images", "annotations", "records")
_CHUNK = 2**22  # bytes that are hashed at once


class StaleQuarantine(ValueError):
    """A list was written for another content of its source."""


@dataclass(frozen=True)
class QuarantinedPart:
    """What is left out of one part of a data set."""

    images: frozenset[Id] = frozenset()
    annotations: frozenset[Id] = frozenset()
    #: Places of records that no id tells apart, such as "images[3]" and "annotations[17]".
    records: frozenset[str] = frozenset()
    fingerprint: str = ""  #: of the source, see ``fingerprint``

    def words(self) -> str:
        """How much is left out: "quarantine leaves out 2 images", or "" for nothing."""
        counts = {"images": len(self.images), "annotations": len(self.annotations)}
        counts["records"] = len(self.records)
        found = {what: count for what, count in counts.items() if count}
        return f"quarantine leaves out {list_counts(found)}" if found else ""

    def listed(self) -> dict[str, list[Id]]:
        """What is left out, sorted, as JSON can hold it."""
        return {name: sorted(getattr(self, name), key=_order) for name in _LISTS}

    def __bool__(self) -> bool:
        return bool(self.images or self.annotations or self.records)


@dataclass(frozen=True)
class Quarantine:
    """Bad records of some parts, keyed by ``part_key`` of their annotation file or folder."""

    parts: Mapping[str, QuarantinedPart] = field(default_factory=dict)
    path: str = field(default="", compare=False)  #: file that it was read from, or ""

    @staticmethod
    def load(path: str | Path) -> Quarantine:
        """Read a list that ``save`` wrote; a ValueError names path and fix where it is none."""
        try:
            data = read_json(path, "quarantine list")
        except ValueError as error:
            raise ValueError(f"quarantine {error}; {_write_again(path)}") from None
        problem = _structure_problem(data)
        if problem is not None:
            raise ValueError(f"quarantine {path}: {problem}; {_write_again(path)}")
        folder = os.path.dirname(os.path.abspath(path))
        parts = {
            part_key(os.path.join(folder, part["source"])): QuarantinedPart(
                **{name: frozenset(part[name]) for name in _LISTS},
                fingerprint=part["fingerprint"],
            )
            for part in data["parts"]
        }
        return Quarantine(parts, str(path))

    def save(self, path: str | Path) -> None:
        """Write the list as JSON, sorted, one part after the other."""
        folder = os.path.dirname(os.path.abspath(path))
        parts = [
            {
                "source": _relative(key, folder),
                "fingerprint": part.fingerprint,
                **part.listed(),
            }
            for key, part in sorted(self.parts.items())
        ]
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"version": VERSION, "parts": parts}, indent=1)
        Path(path).write_text(text + "\n", encoding="utf-8")

    def key_of(self, source: str | Path) -> str | None:
        """Key of the part that ``source`` describes, also through links; None without one."""
        key = part_key(source)
        if key in self.parts or not self.parts:
            return key if key in self.parts else None
        real = os.path.realpath(key)
        return next((known for known in self.parts if os.path.realpath(known) == real), None)

    def of(self, source: str | Path, *others: str | Path) -> QuarantinedPart:
        """What to leave out of the part that ``source`` describes; a list from a file must fit it.

        Args:
            source: Annotation file or folder, the ``source`` of the part's report.
            others: Further files and folders that its ids depend on, as the report's ``others``.

        Raises:
            StaleQuarantine: When these are not what the list was written for.
        """
        key = self.key_of(source)
        if key is None or not (part := self.parts[key]):
            return QuarantinedPart()
        if self.path and part.fingerprint != fingerprint(source, *others):
            among = f" or what belongs to it ({counted(len(others), 'path')})" if others else ""
            what = f"{source}{among} has changed since the list was written, so that its ids may"
            what += f" stand for other records; {_write_again(self.path)}"
            raise StaleQuarantine(f"quarantine {self.path}: {what}")
        return part

    def unused_problem(self, sources: Iterable[str | Path]) -> str | None:
        """Say that no part of the list is one of ``sources``, or None where one is."""
        if not self.parts or any(self.key_of(source) is not None for source in sources):
            return None
        known = ", ".join(self.parts)
        return f"the list leaves nothing out here, its parts are others: {known}"


def fingerprint(*paths: str | Path) -> str:
    """Hash of what the ids of a part depend on, 32 hexadecimal digits.

    Of a file that is its content, of a folder the relative names of the images in it; what does
    not exist adds nothing. Names count from the folder of the first path, so that all may move
    together.
    """
    digest = hashlib.blake2b(digest_size=16)
    start = os.path.dirname(part_key(paths[0]))
    for name, path in sorted((_relative(part_key(path), start), path) for path in paths[1:]):
        digest.update(f"{name}\n".encode("utf-8", "surrogateescape"))
        _add_content(digest, path)
    _add_content(digest, paths[0])
    return digest.hexdigest()


def _add_content(digest: hashlib.blake2b, path: str | Path) -> None:
    if os.path.isdir(path):
        names = "\n".join(walk(path).files)
        digest.update(names.encode("utf-8", "surrogateescape"))
        return
    try:
        with open(path, "rb") as file:
            while content := file.read(_CHUNK):
                digest.update(content)
    except OSError:
        return  # whoever reads it says why it cannot be read


def part_key(source: str | Path) -> str:
    """Key of an annotation file or image folder: its absolute path, links as they are."""
    return os.path.abspath(source)


def _relative(path: str, folder: str) -> str:
    """A path from a folder on, with "/"; as it is where no way leads there."""
    try:
        return Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:  # another drive of Windows
        return Path(path).as_posix()


def _order(value: Id) -> tuple[bool, str, Id]:
    """Numbers first, and places of records by their number."""
    if isinstance(value, str) and (place := re.fullmatch(r"(\w+)\[(\d+)\]", value)):
        return True, place[1], int(place[2])
    return isinstance(value, str), "", value


def _write_again(path: str | Path) -> str:
    command = "van-dense check --config PROJECT data.quarantine=null --quarantine"
    return f"write it anew: {command} {path}"


def _structure_problem(data: Any) -> str | None:
    if not isinstance(data, dict):
        return "expected an object, not a list or value"
    if "version" not in data and all(
        isinstance(part, dict) and set(part) == {"images", "annotations"} for part in data.values()
    ):
        what = "a list of an older van_dense, which does not say which files its ids are of"
        return f"{what}: two files of equal names would share them"
    if data.get("version") != VERSION:
        return f"'version' must be {VERSION}, got {data.get('version')!r:.80}"
    if not isinstance(data.get("parts"), list):
        return "'parts' must be a list"
    return next(_part_problems(data["parts"]), None)


def _part_problems(parts: list[Any]) -> Iterator[str]:
    for index, part in enumerate(parts):
        where = f"parts[{index}]"
        if not isinstance(part, dict) or set(part) != {"source", "fingerprint", *_LISTS}:
            yield f"{where} must hold source, fingerprint, images, annotations and records"
            continue
        for name in ("source", "fingerprint"):
            if not isinstance(part[name], str) or not part[name]:
                yield f"{where}, {name}: not a text"
        for name in _LISTS:
            kind = str if name == "records" else int | str
            ids = part[name]
            if not isinstance(ids, list) or not all(
                isinstance(i, kind) and not isinstance(i, bool) for i in ids
            ):
                yield f"{where}, {name}: not a list of {'places' if kind is str else 'ids'}"
