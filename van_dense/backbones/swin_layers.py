"""Parts of Swin Transformer: windows, attention within them, block, patch embedding and stage.

Paper: Liu et al., arXiv 2103.14030, Sec. 3, from which this is written. Modules have timm's names.

Legend: NHWC tensors are (B, H, W, C), all others (B, C, H, W); windows are (B W, N, C), for W
windows of N = K x K positions in each image.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from timm.layers import DropPath, Mlp
from torch import Tensor, nn

EPS = 1e-5  # of all LayerNorms
_APART = -100.0  # added to the attention between positions that only the roll made neighbours


def whole(x_NHWC: Tensor, side: int) -> Tensor:
    """Pad a map with zeros on the right and below, to multiples of ``side``.

    Written so that exporters, which do not know H and W, see at once what divides the new ones.
    """
    height, width = x_NHWC.shape[1:3]
    rows, columns = (height + side - 1) // side * side, (width + side - 1) // side * side
    return F.pad(x_NHWC, (0, 0, 0, columns - width, 0, rows - height))


def position_index(window: int) -> Tensor:
    """Row of the table of relative positions for each pair of positions of a window, (N, N)."""
    side = torch.arange(window)
    rows, columns = side.repeat_interleave(window), side.repeat(window)
    down, right = rows[:, None] - rows, columns[:, None] - columns
    return (down + window - 1) * (2 * window - 1) + right + window - 1


def shift_mask(height: int, width: int, window: int, shift: int, *, like: Tensor) -> Tensor:
    """What is added to the attention in windows of a rolled map, (W, N, N): 0 or -100.

    Args:
        height: Rows of the map, a multiple of ``window``.
        width: Columns of the map, a multiple of ``window``.
        window: K, side of a window.
        shift: By how many positions the map was rolled, up and to the left.
        like: A tensor of the type and on the device that the mask shall have.
    """

    def regions(size: int) -> Tensor:
        position = torch.arange(size, device=like.device)
        part = (position >= size - window).int() + (position >= size - shift).int()
        return part.view(-1, window)  # (size / K, K)

    rows, columns = regions(height), regions(width)
    region = 3 * rows[:, None, :, None] + columns[None, :, None, :]
    region = region.reshape(-1, window * window)
    return (region[:, None] != region[:, :, None]).to(like.dtype) * _APART


class WindowAttention(nn.Module):
    """Multi-head self-attention within windows, with a learned bias for each relative position."""

    relative_position_index: Tensor

    def __init__(self, dim: int, num_heads: int, window: int) -> None:
        super().__init__()
        if dim % num_heads:
            raise ValueError(f"{dim} channels do not split into {num_heads} heads of attention")
        self.num_heads = num_heads
        self.relative_position_bias_table = nn.Parameter(
            torch.zeros((2 * window - 1) ** 2, num_heads)
        )
        self.register_buffer("relative_position_index", position_index(window), persistent=False)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Mix the positions of each window (B W, N, C); the mask is (W, N, N)."""
        count, area, dim = x.shape
        q, k, v = self.qkv(x).view(count, area, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        bias = self.relative_position_bias_table[self.relative_position_index.view(-1)]
        bias = bias.view(area, area, self.num_heads).permute(2, 0, 1)
        # (B W, heads, N, N); PyTorch's fused attention is no faster for so few positions
        attention = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1) + bias
        if mask is not None:
            by_image = attention.view(-1, mask.shape[0], self.num_heads, area, area)
            attention = (by_image + mask[:, None]).view(count, self.num_heads, area, area)
        x = attention.softmax(dim=-1) @ v
        return self.proj(x.transpose(1, 2).reshape(count, area, dim))


class Block(nn.Module):
    """Attention within windows and a feed-forward network, each on a normalised input.

    Args:
        dim: C.
        num_heads: Heads of the attention.
        window: K, side of a window.
        shift: By how many positions windows are shifted, 0 for none.
        mlp_ratio: Expansion of the feed-forward network.
        drop_path: Rate of stochastic depth.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        *,
        window: int,
        shift: int,
        mlp_ratio: float,
        drop_path: float,
    ) -> None:
        super().__init__()
        self.window, self.shift = window, shift
        self.norm1 = nn.LayerNorm(dim, eps=EPS)
        self.attn = WindowAttention(dim, num_heads, window)
        self.drop_path = DropPath(drop_path) if drop_path > 0 else nn.Identity()
        self.norm2 = nn.LayerNorm(dim, eps=EPS)
        self.mlp = Mlp(dim, int(dim * mlp_ratio))

    def forward(self, x_NHWC: Tensor) -> Tensor:
        """Add both branches, one after the other."""
        x = x_NHWC
        x = x + self.drop_path(self._attend(self.norm1(x)))
        return x + self.drop_path(self.mlp(self.norm2(x)))

    def _attend(self, x: Tensor) -> Tensor:
        """Pad to whole windows, roll, attend in each window, and undo the first two."""
        height, width = x.shape[1:3]
        window, shift = self.window, self.shift
        x = whole(x, window)
        batch, rows, columns, dim = x.shape
        mask = None
        if shift:
            x = x.roll((-shift, -shift), (1, 2))
            mask = shift_mask(rows, columns, window, shift, like=x)
        split = (batch, rows // window, window, columns // window, window, dim)
        x = x.view(split).transpose(2, 3).reshape(-1, window * window, dim)
        x = self.attn(x, mask)
        x = x.view(*split[:2], split[3], window, window, dim).transpose(2, 3)
        x = x.reshape(batch, rows, columns, dim)
        if shift:
            x = x.roll((shift, shift), (1, 2))
        return x[:, :height, :width]


class PatchEmbed(nn.Module):
    """Patches of 4x4 pixels, each by a linear layer and a LayerNorm."""

    def __init__(self, in_chans: int, dim: int, patch: int = 4) -> None:
        super().__init__()
        self.patch = patch
        self.proj = nn.Conv2d(in_chans, dim, patch, patch)
        self.norm = nn.LayerNorm(dim, eps=EPS)

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, ceil(H / 4), ceil(W / 4), C), NHWC; zeros on the right and below fill patches."""
        x = whole(images.permute(0, 2, 3, 1), self.patch).permute(0, 3, 1, 2)
        return self.norm(self.proj(x).permute(0, 2, 3, 1))


class PatchMerging(nn.Module):
    """Each 2x2 positions by a LayerNorm and a linear layer, to twice the channels.

    Their order is (row, column) = (0, 0), (1, 0), (0, 1), (1, 1), as in the authors' code.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * dim, eps=EPS)
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)

    def forward(self, x_NHWC: Tensor) -> Tensor:
        """Map (B, ceil(H / 2), ceil(W / 2), 2 C); zeros on the right and below fill odd sides."""
        x = whole(x_NHWC, 2)
        batch, rows, columns, dim = x.shape
        x = x.view(batch, rows // 2, 2, columns // 2, 2, dim).permute(0, 1, 3, 4, 2, 5)
        return self.reduction(self.norm(x.flatten(3)))
