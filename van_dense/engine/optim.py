"""The optimiser and its parameter groups: weight decay or none, backbone or head."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from van_dense.config.schema import Optimizer


def build_optimizer(model: nn.Module, config: Optimizer, lr: float) -> torch.optim.Optimizer:
    """Make the optimiser; call it after the model is on its device.

    Every group holds its own ``lr_factor``, by which ``set_lr`` multiplies the scheduled rate.

    Args:
        model: Model to train. Frozen parameters are left out; those named "backbone." get the
            backbone's learning rate.
        config: Kind and hyper-parameters of the optimiser. With ``layer_decay`` the model has a
            backbone whose ``lr_layers`` tells the depth of its parameters.
        lr: Learning rate after scaling, before the schedule.
    """
    groups = parameter_groups(model, config)
    # One kernel for all parameters; on a CPU it took 4 ms instead of 20 ms for 6 M parameters.
    device = groups[0]["params"][0].device.type
    options: dict[str, Any] = {"lr": lr, "fused": device in ("cpu", "cuda")}
    if config.name == "sgd":
        return torch.optim.SGD(groups, momentum=config.momentum, **options)
    kind = torch.optim.AdamW if config.name == "adamw" else torch.optim.Adam
    return kind(groups, betas=config.betas, **options)


def parameter_groups(model: nn.Module, config: Optimizer) -> list[dict[str, Any]]:
    """Sort the trainable parameters into groups: at most four, or two for each layer.

    No weight decay where the parameter's name holds a part of ``config.no_decay``, as in Swin
    Transformer's detection recipes, which the VAN paper follows (``paramwise_cfg: custom_keys:
    {'norm': decay_mult 0}``). Without ``config.decay_vectors`` none on 1-d tensors either: timm's
    ``param_groups_weight_decay``, of the classification recipes.

    With ``config.layer_decay`` d the learning rate of the backbone's last block is d times that of
    the heads, of the block before it d^2 times, and so on down to the patch embedding, as BEiT and
    ViTDet train plain ViTs (``get_vit_lr_decay_rate`` of Detectron2).
    """
    layers = _layers(model, config)
    groups: dict[tuple[bool, int, bool], dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        is_backbone = name.startswith("backbone.")
        exempt = any(part in name for part in config.no_decay)
        decays = not exempt and (config.decay_vectors or parameter.ndim > 1)
        where, how = "backbone" if is_backbone else "head", "decay" if decays else "no decay"
        depth = layers.get(name, 0)
        if depth:
            where = f"backbone, layer {depth} from the top"
        group = {
            "name": f"{where}, {how}",
            "params": [],
            "weight_decay": config.weight_decay if decays else 0.0,
            "lr_factor": (config.backbone_lr_factor if is_backbone else 1.0)
            * config.layer_decay**depth,
        }
        groups.setdefault((is_backbone, depth, decays), group)["params"].append(parameter)
    if not groups:
        fix = "lower model.backbone.freeze_stages"
        raise ValueError(f"every parameter is frozen, there is nothing to train; {fix}")
    return list(groups.values())


def _layers(model: nn.Module, config: Optimizer) -> dict[str, int]:
    """Depth of the backbone's parameters below the heads, where it changes their rate."""
    if config.layer_decay == 1:
        return {}
    backbone: Any = model.get_submodule("backbone")
    if not hasattr(backbone, "lr_layers"):
        kind = f"{type(backbone).__name__} does not say which layers it has"
        raise ValueError(f"train.optimizer.layer_decay: {kind}; set it to 1")
    return {f"backbone.{name}": depth for name, depth in backbone.lr_layers().items()}


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Give every group ``lr`` times its own factor."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["lr_factor"]


def describe_groups(groups: Sequence[dict[str, Any]]) -> str:
    """One line for each group: tensors, parameters, weight decay and learning rate factor."""
    return "\n".join(
        f"{group['name']}: {len(group['params'])} tensors, "
        f"{sum(parameter.numel() for parameter in group['params']):,} parameters, "
        f"weight decay {group['weight_decay']:g}, learning rate x {group['lr_factor']:g}"
        for group in groups
    )
