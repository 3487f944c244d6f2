"""Any timm model as a backbone with maps at strides 4, 8, 16 and 32, or whole to classify.

Shapes: images (B, 3, H, W) become c2, c3, c4, c5 of (B, C, ceil(H / s), ceil(W / s)), s = 4..32, or
the logits (B, C) of C classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from timm.layers import convert_sync_batchnorm
from timm.models import group_parameters
from timm.models.resnet import ResNet
from torch import Tensor, distributed, nn
from torch.nn.modules.batchnorm import _BatchNorm

from van_dense.backbones.create import WRONG_SIZE, create_body, refused_size
from van_dense.backbones.download import IMAGENET, Normalization
from van_dense.backbones.pyramid import OTHERS, STRIDES, SimplePyramid, blocks_of, sources_of
from van_dense.core.structures import Size

NormMode = Literal["auto", "batch", "sync", "frozen"]
DIVISOR = 32  # deepest stride; sides of images are its multiples for most models


class NormChoice(NamedTuple):
    """Resolved ``norm_mode`` of the BatchNorm layers, and why, for the training plan."""

    mode: str
    reason: str


def resolve_norm_mode(mode: NormMode, device_type: str, world_size: int) -> NormChoice:
    """Decide how BatchNorm gets its statistics, or ValueError for "sync" without GPU.

    Args:
        mode: "batch" each process from its own batch; "sync" from the batches of all processes;
            "frozen" the stored statistics, with frozen scale and shift; "auto" sync for several
            processes on GPUs, as VAN-Segmentation trains, and batch otherwise.
        device_type: "cuda" or "cpu", where the training runs.
        world_size: Number of processes.
    """
    if mode == "auto":
        if device_type == "cuda" and world_size > 1:
            return NormChoice("sync", f"auto: {world_size} processes on GPUs share statistics")
        where = f"{world_size} process{'es' if world_size > 1 else ''} on {device_type}"
        return NormChoice("batch", f"auto: {where}; sync needs several processes on GPUs")
    if mode == "sync" and device_type != "cuda":
        sync = f"sync works on GPUs only, this run is on {device_type}"
        raise ValueError(f"model.backbone.norm_mode: {sync}; use auto, batch or frozen")
    if mode not in ("batch", "sync", "frozen"):
        raise ValueError(f"norm_mode {mode!r} is unknown; use auto, batch, sync or frozen")
    return NormChoice(mode, "as configured")


class TimmModel(nn.Module):
    """A timm model, which is ``body`` and keeps its own key names, and what of it stays frozen."""

    body: Any  # an nn.Module, but timm describes the methods of its models nowhere
    statistics: Normalization = IMAGENET  # of the pixels expected

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body
        self._eval_modules: frozenset[str] = frozenset()

    def train(self, mode: bool = True) -> TimmModel:
        """Switch to training; what was frozen stays in evaluation mode."""
        super().train(mode)
        for name, module in self.body.named_modules():
            if name in self._eval_modules:
                module.training = False
        return self

    def adapt(self, *, norm_mode: NormMode, freeze_stages: int, checkpointing: bool) -> None:
        """Prepare for training, with the settings of ``build_backbone``."""
        norm = resolve_norm_mode(norm_mode, *_device_and_world_size())
        if checkpointing:
            _switch_checkpointing_on(self.body)
        if norm.mode == "sync":
            self.body = convert_sync_batchnorm(self.body)
        elif norm.mode == "frozen":
            self.freeze_norms()
        if freeze_stages:
            self.freeze_stages(freeze_stages)

    def freeze_norms(self) -> None:
        """Keep the statistics, scale and shift of every BatchNorm for good."""
        self._freeze({n for n, m in self.body.named_modules() if isinstance(m, _BatchNorm)})

    def freeze_stages(self, num_stages: int) -> None:
        """Freeze the stem and the first stages: no gradient, and evaluation mode for good.

        A stage is everything that the model registers up to the module of its feature map: for
        VAN patch_embed1, block1, norm1; for ResNet conv1, bn1 and layer1. Of a plain ViT it is a
        quarter of the blocks. A model where they are no modules of their own is a ValueError.
        """
        if not 1 <= num_stages <= len(STRIDES):
            raise ValueError(f"freeze_stages must be in 0..{len(STRIDES)}, got {num_stages}")
        last = self._stages()[num_stages - 1]
        names = [name for name, _ in self.body.named_modules()]
        inside = [i for i, n in enumerate(names) if n == last or n.startswith(f"{last}.")]
        if not inside:
            stop = f"{type(self.body).__name__} has no module {last!r} to stop at"
            raise ValueError(f"freeze_stages: {stop}; set model.backbone.freeze_stages to 0")
        frozen, trained = names[1 : inside[-1] + 1], names[inside[-1] + 1 :]
        self._freeze({n for n in frozen if not any(t.startswith(f"{n}.") for t in trained)})
        for parameter in self.body.parameters(recurse=False):  # position embeddings and the like
            parameter.requires_grad_(False)

    def _stages(self) -> list[str]:
        """Name of the module that ends each of the four stages."""
        info = self.body.feature_info
        sources = sources_of(info, ())
        if sources.is_plain:
            count = len(info)
            return [info[-(-count * k // len(STRIDES)) - 1]["module"] for k in range(1, 5)]
        return [info[source.position]["module"] for source in sources.levels]

    def lr_layers(self) -> dict[str, int]:
        """Depth of each parameter below the heads, for layer-wise learning rates.

        Keys are the names of the body's parameters as ``named_parameters`` of this module has them.
        The last block has depth 1, and what comes after all blocks, as a classifier or the pyramid
        of a plain ViT, depth 0. Layers are timm's groups of the model.

        Raises:
            ValueError: When timm does not group the parameters of the model.
        """
        if not hasattr(self.body, "group_matcher"):
            lacks = f"timm does not say which layers {type(self.body).__name__} has; set it to 1"
            raise ValueError(f"train.optimizer.layer_decay: {lacks}")
        matcher = self.body.group_matcher(coarse=False)
        groups = group_parameters(self.body, matcher, reverse=True)
        new = getattr(self.body, "new_in_backbones", ())  # norms of maps, beside the heads
        old = {name: layer for name, layer in groups.items() if not name.startswith(new)}
        module = self.body.feature_info[-1]["module"]
        last_block = {layer for name, layer in old.items() if name.startswith(f"{module}.")}
        top = max(last_block or old.values()) + 1
        return {f"body.{name}": max(top - layer, 0) for name, layer in groups.items()}

    def _freeze(self, names: set[str]) -> None:
        for name in names:
            self.body.get_submodule(name).requires_grad_(False)
        self._eval_modules |= names
        self.train(self.training)


class TimmBackbone(TimmModel):
    """Four feature maps of a timm model without classifier.

    Maps have ceil(H / stride) x ceil(W / stride) positions. VAN and ResNet work on any size as they
    are. For others, such as ConvNeXt, whose own maps have floor(H / stride) rows, sides that are no
    multiple of 32 are padded with zeros on the right and below, and the surplus of each map is cut
    off; padded batches of the loader need neither. Where the model has no map of a stride,
    ``pyramid`` makes it of another one (``SimplePyramid``). The attributes
    ``channels`` and ``strides`` are those of c2..c5, after ``add_stride_2`` with c1 before them;
    ``left_out`` counts the finest of them that ``leave_out`` named. ``scale`` is the factor that
    images are resized by first, for patches of 14 pixels.

    Args:
        body: A timm model.
        blocks: As ``sources_of`` takes it.

    Raises:
        ValueError: When c2..c5 cannot be made of its maps.
    """

    strides: tuple[int, ...] = STRIDES
    left_out = 0

    def __init__(self, body: nn.Module, blocks: Sequence[int] = ()) -> None:
        super().__init__(body)
        sources = sources_of(self.body.feature_info, blocks)
        self.scale = sources.scale
        self._positions = [source.position for source in sources.levels]  # of c2..c5
        self._taken = sorted(set(self._positions))
        self.body.prune_intermediate_layers(self._taken, prune_norm=True)
        self.body.feature_info = self.body.feature_info[: self._taken[-1] + 1]
        self.channels: list[int] = [source.channels for source in sources.levels]
        self.pyramid: SimplePyramid | None = None
        if sources.is_plain or [source.stride for source in sources.levels] != [*STRIDES]:
            self.pyramid = SimplePyramid(sources)
            self.channels = list(self.pyramid.channels)

    @property
    def any_size(self) -> bool:
        """Do maps of images of any size need no padding? Those of most ResNets do not either."""
        has_ceil = getattr(self.body, "any_size", False) or _rounds_up(self.body)
        return self.pyramid is None and has_ceil

    def forward(self, images: Tensor) -> list[Tensor]:
        """Compute [c2, c3, c4, c5], all (B, C, H, W), of normalised images (B, 3, H, W)."""
        height, width = images.shape[-2:]
        if self.any_size or (height % DIVISOR == 0 and width % DIVISOR == 0):
            return self._maps(images)
        images = F.pad(images, (0, -width % DIVISOR, 0, -height % DIVISOR))
        return [
            level[..., : -(-height // stride), : -(-width // stride)]
            for level, stride in zip(self._maps(images), self.strides, strict=True)
        ]

    def leave_out(self, count: int) -> None:
        """Do not make the ``count`` finest of c2..c5, which no head looks at, of other maps.

        What the pyramid would make them of stands in their place. Maps that the model has stay,
        for it computes them anyway, and lose the norms that they alone have.
        """
        if self.pyramid is not None:
            self.pyramid.leave_out(count)
            self.left_out = count
        elif hasattr(self.body, "leave_out"):
            self.body.leave_out(count)

    def add_stride_2(self) -> None:
        """Give c1 at stride 2 before c2..c5 where the model has such a map, as CNNs with a stem do.

        It adds no parameter and no computation: the model computes this map anyway.
        """
        info = self.body.feature_info
        levels = [i for i, level in enumerate(info) if level["reduction"] == 2]
        if levels and 2 not in self.strides:
            self.strides = (2, *self.strides)
            self.channels = [info[levels[-1]]["num_chs"], *self.channels]
            self._positions = [levels[-1], *self._positions]
            self._taken = sorted(set(self._positions))

    def _maps(self, images: Tensor) -> list[Tensor]:
        height, width = images.shape[-2:]
        if self.scale != 1:  # the surplus of anti-aliasing is what patches of 14 pixels saw
            size = [round(side * self.scale) for side in (height, width)]
            images = F.interpolate(images, size, mode="bilinear", antialias=True)
        try:
            found = self.body.forward_intermediates(
                images, indices=self._taken, output_fmt="NCHW", intermediates_only=True
            )
        except WRONG_SIZE as error:
            raise refused_size(self.body, images, error) from error
        maps = dict(zip(self._taken, found, strict=True))
        levels = [maps[index] for index in self._positions]
        if self.pyramid is not None:
            levels[-len(STRIDES) :] = self.pyramid(levels[-len(STRIDES) :])
        self._check_sizes(levels, height, width)
        return levels

    def _check_sizes(self, levels: Sequence[Tensor], height: int, width: int) -> None:
        """Refuse maps that are smaller than their stride says, as of convolutions without padding.

        Exporters trace sizes that they do not know; these were seen before.
        """
        if torch.compiler.is_exporting() or torch.compiler.is_compiling():
            return
        made = slice(self.left_out, None)
        found = [tuple(level.shape[-2:]) for level in levels[made]]
        wanted = [(-(-height // stride), -(-width // stride)) for stride in self.strides[made]]
        if found != wanted:
            raise ValueError(
                f"model.backbone.name: maps of {type(self.body).__name__} have {found} positions "
                f"for images of {width}x{height}, and strides {self.strides} make {wanted}: it "
                f"cuts the borders of images off, so that nothing in them is where it seems; "
                f"{OTHERS}"
            )


class WholeModel(TimmModel):
    """A timm model with its own classifier, whose keys are those of backbones of other tasks."""

    def __init__(self, body: nn.Module, num_classes: int) -> None:
        super().__init__(body)
        self.num_classes = num_classes

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, C) of normalised images (B, 3, H, W).

        Images of a size that the model refuses, as ViT and Swin do, are a ValueError.
        """
        try:
            return self.body(images)
        except WRONG_SIZE as error:
            raise refused_size(self.body, images, error) from error


def _rounds_up(body: nn.Module) -> bool:
    """Has every map of a ResNet ceil(H / stride) rows, as none of its layers cuts a border off?"""
    pools = (module for module in body.modules() if isinstance(module, nn.AvgPool2d))
    return isinstance(body, ResNet) and all(pool.ceil_mode or pool.padding for pool in pools)


def norm_options(name: str, norm_eps: float | None) -> dict[str, Any]:
    """Options of ``build_backbone`` that give VAN's LayerNorms an epsilon; others keep theirs."""
    return {} if norm_eps is None or not name.startswith("van_") else {"norm_eps": norm_eps}


def build_backbone(
    name: str,
    *,
    drop_path: float,
    norm_mode: NormMode,
    freeze_stages: int,
    checkpointing: bool,
    options: Mapping[str, Any],
    size: Size | None = None,
) -> TimmBackbone:
    """Build a backbone from a timm model, or ValueError that names the setting it cannot follow.

    Args:
        name: timm name, for example "van_b2", "resnet50" or "convnext_tiny.fb_in1k".
        drop_path: Stochastic depth rate of the last block.
        norm_mode: Statistics of the BatchNorms, as ``resolve_norm_mode`` takes it.
        freeze_stages: Stem and this many stages stay as they are; 0 freezes nothing.
        checkpointing: Recompute activations in the backward pass; less memory, same gradients.
            VAN's BatchNorms count each batch once; in other models with BatchNorm timm updates
            the running statistics a second time.
        options: Further arguments of the timm model, such as ``norm_eps`` or ``lka_kernel`` for
            VAN, or ``pretrained: true`` for timm's own weights. ``blocks`` is ours, as
            ``blocks_of`` takes it.
        size: (height, width) of all images where the task has one size, None where they vary.
    """
    arguments = dict(options)
    blocks = blocks_of(arguments.pop("blocks", ()))
    body = create_body(name, 0, drop_path=drop_path, options=arguments, size=size)
    backbone = TimmBackbone(body, blocks)
    backbone.adapt(norm_mode=norm_mode, freeze_stages=freeze_stages, checkpointing=checkpointing)
    return backbone


def build_classifier(
    name: str,
    num_classes: int,
    *,
    drop_path: float,
    options: Mapping[str, Any],
    size: Size | None = None,
) -> WholeModel:
    """Build a whole timm model, with a classifier of its own kind; ``adapt`` it for training.

    Args:
        name: timm name of any model with a classifier, VAN, ViT or other; ValueError otherwise.
        num_classes: C, at least 1.
        drop_path: Stochastic depth rate of the last block.
        options: Further arguments of the timm model.
        size: (height, width) of all images, None where they vary.
    """
    body = create_body(name, num_classes, drop_path=drop_path, options=options, size=size)
    if getattr(body, "num_classes", None) != num_classes:
        raise ValueError(f"model.backbone.name: timm's {name} cannot classify; choose another one")
    return WholeModel(body, num_classes)


def sync_norms(head: nn.Module, norm_mode: NormMode) -> nn.Module:
    """Let the BatchNorms of a head share statistics where those of the backbone do.

    Where these are frozen, a head still learns from its batches: it has no stored statistics.
    """
    if norm_mode == "frozen":
        return head
    norm = resolve_norm_mode(norm_mode, *_device_and_world_size())
    return convert_sync_batchnorm(head) if norm.mode == "sync" else head


def _device_and_world_size() -> tuple[str, int]:
    device_type = "cuda" if torch.cuda.is_available() else "cpu"
    if not (distributed.is_available() and distributed.is_initialized()):
        return device_type, 1
    # Several processes with the gloo backend train on the CPU even where there is a GPU.
    is_gloo = distributed.get_backend() == "gloo"
    return "cpu" if is_gloo else device_type, distributed.get_world_size()


def _switch_checkpointing_on(body: Any) -> None:
    try:
        body.set_grad_checkpointing(True)
    except (AssertionError, AttributeError) as error:
        name = body.pretrained_cfg["architecture"]
        lacks = f"timm's {name} does not support it; set it to false"
        raise ValueError(f"model.backbone.checkpointing: {lacks}") from error
