"""The files of a prediction in a list on the disk: every process reads it line by line."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

from van_dense.core.writing import replacing
from van_dense.data.io.names import spellings
from van_dense.data.io.sources import is_video
from van_dense.data.readers.coco_images import ImageRecords
from van_dense.data.readers.coco_json import read_coco_lists
from van_dense.data.readers.quarantine import QuarantinedPart

_LIST = "files.jsonl"


class Input(NamedTuple):
    """One file that is predicted."""

    item: int  #: its number; those of images come before those of videos
    path: Path
    name: str  #: of what is written, which may begin with folders
    image_id: int | str | None  #: of an annotation file, or None


def read_ids(annotations: str | None, files: Iterable[Path]) -> dict[str, int | str]:
    """Image ids of files by their name, as a COCO annotation file has them; none without one.

    The file may be of instances, keypoints or panoptic segments: its images alone are read.

    Raises:
        ValueError: For another file, or when two of its images, or two files, have one name.
    """
    ids: dict[str, int | str] = {}
    files = list(files)
    given = {path.name for path in files}
    records = read_coco_lists(annotations)["images"] if annotations else []
    for record in ImageRecords(records, QuarantinedPart(), files=True, sizes=False).usable:
        forms = [form.rpartition("/")[2] for form in spellings(record["file_name"])]
        name = next((form for form in forms if form in given), forms[0])
        if name in ids:
            raise ValueError(
                f"{annotations}: two images are called {name}, and ids are found by name; leave "
                "--annotations out"
            )
        ids[name] = record["id"]
    named: dict[str, Path] = {}
    for path in files:
        first = named.setdefault(path.name, path)
        if first is not path and path.name in ids:
            raise ValueError(
                f"{first} and {path} have one name, by which {annotations} gives both the id "
                f"{ids[path.name]!r}; predict them one by one, or leave --annotations out"
            )
    return ids


class Inputs:
    """Files in the order of their results: images, then videos.

    Args:
        folder: Folder that holds the list.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / _LIST

    def begin(self, files: Mapping[Path, str], ids: Mapping[str, int | str]) -> None:
        """Write the list, or where there is one make sure that it is the same.

        Args:
            files: Images and videos, with the names of what is written; see ``find_sources``.
            ids: Image ids by the name of the file.

        Raises:
            ValueError: When the list differs; the message names the first file that does.
        """
        if self._path.exists():
            with self._path.open(encoding="utf-8") as file:
                for before, now in zip_longest(file, _lines(files, ids)):
                    if before != now:
                        raise ValueError(f"the files differ: {_named(before)}, and {_named(now)}")
            return
        with replacing(self._path) as temporary, temporary.open("w", encoding="utf-8") as file:
            file.writelines(_lines(files, ids))
            file.flush()
            os.fsync(file.fileno())

    def __len__(self) -> int:
        with self._path.open("rb") as file:
            return sum(1 for _ in file)

    def __iter__(self) -> Iterator[Input]:
        with self._path.open(encoding="utf-8") as file:
            for item, line in enumerate(file):
                path, name, image_id = json.loads(line)
                yield Input(item, Path(path), name, image_id)


def _lines(files: Mapping[Path, str], ids: Mapping[str, int | str]) -> Iterator[str]:
    ordered: Iterable[Path]
    for ordered in (
        (path for path in files if not is_video(path)),
        (path for path in files if is_video(path)),
    ):
        for path in ordered:
            yield json.dumps([str(path), files[path], ids.get(path.name)]) + "\n"


def _named(line: str | None) -> str:
    if line is None:
        return "one list ends there"
    path, _, image_id = json.loads(line)
    return path if image_id is None else f"{path} with the id {image_id!r}"
