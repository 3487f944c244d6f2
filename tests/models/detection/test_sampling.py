import torch

from van_dense.models.detection.sampling import Sampler

KIND = torch.tensor([1] * 10 + [0] * 50 + [-1] * 40)


def test_foreground_is_limited_and_background_fills_the_rest():
    positive, negative = Sampler(20, 0.25)(KIND, seed=0)
    assert len(positive) == 5 and len(negative) == 15
    assert KIND[positive].eq(1).all() and KIND[negative].eq(0).all()
    assert len(set(positive.tolist())) == 5 and len(set(negative.tolist())) == 15


def test_where_foreground_is_rare_there_is_more_background():
    positive, negative = Sampler(40, 0.5)(KIND, seed=0)
    assert (len(positive), len(negative)) == (10, 30)


def test_with_few_candidates_all_are_taken():
    positive, negative = Sampler(1000, 0.5)(KIND, seed=0)
    assert (len(positive), len(negative)) == (10, 50)
    nothing = Sampler(10, 0.5)(torch.full((4,), -1), seed=0)
    assert [len(x) for x in nothing] == [0, 0]


def test_the_seed_alone_decides_and_the_global_generator_is_left_alone():
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = Sampler(20, 0.5)(KIND, seed=7)
    assert torch.equal(state, torch.get_rng_state())
    torch.manual_seed(2)
    again, other = Sampler(20, 0.5)(KIND, seed=7), Sampler(20, 0.5)(KIND, seed=8)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[1], other[1])
