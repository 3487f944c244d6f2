"""Anchors chosen by ATSS: by hand, and against the algorithm of the paper as a plain loop."""

from __future__ import annotations

import math
import statistics

import pytest
import torch
from torch import Tensor
from torchvision.ops import box_iou

from van_dense.core.structures import Instances
from van_dense.models.detection.anchors import Anchors
from van_dense.models.detection.atss_matcher import ATSSMatcher


def boxes(*rows: tuple[float, float, float, float]) -> Instances:
    return Instances(
        torch.tensor(rows, dtype=torch.float32), torch.zeros(len(rows), dtype=torch.int64)
    )


def grid(*sides: int, strides: tuple[int, ...]) -> list[Tensor]:
    """Square anchors of 8 strides on square maps."""
    anchors = Anchors([8.0 * s for s in strides], strides, ratios=[1.0], rounded=False)
    return anchors([torch.zeros(1, 1, side, side) for side in sides])


def plain_assignment(
    target: Tensor, anchors: list[Tensor], num_candidates: int, size: tuple[int, int]
) -> list[int]:
    """Algorithm 1 of the paper, box by box and anchor by anchor."""
    height, width = (math.ceil(side / 32) * 32 for side in size)
    every = torch.cat(anchors).tolist()
    centres = [((a[0] + a[2]) / 2, (a[1] + a[3]) / 2) for a in every]
    outside = [x >= width or y >= height for x, y in centres]
    assigned = [-2 if out else -1 for out in outside]
    best = [-1.0] * len(every)
    overlaps = box_iou(torch.cat(anchors), target)
    for g, box in enumerate(target.tolist()):
        middle = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
        candidates, start = [], 0
        for level in anchors:
            inside = [a for a in range(start, start + len(level)) if not outside[a]]
            inside.sort(key=lambda a: math.dist(centres[a], middle))
            candidates += inside[:num_candidates]
            start += len(level)
        ious = [float(overlaps[a, g]) for a in candidates]
        threshold = statistics.mean(ious) + statistics.stdev(ious)
        for a, iou in zip(candidates, ious, strict=True):
            x, y = centres[a]
            margin = min(x - box[0], y - box[1], box[2] - x, box[3] - y)
            if iou >= threshold and margin > 0.01 and iou > best[a]:
                best[a], assigned[a] = iou, g
    return assigned


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("size", [(128, 128), (60, 97)])
def test_anchors_go_where_the_paper_sends_them(seed: int, size: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(9, 2, generator=generator) * torch.tensor([size[1] - 20.0, size[0] - 20.0])
    sides = torch.rand(9, 2, generator=generator) * 70 + 3
    target = torch.cat([corners, corners + sides], dim=1)
    levels = grid(16, 8, 4, 2, 1, strides=(8, 16, 32, 64, 128))
    matched = ATSSMatcher(9)(
        Instances(target, torch.zeros(9, dtype=torch.int64)), levels, size=size
    )
    assert matched.tolist() == plain_assignment(target, levels, 9, size)
    assert (matched >= 0).sum() > 5


def test_by_hand_the_nearest_anchors_above_mean_plus_deviation_are_taken() -> None:
    # Anchors 8 px wide at x = 4 and 12, and one 16 px wide at 8; the box is the first of them.
    fine = torch.tensor([[0.0, 0, 8, 8], [8, 0, 16, 8]])
    coarse = torch.tensor([[0.0, 0, 16, 16]])
    target = boxes((0, 0, 8, 8))
    # IoU 1, 0 and 0.25: mean 0.4167, deviation 0.5204, threshold 0.937.
    assert ATSSMatcher(2)(target, [fine, coarse], size=(16, 16)).tolist() == [0, -1, -1]
    # One candidate of each level, IoU 1 and 0.25: threshold 0.625 + 0.530 = 1.155 takes none.
    assert ATSSMatcher(1)(target, [fine, coarse], size=(16, 16)).tolist() == [-1, -1, -1]


def test_a_positive_anchor_is_centred_in_its_box() -> None:
    fine = torch.tensor([[0.0, 0, 8, 8], [8, 0, 16, 8], [24, 24, 32, 32]])
    coarse = torch.tensor([[24.0, 24, 32, 32]])
    target = boxes((4, 0, 8, 8))  # its left edge is the centre of the best anchor
    assert ATSSMatcher(3)(target, [fine, coarse], size=(32, 32)).tolist() == [-1] * 4
    target = boxes((3.9, 0, 8, 8))
    assert ATSSMatcher(3)(target, [fine, coarse], size=(32, 32)).tolist() == [0, -1, -1, -1]


def test_an_anchor_of_two_boxes_goes_to_the_one_it_overlaps_more() -> None:
    levels = [torch.tensor([[0.0, 0, 8, 8], [8, 0, 16, 8]]), torch.tensor([[0.0, 0, 16, 16]])]
    whole, most = (0, 0, 8, 8), (0, 0, 8, 7)  # IoU 1 and 0.875 with the first anchor
    matcher = ATSSMatcher(2)
    assert matcher(boxes(most), levels, size=(16, 16)).tolist() == [0, -1, -1]
    assert matcher(boxes(whole, most), levels, size=(16, 16)).tolist() == [0, -1, -1]
    assert matcher(boxes(most, whole), levels, size=(16, 16)).tolist() == [1, -1, -1]


def test_without_boxes_everything_but_padding_is_background() -> None:
    levels = grid(8, 4, strides=(8, 16))
    matched = ATSSMatcher(9)(Instances.empty(), levels, size=(64, 30))
    fine = matched[:64].view(8, 8)
    assert (fine[:, :4] == -1).all() and (fine[:, 4:] == -2).all()


def test_an_image_is_assigned_the_same_alone_and_beside_a_larger_one() -> None:
    target = boxes((3, 5, 31, 29), (10, 2, 19, 40))
    alone = ATSSMatcher(9)(target, grid(8, 4, strides=(8, 16)), size=(64, 64))
    padded = ATSSMatcher(9)(target, grid(12, 6, strides=(8, 16)), size=(64, 64))
    assert torch.equal(padded[:144].view(12, 12)[:8, :8].flatten(), alone[:64])
    assert torch.equal(padded[144:].view(6, 6)[:4, :4].flatten(), alone[64:])
