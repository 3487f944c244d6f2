"""The EDN decoder against its description."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from van_dense.models.segmentation.edn import EDN, SCPC

Weights = dict[str, Tensor]
VAN_B1 = [64, 128, 320, 512]


def features_of(channels: list[int], height: int, width: int) -> list[Tensor]:
    """Random c2..c5 of an image, sizes rounded up as a backbone's."""
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(2, c, -(-height // s), -(-width // s), generator=generator)
        for c, s in zip(channels, (4, 8, 16, 32), strict=True)
    ]


def shaken(decoder: EDN) -> EDN:
    """With statistics, scales and shifts of every BatchNorm other than those of the start."""
    generator = torch.Generator().manual_seed(1)
    for module in decoder.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for values in (module.weight, module.running_var):
                values.data.uniform_(0.5, 1.5, generator=generator)
            for values in (module.bias, module.running_mean):
                values.data.uniform_(-0.3, 0.3, generator=generator)
    return decoder.eval()


def conv_norm(x: Tensor, w: Weights, name: str, dilation: int = 1) -> Tensor:
    kernel = w[f"{name}.0.weight"]
    padding = dilation if kernel.shape[-1] == 3 else 0
    x = F.conv2d(x, kernel, w.get(f"{name}.0.bias"), padding=padding, dilation=dilation)
    mean, var = w[f"{name}.1.running_mean"], w[f"{name}.1.running_var"]
    return F.batch_norm(x, mean, var, w[f"{name}.1.weight"], w[f"{name}.1.bias"], eps=1e-5)


def scpc(x: Tensor, w: Weights, name: str, *, width: int, dilations: list[int]) -> Tensor:
    entered = F.relu(conv_norm(x, w, f"{name}.enter"))
    assert entered.shape[1] == 4 * width
    a = F.relu(conv_norm(entered[:, :width], w, f"{name}.branches.0", dilations[0]))
    b = entered[:, width : 2 * width] + a
    b = F.relu(conv_norm(b, w, f"{name}.branches.1", dilations[1]))
    c = entered[:, 2 * width : 3 * width] + b
    c = F.relu(conv_norm(c, w, f"{name}.branches.2", dilations[2]))
    d = entered[:, 3 * width :] + c
    d = F.relu(conv_norm(d, w, f"{name}.branches.3", dilations[3]))
    return F.relu(x + conv_norm(torch.cat([a, b, c, d], 1), w, f"{name}.leave"))


def edn(c2: Tensor, c3: Tensor, c4: Tensor, c5: Tensor, w: Weights) -> list[Tensor]:
    """The whole decoder, written down level by level."""

    def extra(x: Tensor, name: str) -> Tensor:
        x = F.max_pool2d(x, 2, ceil_mode=True)
        return F.relu(conv_norm(F.relu(conv_norm(x, w, f"{name}.1")), w, f"{name}.2"))

    e5 = extra(c5, "e5")
    e6 = extra(e5, "e6")
    attention = torch.sigmoid(F.adaptive_avg_pool2d(e6, 1))
    d = F.relu(conv_norm(e6 * attention, w, "d6.0"))
    for block in ("d6.1", "d6.2"):
        d = scpc(d, w, block, width=48, dilations=[1, 1, 1, 1])
    outputs = []
    for index, encoded, width, dilations in (
        (4, e5 * attention, 48, [1, 1, 1, 1]),
        (3, c5, 96, [1, 2, 3, 4]),
        (2, c4, 48, [1, 2, 3, 4]),
        (1, c3, 24, [1, 2, 4, 8]),
        (0, c2, 16, [1, 2, 4, 8]),
    ):
        name = f"levels.{index}"
        top_down = F.relu(conv_norm(d, w, f"{name}.top_down"))
        size = (encoded.shape[2], encoded.shape[3])
        top_down = F.interpolate(top_down, size=size, mode="bilinear", align_corners=False)
        d = torch.cat([top_down, F.relu(conv_norm(encoded, w, f"{name}.lateral"))], dim=1)
        for block in (0, 1):
            d = scpc(d, w, f"{name}.blocks.{block}", width=width, dilations=dilations)
        outputs.append(F.conv2d(d, w[f"outputs.{index}.weight"], w[f"outputs.{index}.bias"]))
    return outputs[::-1]


@pytest.mark.parametrize("size", [(128, 256), (75, 141)])
@torch.no_grad()
def test_the_decoder_equals_its_functional_statement(size):
    torch.manual_seed(0)
    decoder = shaken(EDN(VAN_B1))
    features = features_of(VAN_B1, *size)
    ours, stated = decoder(features), edn(*features, dict(decoder.state_dict()))
    assert len(ours) == len(stated) == 5
    for mine, theirs in zip(ours, stated, strict=True):
        assert theirs.std() > 1e-3  # or the comparison would say nothing
        assert torch.allclose(mine, theirs, atol=1e-4)


def test_it_has_the_parameters_of_the_table_on_the_widths_of_b1_and_b2():
    assert sum(p.numel() for p in EDN(VAN_B1).parameters()) == 5_095_301


def test_the_channels_of_every_level_are_those_of_the_recipe():
    decoder = EDN(VAN_B1)
    assert [output.in_channels for output in decoder.outputs] == [32, 64, 128, 256, 128]
    widths = [m.branches[0].out_channels for m in decoder.modules() if isinstance(m, SCPC)]
    assert widths == [48, 48, 16, 16, 24, 24, 48, 48, 96, 96, 48, 48]  # d6, then d1..d5
    assert all(c.bias is None for m in decoder.modules() if isinstance(m, SCPC) for c in convs(m))


def convs(module: torch.nn.Module) -> list[torch.nn.Conv2d]:
    return [m for m in module.modules() if isinstance(m, torch.nn.Conv2d)]


@pytest.mark.parametrize(("height", "width"), [(384, 384), (33, 70), (1, 1)])
@torch.no_grad()
def test_outputs_have_the_sizes_of_their_levels_for_any_backbone_and_image(height, width):
    channels = [4, 6, 10, 256]
    sizes = [x.shape[-2:] for x in EDN(channels).eval()(features_of(channels, height, width))]
    expected = [(-(-height // s), -(-width // s)) for s in (4, 8, 16, 32, 64)]
    assert [tuple(size) for size in sizes] == expected


@torch.no_grad()
def test_no_output_is_certain_at_the_start():
    torch.manual_seed(0)
    for logits in EDN(VAN_B1)(features_of(VAN_B1, 128, 128)):
        assert logits.abs().max() < 5
