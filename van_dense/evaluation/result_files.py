"""Writes results: COCO results JSON, or a table of classes, image by image."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from io import TextIOBase
from pathlib import Path

from van_dense.evaluation.results import CocoResult


@dataclass(frozen=True)
class Outcome:
    """What is written of one image.

    Attributes:
        records: COCO results, or None for a task without instances.
        row: Line of the table of classes, or None.
        header: Names of the columns of this table, or None.
    """

    records: Sequence[CocoResult] | None = None
    row: list[str] | None = None
    header: list[str] | None = None


class ResultFiles:
    """Writes NAME.json and NAME.csv, whichever the outcomes need.

    Nothing waits in memory: the records of a hundred thousand masks are gigabytes. However the
    context ends, the files are complete.

    Args:
        path: Path of the files without their suffix; its folder is made if missing.

    Attributes:
        written: Paths of the files written so far.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._json: TextIOBase | None = None
        self._table: TextIOBase | None = None
        self._is_first = True
        self.written: list[Path] = []

    def add(self, outcome: Outcome) -> None:
        """Append one image."""
        if outcome.records is not None:
            if self._json is None:
                self._json = self._open("json")
                self._json.write("[")
            for record in outcome.records:
                self._json.write(("\n" if self._is_first else ",\n") + json.dumps(record))
                self._is_first = False
        if outcome.row is not None and outcome.header is not None:
            if self._table is None:
                self._table = self._open("csv")
                csv.writer(self._table).writerow(outcome.header)
            csv.writer(self._table).writerow(outcome.row)

    def _open(self, suffix: str) -> TextIOBase:
        path = self._path.with_name(f"{self._path.name}.{suffix}")
        path.parent.mkdir(parents=True, exist_ok=True)
        self.written.append(path)
        return path.open("w", newline="", encoding="utf-8")

    def __enter__(self) -> ResultFiles:
        return self

    def __exit__(self, *_: object) -> None:
        if self._json is not None:
            self._json.write("\n]\n")
            self._json.close()
        if self._table is not None:
            self._table.close()


def save_results(path: str | Path, results: Sequence[CocoResult]) -> None:
    """Write records of any number of images as COCO results JSON, to a path ending in .json."""
    with ResultFiles(Path(path).with_suffix("")) as files:
        files.add(Outcome(results))
