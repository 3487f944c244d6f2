"""Losses of ATSS and GFL by hand, and against their formulas written out."""

import math

import pytest
import torch
from torch.nn import functional as F
from torchvision.ops import box_iou

from van_dense.models.detection.one_stage_losses import (
    centerness,
    distribution_focal,
    edge_distances,
    paired_iou,
    quality_focal_sum,
)


def random_boxes(num: int, seed: int) -> torch.Tensor:
    corners = torch.rand(num, 2, 2, generator=torch.Generator().manual_seed(seed)) * 50
    return torch.cat([corners.amin(1), corners.amax(1)], dim=1)


def test_paired_iou_is_the_diagonal_of_torchvisions_matrix() -> None:
    first, second = random_boxes(40, 0), random_boxes(40, 1)
    expected = box_iou(first, second).diagonal()
    assert (expected > 0).sum() > 10
    assert torch.allclose(paired_iou(first, second), expected, atol=1e-6)


def test_empty_boxes_have_no_overlap_and_give_no_nan() -> None:
    point = torch.tensor([[3.0, 3, 3, 3]])
    assert paired_iou(point, point).tolist() == [0.0]


def test_edges_are_left_top_right_bottom() -> None:
    centre, box = torch.tensor([[5.0, 7.0]]), torch.tensor([[1.0, 4.0, 11.0, 8.0]])
    assert edge_distances(centre, box).tolist() == [[4, 3, 6, 1]]


def test_centerness_is_one_in_the_middle_and_falls_towards_an_edge() -> None:
    box = torch.tensor([[0.0, 0, 8, 4]])
    assert centerness(torch.tensor([[4.0, 2.0]]), box).item() == 1
    # A quarter from the left: sqrt(2 / 6 * 1); near a corner: sqrt(2 / 6 * 1 / 3).
    assert centerness(torch.tensor([[2.0, 2.0]]), box).item() == pytest.approx(math.sqrt(1 / 3))
    assert centerness(torch.tensor([[6.0, 1.0]]), box).item() == pytest.approx(1 / 3)


def test_the_quality_focal_loss_is_that_of_the_paper() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(6, 4, generator=generator) * 3
    positive, labels = torch.tensor([1, 4]), torch.tensor([3, 0])
    quality = torch.tensor([0.9, 0.2])
    ignored = torch.tensor([False, False, True, False, False, True])
    wanted = torch.zeros(6, 4)
    wanted[positive, labels] = quality
    p = logits.sigmoid()
    cross_entropy = -((1 - wanted) * (1 - p).log() + wanted * p.log())
    expected = ((wanted - p).abs() ** 2 * cross_entropy)[~ignored].sum()
    loss = quality_focal_sum(logits, quality, positive=positive, labels=labels, ignored=ignored)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_a_score_that_equals_the_quality_costs_nothing() -> None:
    logits = torch.tensor([[0.4]]).logit()
    one, none = torch.tensor([0]), torch.tensor([False])
    loss = quality_focal_sum(logits, torch.tensor([0.4]), positive=one, labels=one, ignored=none)
    assert loss.item() == pytest.approx(0, abs=1e-9)


def test_the_distribution_focal_loss_by_hand() -> None:
    logits = torch.tensor([[[0.0, 1.0, 2.0, 0.5]] * 4])
    log_p = logits[0, 0].log_softmax(0)
    distances = torch.tensor([[1.25, 0.0, 2.5, 9.0]])
    expected = [
        -0.75 * log_p[1] - 0.25 * log_p[2],
        -log_p[0],
        -0.5 * log_p[2] - 0.5 * log_p[3],
        -0.1 * log_p[2] - 0.9 * log_p[3],  # too far: brought to 2.9
    ]
    assert torch.allclose(distribution_focal(logits, distances)[0], torch.stack(expected))


def test_the_distribution_focal_loss_is_least_where_the_mean_is_the_distance() -> None:
    distances = torch.tensor([[3.3, 0.4, 6.8, 5.0]])
    logits = torch.zeros(1, 4, 9, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.3)
    for _ in range(300):
        optimizer.zero_grad()
        distribution_focal(logits, distances).sum().backward()
        optimizer.step()
    mean = (F.softmax(logits, dim=-1) * torch.arange(9)).sum(-1)
    assert torch.allclose(mean, distances, atol=0.02)
