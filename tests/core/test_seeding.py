import itertools

import numpy as np
import pytest

from van_dense.core.seeding import Streams, Use


def test_no_two_uses_or_positions_share_a_stream():
    positions = [p for n in (1, 2) for p in itertools.product(range(6), repeat=n)]
    keys = list(itertools.product(range(4), Use, positions))
    drawn = {Streams(seed).generator(use, *position).bytes(16) for seed, use, position in keys}
    numbers = {Streams(seed).number(use, *position) for seed, use, position in keys}
    assert len(drawn) == len(numbers) == len(keys)


def test_the_sample_data_of_a_seed_shares_none_either():
    scenes = [g.bytes(16) for seed in range(4) for g in np.random.default_rng(seed).spawn(3)]
    runs = [
        Streams(seed).generator(use, position).bytes(16)
        for seed, use, position in itertools.product(range(4), Use, range(6))
    ]
    assert not set(scenes) & set(runs)


@pytest.mark.parametrize("use", Use)
def test_a_stream_is_the_same_each_time(use: Use):
    one, other = (Streams(5).generator(use, 2, 1).random(3) for _ in range(2))
    assert np.array_equal(one, other)


def test_streams_of_the_first_kind_are_those_of_runs_of_0_1():
    old = Streams(5, kind=1)
    for use in Use:
        assert old.generator(use, 3).random() == np.random.default_rng((5, 3)).random()
