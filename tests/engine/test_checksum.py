"""The checksum of what a checkpoint holds."""

from __future__ import annotations

from collections import OrderedDict

import pytest
import torch

from van_dense.engine.checksum import checksum

STATE = {"w": torch.arange(6.0).reshape(2, 3), "betas": (0.9, 0.99), "step": 3, "none": None}


def test_it_survives_saving(tmp_path):
    state = {**STATE, "o": OrderedDict(a=torch.ones(2, dtype=torch.bfloat16)), "s": torch.tensor(1)}
    torch.save(state, tmp_path / "a.pt")
    assert checksum(torch.load(tmp_path / "a.pt", weights_only=True)) == checksum(state)


def test_strides_do_not_count():
    assert checksum(torch.arange(6).reshape(2, 3).T.contiguous().T) == checksum(
        torch.arange(6).reshape(2, 3)
    )


@pytest.mark.parametrize(
    "change",
    [
        {"w": STATE["w"].reshape(3, 2)},
        {"w": STATE["w"].double()},
        {"w": STATE["w"] + 1e-6},
        {"betas": (0.9, 0.999)},
        {"step": 4},
        {"step": 3.0},
        {"none": 0},
        {"more": None},
    ],
)
def test_every_change_counts(change):
    assert checksum({**STATE, **change}) != checksum(STATE)
