"""Parts of VAN and its relatives around the gate: block, stage, patch embedding and norm.

Paper: Guo et al., "Visual Attention Network", arXiv 2202.09741, Fig. 2 to 4. Module names are those
of the official checkpoints. Every module maps (B, C, H, W) to (B, C, H, W) except ``PatchEmbed``.
"""

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from timm.layers import DropPath, LayerNorm2d
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from van_dense.backbones.gates import depthwise


class Attention(nn.Module):
    """1x1, GELU, gate, 1x1, with a shortcut around all of it."""

    def __init__(self, dim: int, gate: nn.Module) -> None:
        super().__init__()
        self.proj_1 = nn.Conv2d(dim, dim, 1)
        self.activation = nn.GELU()
        self.spatial_gating_unit = gate
        self.proj_2 = nn.Conv2d(dim, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Mix channels, attend, mix channels, and add the input."""
        return x + self.proj_2(self.spatial_gating_unit(self.activation(self.proj_1(x))))


class DWConv(nn.Module):
    """3x3 depth-wise convolution; a module of its own only because checkpoints name it twice."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dwconv = depthwise(dim, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Filter each channel."""
        return self.dwconv(x)


class Mlp(nn.Module):
    """Convolutional feed-forward network of PVT v2: 1x1, depth-wise 3x3, GELU, 1x1."""

    def __init__(self, dim: int, hidden_dim: int, drop: float) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(dim, hidden_dim, 1)
        self.dwconv = DWConv(hidden_dim)
        self.act = nn.GELU()
        self.fc2 = nn.Conv2d(hidden_dim, dim, 1)
        self.drop = nn.Dropout(drop)

    def forward(self, x: Tensor) -> Tensor:
        """Expand, filter, activate and project back."""
        return self.drop(self.fc2(self.drop(self.act(self.dwconv(self.fc1(x))))))


class Block(nn.Module):
    """Attention and feed-forward network, each on a normalised input and scaled per channel."""

    def __init__(
        self, dim: int, mlp_ratio: int, gate: nn.Module, drop: float, drop_path: float
    ) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(dim)
        self.attn = Attention(dim, gate)
        self.drop_path = DropPath(drop_path) if drop_path > 0 else nn.Identity()
        self.norm2 = nn.BatchNorm2d(dim)
        self.mlp = Mlp(dim, dim * mlp_ratio, drop)
        self.layer_scale_1 = nn.Parameter(torch.full((dim,), 0.01))
        self.layer_scale_2 = nn.Parameter(torch.full((dim,), 0.01))

    def forward(self, x: Tensor) -> Tensor:
        """Add both scaled branches, one after the other."""
        x = x + self.drop_path(self.layer_scale_1[:, None, None] * self.attn(self.norm1(x)))
        return x + self.drop_path(self.layer_scale_2[:, None, None] * self.mlp(self.norm2(x)))


@contextmanager
def _kept_buffers(module: nn.Module) -> Iterator[None]:
    """Undo changes of buffers: a recomputed BatchNorm must not count its batch a second time."""
    kept = [(buffer, buffer.clone()) for buffer in module.buffers()]
    try:
        yield
    finally:
        for buffer, value in kept:
            buffer.copy_(value)


def _recomputed(block: nn.Module, x: Tensor) -> Tensor:
    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _kept_buffers(block)

    return checkpoint(block, x, use_reentrant=False, context_fn=contexts)


class Stage(nn.Sequential):
    """The blocks of a stage; with ``grad_checkpointing`` each stores nothing but its input."""

    grad_checkpointing = False

    def forward(self, x: Tensor) -> Tensor:
        """Run the blocks one after the other."""
        for block in self:
            recompute = self.grad_checkpointing and torch.is_grad_enabled()
            x = _recomputed(block, x) if recompute else block(x)
        return x


class PatchEmbed(nn.Module):
    """Strided convolution with overlapping windows, then BatchNorm."""

    def __init__(self, in_chans: int, dim: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_chans, dim, kernel, stride, padding=kernel // 2)
        self.norm = nn.BatchNorm2d(dim)

    def forward(self, x: Tensor) -> Tensor:
        """Reduce the sides to ceil(H / stride)."""
        return self.norm(self.proj(x))


class StageNorm(LayerNorm2d):
    """LayerNorm over channels that keeps the memory format of its input.

    timm's layer answers in channels-last strides, which would silently move all later stages to
    another memory format than the one the user chose.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalise each position over its channels."""
        y = super().forward(x)
        return y if x.is_contiguous(memory_format=torch.channels_last) else y.contiguous()


def init_weights(module: nn.Module) -> None:
    """Official start: convolutions N(0, 2 / fan_out), linear layers N(0, 0.02^2) cut at 2."""
    if isinstance(module, nn.Conv2d):
        fan_out = math.prod(module.kernel_size) * module.out_channels // module.groups
        nn.init.normal_(module.weight, std=math.sqrt(2.0 / fan_out))
    elif isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
    if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)


def init_truncated(module: nn.Module) -> None:
    """Start of UniRepLKNet and ConvNeXt: N(0, 0.02^2) cut at 2 for kernels, 0 for biases."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
