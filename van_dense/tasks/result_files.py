"""Results of many images in one file, written image by image: COCO JSON, or a table of classes."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from io import TextIOBase
from pathlib import Path

from van_dense.evaluation.results import Result as Record
from van_dense.result import Result, table_header


@dataclass(frozen=True)
class Outcome:
    """What is kept of one image.

    Attributes:
        records: COCO records, or None for a task without instances.
        row: Of the table of classes, or None.
        header: Of this table.
    """

    records: list[Record] | None
    row: list[str] | None
    header: list[str] | None

    @staticmethod
    def of(result: Result) -> Outcome:
        """Take it from a result."""
        has_classes = result.class_scores is not None
        return Outcome(
            records=None if result.instances is None else result.to_coco(),
            row=result.table_row() if has_classes else None,
            header=table_header(result.info) if has_classes else None,
        )


class ResultFiles:
    """Writes predictions.json and predictions.csv, whichever the outcomes ask for.

    Nothing waits in memory: the records of a hundred thousand masks are gigabytes. However the
    context ends, the files are complete.

    Args:
        folder: Made if missing.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._json: TextIOBase | None = None
        self._table: TextIOBase | None = None
        self._is_first = True

    def add(self, outcome: Outcome) -> None:
        """Append one image."""
        if outcome.records is not None:
            if self._json is None:
                self._json = self._open("predictions.json")
                self._json.write("[")
            for record in outcome.records:
                self._json.write(("\n" if self._is_first else ",\n") + json.dumps(record))
                self._is_first = False
        if outcome.row is not None and outcome.header is not None:
            if self._table is None:
                self._table = self._open("predictions.csv")
                csv.writer(self._table).writerow(outcome.header)
            csv.writer(self._table).writerow(outcome.row)

    def _open(self, name: str) -> TextIOBase:
        self._folder.mkdir(parents=True, exist_ok=True)
        return (self._folder / name).open("w", newline="", encoding="utf-8")

    def __enter__(self) -> ResultFiles:
        return self

    def __exit__(self, *_: object) -> None:
        if self._json is not None:
            self._json.write("\n]\n")
            self._json.close()
        if self._table is not None:
            self._table.close()
