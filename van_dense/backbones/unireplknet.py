"""UniRepLKNet-A..XL as timm models ``unireplknet_a`` .. ``unireplknet_xl``.

Paper: Ding et al., "UniRepLKNet: A Universal Perception Large-Kernel ConvNet", arXiv 2311.15599
(CVPR 2024). Module names are those of the published checkpoints
(github.com/AILab-CVC/UniRepLKNet, Apache-2.0).

A network has two forms of one function. In the training form a kernel of 13x13 has five dilated
ones beside it, and BatchNorms follow; ``merge`` turns it into the merged form, where all of that is
one convolution, for prediction alone. Published weights are those of the training form.

Shapes: every tensor is (B, C, H, W). Maps pass a LayerNorm on their way out, which the next stage
does not see; classifiers, and so published ImageNet weights, have none of these norms.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Sequence
from typing import Any, TypeVar

from torch import Tensor, nn

from van_dense.backbones.stages import NormedMaps, drop_path_rates, map_info
from van_dense.backbones.unireplknet_layers import LARGE, SMALL, Block
from van_dense.backbones.van_layers import Stage, StageNorm, init_truncated

Model = TypeVar("Model", bound=nn.Module)
_EPS = 1e-6  # of the LayerNorms


class UniRepLKNet(NormedMaps):
    """Large-kernel network whose branches merge after training.

    Args:
        embed_dims: Channels of the four stages, multiples of 4.
        depths: Blocks of the four stages.
        large_every: Every how many blocks of stage 3 one has the large kernel, from the first one
            on. All blocks of stages 2 and 4 have it, none of stage 1.
        merged: Build the merged form, for files that hold it.
        num_classes: Outputs of ``head``; 0 leaves it out.
        in_chans: Channels of the image.
        global_pool: "avg", or "" to keep the map of the last stage.
        drop_path_rate: Stochastic depth of the last block, growing linearly from 0 over all blocks.
    """

    stage_lists = ("downsample_layers", "stages")
    map_eps = _EPS

    def __init__(
        self,
        embed_dims: Sequence[int],
        depths: Sequence[int],
        large_every: int = 1,
        *,
        merged: bool = False,
        num_classes: int = 1000,
        in_chans: int = 3,
        global_pool: str = "avg",
        drop_path_rate: float = 0.0,
    ) -> None:
        super().__init__()
        rates = drop_path_rates(drop_path_rate, depths)
        self.downsample_layers, self.stages = nn.ModuleList(), nn.ModuleList()
        self.feature_info = []
        for position, (dim, depth) in enumerate(zip(embed_dims, depths, strict=True)):
            every = (0, 1, large_every, 1)[position]
            blocks = [
                Block(dim, LARGE if every and not i % every else SMALL, next(rates), merged=merged)
                for i in range(depth)
            ]
            down = [*_halved(in_chans, dim // 2), nn.GELU()] if position == 0 else []
            down += _halved(dim // 2 if position == 0 else in_chans, dim)
            self.downsample_layers.append(nn.Sequential(*down))
            self.stages.append(Stage(*blocks))
            self.feature_info.append(map_info(position, dim, "stages"))
            in_chans = dim
        self.num_features = embed_dims[-1]
        self.norm: nn.Module = nn.LayerNorm(self.num_features, eps=_EPS)
        self.apply(init_truncated)
        self.reset_classifier(num_classes, global_pool)

    def run_stage(self, position: int, x: Tensor) -> Tensor:
        """Downsampling and blocks of a stage."""
        return self.stages[position](self.downsample_layers[position](x))

    @property
    def is_merged(self) -> bool:
        """Whether this is the merged form."""
        return any(isinstance(m, Block) and m.is_merged for m in self.modules())

    def merge(self) -> None:
        """Turn the training form into the merged one, for good: same results in evaluation."""
        for module in list(self.modules()):
            if isinstance(module, Block):
                module.reparameterize()

    def check_form(self, keys: Collection[str]) -> None:
        """ValueError for weights of the other form: most of their keys fit, and none would work.

        Args:
            keys: Names in a file.
        """
        has_branches = any(".dwconv.origin_bn." in key for key in keys)
        is_of_this = any(".dwconv.lk_origin." in key for key in keys)
        if not is_of_this or has_branches != self.is_merged:
            return
        here, there = ("merged", "false") if self.is_merged else ("training", "true")
        other = "training" if self.is_merged else "merged"
        raise ValueError(
            f"the weights are of the {other} form of UniRepLKNet, the model of the {here} one; "
            f"set model.backbone.options={{merged: {there}}}"
        )

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Patterns of timm's layer groups: whole stages, or single blocks; norms of maps are new,
        and in the group of the head."""
        blocks = [(r"^downsample_layers\.(\d+)", (0,)), (r"^stages\.(\d+)\.(\d+)", None)]
        return {
            "stem": r"^downsample_layers\.0",
            "blocks": r"^(?:downsample_layers|stages)\.(\d+)" if coarse else blocks,
        }


def merged_copy(model: Model) -> Model:
    """A copy whose UniRepLKNets are merged, or the model itself where it holds none."""
    if not any(isinstance(m, UniRepLKNet) and not m.is_merged for m in model.modules()):
        return model
    clone = copy.deepcopy(model)
    merge_all(clone)
    return clone


def merge_all(model: nn.Module) -> None:
    """Merge every UniRepLKNet within a model, which is changed."""
    for module in list(model.modules()):
        if isinstance(module, UniRepLKNet):
            module.merge()


def _halved(in_chans: int, dim: int) -> list[nn.Module]:
    return [nn.Conv2d(in_chans, dim, 3, 2, padding=1), StageNorm(dim, eps=_EPS)]


# Channels and blocks of the four stages, and every how many blocks of stage 3 have large kernels.
SIZES: dict[str, tuple[tuple[int, ...], tuple[int, ...], int]] = {
    # Parameters with the classifier: in training, and merged.
    "unireplknet_a": ((40, 80, 160, 320), (2, 2, 6, 2), 1),  # 4.6 M, 4.4 M
    "unireplknet_f": ((48, 96, 192, 384), (2, 2, 6, 2), 1),  # 6.5 M, 6.2 M
    "unireplknet_p": ((64, 128, 256, 512), (2, 2, 6, 2), 1),  # 11.1 M, 10.7 M
    "unireplknet_n": ((80, 160, 320, 640), (2, 2, 8, 2), 1),  # 18.8 M, 18.3 M
    "unireplknet_t": ((80, 160, 320, 640), (3, 3, 18, 3), 2),  # 31.7 M, 31.0 M
    "unireplknet_s": ((96, 192, 384, 768), (3, 3, 27, 3), 3),  # 56.5 M, 55.6 M
    "unireplknet_b": ((128, 256, 512, 1024), (3, 3, 27, 3), 3),  # 99.1 M, 98.0 M
    "unireplknet_l": ((192, 384, 768, 1536), (3, 3, 27, 3), 3),  # 220.1 M, 218.5 M
    "unireplknet_xl": ((256, 512, 1024, 2048), (3, 3, 27, 3), 3),  # 388.7 M, 386.5 M
}
