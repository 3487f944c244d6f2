"""Losses of label maps against their plain statements."""

from __future__ import annotations

from fractions import Fraction
from math import floor

import pytest
import segmentation_models_pytorch as smp
import torch
from helpers.defaults import build_loss
from torch import Tensor
from torch.nn import functional as F

from van_dense.models.segmentation import segmentation_losses

NAMES = ["cross_entropy", "ohem", "dice", "focal", "lovasz", "tversky"]


@pytest.fixture
def labels() -> Tensor:
    labels = torch.randint(0, 5, (2, 33, 47), generator=torch.manual_seed(0))
    labels[0, :9] = 255
    labels[1, 20:, 11:] = 255
    return labels


@pytest.fixture
def logits() -> Tensor:
    return (2 * torch.randn(2, 5, 9, 12, generator=torch.manual_seed(1))).requires_grad_()


def upsampled(logits: Tensor, labels: Tensor) -> Tensor:
    return F.interpolate(logits, labels.shape[-2:], mode="bilinear", align_corners=False)


def value_and_gradient(loss: Tensor, logits: Tensor) -> tuple[float, Tensor]:
    (gradient,) = torch.autograd.grad(loss, logits)
    return loss.item(), gradient


@pytest.mark.parametrize("weights", [None, [1.0, 0.5, 2.0, 0.0, 3.0]])
@pytest.mark.parametrize("rows", [1, 7, 100])
def test_bands_change_neither_cross_entropy_nor_its_gradient(
    logits, labels, weights, rows, monkeypatch
):
    monkeypatch.setattr(segmentation_losses, "BAND_ELEMENTS", rows * 5 * 47)
    plain = F.cross_entropy(
        upsampled(logits, labels),
        labels,
        weight=None if weights is None else torch.tensor(weights),
        ignore_index=255,
        reduction="none",
    ).mean()  # over ignored pixels too, as mmseg 0.x
    expected = value_and_gradient(plain, logits)
    found = value_and_gradient(
        build_loss("cross_entropy", class_weights=weights)(logits, labels), logits
    )
    assert found[0] == pytest.approx(expected[0], rel=1e-6)
    assert torch.allclose(found[1], expected[1], atol=1e-8, rtol=1e-4)


@pytest.mark.parametrize("size", [(9, 12), (36, 48), (13, 90), (5, 7)])
def test_any_ratio_of_sizes_is_interpolated_as_pytorch_does(logits, size):
    labels = torch.randint(0, 5, (2, *size), generator=torch.manual_seed(2))
    plain = F.cross_entropy(upsampled(logits, labels), labels)
    expected = value_and_gradient(plain, logits)
    found = value_and_gradient(build_loss("cross_entropy")(logits, labels), logits)
    assert found[0] == pytest.approx(expected[0], rel=1e-5)
    assert torch.allclose(found[1], expected[1], atol=1e-7, rtol=1e-3)


@pytest.mark.parametrize("threshold, min_kept", [(0.4, 1), (0.01, 300), (0.7, 10**6)])
def test_ohem_keeps_pixels_below_the_threshold_and_the_hardest_ones(
    logits, labels, threshold, min_kept
):
    scores = upsampled(logits, labels)
    valid = labels != 255
    wanted = labels.clone()
    wanted[~valid] = 0
    probability = scores.softmax(1).gather(1, wanted[:, None])[:, 0]
    hardest = probability[valid].sort().values
    limit = max(threshold, hardest[min(2 * min_kept, len(hardest)) - 1].item())
    kept = valid & (probability <= limit)
    plain = F.cross_entropy(scores, wanted, reduction="none")[kept].sum() / labels.numel()
    expected = value_and_gradient(plain, logits)
    loss = build_loss("ohem", ohem_threshold=threshold, ohem_min_kept=min_kept)(logits, labels)
    found = value_and_gradient(loss, logits)
    assert found[0] == pytest.approx(expected[0], rel=1e-4)
    assert torch.allclose(found[1], expected[1], atol=1e-7, rtol=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_every_loss_falls_where_the_logits_become_right(name, labels):
    right = F.one_hot(labels.masked_fill(labels == 255, 0), 5).permute(0, 3, 1, 2).float()
    loss = build_loss(name)
    assert loss(40 * right - 20, labels) < 0.02 < loss(20 - 40 * right, labels)


@pytest.mark.parametrize("name", NAMES)
def test_ignored_pixels_change_nothing(name, logits, labels):
    changed = upsampled(logits.detach(), labels).clone()
    before = build_loss(name)(changed, labels)
    changed.permute(0, 2, 3, 1)[labels == 255] = torch.randn(5)
    assert build_loss(name)(changed, labels).item() == pytest.approx(before.item(), rel=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_where_everything_is_ignored_the_loss_is_zero_and_has_a_gradient(name, logits, labels):
    value, gradient = value_and_gradient(
        build_loss(name)(logits, torch.full_like(labels, 255)), logits
    )
    assert value == 0 and (gradient == 0).all()


def test_lovasz_of_smp_has_no_value_where_everything_is_ignored(logits, labels):
    everywhere = torch.full_like(labels, 255)
    loss = smp.losses.LovaszLoss("multiclass", ignore_index=255)
    assert loss(upsampled(logits, labels), everywhere).numel() == 0


@pytest.mark.parametrize("name", NAMES)
def test_half_precision_logits_are_measured_in_single_precision(name, logits, labels):
    half = logits.detach().bfloat16().requires_grad_()
    loss = build_loss(name)(half, labels)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(build_loss(name)(half.float(), labels).item(), rel=1e-5)
    assert torch.autograd.grad(loss * 1024, half)[0].dtype == torch.bfloat16


@pytest.mark.parametrize("name", NAMES)
def test_autocast_changes_nothing(name, logits, labels):
    with torch.autocast("cpu", torch.bfloat16):
        loss = build_loss(name)(logits, labels)
    assert loss.item() == pytest.approx(build_loss(name)(logits, labels).item(), rel=1e-5)


def test_nothing_is_kept_without_a_gradient(logits, labels):
    with torch.no_grad():
        assert not build_loss("cross_entropy")(logits, labels).requires_grad


@pytest.mark.parametrize("rows", [1, 7, 100])
@pytest.mark.parametrize("name", ["focal", "dice", "lovasz", "tversky"])
def test_losses_of_smp_are_those_of_smp(name, rows, logits, labels, monkeypatch):
    monkeypatch.setattr(segmentation_losses, "BAND_ELEMENTS", rows * 5 * 47)
    cls = getattr(smp.losses, f"{name.capitalize()}Loss")
    weights = {"alpha": 0.3, "beta": 0.7} if name == "tversky" else {}
    plain = cls("multiclass", ignore_index=255, **weights)(upsampled(logits, labels), labels)
    expected = value_and_gradient(plain, logits)
    found = value_and_gradient(build_loss(name)(logits, labels), logits)
    assert found[0] == pytest.approx(expected[0], rel=1e-6)
    assert torch.allclose(found[1], expected[1], atol=1e-8, rtol=1e-4)


@pytest.mark.parametrize("cells, height", [(1, 9), (7, 1), (3, 10), (10, 3), (113, 997), (97, 776)])
def test_bands_of_single_rows_meet_without_a_seam(cells, height, monkeypatch):
    monkeypatch.setattr(segmentation_losses, "BAND_ELEMENTS", 1)
    logits = torch.randn(1, 2, cells, 3)
    labels = torch.zeros(1, height, 5, dtype=torch.int64)
    rows = [
        segmentation_losses._upsample(
            logits[:, :, part], logits, labels, rows=rows, first=part.start
        )
        for _, rows, part in segmentation_losses._bands(logits, labels)
    ]
    assert len(rows) == height
    assert torch.allclose(torch.cat(rows, dim=2), upsampled(logits, labels), atol=1e-4)


def test_every_row_lies_between_two_cells_of_its_band_even_in_huge_maps():
    for height, cells in ((10_000, 9_999), (65_536, 16_384), (30_001, 7_501)):
        labels = torch.empty(1, height, 1, device="meta")
        logits = torch.empty(1, segmentation_losses.BAND_ELEMENTS, cells, 1, device="meta")
        for _, rows, part in segmentation_losses._bands(logits, labels):
            exact = Fraction((2 * rows.start + 1) * cells - height, 2 * height)
            assert part.start == max(0, floor(exact))
            assert part.stop == min(cells, part.start + 2)


def test_a_loss_scale_reaches_the_gradient_before_half_precision_rounds_it():
    logits = torch.randn(1, 150, 128, 128, generator=torch.manual_seed(0)).half().requires_grad_()
    labels = torch.randint(0, 150, (1, 256, 256), generator=torch.manual_seed(1))
    loss = build_loss("cross_entropy")(logits, labels)
    (scaled,) = torch.autograd.grad(loss * 2.0**16, logits)
    exact = logits.detach().float().requires_grad_()
    plain = F.cross_entropy(upsampled(exact, labels), labels)
    (expected,) = torch.autograd.grad(plain, exact)
    assert torch.allclose(scaled.float() / 2**16, expected, rtol=1e-3, atol=2e-10)


def test_weights_follow_the_logits_to_their_device(labels):
    logits = torch.empty(2, 5, 9, 12, device="meta", requires_grad=True)
    loss = build_loss("cross_entropy", class_weights=[1, 2, 3, 4, 5])
    assert loss(logits, labels.to("meta")).is_meta


def test_class_weights_of_a_loss_that_has_none_are_refused():
    with pytest.raises(ValueError, match="not with 'dice'"):
        build_loss("dice", class_weights=[1.0, 2.0])


def test_class_weights_must_fit_the_classes(logits, labels):
    with pytest.raises(ValueError, match="3 entries for 5 classes"):
        build_loss("cross_entropy", class_weights=[1.0, 1.0, 1.0])(logits, labels)


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match="lovasz"):
        build_loss("lovas")
