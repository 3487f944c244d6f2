"""What every evaluator offers: it sees predictions in any order and keeps what the metrics need."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from van_dense.core.structures import Prediction
from van_dense.evaluation.table import PerClass


class Evaluator(Protocol):
    """Made anew for each evaluation; owns, or reads anew, the unaugmented ground truth."""

    def update(self, predictions: Sequence[Prediction]) -> None:
        """Take predictions of some images.

        Raises:
            ValueError: For an unknown or repeated image, or impossible values.
        """
        ...

    def compute(self) -> dict[str, float]:
        """Flat metrics such as "semantic/mIoU" or "bbox/AP"; shares and errors in 0..1."""
        ...

    def per_class(self) -> PerClass:
        """The same for each class, by type and class name; empty where classes mean nothing."""
        ...

    def save(self, folder: Path) -> None:
        """Write what the field keeps of an evaluation beside its metrics."""
        ...
