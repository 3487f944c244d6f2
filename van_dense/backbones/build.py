"""Any timm model with feature maps at strides 4, 8, 16 and 32 as a backbone, or whole to classify.

Shapes: images (B, 3, H, W) become c2, c3, c4, c5 of (B, C, ceil(H / s), ceil(W / s)), s = 4..32, or
the logits (B, C) of C classes.
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

from van_dense.backbones.download import HUB, IMAGENET, Normalization
from van_dense.backbones.van import VAN
from van_dense.core.quiet import errors_only

NormMode = Literal["auto", "batch", "sync", "frozen"]
_STRIDES = (4, 8, 16, 32)  # of c2, c3, c4, c5
_SET_ELSEWHERE = {  # arguments of timm models that belong to other keys
    "in_chans": "images are read as RGB, with 3 channels",
    "num_classes": "the classes of the data set say it",
    "drop_path_rate": "set model.backbone.drop_path instead",
    "checkpoint_path": "set model.backbone.weights instead",
    "features_only": "maps are taken from whole models here",
    "out_indices": "c2 to c5 are taken here",
    "global_pool": "classifiers keep timm's own pooling",
}
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
        VAN patch_embed1, block1, norm1; for ResNet conv1, bn1 and layer1. A model without such
        stages, or where they are no modules of their own, is a ValueError.
        """
        if not 1 <= num_stages <= len(_STRIDES):
            raise ValueError(f"freeze_stages must be in 0..{len(_STRIDES)}, got {num_stages}")
        last = self.body.feature_info[_levels(self.body)[num_stages - 1]]["module"]
        names = [name for name, _ in self.body.named_modules()]
        inside = [i for i, n in enumerate(names) if n == last or n.startswith(f"{last}.")]
        if not inside:
            stop = f"{type(self.body).__name__} has no module {last!r} to stop at"
            raise ValueError(f"freeze_stages: {stop}; set model.backbone.freeze_stages to 0")
        frozen, trained = names[1 : inside[-1] + 1], names[inside[-1] + 1 :]
        self._freeze({n for n in frozen if not any(t.startswith(f"{n}.") for t in trained)})
        for parameter in self.body.parameters(recurse=False):  # position embeddings and the like
            parameter.requires_grad_(False)

    def _freeze(self, names: set[str]) -> None:
        for name in names:
            self.body.get_submodule(name).requires_grad_(False)
        self._eval_modules |= names
        self.train(self.training)


class TimmBackbone(TimmModel):
    """Four feature maps of a timm model without classifier, or ValueError if it lacks one of them.

    Maps have ceil(H / stride) x ceil(W / stride) positions. VAN works on any size as it is. For
    other models, sides that are no multiple of 32 are padded with zeros on the right and below, and
    the surplus of each map is cut off; padded batches of the loader need neither. The attributes
    ``channels`` and ``strides`` are those of c2..c5, after ``add_stride_2`` with c1 before them.
    """

    strides: tuple[int, ...] = _STRIDES

    def __init__(self, body: nn.Module) -> None:
        super().__init__(body)
        levels = _levels(self.body)  # the last one of each stride
        self.channels: list[int] = [self.body.feature_info[i]["num_chs"] for i in levels]
        self._levels = self.body.prune_intermediate_layers(levels, prune_norm=True)
        self._is_any_size = isinstance(body, VAN)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Compute [c2, c3, c4, c5], all (B, C, H, W), of normalised images (B, 3, H, W)."""
        height, width = images.shape[-2:]
        if self._is_any_size or (height % DIVISOR == 0 and width % DIVISOR == 0):
            return self._maps(images)
        images = F.pad(images, (0, -width % DIVISOR, 0, -height % DIVISOR))
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
        try:
            return self.body.forward_intermediates(
                images, indices=self._levels, output_fmt="NCHW", intermediates_only=True
            )
        except (AssertionError, RuntimeError) as error:
            raise _refused_size(self.body, images, error) from error


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
        except (AssertionError, RuntimeError) as error:
            raise _refused_size(self.body, images, error) from error


def _refused_size(body: Any, images: Tensor, error: Exception) -> Exception:
    """What a model says of images that it is not made for; any other error as it is."""
    cfg = getattr(body, "pretrained_cfg", None) or {}
    made_for, size = tuple(cfg.get("input_size", ()))[1:], tuple(images.shape[-2:])
    is_of_device = isinstance(error, torch.OutOfMemoryError) or "CUDA" in str(error)
    is_as_made = made_for == size and not isinstance(error, AssertionError)
    if not made_for or is_as_made or is_of_device:
        return error
    name, reason = cfg.get("architecture", type(body).__name__), str(error).splitlines()[:1]
    return ValueError(
        f"model.backbone.name: timm's {name} refuses images of {size[1]}x{size[0]} "
        f"({''.join(reason):.200}); it is made for {made_for[1]}x{made_for[0]}. Give it images of "
        "that size alone, in training and evaluation (data.transforms), or of the one that "
        "model.backbone.options={img_size: SIDE} sets where it takes this, or choose a backbone "
        "for any size, such as van_b2, convnext_tiny, resnet50 or swin_tiny_patch4_window7_224"
    )


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
            VAN, or ``pretrained: true`` for timm's own weights.
    """
    backbone = TimmBackbone(_create_body(name, 0, drop_path, options))
    backbone.adapt(norm_mode=norm_mode, freeze_stages=freeze_stages, checkpointing=checkpointing)
    return backbone


def build_classifier(
    name: str, num_classes: int, *, drop_path: float, options: Mapping[str, Any]
) -> WholeModel:
    """Build a whole timm model, with a classifier of its own kind; ``adapt`` it for training.

    Args:
        name: timm name of any model with a classifier, VAN, ViT or other; ValueError otherwise.
        num_classes: C, at least 1.
        drop_path: Stochastic depth rate of the last block.
        options: Further arguments of the timm model, such as ``img_size`` for ViT.
    """
    body = _create_body(name, num_classes, drop_path, options)
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


def _levels(body: Any) -> list[int]:
    """Position of the last level of each of the four strides in the model's ``feature_info``."""
    found = [level["reduction"] for level in body.feature_info]
    if missing := set(_STRIDES) - set(found):
        raise ValueError(
            f"the backbone has feature maps at strides {sorted(set(found))}, but {sorted(missing)} "
            "are missing; choose one such as van_b2, resnet50 or swin_tiny_patch4_window7_224"
        )
    return [max(i for i, s in enumerate(found) if s == stride) for stride in _STRIDES]


def _create_body(
    name: str, num_classes: int, drop_path: float, options: Mapping[str, Any]
) -> nn.Module:
    if not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), n=5, cutoff=0.4)
        raise ValueError(f"model.backbone.name: timm knows no {name!r}; nearest names: {near}")
    for option, instead in _SET_ELSEWHERE.items():
        if option in options:
            raise ValueError(f"model.backbone.options: remove {option}; {instead}")
    arguments = dict(options)
    if drop_path:
        arguments["drop_path_rate"] = drop_path
    if name.startswith("swin"):
        arguments.setdefault("strict_img_size", False)  # windows are padded, any size works
    try:
        with errors_only(HUB):
            return timm.create_model(name, num_classes=num_classes, **arguments)
    except (TypeError, RuntimeError) as error:  # an option or a weight tag that it lacks
        if drop_path and "drop_path_rate" in str(error):
            lacks = f"timm's {name} has no stochastic depth; set it to 0"
            raise ValueError(f"model.backbone.drop_path: {lacks}") from error
        what = f"timm cannot build {name} with the options {arguments}"
        raise ValueError(f"model.backbone: {what}: {error}") from error


def _switch_checkpointing_on(body: Any) -> None:
    try:
        body.set_grad_checkpointing(True)
    except (AssertionError, AttributeError) as error:
        name = body.pretrained_cfg["architecture"]
        lacks = f"timm's {name} does not support it; set it to false"
        raise ValueError(f"model.backbone.checkpointing: {lacks}") from error
