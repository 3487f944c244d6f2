"""What every evaluator offers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from van_dense.structures import Prediction


class Evaluator(Protocol):
    """Compares predictions with unaugmented ground truth it owns; made anew for each evaluation."""

    def update(self, predictions: Sequence[Prediction]) -> None:
        """Add the predictions of some images; an image may be given once."""
        ...

    def compute(self) -> dict[str, float]:
        """Flat metrics such as "bbox/AP" in 0..1; impossible values raise ``ValueError``."""
        ...
