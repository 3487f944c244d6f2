"""Predictions for a data set."""

import pytest
import torch
from helpers.toy_training import ToyModel, make_batch

from van_dense.core.failure import Failure
from van_dense.engine.device import make_accelerator
from van_dense.engine.inference import EvaluationStopped, predict_chunks, predict_parts
from van_dense.engine.parts import UNFINISHED, Parts


class Watching(ToyModel):
    """Remembers the circumstances of its predictions."""

    def predict(self, batch):
        self.seen = (
            self.training,
            torch.is_inference_mode_enabled(),
            torch.is_autocast_enabled("cpu"),
        )
        return super().predict(batch)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_model_predicts_in_evaluation_mode_under_autocast(precision):
    model = Watching().train()
    (predictions,) = predict_chunks(model, [make_batch(range(3))], make_accelerator(precision))
    assert [p.image_id for p in predictions] == [0, 1, 2]
    assert model.seen == (False, True, precision == "bf16")
    assert model.training  # restored


def test_the_mode_is_restored_after_an_error_too():
    model = ToyModel().train()
    with pytest.raises(AttributeError):
        list(predict_chunks(model, [object()], make_accelerator()))
    assert model.training


def test_asked_to_stop_a_single_process_stops_after_a_batch():
    seen = []
    loader = (seen.append(i) or make_batch(range(i, i + 1)) for i in range(9))
    with pytest.raises(EvaluationStopped):
        list(predict_chunks(ToyModel(), loader, make_accelerator(), should_stop=lambda: True))
    assert seen == [0]


@pytest.mark.parametrize("batches", [0, 1, 2, 5])
def test_a_single_process_hands_on_every_batch_at_once(batches):
    loader = [make_batch(range(i, i + 1)) for i in range(batches)]
    chunks = list(predict_chunks(ToyModel(), loader, make_accelerator()))
    assert all(len(chunk) == 1 for chunk in chunks)
    assert [p.image_id for chunk in chunks for p in chunk] == [*range(batches)]


def test_a_batch_that_another_process_did_not_leave_is_missed(tmp_path):
    class Numbered(list):
        numbers, total = [0, 2], 4  # of the first of two processes

    loader = Numbered(make_batch(range(i, i + 1)) for i in Numbered.numbers)
    parts = Parts(tmp_path / UNFINISHED)
    parts.begin({}, resume=False)
    found = predict_parts(ToyModel(), loader, make_accelerator(), parts)
    assert [p.image_id for p in (*next(found), *next(found))] == [0, 2]
    with pytest.raises(Failure, match=r"2 of 4 batches are missing in .*: do all processes see"):
        next(found)
