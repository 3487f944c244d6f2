"""Boxes are suppressed within their class or level as in float64, whatever number it has."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.ops import batched_nms, box_iou

from van_dense.models.detection.rpn import ProposalFilter, best_of_levels
from van_dense.models.postprocess import DetectionFilter, suppress

Scene = tuple[Tensor, Tensor, Tensor]  # boxes, scores, groups


def plain(boxes: Tensor, scores: Tensor, groups: Tensor, iou: float) -> list[int]:
    """The definition in NumPy's float64, group by group, without any offset."""
    xyxy, order = boxes.double().numpy(), np.argsort(-scores.double().numpy(), kind="stable")
    areas = (xyxy[:, 2] - xyxy[:, 0]) * (xyxy[:, 3] - xyxy[:, 1])
    kept: list[int] = []
    of_group: dict[int, list[int]] = {}
    for i in order.tolist():
        better = of_group.setdefault(int(groups[i]), [])
        sides = np.minimum(xyxy[i, 2:], xyxy[better, 2:]) - np.maximum(
            xyxy[i, :2], xyxy[better, :2]
        )
        shared = sides.clip(0).prod(axis=1)
        if not (shared / (areas[i] + areas[better] - shared) > iou).any():
            better.append(i)
            kept.append(i)
    return kept


def crowd(seed: int, side: int, *, classes: int = 1203) -> Scene:
    """Detections of a few classes, many for each object, whose IoU is often near a threshold."""
    random = torch.Generator().manual_seed(seed)
    objects, each = 40 + 10 * (seed % 5), 12 + 4 * (seed % 4)  # 480 to 1920 boxes
    centres = torch.rand(objects, 1, 2, generator=random) * side
    sides = 2 ** (3 + 5 * torch.rand(objects, 1, 2, generator=random))
    noise = torch.randn(objects, each, 4, generator=random) * 0.12
    centres = (centres + sides * noise[..., :2]).flatten(0, 1)
    sides = (sides * noise[..., 2:].exp()).flatten(0, 1)
    boxes = torch.cat([centres - sides / 2, centres + sides / 2], dim=1).clamp(0, side)
    seen = torch.randint(classes, (8,), generator=random)
    groups = seen[torch.randint(8, (len(boxes),), generator=random)]
    scores = torch.rand(len(boxes), generator=random).mul(100).round() / 100  # some are equal
    return boxes, scores, groups


@pytest.mark.parametrize("side", [1333, 4096])
def test_crowded_images_keep_what_float64_keeps_class_by_class(side):
    compare(side, range(8))


@pytest.mark.slow
@pytest.mark.parametrize("side", [1333, 4096])
def test_200_crowded_images_keep_what_float64_keeps_class_by_class(side):
    assert compare(side, range(200)) > 10  # torchvision's float32 offsets decide otherwise


def compare(side: int, seeds: range) -> int:
    """Compare with the definition, and count the images where torchvision differs."""
    num_different = 0
    for seed in seeds:
        boxes, scores, groups = crowd(seed, side)
        for iou in (0.5, 0.7):
            expected = plain(boxes, scores, groups, iou)
            assert suppress(boxes, scores, groups, iou=iou, size=(side, side)).tolist() == expected
            theirs = batched_nms(boxes, scores, groups, iou).tolist()
            num_different += set(theirs) != set(expected)
    return num_different


def test_two_boxes_are_one_for_any_class_and_beside_any_others():
    """torchvision moves the boxes of class 1202 by 4.9 million pixels in steps of half a pixel."""
    pair = torch.tensor([[723.6, 2444.4, 734.2, 2473.4], [726.8, 2442.7, 735.3, 2470.1]])
    corner = torch.tensor([[4000.0, 4000, 4095, 4095]])  # makes the offset large
    assert 0.54 < float(box_iou(pair[:1], pair[1:])) < 0.55
    boxes, scores = torch.cat([pair, corner]), torch.tensor([0.9, 0.8, 0.7])
    theirs = {}
    for label in (0, 1, 80, 1202, 10**9):
        labels = torch.tensor([label, label, label + 1])
        kept = suppress(boxes, scores, labels, iou=0.5, size=(4096, 4096))
        assert kept.tolist() == [0, 2], label
        theirs[label] = batched_nms(boxes, scores, labels, 0.5).tolist()
    assert theirs[0] == [0, 2] and theirs[1202] == [0, 1, 2]

    others = crowd(0, 4096)[0].repeat(3, 1)[:1100]
    boxes = torch.cat([boxes, others])
    scores = torch.cat([scores, torch.full((1100,), 0.1)])
    labels = torch.tensor([1202, 1202, 1203]), torch.arange(1100) % 1000
    kept = suppress(boxes, scores, torch.cat(labels), iou=0.5, size=(4096, 4096)).tolist()
    assert kept[:2] == [0, 2] and 1 not in kept
    beside = batched_nms(boxes, scores, torch.cat(labels), 0.5).tolist()
    assert 1 not in beside  # from 1,000 boxes on, torchvision takes class by class


def test_boxes_exactly_at_the_threshold_stay_for_any_class():
    boxes = torch.tensor([[0.0, 0, 20, 10], [0.0, 0, 10, 10]])  # IoU 1/2
    boxes = torch.cat([boxes, boxes + torch.tensor([0.25, 1 / 64, 0.25, 1 / 64])])
    labels = torch.tensor([0, 0, 10**6, 10**6])
    kept = suppress(boxes, torch.tensor([0.9, 0.8, 0.7, 0.6]), labels, iou=0.5, size=(64, 8000))
    assert kept.tolist() == [0, 1, 2, 3]


def test_offsets_take_no_digit_from_coordinates_that_float32_holds_from_a_64th_of_a_pixel_on():
    """The largest offset of 2000 classes at 8192 pixels."""
    random = torch.Generator().manual_seed(0)
    exponents = torch.randint(-6, 14, (100_000,), generator=random)
    values = (1 + torch.rand(100_000, generator=random)) * 2.0**exponents
    values = values[values <= 8192]
    offset = 1999 * 8192
    assert torch.equal((values.double() + offset) - offset, values.double())
    rounded = (values[:1000].double() / 1e5 + offset) - offset
    assert (rounded - values[:1000].double() / 1e5).abs().max() < 2.0**-29


def test_of_equal_scores_the_first_stays():
    boxes = torch.tensor([[0.0, 0, 10, 10]]).repeat(2000, 1)
    groups = torch.arange(2000) % 3
    kept = suppress(boxes, torch.ones(2000), groups, iou=0.5, size=(10, 10))
    assert kept.tolist() == [0, 1, 2]


def test_neighbours_of_two_classes_that_fill_the_image_do_not_meet():
    boxes = torch.tensor([[0.0, 0, 50, 40]]).repeat(3, 1)
    kept = suppress(boxes, torch.ones(3), torch.tensor([4, 7, 5]), iou=0.0, size=(40, 50))
    assert kept.tolist() == [0, 1, 2]


def test_nothing_is_suppressed_to_nothing():
    none = torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64)
    assert suppress(*none, iou=0.5, size=(4, 4)).tolist() == []


def test_it_can_be_traced():
    def run(boxes: Tensor, scores: Tensor, groups: Tensor) -> Tensor:
        return suppress(boxes, scores, groups, iou=0.5, size=(1333, 1333))

    traced = torch.jit.trace(run, crowd(0, 1333))
    other = crowd(3, 1333)
    assert torch.equal(traced(*other), run(*other))


@pytest.mark.parametrize("shift", [0, 1_000_000])
def test_detections_are_suppressed_so_whatever_the_number_of_their_class(shift):
    boxes, scores, labels = crowd(4, 4096)
    found = DetectionFilter(0.0, 0.5, len(boxes)).labelled(
        boxes, scores, labels=labels + shift, size=(4096, 4096)
    )
    kept = plain(boxes, scores, labels, 0.5)
    assert torch.equal(found.boxes, boxes[kept]) and torch.equal(found.labels, labels[kept] + shift)


def test_proposals_are_suppressed_so_level_by_level():
    boxes, scores, _ = crowd(2, 4096)
    levels = torch.arange(5).repeat_interleave(-(-len(boxes) // 5))[: len(boxes)]
    parts = [(boxes[levels == level], scores[levels == level]) for level in range(5)]
    found, objectness = best_of_levels(
        *zip(*parts, strict=True), (4096, 4096), ProposalFilter(1000, 10_000, 0.7)
    )
    kept = plain(boxes, scores, levels, 0.7)
    assert torch.equal(found, boxes[kept]) and torch.equal(objectness, scores[kept])
