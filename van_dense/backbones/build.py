"""Any timm model with feature maps at strides 4, 8, 16 and 32 as the backbone of a dense model.

Shapes: images (B, 3, H, W) become c2, c3, c4, c5 of (B, C, ceil(H / s), ceil(W / s)), s = 4..32.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import timm
import torch
import torch.nn.functional as F
from timm.layers import convert_sync_batchnorm
from torch import Tensor, distributed, nn
from torch.nn.modules.batchnorm import _BatchNorm

from van_dense.backbones.van import VAN

NormMode = Literal["auto", "batch", "sync", "frozen"]
_DIVISOR = 32  # deepest stride


class NormChoice(NamedTuple):
    """Resolved ``norm_mode`` of the BatchNorm layers, and why, for the training plan."""

    mode: str
    reason: str


def resolve_norm_mode(mode: NormMode, device_type: str, world_size: int) -> NormChoice:
    """Decide how BatchNorm gets its statistics.

    Args:
        mode: "batch" each process from its own batch; "sync" from the batches of all processes;
            "frozen" the stored statistics, with frozen scale and shift; "auto" sync for several
            processes on GPUs, as VAN-Segmentation trains, and batch otherwise.
        device_type: "cuda" or "cpu", of the training.
        world_size: Number of processes.

    Raises:
        ValueError: For "sync" without GPU, or an unknown mode.
    """
    if mode == "auto":
        if device_type == "cuda" and world_size > 1:
            return NormChoice("sync", f"auto: {world_size} processes on GPUs share statistics")
        where = f"{world_size} process{'es' if world_size > 1 else ''} on {device_type}"
        return NormChoice("batch", f"auto: {where}; sync needs several processes on GPUs")
    if mode == "sync" and device_type != "cuda":
        raise ValueError(
            f"model.backbone.norm_mode: sync works on GPUs only, this run is on {device_type}; use "
            "auto, batch or frozen"
        )
    if mode not in ("batch", "sync", "frozen"):
        raise ValueError(f"norm_mode {mode!r} is unknown; use auto, batch, sync or frozen")
    return NormChoice(mode, "as configured")


class Backbone(nn.Module):
    """Four feature maps of a timm model, which is ``body`` and keeps its own key names.

    Maps have ceil(H / stride) x ceil(W / stride) positions. VAN works on any size as it is. For
    other models, sides that are no multiple of 32 are padded with zeros on the right and below, and
    the surplus of each map is cut off; padded batches of the loader need neither.

    Attributes:
        body: The timm model without classifier.
        channels: Of c2, c3, c4, c5.
        strides: (4, 8, 16, 32), with 2 before them after ``add_stride_2``.
    """

    strides: tuple[int, ...] = (4, 8, 16, 32)
    body: Any  # an nn.Module, but timm describes the methods of its models nowhere

    def __init__(self, body: nn.Module) -> None:
        """Take the last level of each stride.

        Raises:
            ValueError: When the model lacks one of the strides.
        """
        super().__init__()
        self.body = body
        info = self.body.feature_info
        found = [level["reduction"] for level in info]
        if missing := set(self.strides) - set(found):
            raise ValueError(
                f"the backbone has feature maps at strides {sorted(set(found))}, but "
                f"{sorted(missing)} of {self.strides} are missing; choose a hierarchical model "
                "such as van_b2, resnet50 or swin_tiny_patch4_window7_224"
            )
        levels = [max(i for i, s in enumerate(found) if s == stride) for stride in self.strides]
        self.channels: list[int] = [info[level]["num_chs"] for level in levels]
        self.stage_modules: list[str] = [info[level]["module"] for level in levels]
        self._levels = self.body.prune_intermediate_layers(levels, prune_norm=True)
        self._is_any_size = isinstance(body, VAN)
        self._eval_modules: frozenset[str] = frozenset()

    def forward(self, images: Tensor) -> list[Tensor]:
        """Compute [c2, c3, c4, c5], all (B, C, H, W), of normalised images (B, 3, H, W)."""
        height, width = images.shape[-2:]
        if self._is_any_size or (height % _DIVISOR == 0 and width % _DIVISOR == 0):
            return self._maps(images)
        images = F.pad(images, (0, -width % _DIVISOR, 0, -height % _DIVISOR))
        return [
            level[..., : -(-height // stride), : -(-width // stride)]
            for level, stride in zip(self._maps(images), self.strides, strict=True)
        ]

    def add_stride_2(self) -> None:
        """Give c1 at stride 2 before c2..c5 where the model has such a map, as CNNs with a stem do.

        It adds no parameter and no computation: the model computes this map anyway.
        """
        info = self.body.feature_info
        levels = [i for i, level in enumerate(info) if level["reduction"] == 2]
        if levels and 2 not in self.strides:
            self.strides = (2, *self.strides)
            self.channels = [info[levels[-1]]["num_chs"], *self.channels]
            self._levels = [levels[-1], *self._levels]

    def _maps(self, images: Tensor) -> list[Tensor]:
        return self.body.forward_intermediates(
            images, indices=self._levels, output_fmt="NCHW", intermediates_only=True
        )

    def train(self, mode: bool = True) -> Backbone:
        """Switch to training; what was frozen stays in evaluation mode."""
        super().train(mode)
        for name, module in self.body.named_modules():
            if name in self._eval_modules:
                module.training = False
        return self

    def freeze_norms(self) -> None:
        """Keep the statistics, scale and shift of every BatchNorm for good."""
        self._freeze({n for n, m in self.body.named_modules() if isinstance(m, _BatchNorm)})

    def freeze_stages(self, num_stages: int) -> None:
        """Freeze the stem and the first stages: no gradient, and evaluation mode for good.

        A stage is everything that the model registers up to the module of its feature map: for
        VAN patch_embed1, block1, norm1; for ResNet conv1, bn1 and layer1.

        Raises:
            ValueError: When the stages of the model are no modules of their own.
        """
        if not 1 <= num_stages <= len(self.stage_modules):
            raise ValueError(f"freeze_stages must be in 0..4, got {num_stages}")
        last = self.stage_modules[num_stages - 1]
        names = [name for name, _ in self.body.named_modules()]
        inside = [i for i, n in enumerate(names) if n == last or n.startswith(f"{last}.")]
        if not inside:
            raise ValueError(
                f"freeze_stages: {type(self.body).__name__} has no module {last!r} to stop at; "
                "set model.backbone.freeze_stages to 0"
            )
        frozen, trained = names[1 : inside[-1] + 1], names[inside[-1] + 1 :]
        self._freeze({n for n in frozen if not any(t.startswith(f"{n}.") for t in trained)})
        for parameter in self.body.parameters(recurse=False):  # position embeddings and the like
            parameter.requires_grad_(False)

    def _freeze(self, names: set[str]) -> None:
        for name in names:
            self.body.get_submodule(name).requires_grad_(False)
        self._eval_modules |= names
        self.train(self.training)


def build_backbone(
    name: str,
    *,
    drop_path: float = 0.0,
    norm_mode: NormMode = "auto",
    freeze_stages: int = 0,
    checkpointing: bool = False,
    options: Mapping[str, Any] | None = None,
) -> Backbone:
    """Build a backbone from a timm model.

    Args:
        name: timm name, for example "van_b2", "resnet50" or "convnext_tiny.fb_in1k".
        drop_path: Stochastic depth rate of the last block.
        norm_mode: See ``resolve_norm_mode``.
        freeze_stages: Stem and this many stages stay as they are; 0 freezes nothing.
        checkpointing: Recompute activations in the backward pass; less memory, same gradients.
            VAN's BatchNorms count each batch once; in other models with BatchNorm timm updates
            the running statistics a second time.
        options: Further arguments of the timm model, such as ``norm_eps`` or ``lka_kernel`` for
            VAN, or ``pretrained: true`` for timm's own weights.

    Raises:
        ValueError: For an unknown name or option, a model without the four strides, or a setting
            the model cannot follow.
    """
    if not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), n=5, cutoff=0.4)
        raise ValueError(f"model.backbone.name: timm knows no {name!r}; nearest names: {near}")
    norm = resolve_norm_mode(norm_mode, *_device_and_world_size())
    backbone = Backbone(_create_body(name, drop_path, dict(options or {})))
    if checkpointing:
        _switch_checkpointing_on(backbone.body, name)
    if norm.mode == "sync":
        backbone.body = convert_sync_batchnorm(backbone.body)
    elif norm.mode == "frozen":
        backbone.freeze_norms()
    if freeze_stages:
        backbone.freeze_stages(freeze_stages)
    return backbone


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


def _create_body(name: str, drop_path: float, options: dict[str, Any]) -> nn.Module:
    if drop_path:
        options["drop_path_rate"] = drop_path
    if name.startswith("swin"):
        options.setdefault("strict_img_size", False)  # windows are padded, any size works
    try:
        return timm.create_model(name, num_classes=0, **options)
    except (TypeError, RuntimeError) as error:  # an option or a weight tag that it lacks
        raise ValueError(
            f"model.backbone: timm cannot build {name} with the options {options}: {error}"
        ) from error


def _switch_checkpointing_on(body: Any, name: str) -> None:
    try:
        body.set_grad_checkpointing(True)
    except (AssertionError, AttributeError) as error:
        raise ValueError(
            f"model.backbone.checkpointing: timm's {name} does not support it; set it to false"
        ) from error
