"""Parts of UniRepLKNet: the block, and merging its convolutions and norms.

Paper: Ding et al., arXiv 2311.15599, Fig. 2 and 3. Module names are those of the published
checkpoints. Legend: NHWC tensors are (B, H, W, C), all others (B, C, H, W).
"""

from __future__ import annotations

import torch
from timm.layers import DropPath
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_weights

from van_dense.backbones.gates import depthwise

LARGE, SMALL = 13, 3  # the two kernels, in pixels a side
_BRANCHES = ((5, 1), (7, 2), (3, 3), (3, 4), (3, 5))  # side and dilation, beside the large kernel
_START = 1e-6  # factor of the residual branch before training


class DilatedReparam(nn.Module):
    """Depth-wise 13x13 convolution, in training the sum of it and of smaller, dilated ones.

    Each of them has a BatchNorm of its own. Together they are one convolution with a bias, which
    is all that the merged form has.
    """

    def __init__(self, dim: int, *, merged: bool) -> None:
        super().__init__()
        self.lk_origin = depthwise(dim, LARGE, bias=merged)
        self.branches = () if merged else _BRANCHES
        if not merged:
            self.origin_bn = nn.BatchNorm2d(dim)
        for kernel, dilation in self.branches:
            name = f"k{kernel}_{dilation}"
            setattr(self, f"dil_conv_{name}", depthwise(dim, kernel, dilation, bias=False))
            setattr(self, f"dil_bn_{name}", nn.BatchNorm2d(dim))

    def forward(self, x: Tensor) -> Tensor:
        """Filter each channel."""
        if not self.branches:
            return self.lk_origin(x)
        y = self.origin_bn(self.lk_origin(x))
        for kernel, dilation in self.branches:
            name = f"k{kernel}_{dilation}"
            y = y + getattr(self, f"dil_bn_{name}")(getattr(self, f"dil_conv_{name}")(x))
        return y

    def kernel_and_bias(self) -> tuple[Tensor, Tensor]:
        """The one convolution that the training form is in evaluation, in float64."""
        weight, bias = folded(self.lk_origin, self.origin_bn)
        for kernel, dilation in self.branches:
            name = f"k{kernel}_{dilation}"
            small, shift = folded(
                getattr(self, f"dil_conv_{name}"), getattr(self, f"dil_bn_{name}")
            )
            reach = dilation * (kernel // 2)
            taps = slice(LARGE // 2 - reach, LARGE // 2 + reach + 1, dilation)
            weight[:, :, taps, taps] += small
            bias += shift
        return weight, bias


def folded(conv: nn.Conv2d, norm: _BatchNorm) -> tuple[Tensor, Tensor]:
    """Kernel and bias of a convolution with the BatchNorm after it, in float64."""
    return folded_kernel(conv.weight, conv.bias, norm)


def folded_kernel(weight: Tensor, bias: Tensor | None, norm: _BatchNorm) -> tuple[Tensor, Tensor]:
    """Kernel and bias, with the BatchNorm after them, in float64."""
    mean, variance = norm.running_mean, norm.running_var
    assert mean is not None and variance is not None  # they are tracked
    found = fuse_conv_bn_weights(
        weight.detach().double(),
        None if bias is None else bias.detach().double(),
        mean.double(),
        variance.double(),
        norm.eps,
        norm.weight.detach().double(),
        norm.bias.detach().double(),
    )
    return found[0].detach(), found[1].detach()


class SqueezeExcite(nn.Module):
    """Weights channels by what the whole map holds."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.down = nn.Conv2d(dim, dim // 4, 1)
        self.up = nn.Conv2d(dim // 4, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Multiply each channel by a weight in 0..1."""
        return x * self.up(self.down(x.mean(dim=(2, 3), keepdim=True)).relu()).sigmoid()


class ResponseNorm(nn.Module):
    """Global response normalisation of ConvNeXt V2 (arXiv 2301.00808), of NHWC maps."""

    def __init__(self, dim: int, *, bias: bool) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(1, 1, 1, dim))
        self.beta = nn.Parameter(torch.zeros(1, 1, 1, dim)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """Weight each channel by its norm over all positions, relative to the mean of all."""
        norm = x.norm(p=2, dim=(1, 2), keepdim=True)
        y = (self.gamma * (norm / (norm.mean(dim=-1, keepdim=True) + 1e-6)) + 1) * x
        return y if self.beta is None else y + self.beta


class Permute(nn.Module):
    """Moves the channels; a module because checkpoints count it."""

    def __init__(self, *order: int) -> None:
        super().__init__()
        self.order = order

    def forward(self, x: Tensor) -> Tensor:
        """Change the order of dimensions."""
        return x.permute(self.order)


class Block(nn.Module):
    """Depth-wise convolution, channel weights, and a feed-forward network, as one residual branch.

    Args:
        dim: Channels.
        kernel: Side of the convolution, ``LARGE`` or ``SMALL``.
        drop_path: Rate of stochastic depth.
        merged: Build the form for prediction.
    """

    def __init__(self, dim: int, kernel: int, drop_path: float, *, merged: bool) -> None:
        super().__init__()
        is_large = kernel == LARGE
        self.dwconv: nn.Module = (
            DilatedReparam(dim, merged=merged) if is_large else depthwise(dim, kernel, bias=merged)
        )
        self.norm: nn.Module = nn.Identity() if merged else nn.BatchNorm2d(dim)
        self.se = SqueezeExcite(dim)
        self.pwconv1 = nn.Sequential(Permute(0, 2, 3, 1), nn.Linear(dim, 4 * dim))
        self.act = nn.Sequential(nn.GELU(), ResponseNorm(4 * dim, bias=not merged))
        norms = [] if merged else [nn.BatchNorm2d(dim)]
        back = nn.Linear(4 * dim, dim, bias=merged)
        self.pwconv2 = nn.Sequential(back, Permute(0, 3, 1, 2), *norms)
        self.gamma = None if merged else nn.Parameter(torch.full((dim,), _START))
        self.drop_path = DropPath(drop_path) if drop_path > 0 else nn.Identity()

    @property
    def is_merged(self) -> bool:
        """Whether this is the form for prediction."""
        return self.gamma is None

    def forward(self, x: Tensor) -> Tensor:
        """Add the residual branch."""
        y = self.pwconv2(self.act(self.pwconv1(self.se(self.norm(self.dwconv(x))))))
        return x + self.drop_path(y if self.gamma is None else self.gamma[:, None, None] * y)

    def reparameterize(self) -> None:
        """Turn the training form into the merged one, for good; timm looks for this name.

        No tensor is changed in place, so other modules may share them.
        """
        if self.gamma is None:
            return
        is_large = isinstance(self.dwconv, DilatedReparam)
        with torch.device("meta"):  # draws no random numbers
            merged = Block(len(self.gamma), LARGE if is_large else SMALL, 0.0, merged=True)
        dtype = self.gamma.dtype
        state = {name: tensor.to(dtype) for name, tensor in self._merged_state().items()}
        merged.load_state_dict(state, assign=True)
        for name in ("dwconv", "norm", "se", "pwconv1", "act", "pwconv2"):
            setattr(self, name, getattr(merged, name).train(self.training))
        self.gamma = None

    def _merged_state(self) -> dict[str, Tensor]:
        """Tensors of the merged form; the new ones in float64."""
        assert isinstance(self.norm, _BatchNorm) and self.gamma is not None
        if isinstance(self.dwconv, DilatedReparam):
            where, (kernel, bias) = "dwconv.lk_origin", self.dwconv.kernel_and_bias()
            kernel, bias = folded_kernel(kernel, bias, self.norm)
        else:
            assert isinstance(self.dwconv, nn.Conv2d)
            where, (kernel, bias) = "dwconv", folded(self.dwconv, self.norm)
        linear, norm, response = self.pwconv2[0], self.pwconv2[2], self.act[1]
        assert isinstance(linear, nn.Linear) and isinstance(norm, _BatchNorm)
        assert isinstance(response, ResponseNorm) and response.beta is not None
        # The shift of the response norm passes the linear layer as a bias.
        shift = linear.weight.detach().double() @ response.beta.detach().double().flatten()
        weight, shift = folded_kernel(linear.weight[..., None, None], shift, norm)
        scale = self.gamma.detach().double()
        kept = ("se.", "pwconv1.", "act.1.gamma")
        return {
            **{k: v for k, v in self.state_dict().items() if k.startswith(kept)},
            f"{where}.weight": kernel,
            f"{where}.bias": bias,
            "pwconv2.0.weight": scale[:, None] * weight[..., 0, 0],
            "pwconv2.0.bias": scale * shift,
        }
