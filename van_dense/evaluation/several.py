"""Several evaluators on one run: a panoptic model answers for instances and label maps too."""

from collections.abc import Sequence
from pathlib import Path

from van_dense.core.structures import Prediction
from van_dense.evaluation.evaluator import Evaluator
from van_dense.evaluation.table import PerClass


class SeveralEvaluators:
    """An ``Evaluator`` of evaluators with different metrics, each of which gets all predictions."""

    def __init__(self, evaluators: Sequence[Evaluator]) -> None:
        self.evaluators = tuple(evaluators)

    def update(self, predictions: Sequence[Prediction]) -> None:
        """Hand the predictions of some images on."""
        for evaluator in self.evaluators:
            evaluator.update(predictions)

    def compute(self) -> dict[str, float]:
        """The metrics of all."""
        return {key: value for one in self.evaluators for key, value in one.compute().items()}

    def per_class(self) -> PerClass:
        """Metrics of all by type and class name."""
        return {key: value for one in self.evaluators for key, value in one.per_class().items()}

    def save(self, folder: Path) -> None:
        """Write what each keeps."""
        for evaluator in self.evaluators:
            evaluator.save(folder)
