"""Matching and losses of Mask2Former, by hand and beside those of transformers."""

from __future__ import annotations

import importlib.metadata
import inspect
import math
from typing import ClassVar

import pytest
import torch
from helpers.mask2former import mask_loss, panoptic_batch
from torch import Tensor

from van_dense.models.panoptic.mask_loss import QueryOutput, sample_points
from van_dense.models.panoptic.targets import MaskTargets, mask_targets

CLASSES, QUERIES = 3, 6


def outputs(images: int, count: int = 3) -> list[QueryOutput]:
    generator = torch.Generator().manual_seed(1)
    return [
        QueryOutput(
            torch.randn(images, QUERIES, CLASSES + 1, generator=generator).requires_grad_(),
            torch.randn(images, QUERIES, 16, 24, generator=generator).requires_grad_(),
        )
        for _ in range(count)
    ]


def targets(*counts: int) -> list[MaskTargets]:
    generator = torch.Generator().manual_seed(2)
    return [
        MaskTargets(
            torch.randint(0, CLASSES, (n,), generator=generator),
            torch.randint(0, 2, (n, 64, 96), dtype=torch.uint8, generator=generator),
        )
        for n in counts
    ]


def theirs(points: int):
    modeling = pytest.importorskip("transformers.models.mask2former.modeling_mask2former")
    config = modeling.Mask2FormerConfig(num_labels=CLASSES, train_num_points=points)
    assert (config.class_weight, config.mask_weight, config.dice_weight) == (2.0, 5.0, 5.0)
    weights = {"loss_cross_entropy": 2.0, "loss_mask": 5.0, "loss_dice": 5.0}
    return modeling.Mask2FormerLoss(config, weights), weights


def their_losses(points: int, given: list[QueryOutput], truth: list[MaskTargets]) -> dict:
    criterion, weights = theirs(points)
    losses = criterion(
        given[-1].mask_logits,
        given[-1].class_logits,
        [t.masks.float() for t in truth],
        [t.labels for t in truth],
        [
            {"masks_queries_logits": o.mask_logits, "class_queries_logits": o.class_logits}
            for o in given[:-1]
        ],
    )
    weighted = {name: weights[name.rstrip("_0123456789")] * value for name, value in losses.items()}
    last = {name: weighted.pop(f"loss_{their}") for name, their in (
        ("class", "cross_entropy"), ("mask", "mask"), ("dice", "dice")
    )}  # fmt: skip
    return last | {"auxiliary": torch.stack(list(weighted.values())).sum()}


@pytest.mark.parametrize("counts", [(2, 4), (1, 8)], ids=["ordinary", "more than queries"])
def test_losses_and_gradients_are_those_of_transformers(counts: tuple[int, int]) -> None:
    truth, given, given_there = targets(*counts), outputs(2), outputs(2)
    torch.manual_seed(3)
    here = mask_loss(points=200).losses(given, truth)
    torch.manual_seed(3)
    there = their_losses(200, given_there, truth)
    assert here.keys() == there.keys()
    torch.testing.assert_close(here, there)
    torch.stack(list(here.values())).sum().backward()
    torch.stack(list(there.values())).sum().backward()
    for a, b in zip(given, given_there, strict=True):
        torch.testing.assert_close(a.class_logits.grad, b.class_logits.grad)
        torch.testing.assert_close(a.mask_logits.grad, b.mask_logits.grad)


def test_losses_of_one_pair_worked_out_by_hand() -> None:
    # Masks that are 0.5 everywhere, for a segment that is 0 everywhere, at 100 points.
    truth = [MaskTargets(torch.tensor([1]), torch.zeros(1, 8, 8, dtype=torch.uint8))]
    classes = torch.tensor([[[0.0, 0.0, 0.0], [0.0, 50.0, 0.0]]])
    output = QueryOutput(classes, torch.zeros(1, 2, 8, 8))
    losses = mask_loss(points=100, no_object=0.5).losses([output, output], truth)
    # The matched query is sure, the other one gives "no object" a third.
    expected = {
        "class": 2 * 0.5 * math.log(3) / (1 + 0.5),
        "mask": 5 * math.log(2),
        "dice": 5 * (1 - 1 / (50 + 1)),
    }
    values = {name: value.item() for name, value in losses.items()}
    assert values == pytest.approx(expected | {"auxiliary": sum(expected.values())})


def test_the_surest_query_with_the_right_mask_is_matched() -> None:
    truth = targets(1)[0]
    right = torch.where(truth.masks[0].bool(), 3.0, -3.0)
    masks = torch.stack([-right, right, right])
    classes = torch.zeros(3, CLASSES + 1)
    classes[2, truth.labels[0]] = 1.0
    match = mask_loss().match(classes, masks, truth)
    assert match.prediction.tolist() == [2] and match.target.tolist() == [0]


def test_crowds_and_segments_without_a_pixel_are_no_targets() -> None:
    batch = panoptic_batch()
    two, none = mask_targets(batch)
    assert two.labels.tolist() == [2, 0]
    assert two.masks.dtype == torch.uint8 and two.masks.shape == (2, 96, 96)
    assert torch.equal(two.masks[1].bool(), batch.panoptic[0] == 300)
    assert len(none) == 0 and none.masks.shape == (0, 96, 96)
    assert two.masks[:, 64:].sum() == 0  # the padding


def test_a_batch_without_maps_is_refused() -> None:
    batch = panoptic_batch()
    batch.panoptic = None
    with pytest.raises(ValueError, match=r"\['two', 'none'\] have no panoptic maps"):
        mask_targets(batch)


@pytest.mark.parametrize("counts", [(0, 0), (0, 3)])
def test_images_without_targets_teach_the_classes_alone(counts: tuple[int, int]) -> None:
    given = outputs(2)
    losses = mask_loss(points=50).losses(given, targets(*counts))
    torch.stack(list(losses.values())).sum().backward()
    assert all(value.isfinite() for value in losses.values())
    for output in given:
        assert output.class_logits.grad[0].abs().sum() > 0
        assert output.mask_logits.grad[0].abs().sum() == 0


def test_all_draws_come_from_the_global_generator() -> None:
    values = []
    for _ in range(2):
        torch.manual_seed(5)
        values.append(mask_loss(points=50).losses(outputs(2), targets(2, 3)))
    assert values[0] == values[1]
    torch.manual_seed(6)
    assert mask_loss(points=50).losses(outputs(2), targets(2, 3)) != values[0]


def test_broken_logits_give_a_broken_loss_and_no_error_of_the_matching() -> None:
    given = outputs(1, count=1)
    with torch.no_grad():
        given[0].mask_logits[0, 0, 0, 0] = torch.nan
    losses = mask_loss(points=5000).losses(given, targets(6))
    assert losses["mask"].isnan()


def test_a_broken_query_is_matched_last_unlike_in_transformers_4() -> None:
    modeling = pytest.importorskip("transformers.models.mask2former.modeling_mask2former")
    truth = targets(1)[0]
    classes = torch.zeros(2, CLASSES + 1)
    masks = torch.randn(2, 16, 24, generator=torch.Generator().manual_seed(4))
    masks[0] = torch.nan
    assert mask_loss(points=50).match(classes, masks, truth).prediction.tolist() == [1]
    matcher = modeling.Mask2FormerHungarianMatcher(2.0, 5.0, 5.0, num_points=50)
    ((query, _),) = matcher(
        masks[None], classes[None], [truth.masks.float()], [truth.labels]
    )  # 4 makes the cost of NaN 0, which is less than that of any mask; 5 the largest there is
    is_4 = importlib.metadata.version("transformers").startswith("4.")
    assert query.tolist() == [0 if is_4 else 1]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_logits_lose_in_float32(dtype: torch.dtype) -> None:
    halves = [
        QueryOutput(o.class_logits.detach().to(dtype), 300 * o.mask_logits.detach().to(dtype))
        for o in outputs(2)
    ]
    full = [QueryOutput(o.class_logits.float(), o.mask_logits.float()) for o in halves]
    results = []
    for given in (halves, full):
        torch.manual_seed(7)
        with torch.autocast("cpu", dtype):
            results.append(mask_loss(points=50).losses(given, targets(2, 3)))
    assert results[0] == results[1]
    assert all(value.dtype == torch.float32 and value.isfinite() for value in results[0].values())


def test_processes_share_the_mean_of_both_normalisers(monkeypatch: pytest.MonkeyPatch) -> None:
    counts: list[float] = []

    def double(value: Tensor) -> None:
        counts.append(value.item())
        value.mul_(2)  # the other process has as much, so the mean is what it was

    monkeypatch.setattr("torch.distributed.is_initialized", lambda: True)
    monkeypatch.setattr("torch.distributed.get_world_size", lambda: 2)
    monkeypatch.setattr("torch.distributed.all_reduce", double)
    torch.manual_seed(8)
    several = mask_loss(points=50).losses(outputs(2), targets(2, 3))
    monkeypatch.undo()
    torch.manual_seed(8)
    assert several == mask_loss(points=50).losses(outputs(2), targets(2, 3))
    assert counts == [pytest.approx(5 + 0.1 * (2 * QUERIES - 5)), 5]


def test_transformers_divides_the_number_of_masks_by_the_processes_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    criterion, _ = theirs(10)
    modeling = pytest.importorskip("transformers.models.mask2former.modeling_mask2former")

    class TwoProcesses:
        _shared_state: ClassVar = {"there": True}
        num_processes = 2

    assert inspect.signature(modeling.reduce).parameters["reduction"].default == "mean"
    monkeypatch.setattr(modeling, "PartialState", TwoProcesses)
    monkeypatch.setattr(modeling, "reduce", lambda number: number)  # both have 8: the mean is 8
    device = torch.device("cpu")
    labels = [torch.zeros(8, dtype=torch.int64)]
    assert criterion.get_num_masks(labels, device) == 4


def test_points_are_read_like_pixels_with_zero_beyond_the_border() -> None:
    maps = torch.tensor([[[[1.0, 3.0]]]])
    points = torch.tensor([[[0.25, 0.5], [0.5, 0.5], [0.0, 0.5]]])
    assert sample_points(maps, points).tolist() == [[[1.0, 2.0, 0.5]]]


def test_most_points_are_where_the_logits_are_near_zero() -> None:
    logits = torch.full((1, 1, 64), 10.0)
    logits[0, 0, :8] = 0.01  # an eighth of the map
    torch.manual_seed(9)
    points = mask_loss(points=100, oversample=8.0, importance=0.75)._points(logits)
    unsure = (points[0, :, 0] < 1 / 8).sum().item()
    assert points.shape == (1, 100, 2) and 75 <= unsure <= 85
