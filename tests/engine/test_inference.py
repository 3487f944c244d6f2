"""Predictions for a data set."""

import pytest
import torch
from toy_training import ToyModel, make_batch

from van_dense.engine import inference
from van_dense.engine.device import make_accelerator
from van_dense.engine.inference import EvaluationStopped, predict_chunks


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
        list(predict_chunks(model, [None], make_accelerator()))
    assert model.training


def test_asked_to_stop_it_stops_after_a_chunk(monkeypatch):
    monkeypatch.setattr(inference, "CHUNK", 2)
    seen = []
    loader = (seen.append(i) or make_batch(range(i, i + 1)) for i in range(9))
    with pytest.raises(EvaluationStopped):
        list(predict_chunks(ToyModel(), loader, make_accelerator(), should_stop=lambda: True))
    assert seen == [0, 1]


@pytest.mark.parametrize("batches", [0, 1, 2, 3, 4, 5])
def test_large_sets_come_in_chunks(monkeypatch, batches):
    monkeypatch.setattr(inference, "CHUNK", 2)
    loader = [make_batch(range(i, i + 1)) for i in range(batches)]
    chunks = list(predict_chunks(ToyModel(), loader, make_accelerator()))
    assert max(map(len, chunks)) <= 2
    assert [p.image_id for chunk in chunks for p in chunk] == [*range(batches)]
