"""ConvNeXt with a LayerNorm on each map, as timm models ``convnext_tiny_dense`` and larger.

Paper: Liu et al., "A ConvNet for the 2020s", arXiv 2201.03545 (CVPR 2022); the norms are those of
its detectors (github.com/facebookresearch/ConvNeXt, MIT) and of OpenMMLab, epsilon 1e-6. Blocks and
names of modules are timm's, whose ``convnext_tiny`` hands maps on without norms.

Shapes: every tensor is (B, C, H, W). Stem and downsampling are convolutions without padding, which
leave out what is over at odd sides. ``TimmBackbone`` pads sides to multiples of 32 first, as mmdet
does, and then both agree; where OpenMMLab does not pad, as mmseg in its tests, its last row and
column of a map are missing, and others see other borders.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from timm.models.convnext import ConvNeXtBlock
from torch import Tensor, nn

from van_dense.backbones.renaming import renamed
from van_dense.backbones.stages import (
    DownStage,
    NormedMaps,
    down_stage_groups,
    drop_path_rates,
    map_info,
)
from van_dense.backbones.van_layers import StageNorm, init_truncated

_EPS = 1e-6  # of all LayerNorms


class DenseConvNeXt(NormedMaps):
    """ConvNeXt whose maps are normalised.

    Args:
        dims: Channels of the four stages.
        depths: Blocks of the four stages.
        num_classes: Outputs of ``head``; 0 leaves it out.
        in_chans: Channels of the image.
        global_pool: "avg", or "" to keep the map of the last stage.
        drop_path_rate: Stochastic depth of the last block, growing linearly from 0 over all blocks.
        ls_init_value: Start of the factors of each block's branch.
    """

    any_size = False
    stage_lists = ("stages",)
    map_eps = _EPS

    def __init__(
        self,
        dims: Sequence[int],
        depths: Sequence[int],
        *,
        num_classes: int = 1000,
        in_chans: int = 3,
        global_pool: str = "avg",
        drop_path_rate: float = 0.0,
        ls_init_value: float = 1e-6,
    ) -> None:
        super().__init__()
        rates = drop_path_rates(drop_path_rate, depths)
        self.stem = nn.Sequential(nn.Conv2d(in_chans, dims[0], 4, 4), StageNorm(dims[0], eps=_EPS))
        self.stages = nn.ModuleList()
        self.feature_info = []
        for position, (dim, depth) in enumerate(zip(dims, depths, strict=True)):
            blocks = [
                ConvNeXtBlock(dim, drop_path=next(rates), ls_init_value=ls_init_value)
                for _ in range(depth)
            ]
            down = _halved(dims[position - 1], dim) if position else nn.Identity()
            self.stages.append(DownStage(down, blocks))
            self.feature_info.append(map_info(position, dim, "stages"))
        self.num_features = dims[-1]
        self.norm: nn.Module = nn.LayerNorm(self.num_features, eps=_EPS)
        self.apply(init_truncated)
        self.reset_classifier(num_classes, global_pool)

    def run_stage(self, position: int, x: Tensor) -> Tensor:
        """Downsampling and blocks of a stage, of the first one after the stem."""
        return self.stages[position](x if position else self.stem(x))

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Patterns of timm's layer groups, as ``down_stage_groups``."""
        return down_stage_groups("stem", "stages", coarse=coarse)


# Channels and blocks of the four stages; parameters as a backbone, with the norms of its maps.
SIZES: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "convnext_tiny_dense": ((96, 192, 384, 768), (3, 3, 9, 3)),
    "convnext_small_dense": ((96, 192, 384, 768), (3, 3, 27, 3)),
    "convnext_base_dense": ((128, 256, 512, 1024), (3, 3, 27, 3)),
}

_BLOCK = "stages.{0}.blocks.{0}."
# Beginnings of keys, here and elsewhere; the first that fits counts.
_NAMES = (
    # the authors' repository and OpenMMLab
    ("stem.", "downsample_layers.0."),
    ("stages.{0}.downsample.", "downsample_layers.{0}."),
    (f"{_BLOCK}conv_dw.", "stages.{0}.{0}.dwconv."),
    (f"{_BLOCK}mlp.fc1.", "stages.{0}.{0}.pwconv1."),
    (f"{_BLOCK}mlp.fc2.", "stages.{0}.{0}.pwconv2."),
    # OpenMMLab alone
    (f"{_BLOCK}conv_dw.", "stages.{0}.{0}.depthwise_conv."),
    (f"{_BLOCK}mlp.fc1.", "stages.{0}.{0}.pointwise_conv1."),
    (f"{_BLOCK}mlp.fc2.", "stages.{0}.{0}.pointwise_conv2."),
    (_BLOCK, "stages.{0}.{0}."),
    # timm
    ("norm.", "head.norm."),
    ("head.", "head.fc."),
)


def to_ours(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename entries of ConvNeXts of the authors, OpenMMLab and timm; others keep their names."""
    return {renamed(key, _NAMES, back=True) or key: value for key, value in state.items()}


def checkpoint_filter_fn(state: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """What timm calls, and ``load_backbone``: entries of a file as the model has them."""
    return to_ours(state)


def _halved(in_chans: int, dim: int) -> nn.Module:
    return nn.Sequential(StageNorm(in_chans, eps=_EPS), nn.Conv2d(in_chans, dim, 2, 2))
