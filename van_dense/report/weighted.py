"""Metrics of draws of images that follow from sums over them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

Score = Callable[[np.ndarray], Mapping[str, np.ndarray]]


@dataclass(frozen=True)
class SummedMetrics:
    """What draws of images measure, by the functions of an evaluator.

    Legend: N images, C classes, B draws.

    Attributes:
        sums: What each image adds up to, float64 (N, ..., C).
        names: Names of the C classes.
        kind: How the names of metrics begin, such as "semantic".
        summarize: Function from sums (..., C) to the headline metrics by flat name.
        score: Function from sums (..., C) to metrics of the classes, (C,) each.
    """

    sums: np.ndarray
    names: Sequence[str]
    kind: str
    summarize: Callable[[np.ndarray], Mapping[str, float]]
    score: Score

    def measure(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Metrics (B,) by name, those of classes as "semantic/IoU of car", of weights (B, N)."""
        drawn = weights @ self.sums.reshape(len(self.sums), -1)
        draws = [one.reshape(self.sums.shape[1:]) for one in drawn]
        means = [self.summarize(one) for one in draws]
        found = {name: np.array([one[name] for one in means]) for name in means[0]}
        scores = [self.score(one) for one in draws]
        for metric in scores[0]:
            table = np.stack([one[metric] for one in scores])
            named = zip(self.names, table.T, strict=True)
            found |= {f"{self.kind}/{metric} of {name}": column for name, column in named}
        return found
