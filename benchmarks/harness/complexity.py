"""Counts parameters and multiply-accumulates under the protocols the papers used.

torch's own counter walks the operators that really run, so modules, functional calls and meta
tensors are all counted; a protocol only adds what its tool counts beside convolutions and matrix
products. One multiply-accumulate is one "FLOP" in every table of the VAN paper.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

Protocol = Literal["mac", "mmcv", "torchprofile"]
Formula = Callable[..., int]  # FLOPs of an operator from the shapes of its tensors

aten = torch.ops.aten


def _per_output(weight: int) -> Formula:
    """Count ``weight`` for each element of the (first) output."""

    def formula(*_: Any, out_shape: Any, **__: Any) -> int:
        first = out_shape if isinstance(out_shape, torch.Size) else out_shape[0]
        return 2 * weight * math.prod(first)

    return formula


def _per_input(weight: int) -> Formula:
    """Count ``weight`` for each element of the input."""

    def formula(input_shape: torch.Size, *_: Any, **__: Any) -> int:
        return 2 * weight * math.prod(input_shape)

    return formula


def _convolution_with_bias(x: Any, weight: Any, bias: Any, *rest: Any, out_shape: Any) -> int:
    """A transposed convolution works at its input positions; the bias is added at the output."""
    is_transposed = rest[3]
    positions = x[0] * math.prod((x if is_transposed else out_shape)[2:])
    return 2 * (math.prod(weight) * positions + (math.prod(out_shape) if bias else 0))


def _linear_with_bias(_: Any, x: Any, weight: Any, *, out_shape: Any, **__: Any) -> int:
    return 2 * (math.prod(x) * weight[1] + math.prod(out_shape))


NORMS = (
    aten.native_batch_norm,
    aten._native_batch_norm_legit,
    aten._native_batch_norm_legit_no_training,
    aten.cudnn_batch_norm,
    aten.native_layer_norm,
    aten.native_group_norm,
)
POOLS = (aten.max_pool2d_with_indices, aten.avg_pool2d, aten._adaptive_avg_pool2d)

# Formulas return FLOPs as torch's counter does: two for each multiply-accumulate.
# "mmcv": the hook counter of mmcv and ptflops, ``get_model_complexity_info``.
# "torchprofile": ``profile_macs``, which VAN-Segmentation's tools/get_flops.py recommends.
PROTOCOLS: dict[Protocol, dict[Any, Formula]] = {
    "mac": {},
    "mmcv": {
        aten.convolution: _convolution_with_bias,
        aten.addmm: _linear_with_bias,
        aten.relu: _per_output(1),
        aten.relu_: _per_output(1),
        **dict.fromkeys(NORMS, _per_output(2)),
        **dict.fromkeys(POOLS, _per_input(1)),
    },
    "torchprofile": {
        aten.mul: _per_output(1),
        aten.mul_: _per_output(1),
        aten.upsample_bilinear2d: _per_output(4),
        aten.avg_pool2d: _per_output(1),
        aten._adaptive_avg_pool2d: _per_output(1),
        **dict.fromkeys(NORMS, _per_output(1)),
    },
}


def count_parameters(model: nn.Module) -> int:
    """Count all parameters, frozen ones too; running statistics of norms are not parameters."""
    return sum(parameter.numel() for parameter in model.parameters())


def count_macs(run: Callable[[], object], protocol: Protocol = "mac") -> int:
    """Count the multiply-accumulates of one call, without gradients.

    On the meta device nothing is computed, so large images cost nothing.

    Args:
        run: Executes the forward pass to count; put the model into evaluation mode before.
        protocol: "mac" counts convolutions and matrix products alone. "mmcv" adds their biases,
            2 for each norm element and 1 for each ReLU and pooling input element. "torchprofile"
            adds 1 for each norm, product and average-pooling output element and 4 for each
            bilinear one.

    Raises:
        ValueError: For an unknown protocol.
    """
    if protocol not in PROTOCOLS:
        raise ValueError(f"protocol {protocol!r} is unknown; choose one of {list(PROTOCOLS)}")
    counter = FlopCounterMode(display=False, custom_mapping=PROTOCOLS[protocol])
    with torch.no_grad(), counter:
        run()
    return int(counter.get_total_flops()) // 2
