"""MSCAN, the backbone of SegNeXt, as timm models ``mscan_t`` .. ``mscan_l``.

Paper: Guo et al., "SegNeXt: Rethinking Convolutional Attention Design for Semantic Segmentation",
arXiv 2209.08575 (NeurIPS 2022), Table 2. It is VAN with strips as its gate and two convolutions as
its stem. Module names are those of github.com/Visual-Attention-Network/SegNeXt (Apache-2.0), so
published files fit.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from van_dense.backbones.gates import MSCA
from van_dense.backbones.van import WithoutSettings


class StemConv(nn.Module):
    """Two convolutions of stride 2, each with BatchNorm, and a GELU between them."""

    def __init__(self, in_chans: int, dim: int) -> None:
        super().__init__()
        self.proj = nn.Sequential(
            nn.Conv2d(in_chans, dim // 2, 3, 2, padding=1),
            nn.BatchNorm2d(dim // 2),
            nn.GELU(),
            nn.Conv2d(dim // 2, dim, 3, 2, padding=1),
            nn.BatchNorm2d(dim),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Reduce the sides to ceil(H / 4)."""
        return self.proj(x)


class MSCAN(WithoutSettings):
    """Multi-scale convolutional attention network; arguments as in ``VAN``, without ``lka_``.

    Args:
        sizes: ``embed_dims``, ``depths`` and ``mlp_ratios`` of ``VAN``, by name or in this order.
        norm_eps: Epsilon of the LayerNorms, 1e-5 in all code of SegNeXt.
        options: Any further arguments of ``VAN``.
    """

    def __init__(self, *sizes: Sequence[int], norm_eps: float = 1e-5, **options: Any) -> None:
        super().__init__(*sizes, norm_eps=norm_eps, **options)

    def make_stem(self, in_chans: int, dim: int) -> nn.Module:
        """Two convolutions in place of VAN's one."""
        return StemConv(in_chans, dim)

    def make_gate(self, dim: int) -> nn.Module:
        """Strips of three lengths."""
        return MSCA(dim)


# Channels and blocks of the four stages; expansion ratios are 8, 8, 4, 4. Backbone parameters.
SIZES: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "mscan_t": ((32, 64, 160, 256), (3, 3, 5, 2)),  # 3.9 M
    "mscan_s": ((64, 128, 320, 512), (2, 2, 4, 2)),  # 13.5 M
    "mscan_b": ((64, 128, 320, 512), (3, 3, 12, 3)),  # 26.3 M
    "mscan_l": ((64, 128, 320, 512), (3, 5, 27, 3)),  # 44.6 M
}
