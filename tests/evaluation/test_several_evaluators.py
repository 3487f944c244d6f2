"""Several evaluators see the same predictions, and their metrics stand side by side."""

from pathlib import Path

from van_dense.core.structures import Prediction
from van_dense.evaluation.several import SeveralEvaluators


class Counter:
    """An evaluator that counts images."""

    def __init__(self, name: str) -> None:
        self.name, self.seen = name, 0

    def update(self, predictions):
        self.seen += len(predictions)

    def compute(self):
        return {f"{self.name}/seen": float(self.seen)}

    def per_class(self):
        return {self.name: {"cat": {"seen": float(self.seen)}}}

    def save(self, folder: Path):
        (folder / self.name).write_text(str(self.seen))


def test_all_see_everything_and_keep_what_is_theirs(tmp_path):
    both = SeveralEvaluators([Counter("a"), Counter("b")])
    both.update([Prediction(1, (2, 2)), Prediction(2, (2, 2))])
    both.update([Prediction(3, (2, 2))])
    assert both.compute() == {"a/seen": 3.0, "b/seen": 3.0}
    assert both.per_class().keys() == {"a", "b"}
    both.save(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"a", "b"}
