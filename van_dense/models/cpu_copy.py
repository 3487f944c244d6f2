"""A copy of a model that predicts faster on a CPU, with results equal within 1e-4.

It is channels-last, branches of UniRepLKNet are merged, BatchNorms are folded into the convolution
before them where that is exact, and 1x1 convolutions are oneDNN's on one thread too. Training and
explanations keep the model itself.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from itertools import chain
from typing import Any, TypeVar, cast

import torch
from timm.layers.norm_act import BatchNormAct2d
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from van_dense.backbones.unireplknet import merge_all
from van_dense.core.structures import Size
from van_dense.models.dense_model import DenseModel

Model = TypeVar("Model", bound=DenseModel)
_NORMS = (nn.BatchNorm2d, BatchNormAct2d)
_PROBE: Size = (64, 64)  # image that finds out what follows each convolution


def cpu_copy(model: Model) -> Model:
    """Copy a model in evaluation mode; what is no kernel and changed by nothing stays shared."""
    shared = chain(model.parameters(), model.buffers())
    clone = copy.deepcopy(model, {id(t): t for t in shared if t.ndim != 4})
    merge_all(clone)
    with torch.no_grad():
        fold_norms(clone)
    for conv in [m for m in clone.modules() if type(m) is nn.Conv2d and m.kernel_size == (1, 1)]:
        conv.__class__ = _Pointwise
    return clone.to(memory_format=torch.channels_last)


def state_of(model: nn.Module) -> Hashable:
    """Something that differs once weights or attributes of a model were changed; takes 1 ms."""
    tensors = chain(model.parameters(), model.buffers())
    versions = [(id(t), 0 if t.is_inference() else t._version) for t in tensors]
    attributes = [
        (name, id(value))
        for module in model.modules()
        for name, value in vars(module).items()
        if not name.startswith("_")
    ]
    return tuple(versions), tuple(attributes)


def has_hooks(model: nn.Module) -> bool:
    """Whether somebody watches a module, whose own outputs must then be computed."""
    return any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


class _Pointwise(nn.Conv2d):
    """1x1 convolution by oneDNN.

    On one thread PyTorch takes a matrix product instead ("THNN is faster when single-threaded",
    ``use_mkldnn`` in ATen's Convolution.cpp). With channels-last maps oneDNN needs no reordering:
    on an AMD EPYC with AVX-512 it takes half as long.
    """

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        is_fp32 = input.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
        is_plain = input.ndim == 4 and input.numel() > 0 and self.padding_mode == "zeros"
        padding, is_there = self.padding, torch.backends.mkldnn.is_available()
        if isinstance(padding, str) or not (is_fp32 and is_plain and is_there):
            return super()._conv_forward(input, weight, bias)
        return torch.mkldnn_convolution(
            input, weight, bias, padding, self.stride, self.dilation, self.groups
        )


def fold_norms(model: DenseModel) -> int:
    """Fold BatchNorms into the convolutions whose every output goes to them and nowhere else.

    ``flops_forward`` says which these are, on the meta device; what it does not reach stays.

    Args:
        model: Model in evaluation mode, which is changed.

    Returns:
        Number of BatchNorms that are gone.
    """
    names = _pairs(model)
    for conv_name, norm_name in names:
        conv = cast(nn.Conv2d, model.get_submodule(conv_name))
        norm = cast(nn.BatchNorm2d, model.get_submodule(norm_name))
        tensors = (conv.weight, conv.bias, norm.running_mean, norm.running_var)
        weight, bias, mean, variance = (t if t is None else t.double() for t in tensors)
        assert weight is not None and mean is not None and variance is not None  # of a Conv2d
        folded = fuse_conv_bn_weights(
            weight, bias, mean, variance, norm.eps, norm.weight, norm.bias
        )
        conv.weight, conv.bias = (
            nn.Parameter(t.detach().to(conv.weight.dtype), requires_grad=False) for t in folded
        )
        parent, _, name = norm_name.rpartition(".")
        setattr(model.get_submodule(parent), name, _without_norm(norm))
    return len(names)


def _pairs(model: DenseModel) -> list[tuple[str, str]]:
    if not any(type(module) in _NORMS for module in model.modules()):
        return []
    tensors = chain(model.parameters(), model.buffers())
    outline = copy.deepcopy(model, {id(t): _without_values(t) for t in tensors})
    try:
        with _Followers(outline) as seen:
            outputs = outline.flops_forward(_PROBE)
    except ValueError:  # a classifier for images of one size; it is only slower
        return []
    name_of = {module: name for name, module in outline.named_modules()}
    return [(name_of[conv], name_of[norm]) for conv, norm in seen.pairs(outputs)]


def _without_values(tensor: Tensor) -> Tensor:
    empty = tensor.detach().to("meta")
    return nn.Parameter(empty, False) if isinstance(tensor, nn.Parameter) else empty


def _without_norm(norm: nn.BatchNorm2d) -> nn.Module:
    return nn.Sequential(norm.drop, norm.act) if isinstance(norm, BatchNormAct2d) else nn.Identity()


class _Followers(TorchFunctionMode):
    """Watches which operations use the outputs of the convolutions of a model."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        modules = list(model.modules())
        self._convs = {id(m.weight): m for m in modules if isinstance(m, nn.Conv2d)}
        self._norms: dict[int, nn.BatchNorm2d] = {
            id(m.running_mean): m
            for m in modules
            if isinstance(m, nn.BatchNorm2d) and type(m) in _NORMS
        }
        self._made: list[tuple[Tensor, nn.Conv2d]] = []  # keeps outputs, so that ids stay theirs
        self._maker: dict[int, nn.Conv2d] = {}
        self._uses: Counter[int] = Counter()
        self._pairs: list[tuple[int, nn.Conv2d, nn.BatchNorm2d]] = []
        self._calls: Counter[nn.BatchNorm2d] = Counter()

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        given = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
        if any(isinstance(t, Tensor) for t in tree_leaves(result)):  # not a size, type or number
            self._uses.update({id(t) for t in given} & self._maker.keys())
        if func is F.batch_norm:
            for norm in (self._norms[id(t)] for t in given if id(t) in self._norms):
                self._calls[norm] += 1
                if (conv := self._maker.get(id(given[0]))) is not None:
                    self._pairs.append((id(given[0]), conv, norm))
        elif func in (F.conv2d, torch.conv2d) and len(given) > 1 and id(given[1]) in self._convs:
            conv = self._convs[id(given[1])]
            self._made.append((result, conv))
            self._maker[id(result)] = conv
        return result

    def pairs(self, outputs: object) -> list[tuple[nn.Conv2d, nn.BatchNorm2d]]:
        """Convolutions and their BatchNorms, where neither has another partner.

        Args:
            outputs: What the whole run returned, in any nesting.
        """
        self._uses.update(id(t) for t in tree_leaves(outputs) if id(t) in self._maker)
        convs = Counter(conv for _, conv in self._made)
        found = Counter((c, n) for key, c, n in self._pairs if self._uses[key] == 1)
        return [
            pair for pair, times in found.items() if times == convs[pair[0]] == self._calls[pair[1]]
        ]
