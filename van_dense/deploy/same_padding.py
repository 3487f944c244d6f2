"""Convolutions with TensorFlow's "same" padding, as exporters can take them.

timm's ``Conv2dSame`` pads by what the size of its input asks for. With open sides that is an
expression of maxima and quotients, which grows from layer to layer: of a RetinaNet on
EfficientNet-Lite0 torch 2.14 had not simplified them after eight minutes of CPU time, and takes
seven seconds with constants.
"""

from __future__ import annotations

import copy
from typing import TypeVar

from timm.layers import Conv2dSame
from torch import nn

from van_dense.backbones.build import TimmBackbone

Module = TypeVar("Module", bound=nn.Module)


def with_constant_padding(network: Module) -> Module:
    """A copy whose backbones pad by constants, or the network itself where they do so already.

    Equal for images whose sides are multiples of all strides together, as those of every backbone
    of a dense model are.

    Args:
        network: Network, which is not changed.
    """
    if not any(_same_of(backbone) for backbone in _backbones(network)):
        return network
    network = copy.deepcopy(network)
    for backbone in _backbones(network):
        for name in _same_of(backbone):
            parent, _, child = name.rpartition(".")
            setattr(backbone.get_submodule(parent), child, _constant(backbone.get_submodule(name)))
    return network


def _backbones(network: nn.Module) -> list[TimmBackbone]:
    return [module for module in network.modules() if isinstance(module, TimmBackbone)]


def _same_of(backbone: TimmBackbone) -> list[str]:
    return [name for name, module in backbone.named_modules() if isinstance(module, Conv2dSame)]


def _constant(conv: nn.Module) -> nn.Sequential:
    """The same convolution of inputs whose sides are multiples of its stride."""
    assert isinstance(conv, Conv2dSame)  # the caller asks
    sides = []
    for kernel, stride, dilation in zip(
        reversed(conv.kernel_size), reversed(conv.stride), reversed(conv.dilation), strict=True
    ):
        padding = max((kernel - 1) * dilation + 1 - stride, 0)
        sides += [padding // 2, padding - padding // 2]
    plain = nn.Conv2d(
        conv.in_channels,
        conv.out_channels,
        conv.kernel_size,  # type: ignore[arg-type]
        conv.stride,  # type: ignore[arg-type]
        dilation=conv.dilation,  # type: ignore[arg-type]
        groups=conv.groups,
        bias=conv.bias is not None,
        device="meta",
    )
    left, right, top, bottom = sides
    plain.weight, plain.bias = conv.weight, conv.bias
    return nn.Sequential(nn.ZeroPad2d((left, right, top, bottom)), plain).train(conv.training)
