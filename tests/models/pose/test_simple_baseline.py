"""The head of SimpleBaseline."""

import pytest
import torch

from van_dense.models.pose.simple_baseline import SimpleBaseline


def num_parameters(head: SimpleBaseline) -> int:
    return sum(p.numel() for p in head.parameters())


def test_the_head_of_the_paper_has_the_parameters_of_its_three_deconvolutions():
    deconvolutions = (512 + 256 + 256) * 256 * 4 * 4
    norms, last = 3 * 2 * 256, 256 * 17 + 17
    assert deconvolutions + norms + last == 4_200_209
    assert num_parameters(SimpleBaseline(512, 17, channels=(256, 256, 256))) == 4_200_209


@pytest.mark.parametrize("channels", [(8,), (8, 6), (8, 6, 4)])
def test_each_deconvolution_doubles_the_resolution(channels):
    head = SimpleBaseline(5, 3, channels=channels).eval()
    assert head(torch.zeros(2, 5, 2, 3)).shape == (
        2,
        3,
        2 * 2 ** len(channels),
        3 * 2 ** len(channels),
    )
    assert head.final.out_channels == 3


def test_all_convolutions_start_as_normal_numbers_of_std_0_001():
    torch.manual_seed(0)
    head = SimpleBaseline(64, 17, channels=(256, 256, 256))
    weights = [p for p in head.parameters() if p.ndim == 4]
    assert len(weights) == 4
    for weight in weights:
        assert weight.std().item() == pytest.approx(0.001, rel=0.05)
        assert abs(weight.mean().item()) < 1e-4
    assert not head.final.bias.any()


def test_a_fresh_head_gives_almost_black_heatmaps():
    torch.manual_seed(0)
    heatmaps = SimpleBaseline(64, 17, channels=(256, 256, 256))(torch.randn(2, 64, 4, 3))
    assert heatmaps.abs().max() < 0.2
