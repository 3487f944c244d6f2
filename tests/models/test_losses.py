import subprocess
import sys

import pytest
import torch
from torchvision.ops import sigmoid_focal_loss

from van_dense.models.losses import focal_sum, l1_sum, synced_count


def test_the_focal_loss_is_that_of_the_paper():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(6, 4, generator=generator) * 3
    positive, labels = torch.tensor([1, 4]), torch.tensor([3, 0])
    ignored = torch.tensor([False, False, True, False, False, True])
    wanted = torch.zeros(6, 4)
    wanted[positive, labels] = 1
    expected = sigmoid_focal_loss(
        logits[~ignored], wanted[~ignored], alpha=0.25, gamma=2, reduction="sum"
    )
    assert focal_sum(logits, positive, labels, ignored).item() == pytest.approx(expected.item())


def test_the_focal_loss_by_hand():
    # One background entry of probability 1/2: 0.75 * 0.5^2 * ln 2.
    none = torch.zeros(0, dtype=torch.int64)
    loss = focal_sum(torch.zeros(1, 1), none, none, torch.tensor([False]))
    assert loss.item() == pytest.approx(0.75 * 0.25 * 0.693147, rel=1e-5)


def test_l1_is_a_plain_sum_even_for_small_differences():
    assert l1_sum(torch.tensor([[0.001, 2.0]]), torch.zeros(1, 2)).item() == pytest.approx(2.001)


def test_a_count_alone_is_itself_and_at_least_one():
    assert synced_count(7, torch.device("cpu")).item() == 7
    assert synced_count(0, torch.device("cpu")).item() == 1


COUNT = """
import sys
import torch
from van_dense.models.losses import synced_count
rank, method = int(sys.argv[1]), f"file://{sys.argv[2]}"
torch.distributed.init_process_group("gloo", init_method=method, rank=rank, world_size=2)
print(synced_count([2, 6][rank], torch.device("cpu")).item())
torch.distributed.destroy_process_group()
"""


def test_processes_share_the_mean_of_their_counts(tmp_path):
    command = [sys.executable, "-c", COUNT]
    both = [
        subprocess.Popen(
            [*command, str(rank), str(tmp_path / "init")], stdout=subprocess.PIPE, text=True
        )
        for rank in (0, 1)
    ]
    assert [process.communicate()[0].strip() for process in both] == ["4.0", "4.0"]
