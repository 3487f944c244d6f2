"""The moving average of the weights."""

import pytest
import torch
from timm.utils import ModelEmaV2
from torch import nn

from van_dense.engine.ema import Ema


def test_the_average_follows_with_a_decay_that_ramps_up():
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, 0.0)
    ema = Ema(model, decay=0.5)
    nn.init.constant_(model.weight, 1.0)
    ema.update(1)  # decay (1 + 1) / (10 + 1) = 2 / 11: 0 -> 9 / 11
    assert ema.module.weight.item() == pytest.approx(9 / 11)
    ema.update(100)  # decay min(0.5, 101 / 110) = 0.5: half of the way
    assert ema.module.weight.item() == pytest.approx(10 / 11)


def test_statistics_follow_counts_are_copied_and_frozen_weights_stay():
    model = nn.BatchNorm2d(2)
    model.bias.requires_grad_(False)
    ema = Ema(model, decay=0.9)
    model(torch.randn(4, 2, 3, 3))
    ema.update(1)
    # 9 / 11 of the way from the first statistics, mean 0 and variance 1.
    assert torch.allclose(ema.module.running_mean, model.running_mean * 9 / 11)
    assert torch.allclose(ema.module.running_var, 1 + (model.running_var - 1) * 9 / 11)
    assert ema.module.num_batches_tracked.item() == 1
    assert torch.equal(ema.module.bias, model.bias)


def test_the_average_is_a_model_of_its_own_for_evaluation():
    model = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5))
    ema = Ema(model, decay=0.9)
    assert model.training and not ema.module.training
    assert not any(p.requires_grad for p in ema.module.parameters())
    assert ema.module.state_dict().keys() == model.state_dict().keys()


def test_timms_average_has_a_constant_decay_and_averages_counts():
    model = nn.BatchNorm2d(2)
    theirs, ours = ModelEmaV2(model, decay=0.9), Ema(model, decay=0.9)
    model(torch.randn(4, 2, 3, 3))
    theirs.update(model)
    ours.update(1)
    assert torch.allclose(theirs.module.running_mean, model.running_mean * 0.1)
    assert torch.allclose(ours.module.running_mean, model.running_mean * 9 / 11)
    assert theirs.module.num_batches_tracked == 0  # 0.1 as a whole number
    assert ours.module.num_batches_tracked == 1
