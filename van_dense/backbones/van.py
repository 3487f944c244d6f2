"""Visual Attention Network VAN-B0..B6 as timm models ``van_b0`` .. ``van_b6``.

Paper: Guo et al., "Visual Attention Network", arXiv 2202.09741 (CVM 2023); Table 5 gives the sizes,
Fig. 4 a stage, Fig. 2 and 3 the attention. Module names are those of the official checkpoints
(github.com/Visual-Attention-Network/VAN-Classification, Apache-2.0), so published files fit.

Shapes: every tensor is (B, C, H, W); stage i = 1..4 works at stride 4, 8, 16, 32 and its output is
the map after its LayerNorm. A side of H pixels becomes ceil(H / stride), whatever H is.
"""

from collections.abc import Sequence
from typing import Any

from torch import nn

from van_dense.backbones.gates import LKA, LargeKernel, LKAVariant
from van_dense.backbones.stages import NumberedStages, drop_path_rates
from van_dense.backbones.van_layers import Block, PatchEmbed, Stage, StageNorm, init_weights


class VAN(NumberedStages):
    """Visual Attention Network; relatives of it override ``make_stem`` and ``make_gate``.

    Args:
        embed_dims: Channels C of the four stages.
        depths: Blocks L of the four stages.
        mlp_ratios: Expansion ratios (e.r.) of the feed-forward networks.
        num_classes: Outputs of ``head``; 0 leaves it out.
        in_chans: Channels of the image.
        global_pool: "avg", or "" to keep the map of the last stage.
        drop_rate: Dropout in the feed-forward networks; the paper uses none.
        drop_path_rate: Stochastic depth of the last block, growing linearly from 0 over all
            blocks; whole samples are dropped, in both branches of a block at the same rate.
        norm_eps: Epsilon of the LayerNorms: 1e-6 in VAN-Classification, 1e-5 in VAN-Segmentation
            and mmpretrain.
        lka_kernel: K, side of the large kernel in pixels.
        lka_dilation: d, dilation of the depth-wise convolution of the large kernel.
        lka_variant: Row of Table 3, or "lska" (arXiv 2309.01439); one of ``LKAVariant``.
    """

    parts = ("patch_embed", "block", "norm")

    # timm hands over flat keyword arguments; hence more parameters than elsewhere.
    def __init__(
        self,
        embed_dims: Sequence[int],
        depths: Sequence[int],
        mlp_ratios: Sequence[int] = (8, 8, 4, 4),
        *,
        num_classes: int = 1000,
        in_chans: int = 3,
        global_pool: str = "avg",
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        norm_eps: float = 1e-6,
        lka_kernel: int = 21,
        lka_dilation: int = 3,
        lka_variant: LKAVariant = "full",
    ) -> None:
        super().__init__()
        self.large_kernel = LargeKernel(lka_kernel, lka_dilation, lka_variant)
        rates = drop_path_rates(drop_path_rate, depths)
        self.feature_info = []
        for i, (dim, depth, ratio) in enumerate(
            zip(embed_dims, depths, mlp_ratios, strict=True), start=1
        ):
            embed = self.make_stem(in_chans, dim) if i == 1 else PatchEmbed(in_chans, dim, 3, 2)
            blocks = [
                Block(dim, ratio, self.make_gate(dim), drop_rate, next(rates)) for _ in range(depth)
            ]
            setattr(self, f"patch_embed{i}", embed)
            setattr(self, f"block{i}", Stage(*blocks))
            setattr(self, f"norm{i}", StageNorm(dim, eps=norm_eps))
            info = {"num_chs": dim, "reduction": 2 ** (i + 1), "module": f"norm{i}"}
            self.feature_info.append(info)
            in_chans = dim
        self.num_features = embed_dims[-1]
        self.reset_classifier(num_classes, global_pool)
        self.apply(init_weights)

    def make_stem(self, in_chans: int, dim: int) -> nn.Module:
        """What takes an image (B, in_chans, H, W) to (B, dim, ceil(H / 4), ceil(W / 4))."""
        return PatchEmbed(in_chans, dim, 7, 4)

    def make_gate(self, dim: int) -> nn.Module:
        """The attention of a block, which multiplies its input (B, dim, H, W) by a map."""
        return LKA(dim, self.large_kernel)


class WithoutSettings(VAN):
    """A relative whose gate has no settings, so that arguments named ``lka_`` are a TypeError."""

    def __init__(self, *sizes: Sequence[int], **options: Any) -> None:
        if unknown := [option for option in options if option.startswith("lka_")]:
            name = type(self).__name__
            raise TypeError(f"{name} has no {', '.join(unknown)}: its kernels are fixed")
        super().__init__(*sizes, **options)


# Table 5: channels and blocks of the four stages; expansion ratios are 8, 8, 4, 4 everywhere.
# Parameters with the classifier, and GFLOPs at 224 x 224.
SIZES: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "van_b0": ((32, 64, 160, 256), (3, 3, 5, 2)),  # Tiny, 4.1 M, 0.9
    "van_b1": ((64, 128, 320, 512), (2, 2, 4, 2)),  # Small, 13.9 M, 2.5
    "van_b2": ((64, 128, 320, 512), (3, 3, 12, 3)),  # Base, 26.6 M, 5.0
    "van_b3": ((64, 128, 320, 512), (3, 5, 27, 3)),  # Large, 44.8 M, 9.0
    "van_b4": ((64, 128, 320, 512), (3, 6, 40, 3)),  # 60.3 M, 12.2
    "van_b5": ((96, 192, 480, 768), (3, 3, 24, 3)),  # 90.0 M, 17.2
    "van_b6": ((96, 192, 384, 768), (6, 6, 90, 6)),  # 200 M, 38.9 (Table 8; Table 5 prints 38.4)
}
