"""UniRepLKNet: the merged form, its files, and the norms that no classifier has."""

from typing import Any

import pytest
import timm
import torch
from helpers.defaults import build_backbone, build_classifier
from torch import Tensor, nn

from benchmarks.harness.seeded_weights import seed_weights
from van_dense.backbones.unireplknet import SIZES, UniRepLKNet, merged_copy
from van_dense.backbones.unireplknet_layers import LARGE, SMALL, Block
from van_dense.backbones.weights import load_backbone
from van_dense.models.cpu_copy import cpu_copy
from van_dense.models.dense_model import DenseModel

# With 1000 classes: counted from the authors' definition, and what their README prints.
MERGED = {
    "unireplknet_a": 4_437_300,
    "unireplknet_f": 6_235_216,
    "unireplknet_p": 10_741_704,
    "unireplknet_n": 18_318_560,
    "unireplknet_t": 31_037_980,
    "unireplknet_s": 55_645_984,
    "unireplknet_b": 98_008_456,
    "unireplknet_l": 218_454_616,
    "unireplknet_xl": 386_529_064,
}
OPTIONS = {"embed_dims": (8, 16, 16, 24), "depths": (1, 2, 3, 1), "large_every": 2}


class Model(DenseModel):
    """The backbone alone, as a model that knows nothing but ``flops_forward``."""

    def flops_forward(self, size: tuple[int, int]) -> list[Tensor]:
        return self.backbone(self.zeros(3, *size))


def trained(**options: Any) -> Any:
    """A small backbone with the weights of no fresh network."""
    backbone = build_backbone("unireplknet_a", options=OPTIONS | options)
    return seed_weights(backbone)


@pytest.mark.parametrize("name", SIZES)
def test_merged_parameter_counts_are_exact(name: str) -> None:
    with torch.device("meta"):
        model = timm.create_model(name, merged=True)
    assert sum(parameter.numel() for parameter in model.parameters()) == MERGED[name]


@pytest.mark.parametrize("kernel", [LARGE, SMALL])
def test_a_merged_block_is_the_same_function(kernel: int) -> None:
    block, x = seed_weights(Block(8, kernel, 0.1, merged=False)), torch.randn(2, 8, 17, 20)
    before = block(x)
    block.reparameterize()
    torch.testing.assert_close(block(x), before, rtol=1e-5, atol=1e-5)
    assert block.is_merged and not any(isinstance(m, nn.BatchNorm2d) for m in block.modules())
    block.reparameterize()  # once is enough
    torch.testing.assert_close(block(x), before, rtol=1e-5, atol=1e-5)


def test_a_branch_is_a_part_of_the_large_kernel() -> None:
    block = seed_weights(Block(8, LARGE, 0.0, merged=False))
    for name, module in block.dwconv.named_children():
        if "k3_5" not in name and not isinstance(module, nn.BatchNorm2d):
            nn.init.zeros_(module.weight)
    kernel, _ = block.dwconv.kernel_and_bias()
    taps = kernel[0, 0].nonzero().unique()
    assert taps.tolist() == [1, 6, 11]  # 3 taps at a distance of 5 about the centre of 13


@pytest.mark.parametrize("size", [(64, 96), (67, 95)])
def test_merging_changes_no_map_and_no_logit(size: tuple[int, int]) -> None:
    images = torch.randn(2, 3, *size)
    backbone, whole = trained(), seed_weights(UniRepLKNet((8, 16, 16, 24), (1, 2, 3, 1), 2))
    with torch.no_grad():
        maps, logits = backbone(images), whole(images)
        backbone.body.merge()
        whole.merge()
        torch.testing.assert_close(backbone(images), maps, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(whole(images), logits, rtol=1e-5, atol=1e-5)
    assert backbone.body.is_merged and whole.is_merged


def test_a_merged_network_fills_one_that_is_built_so() -> None:
    source, target = trained(), trained(merged=True)
    source.body.merge()
    assert list(target.state_dict()) == list(source.state_dict())
    report = load_backbone(target, source.body.state_dict())
    assert (report.coverage, report.missing, report.new, report.unexpected) == (100, [], [], [])
    images = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(target(images), source(images), rtol=0, atol=0)


def test_timm_merges_it_as_well() -> None:
    backbone, images = trained(), torch.randn(1, 3, 64, 64)
    merged = timm.utils.reparameterize_model(backbone)
    torch.testing.assert_close(merged(images), backbone(images), rtol=1e-5, atol=1e-5)
    assert merged.body.is_merged and not backbone.body.is_merged


def test_merging_draws_no_random_numbers_and_touches_no_shared_tensor() -> None:
    model = Model(trained())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    clone, copied = cpu_copy(model), merged_copy(model)
    assert torch.equal(torch.get_rng_state(), state)
    assert clone.backbone.body.is_merged and copied.backbone.body.is_merged
    assert not model.backbone.body.is_merged
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_predictions_on_a_cpu_and_files_come_from_the_merged_form() -> None:
    model, images = Model(trained()), torch.randn(1, 3, 67, 95)
    for clone in (cpu_copy(model), merged_copy(model)):
        with torch.no_grad():
            torch.testing.assert_close(
                clone.backbone(images), model.backbone(images), rtol=1e-4, atol=1e-4
            )
    other = Model(build_backbone("van_b0", options={"depths": (1, 1, 1, 1)}))
    assert merged_copy(other) is other


@pytest.mark.parametrize("merged", [False, True])
@pytest.mark.parametrize("prefix", ["", "backbone.body."])
def test_weights_of_the_other_form_are_refused(merged: bool, prefix: str) -> None:
    state = {f"{prefix}{k}": v for k, v in trained(merged=not merged).body.state_dict().items()}
    fix = f"options={{merged: {'false' if merged else 'true'}}}"
    with pytest.raises(ValueError, match=f"form of UniRepLKNet.*{fix}"):
        load_backbone(trained(merged=merged), state)


def test_weights_of_a_classifier_lack_the_norms_of_maps_which_the_report_calls_new() -> None:
    source = seed_weights(timm.create_model("unireplknet_a"))
    backbone = build_backbone("unireplknet_a")
    report = load_backbone(backbone, source.state_dict())
    assert (report.coverage, report.missing, report.reshaped) == (100, [], [])
    assert report.new == [f"norm{i}.{kind}" for i in range(4) for kind in ("weight", "bias")]
    assert report.unexpected == ["norm.weight", "norm.bias"]
    assert "  new            8  norm0.weight, norm0.bias, norm1.weight, ... and 5 more" in str(
        report
    )
    assert all(bool((getattr(backbone.body, f"norm{i}").weight == 1).all()) for i in range(4))
    again = build_backbone("unireplknet_a")
    assert load_backbone(again, backbone.body.state_dict()).new == []


def test_maps_are_normalised_and_stages_are_not() -> None:
    backbone, images = trained(), torch.randn(1, 3, 64, 64)
    body = backbone.body
    last, maps = body.forward_intermediates(images)
    torch.testing.assert_close(body.norm3(last), maps[-1])
    torch.testing.assert_close(body.forward_features(images), last)
    classifier = build_classifier("unireplknet_a", 5, options=OPTIONS).body.eval()
    plain, maps = classifier.forward_intermediates(images)
    torch.testing.assert_close(plain, maps[-1])


def test_official_initialisation() -> None:
    torch.manual_seed(0)
    model = timm.create_model("unireplknet_a")
    block = model.stages[2][0]
    assert block.dwconv.lk_origin.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert block.pwconv1[1].weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert torch.all(block.gamma == 1e-6) and not block.act[1].gamma.any()
    assert model.norm.eps == model.downsample_layers[1][1].eps == 1e-6


def test_large_kernels_stand_where_the_paper_has_them() -> None:
    def kernels(name: str) -> list[list[bool]]:
        with torch.device("meta"):
            stages = timm.create_model(name).stages
        return [[hasattr(b.dwconv, "lk_origin") for b in stage] for stage in stages]

    assert kernels("unireplknet_a") == [[False] * 2, [True] * 2, [True] * 6, [True] * 2]
    every_second, every_third = [True, False], [True, False, False]
    assert kernels("unireplknet_t") == [[False] * 3, [True] * 3, every_second * 9, [True] * 3]
    assert kernels("unireplknet_b") == [[False] * 3, [True] * 3, every_third * 9, [True] * 3]
