"""Light-Ham: values of the authors' code, a plain statement, and where its rank shows."""

from __future__ import annotations

import zlib

import pytest
import torch
import torch.nn.functional as F
from helpers.defaults import light_ham
from torch import Tensor

from benchmarks.harness.complexity import count_parameters
from van_dense.models.segmentation.light_ham import NMF

DIMS = [8, 64, 96, 160]


def features(*size: int, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    height, width = size
    return [
        torch.randn(
            2, c, -(-height // s), -(-width // s), generator=torch.Generator().manual_seed(s)
        ).to(dtype)
        for c, s in zip(DIMS, (4, 8, 16, 32), strict=True)
    ]


def filled(module: torch.nn.Module) -> torch.nn.Module:
    """Weights that depend on their names alone; the bases stay."""
    for key, value in module.named_parameters():
        generator = torch.Generator().manual_seed(zlib.crc32(key.encode()))
        if value.ndim > 1:
            fan_in = value[0].numel()
            value.data = torch.randn(value.shape, generator=generator) / fan_in**0.5
        else:
            drawn = torch.rand(value.shape, generator=generator)
            value.data = 0.5 * drawn + 0.5 * (not key.endswith("bias"))
    return module.eval()


def conv_gn(x: Tensor, w: dict[str, Tensor], name: str) -> Tensor:
    x = F.conv2d(x, w[f"{name}.conv.weight"])
    return F.group_norm(x, 32, w[f"{name}.gn.weight"], w[f"{name}.gn.bias"])


def plain_nmf(x: Tensor, bases: Tensor, steps: int) -> Tensor:
    """Image by image, as the paper writes the updates: D is bases (D, R), C codes (R, N)."""
    images = []
    for features, d in zip(x.flatten(2), bases, strict=True):
        c = (d.T @ features).softmax(dim=0)
        for _ in range(steps):
            c = c * (d.T @ features) / (d.T @ d @ c + 1e-6)
            d = d * (features @ c.T) / (d @ c @ c.T + 1e-6)
        c = c * (d.T @ features) / (d.T @ d @ c + 1e-6)
        images.append((d @ c).view(x.shape[1:]))
    return torch.stack(images)


@pytest.mark.parametrize("size", [(64, 96), (67, 95)])
@pytest.mark.parametrize("training", [True, False])
def test_logits_agree_with_the_plain_statement(size: tuple[int, int], training: bool) -> None:
    module = filled(light_ham(DIMS, 5, channels=64, ham_channels=96, rank=7, dropout=0.0))
    module.train(training)
    w, maps = module.state_dict(), features(*size)
    like = maps[1].shape[-2:]
    joined = torch.cat([F.interpolate(m, like, mode="bilinear") for m in maps[1:]], dim=1)
    x = conv_gn(joined, w, "squeeze").relu()
    ham = F.conv2d(x, w["hamburger.ham_in.conv.weight"], w["hamburger.ham_in.conv.bias"]).relu()
    torch.manual_seed(3)
    drawn = F.normalize(torch.rand(2, 96, 7), dim=1)
    bases = drawn if training else w["hamburger.ham.bases"].expand(2, -1, -1)
    ham = conv_gn(plain_nmf(ham, bases, 6 if training else 7), w, "hamburger.ham_out")
    x = conv_gn((x + ham).relu(), w, "align").relu()
    expected = F.conv2d(x, w["conv_seg.weight"], w["conv_seg.bias"])
    torch.manual_seed(3)
    found = module(maps)
    assert found.shape[-2:] == like  # stride 8
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_logits_are_those_of_the_authors_code() -> None:
    """With their module, ``filled`` weights and these bases; see docs/relatives.md."""
    module = filled(light_ham(DIMS, 5, channels=64, ham_channels=96, rank=16))
    logits = module(features(67, 95))
    assert logits.double().abs().sum().item() == pytest.approx(582.0137, rel=1e-4)
    expected = [0.471143, -0.387618, -0.472852]
    assert logits[0, :3, -1, -1].tolist() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    ("dims", "width", "parameters"),
    [
        ([32, 64, 160, 256], 256, 359_830),
        ([64, 128, 320, 512], 256, 482_710),
        ([64, 128, 320, 512], 512, 1_358_486),
        ([64, 128, 320, 512], 1024, 4_289_686),
    ],
)
def test_counts_are_those_of_segnext(dims: list[int], width: int, parameters: int) -> None:
    with torch.device("meta"):
        head = light_ham(dims, 150, channels=width, ham_channels=width)
    assert count_parameters(head) == parameters


def test_evaluation_repeats_itself_whatever_the_global_seed() -> None:
    results = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        module = filled(light_ham(DIMS, 5))
        results += [module(features(64, 64)), module(features(64, 64))]
    assert all(torch.equal(results[0], other) for other in results[1:])


def test_an_image_does_not_depend_on_its_batch_in_evaluation() -> None:
    module, maps = filled(light_ham(DIMS, 5)), features(64, 64)
    alone = module([level[:1] for level in maps])
    torch.testing.assert_close(module(maps)[:1], alone, rtol=1e-5, atol=1e-5)


def test_training_draws_new_bases_for_each_image_and_forward() -> None:
    nmf = NMF(6, rank=3, train_steps=1, eval_steps=1)
    x = torch.rand(1, 6, 4, 5).expand(2, -1, -1, -1)
    first, second = nmf(x), nmf(x)
    assert not torch.allclose(first, second) and not torch.allclose(first[0], first[1])
    torch.manual_seed(0)
    again = nmf(x)
    torch.manual_seed(0)
    assert torch.equal(nmf(x), again)  # a resumed run draws the same


def test_bases_are_no_parameter_have_length_1_and_travel() -> None:
    nmf = NMF(6, rank=3, train_steps=1, eval_steps=1)
    assert list(nmf.parameters()) == [] and list(nmf.state_dict()) == ["bases"]
    torch.testing.assert_close(nmf.bases.norm(dim=0), torch.ones(3))
    assert (nmf.bases >= 0).all()


def test_a_state_of_another_rank_is_refused_with_both_numbers() -> None:
    state = light_ham(DIMS, 5, rank=4).state_dict()
    with pytest.raises(RuntimeError, match=r"rank 4, this network has 16.*model\.decoder\.rank=4"):
        light_ham(DIMS, 5, rank=16).load_state_dict(state)


def test_more_steps_come_closer_to_a_product_of_that_rank() -> None:
    torch.manual_seed(0)
    x = (torch.rand(1, 8, 3) @ torch.rand(1, 3, 30)).view(1, 8, 5, 6)
    errors = []
    for steps in (1, 7, 100):
        nmf = NMF(8, rank=3, train_steps=1, eval_steps=steps).eval()
        errors.append((nmf(x) - x).abs().mean().item())
    assert errors[0] > errors[1] > errors[2] and errors[2] < 0.05


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("training", [True, False])
def test_autocast_leaves_the_factorisation_in_float32(dtype: torch.dtype, training: bool) -> None:
    """In halves the sums of 1024 positions of values near 100 would be infinite."""
    module = light_ham(DIMS, 5, dropout=0.0).train(training)
    nmf = module.hamburger.ham
    with torch.autocast("cpu", dtype):
        x = (100 * torch.rand(1, 256, 32, 32)).to(dtype).requires_grad_()
        found = nmf(x)
        assert found.dtype == dtype and torch.isfinite(found).all()
        logits = module(features(64, 64))
        logits.float().square().mean().backward()
    assert all(torch.isfinite(p.grad).all() for p in module.parameters())


def test_halves_agree_with_float32() -> None:
    module = filled(light_ham(DIMS, 5))
    expected = module(features(64, 64))
    with torch.autocast("cpu", torch.bfloat16):
        found = module(features(64, 64)).float()
    assert (found - expected).abs().mean() < 0.05 * expected.abs().mean()


def test_nothing_above_zero_stays_finite() -> None:
    nmf = NMF(6, rank=3, train_steps=6, eval_steps=7)
    for mode in (True, False):
        found = nmf.train(mode)(torch.zeros(1, 6, 2, 2))
        assert torch.equal(found, torch.zeros(1, 6, 2, 2))
