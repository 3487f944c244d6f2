import pytest
import torch
from torch import nn

from van_dense.config.schema import Train
from van_dense.engine.memory import estimate_memory


def estimate(train: Train, micro_batch: int = 1):
    with torch.device("meta"):
        model = nn.Sequential(nn.Linear(100, 50, bias=False), nn.Sigmoid())

    def forward() -> None:
        model(torch.zeros(8, 100, device="meta"))

    return estimate_memory(model, forward, train=train, micro_batch=micro_batch)


def test_states_are_weights_gradients_two_moments_and_the_average():
    assert estimate(Train(steps=1)).states == 4 * 5000 * 4
    assert estimate(Train(steps=1, ema_decay=0.9)).states == 5 * 5000 * 4
    assert estimate(Train(steps=1, optimizer={"name": "sgd"})).states == 3 * 5000 * 4


def test_activations_are_what_backward_needs_and_not_the_weights():
    # The input of the linear layer (8 x 100) and the output of the sigmoid (8 x 50).
    assert estimate(Train(steps=1)).activations == 8 * 150 * 4


def test_activations_grow_with_the_micro_batch_and_shrink_with_the_precision():
    one = estimate(Train(steps=1)).activations
    assert estimate(Train(steps=1), micro_batch=3).activations == 3 * one
    half = estimate(Train(steps=1, precision="bf16")).activations
    assert half == pytest.approx(0.6 * one)


def test_it_is_told_in_gib():
    assert "GiB" in estimate(Train(steps=1)).describe()
