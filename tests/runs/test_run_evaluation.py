"""Evaluation during a run: which process holds what."""

import math
from types import SimpleNamespace
from unittest.mock import Mock

import pytest

from van_dense.config import load_config
from van_dense.runs.evaluation import Evaluation, worst_classes
from van_dense.tasks import task_of


@pytest.mark.parametrize("is_main", [True, False])
def test_the_main_process_alone_reads_ground_truth(
    is_main: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = load_config("semfpn_van_b0", ["data.workers=0"], sample=True)
    task, made = task_of(config), Mock()
    monkeypatch.setattr(type(task), "evaluator_factory", lambda *_: made)
    monkeypatch.setattr(type(task), "limit_notes", lambda *_: [])
    monkeypatch.setattr("van_dense.runs.evaluation.predict_chunks", lambda *_, **__: iter([[]]))
    dataset = Mock(__len__=lambda _: 0)
    accelerator = SimpleNamespace(is_main_process=is_main, process_index=0, num_processes=2)
    evaluation = Evaluation(config, dataset, accelerator)
    if is_main:
        assert evaluation.make_evaluator is made
    else:
        assert evaluation.run(Mock(), Mock()) == {} and not made.called
        assert "make_evaluator" not in vars(evaluation)


def test_the_worst_classes_are_named() -> None:
    values = {"car": 0.5, "pole": 0.1, "sky": 0.9, "bike": 0.2, "sign": math.nan, "tree": 0.3}
    per_class = {"semantic": {name: {"IoU": value} for name, value in values.items()}}
    line = worst_classes(per_class, "semantic/mIoU")
    assert line == "worst of 5 classes, semantic IoU: pole 0.1, bike 0.2, tree 0.3"
    assert worst_classes({}, "pysod/MAE") == ""
    assert worst_classes({"bbox": {"cat": {"AP": 0.1}}}, "bbox/AP") == ""
