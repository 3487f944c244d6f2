"""What timm and this package ask of a backbone of four stages, for VAN and its relatives.

Shapes: every tensor is (B, C, H, W); stage i = 0..3 works at stride 4, 8, 16, 32. A side of H
pixels becomes ceil(H / stride), whatever H is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from timm.models._features import feature_take_indices
from torch import Tensor, nn

from van_dense.backbones.van_layers import Stage, StageNorm


class FourStages(nn.Module):
    """A network of four stages with a linear classifier; a subclass says what a stage is.

    A subclass fills ``feature_info`` and ``num_features``, and calls ``reset_classifier`` at the
    end of its constructor. Whoever takes the classifier away with ``prune_intermediate_layers``
    wants maps.
    """

    any_size = True  #: whether images of any size work as they are
    feature_info: list[dict[str, Any]]  #: channels, stride and module of each stage
    num_features: int
    head: nn.Module

    def run_stage(self, position: int, x: Tensor) -> Tensor:
        """The input of stage ``position`` + 1, counted from 0."""
        raise NotImplementedError

    def drop_stage(self, position: int) -> None:
        """Remove a stage that nobody needs."""
        raise NotImplementedError

    def map_of(self, position: int, x: Tensor) -> Tensor:
        """The map that a stage gives to others; by default what the next stage gets."""
        return x

    def pooled(self, x: Tensor) -> Tensor:
        """Vectors (B, C) that are classified, of the last map."""
        return x.mean(dim=(2, 3))

    def forward_features(self, x: Tensor) -> Tensor:
        """Map of the last stage, (B, C, ceil(H / 32), ceil(W / 32))."""
        for position in range(len(self.feature_info)):
            x = self.run_stage(position, x)
        return x

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Pool the last map and classify it; ``pre_logits`` stops after pooling."""
        x = self.pooled(x) if self.global_pool == "avg" else x
        return x if pre_logits else self.head(x)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, num_classes) of images (B, 3, H, W)."""
        return self.forward_head(self.forward_features(x))

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | list[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """Maps of chosen stages, always after their norm if they have one; arguments are timm's."""
        if output_fmt != "NCHW":
            raise ValueError(f"{type(self).__name__} gives NCHW maps only, not {output_fmt!r}")
        num_stages = len(self.feature_info)
        taken, last = feature_take_indices(num_stages, indices)
        maps = []
        for position in range(last + 1 if stop_early else num_stages):
            x = self.run_stage(position, x)
            if position in taken:
                maps.append(self.map_of(position, x))
        return maps if intermediates_only else (x, maps)

    def prune_intermediate_layers(
        self, indices: int | list[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Drop stages above the last chosen one; norms of maps stay, for they belong to them."""
        taken, last = feature_take_indices(len(self.feature_info), indices)
        for position in range(last + 1, len(self.feature_info)):
            self.drop_stage(position)
        is_cut = last + 1 < len(self.feature_info)
        del self.feature_info[last + 1 :]
        self.num_features = self.head_hidden_size = self.feature_info[last]["num_chs"]
        if prune_head or is_cut:
            self.reset_classifier(0, "")
        return taken

    def get_classifier(self) -> nn.Module:
        """The last linear layer."""
        return self.head

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replace the classifier by a new one; 0 classes give an identity."""
        if global_pool is not None:
            if global_pool not in ("avg", ""):
                name = type(self).__name__
                raise ValueError(f"global_pool of {name} must be 'avg' or '', got {global_pool!r}")
            self.global_pool = global_pool
        self.num_classes = num_classes
        self.head_hidden_size = self.num_features
        self.head = nn.Linear(self.num_features, num_classes) if num_classes else nn.Identity()
        if isinstance(self.head, nn.Linear):
            nn.init.trunc_normal_(self.head.weight, std=0.02)
            nn.init.zeros_(self.head.bias)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute each block in the backward pass instead of storing its activations."""
        for module in self.modules():
            if isinstance(module, Stage):
                module.grad_checkpointing = enable

    def no_weight_decay(self) -> set[str]:
        """Names without weight decay: none."""
        return set()


class NumberedStages(FourStages):
    """Stages that are patch embedding, blocks and norm, each a module with the stage's number.

    A subclass names them in ``parts``: "block" is ``block1`` to ``block4``.
    """

    parts: tuple[str, str, str]  #: in the order of execution

    def run_stage(self, position: int, x: Tensor) -> Tensor:
        """Patch embedding, blocks and norm of a stage."""
        for part in self.parts:
            x = getattr(self, f"{part}{position + 1}")(x)
        return x

    def drop_stage(self, position: int) -> None:
        """Remove all parts of a stage."""
        for part in self.parts:
            delattr(self, f"{part}{position + 1}")

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Patterns of timm's layer groups: whole stages, or single blocks."""
        embed, block, norm = self.parts
        blocks = [
            (rf"^{embed}(\d+)", (0,)),
            (rf"^{block}(\d+)\.(\d+)", None),
            (rf"^{norm}(\d+)", (99999,)),
        ]
        return {
            "stem": rf"^{embed}1",
            "blocks": rf"^(?:{embed}|{block}|{norm})(\d+)" if coarse else blocks,
        }


class NormedMaps(FourStages):
    """Stages whose maps pass a LayerNorm on their way out, which the next stage does not see.

    Classifiers, and so published ImageNet weights, have none of these ``norm0`` to ``norm3``, but
    one ``norm`` before the last layer; backbones have them and lack that one. A subclass registers
    the parts of stage i as module i of each list that ``stage_lists`` names.
    """

    # Of a backbone, but of no classifier: what ImageNet files lack.
    new_in_backbones = tuple(f"norm{position}." for position in range(4))
    stage_lists: tuple[str, ...]  #: names of lists of modules, one module for each stage
    map_eps: float  #: epsilon of the norms of maps
    norm: nn.Module

    def map_of(self, position: int, x: Tensor) -> Tensor:
        """The map of a stage after its LayerNorm; of a classifier, which has none, as it is."""
        norm = getattr(self, f"norm{position}", None)
        return x if norm is None else norm(x)

    def pooled(self, x: Tensor) -> Tensor:
        """Means over all positions, normalised."""
        return self.norm(super().pooled(x))

    def drop_stage(self, position: int) -> None:
        """Remove the last stage."""
        for name in self.stage_lists:
            del self.get_submodule(name)[position:]  # type: ignore[operator]

    def prune_intermediate_layers(
        self, indices: int | list[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Drop what maps do not need; without the classifier each map gets its LayerNorm.

        These norms are new: a factor of 1 and a shift of 0.
        """
        taken = super().prune_intermediate_layers(indices, prune_norm, prune_head)
        if not self.num_classes:
            self.norm = nn.Identity()
            weight = next(self.parameters())
            for position, info in enumerate(self.feature_info):
                norm = StageNorm(info["num_chs"], eps=self.map_eps)
                setattr(self, f"norm{position}", norm.to(weight.device, weight.dtype))
                info["module"] = f"norm{position}"
        return taken

    def leave_out(self, count: int) -> None:
        """Remove the norms of the ``count`` finest maps, which no head looks at."""
        for position, info in enumerate(self.feature_info[:count]):
            delattr(self, f"norm{position}")
            info["module"] = f"{self.stage_lists[-1]}.{position}"

    def named_modules(
        self, memo: set[nn.Module] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, nn.Module]]:
        """Modules stage by stage, as they run; their names would sort them by kind.

        Whoever freezes stages goes by this order.
        """
        found = list(super().named_modules(memo, prefix, remove_duplicate))
        start = len(prefix) + 1 if prefix else 0
        return iter(sorted(found, key=lambda item: self._stage_of(item[0][start:])))

    def _stage_of(self, name: str) -> int:
        """Position of the stage that a module belongs to; -1 for what comes before, 4 after."""
        kind, _, rest = name.partition(".")
        if kind in self.stage_lists:
            return int(rest.partition(".")[0]) if rest else -1
        if kind in ("norm", "head"):
            return 4
        return int(kind.removeprefix("norm")) if kind.startswith("norm") else -1


class DownStage(nn.Module):
    """What halves the sides, and blocks, of maps in one layout."""

    def __init__(self, downsample: nn.Module, blocks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.downsample = downsample
        self.blocks = Stage(*blocks)

    def forward(self, x: Tensor) -> Tensor:
        """The input of the next stage."""
        return self.blocks(self.downsample(x))


def down_stage_groups(stem: str, stages: str, *, coarse: bool) -> dict[str, Any]:
    """Patterns of timm's layer groups for a stem and a list of ``DownStage``, by their names.

    Groups are whole stages with ``coarse``, or single blocks; norms of maps are new, and in the
    group of the head.
    """
    blocks = [
        (rf"^{stages}\.(\d+)\.downsample", (0,)),
        (rf"^{stages}\.(\d+)\.blocks\.(\d+)", None),
    ]
    return {"stem": f"^{stem}", "blocks": rf"^{stages}\.(\d+)" if coarse else blocks}


def map_info(position: int, channels: int, stages: str) -> dict[str, Any]:
    """timm's data about the map of a stage, of strides 4, 8, 16 and 32, in a list of stages."""
    return {
        "num_chs": channels,
        "reduction": 2 ** (position + 2),
        "module": f"{stages}.{position}",
    }


def drop_path_rates(last: float, depths: Sequence[int]) -> Iterator[float]:
    """Rates of stochastic depth, from 0 in the first block to ``last`` in the last one."""
    num_blocks = sum(depths)
    return (last * position / max(num_blocks - 1, 1) for position in range(num_blocks))
