import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from van_dense.config.schema import Train
from van_dense.engine.memory import MemoryEstimate, TensorBytes, estimate_memory

MAP = 4 * 5000  # bytes of the input and of every result


class Blocks(nn.Module):
    """A product with 5000 weights, then blocks of four sigmoids, each recomputed or not."""

    def __init__(self, count: int, *, recompute: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(5000))
        self.blocks = nn.ModuleList(
            nn.Sequential(*(nn.Sigmoid() for _ in range(4))) for _ in range(count)
        )
        self.recompute = recompute

    def forward(self, x: Tensor) -> Tensor:
        x = x * self.weight
        for block in self.blocks:
            x = checkpoint(block, x, use_reentrant=False) if self.recompute else block(x)
        return x


def estimate(
    train: Train, *, micro_batch: int = 1, blocks: int = 1, recompute: bool = False
) -> MemoryEstimate:
    with torch.device("meta"):
        model = Blocks(blocks, recompute=recompute)

    def forward() -> dict[str, list[Tensor]]:
        return {"outputs": [model(torch.zeros(5000, device="meta"))]}

    return estimate_memory(model, forward, train=train, micro_batch=micro_batch)


def test_states_are_weights_gradients_two_moments_and_the_average():
    assert estimate(Train(steps=1)).states == 4 * 5000 * 4
    assert estimate(Train(steps=1, ema_decay=0.9)).states == 5 * 5000 * 4
    assert estimate(Train(steps=1, optimizer={"name": "sgd"})).states == 3 * 5000 * 4


def test_activations_are_the_most_that_is_held_at_one_time():
    # Input, product, four results of each block, gradients of the last result and the one before.
    for blocks in (1, 5):
        found = estimate(Train(steps=1), blocks=blocks).activations
        assert found / MAP == pytest.approx(2 + 4 * blocks + 2, abs=0.01)


def test_checkpointing_keeps_the_inputs_of_blocks_and_computes_one_block_again():
    # Input, product, a result of each block, four of one block again, and two gradients.
    for blocks in (5, 10):
        found = estimate(Train(steps=1), blocks=blocks, recompute=True).activations
        assert found / MAP == pytest.approx(2 + blocks + 4 + 2, abs=0.01)


def test_gradients_of_weights_are_counted_once_among_the_states():
    with torch.device("meta"):
        model = nn.Linear(1000, 1000, bias=False)
    found = estimate_memory(
        model, lambda: model(torch.zeros(1, 1000, device="meta")), train=Train(steps=1),
        micro_batch=1,
    )  # fmt: skip
    assert found.states == 4 * 1000 * 1000 * 4
    assert model.weight.grad is None


def test_a_network_that_returns_nothing_is_followed_forward():
    with torch.device("meta"):
        model = Blocks(3)

    def forward() -> None:
        model(torch.zeros(5000, device="meta"))

    found = estimate_memory(model, forward, train=Train(steps=1), micro_batch=1)
    assert found.activations / MAP == pytest.approx(1 + 4 * 3 + 1, abs=1.01)


def test_activations_grow_with_the_micro_batch_and_shrink_with_the_precision():
    one = estimate(Train(steps=1)).activations
    assert estimate(Train(steps=1), micro_batch=3).activations == 3 * one
    half = estimate(Train(steps=1, precision="bf16")).activations
    assert half == pytest.approx(0.6 * one)


def test_views_and_results_in_place_count_once_and_what_is_gone_not_at_all():
    with TensorBytes() as counter:
        for _ in range(3):
            x = torch.ones(1000)
            x.view(10, 100).add_(1)
            del x
        y = torch.ones(500)
        assert counter.peak == 4000
        z = torch.ones(1000)
        assert counter.peak == 6000
        del y, z


def test_it_is_told_in_gib():
    assert "GiB" in estimate(Train(steps=1)).describe()
