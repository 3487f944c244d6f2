"""Counting under three protocols, by hand on single layers and on VAN against known counts."""

from collections.abc import Callable

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import van_dense  # noqa: F401  (registers VAN in timm)
from benchmarks.harness.complexity import PROTOCOLS, count_macs, count_parameters


def counts(run: Callable[[Tensor], object], *shape: int) -> list[int]:
    """One count for each protocol: mac, mmcv, torchprofile."""
    images = torch.zeros(*shape, device="meta")
    return [count_macs(lambda: run(images), protocol) for protocol in PROTOCOLS]


def layer(module: nn.Module) -> nn.Module:
    return module.to("meta").eval()


def test_a_convolution_counts_its_taps_at_every_output_position() -> None:
    conv = layer(nn.Conv2d(3, 8, 3, padding=1))
    taps = 8 * 3 * 9 * (4 * 5)
    assert counts(conv, 1, 3, 4, 5) == [taps, taps + 8 * 20, taps]  # mmcv adds the bias


def test_a_depthwise_convolution_counts_one_channel_for_each_output() -> None:
    conv = layer(nn.Conv2d(6, 6, 5, padding=2, groups=6, bias=False))
    assert counts(conv, 2, 6, 4, 4) == [2 * 6 * 25 * 16] * 3


def test_a_transposed_convolution_counts_its_taps_at_the_input_positions() -> None:
    deconv = layer(nn.ConvTranspose2d(4, 6, 2, stride=2))
    taps = 4 * 6 * 4 * (3 * 3)
    assert counts(deconv, 1, 4, 3, 3) == [taps, taps + 6 * 36, taps]


def test_a_linear_layer_counts_its_matrix_and_in_mmcv_its_bias() -> None:
    assert counts(layer(nn.Linear(7, 5)), 2, 7) == [70, 70 + 10, 70]


def test_attention_counts_both_matrix_products() -> None:
    def attend(x: Tensor) -> Tensor:
        return (x @ x.transpose(1, 2)) @ x

    assert counts(attend, 3, 10, 4) == [2 * 3 * 10 * 10 * 4] * 3


@pytest.mark.parametrize(
    "norm", [nn.BatchNorm2d(4), nn.GroupNorm(2, 4), nn.LayerNorm([4, 5, 5])], ids=type
)
def test_a_norm_counts_two_per_element_in_mmcv_and_one_in_torchprofile(norm: nn.Module) -> None:
    assert counts(layer(norm), 2, 4, 5, 5) == [0, 2 * 200, 200]


def test_only_mmcv_counts_relu_and_nobody_counts_gelu() -> None:
    assert counts(F.relu, 1, 2, 3, 3) == [0, 18, 0]
    assert counts(layer(nn.ReLU(inplace=True)), 1, 2, 3, 3) == [0, 18, 0]
    assert counts(F.gelu, 1, 2, 3, 3) == [0, 0, 0]


def test_mmcv_counts_pooling_at_the_input_and_torchprofile_averages_at_the_output() -> None:
    assert counts(lambda x: F.max_pool2d(x, 2), 1, 2, 4, 4) == [0, 32, 0]
    assert counts(lambda x: F.avg_pool2d(x, 2), 1, 2, 4, 4) == [0, 32, 8]
    assert counts(lambda x: F.adaptive_avg_pool2d(x, 2), 1, 2, 4, 4) == [0, 32, 8]


def test_only_torchprofile_counts_products_and_bilinear_resizing() -> None:
    assert counts(lambda x: x * x, 1, 2, 3, 3) == [0, 0, 18]
    resized = counts(lambda x: F.interpolate(x, scale_factor=2, mode="bilinear"), 1, 2, 3, 3)
    assert resized == [0, 0, 4 * 2 * 36]


def test_a_real_forward_pass_counts_as_much_as_one_on_the_meta_device() -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 2, 1)
    ).eval()
    image = torch.zeros(1, 3, 10, 10)
    real = [count_macs(lambda: network(image), protocol) for protocol in PROTOCOLS]
    assert real == counts(layer(network), 1, 3, 10, 10)


def test_frozen_parameters_count_and_running_statistics_do_not() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)).requires_grad_(False)
    assert count_parameters(model) == (3 * 4 + 4) + 2 * 4


def test_a_parameter_that_two_modules_share_counts_once() -> None:
    conv = nn.Conv2d(2, 2, 1)
    assert count_parameters(nn.Sequential(conv, conv)) == 6


def test_an_unknown_protocol_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"'flops' is unknown; choose one of \['mac', 'mmcv'"):
        count_macs(lambda: None, "flops")  # type: ignore[arg-type]


def build(name: str) -> nn.Module:
    with torch.device("meta"):
        return timm.create_model(name, num_classes=1000).eval()


# Independent counts of the published networks at 224x224, rounded to 0.01 G.
@pytest.mark.parametrize(
    "name, params, gmacs",
    [
        ("van_b0", 4_105_800, (0.86, 0.88, 0.87)),
        ("van_b1", 13_861_800, (2.50, 2.52, 2.50)),
        ("van_b2", 26_578_472, (4.99, 5.03, 5.00)),
        ("van_b3", 44_765_608, (8.93, 8.99, 8.94)),
        ("van_b4", 60_283_176, (12.14, 12.22, 12.16)),
        ("van_b5", 89_967_688, (17.13, 17.21, 17.15)),
        ("van_b6", 199_829_416, (38.71, 38.91, 38.76)),
    ],
)
def test_van_has_its_known_counts(name: str, params: int, gmacs: tuple[float, ...]) -> None:
    model = build(name)
    assert count_parameters(model) == params
    assert [n / 1e9 for n in counts(model, 1, 3, 224, 224)] == pytest.approx(gmacs, abs=0.0055)


@pytest.mark.parametrize("name, gmacs", [("van_b4", 35.92), ("van_b5", 50.57), ("van_b6", 114.34)])
def test_van_has_its_known_count_at_384(name: str, gmacs: float) -> None:
    model = build(name)
    image = torch.zeros(1, 3, 384, 384, device="meta")
    assert count_macs(lambda: model(image), "mmcv") / 1e9 == pytest.approx(gmacs, abs=0.0055)
