"""Losses and results of the saliency model."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.defaults import build_backbone
from torch import Tensor, nn
from torch.nn import functional as F

from van_dense.core.structures import Batch, Prediction
from van_dense.models.segmentation.edn import EDN
from van_dense.models.segmentation.saliency import SaliencyModel, dice_loss


class Given(nn.Module):
    """A decoder that has its answer already."""

    def __init__(self, outputs: list[Tensor]) -> None:
        super().__init__()
        self.outputs = outputs

    def forward(self, features: object) -> list[Tensor]:
        return self.outputs


def giving(*outputs: Tensor) -> SaliencyModel:
    return SaliencyModel(nn.Identity(), Given(list(outputs)))


def make_batch(*saliency: Tensor, **fields) -> Batch:
    masks = torch.stack(saliency)
    sizes = [(masks.shape[1], masks.shape[2])] * len(masks)
    images = torch.randint(
        0, 256, (len(masks), 3, *sizes[0]), dtype=torch.uint8, generator=generator()
    )
    whole = Batch(images, sizes, sizes, list(range(1, len(masks) + 1)), saliency=masks)
    return replace(whole, **fields)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture(scope="module")
def model() -> SaliencyModel:
    torch.manual_seed(0)
    backbone = build_backbone("van_b0")
    return SaliencyModel(backbone, EDN(backbone.channels))


@pytest.fixture(scope="module")
def batch() -> Batch:
    masks = torch.zeros(2, 64, 96)
    masks[0, 10:40, 20:60] = 1
    return make_batch(*masks)


def test_undecided_outputs_cost_ln_2_and_what_dice_says_of_the_whole_batch():
    batch = make_batch(torch.ones(4, 4), torch.zeros(4, 4))
    losses = giving(*[torch.zeros(2, 1, s, s) for s in (4, 2, 1)])(batch)
    # 2 * (16 * 0.5) / (32 * 0.5 + 16); image by image it would be the mean of 2/3 and 0.
    assert losses["dice"].item() == pytest.approx(3 * 0.5, abs=1e-5)
    assert losses["bce"].item() == pytest.approx(3 * math.log(2))


def test_losses_are_the_sum_over_the_outputs_brought_to_the_input_size():
    masks = torch.rand(2, 9, 13, generator=generator())  # ground truth may be soft
    outputs = [torch.randn(2, 1, *s, generator=generator()) for s in ((5, 7), (3, 4), (1, 1))]
    bce = dice = 0.0
    for output in outputs:
        p = F.interpolate(output, (9, 13), mode="bilinear")[:, 0].sigmoid()
        bce -= (masks * p.log() + (1 - masks) * (1 - p).log()).mean()
        dice += 1 - 2 * (p * masks).sum() / (p.sum() + masks.sum())
    losses = giving(*outputs)(make_batch(*masks))
    assert losses["bce"].item() == pytest.approx(float(bce), rel=1e-5)
    assert losses["dice"].item() == pytest.approx(float(dice), rel=1e-5)


def test_padding_does_not_count():
    masks = torch.rand(1, 6, 8, generator=generator()).round()
    logits = torch.randn(1, 1, 6, 8, generator=generator())
    small = giving(logits)(make_batch(*masks))
    wide = F.pad(logits, (0, 24, 0, 26), value=50.0)  # certain of what is not there
    padded = make_batch(*F.pad(masks, (0, 24, 0, 26)), sizes=[(6, 8)])
    large = giving(wide)(padded)
    assert large["bce"].item() == pytest.approx(small["bce"].item())
    assert large["dice"].item() == pytest.approx(small["dice"].item())


def test_dice_of_black_masks_is_perfect_only_without_any_prediction():
    black = torch.zeros(1, 1, 4, 4)
    assert dice_loss(black, black).item() == 0
    assert dice_loss(black + 0.5, black).item() == pytest.approx(1, abs=1e-4)


def test_black_masks_give_finite_losses_and_gradients(model):
    losses = model(make_batch(torch.zeros(64, 64), torch.zeros(64, 64)))
    sum(losses.values()).backward()
    assert all(value.isfinite() and value.shape == () for value in losses.values())
    assert all(p.grad.isfinite().all() for p in model.parameters())
    model.zero_grad()


def test_a_batch_without_masks_is_an_error_with_its_images(model, batch):
    with pytest.raises(ValueError, match=r"\[1, 2\] have no saliency masks"):
        model(replace(batch, saliency=None))


def test_every_parameter_learns(model, batch):
    model.eval()  # or a bias before BatchNorm would have no effect
    sum(model(batch).values()).backward()
    idle = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert idle == []
    model.zero_grad()


def test_a_few_steps_lower_the_losses(batch):
    torch.manual_seed(0)
    backbone = build_backbone("van_b0")
    model = SaliencyModel(backbone, EDN(backbone.channels))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    totals = []
    for _ in range(8):
        total = sum(model(batch).values())
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        totals.append(total.item())
    assert totals[-1] < 0.7 * totals[0]


def test_losses_are_computed_in_float32_also_of_half_precision_outputs(batch):
    outputs = torch.randn(2, 1, 16, 24, generator=generator()).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        mixed = giving(outputs)(batch)
    exact = giving(outputs.float())(batch)
    assert mixed == exact and all(value.dtype == torch.float32 for value in mixed.values())


def test_the_map_is_the_finest_output_at_the_input_size_then_at_the_original():
    logits = 4 * torch.randn(2, 1, 4, 4, generator=generator())
    batch = make_batch(
        *torch.zeros(2, 16, 16),
        sizes=[(16, 16), (12, 10)],
        orig_sizes=[(37, 21), (12, 10)],
        image_ids=["a", "b"],
    )
    first, second = giving(logits, torch.zeros(2, 1, 2, 2)).predict(batch)
    input_size = F.interpolate(logits, (16, 16), mode="bilinear").sigmoid()
    expected = F.interpolate(input_size[:1], (37, 21), mode="bilinear")[0, 0].numpy()
    assert (first.image_id, first.size) == ("a", (37, 21))
    assert np.allclose(first.saliency, expected, atol=1e-6)
    assert np.allclose(second.saliency, input_size[1, 0, :12, :10].numpy(), atol=1e-6)


@pytest.mark.parametrize("is_training", [False, True])
def test_maps_are_float32_in_0_to_1_in_any_mode(model, batch, is_training):
    predictions = model.train(is_training).predict(replace(batch, orig_sizes=[(50, 31), (7, 300)]))
    assert [type(p) for p in predictions] == [Prediction] * 2
    for prediction, size in zip(predictions, [(50, 31), (7, 300)], strict=True):
        saliency = prediction.saliency
        assert saliency.dtype == np.float32 and saliency.shape == prediction.size == size
        assert saliency.min() >= 0 and saliency.max() <= 1


@pytest.mark.parametrize("size", [(33, 70), (1, 5)])
def test_any_size_and_a_batch_of_one_work_in_evaluation(model, size):
    batch = make_batch(torch.ones(size))
    model.eval()
    assert all(value.isfinite() for value in model(batch).values())
    assert model.predict(batch)[0].saliency.shape == size


def test_results_do_not_depend_on_the_other_images(model, batch):
    model.eval()
    alone = replace(batch, images=batch.images[1:], sizes=[(64, 96)], orig_sizes=[(64, 96)])
    together = model.predict(batch)[1].saliency
    assert np.allclose(model.predict(alone)[0].saliency, together, atol=1e-5)


def test_outputs_that_are_not_finite_are_an_error_with_their_image():
    logits = torch.zeros(2, 1, 4, 4)
    logits[1, 0, 2, 2] = math.inf  # its sigmoid would pass for a result
    with pytest.raises(ValueError, match=r"non-finite outputs for the images \[2\]"):
        giving(logits).predict(make_batch(*torch.zeros(2, 16, 16)))


def test_broken_weights_are_an_error(batch):
    backbone = build_backbone("van_b0")
    broken = SaliencyModel(backbone, EDN(backbone.channels)).eval()
    nn.init.constant_(broken.decoder.d6[0][0].weight, math.nan)
    with pytest.raises(ValueError, match="non-finite"):
        broken.predict(batch)


def test_operations_are_counted_without_memory():
    backbone = build_backbone("van_b0")
    model = SaliencyModel(backbone, EDN(backbone.channels)).to("meta").eval()
    sizes = []
    model.decoder.levels[0].register_forward_hook(lambda _, __, out: sizes.append(out.shape))
    model.flops_forward((384, 384))
    assert sizes == [(1, 32, 96, 96)]
