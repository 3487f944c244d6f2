"""Tiny models of every kind, whose outputs are as different from each other as trained ones."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from contracts.conftest import KINDS, PROJECTS
from helpers.toy_pose import make_batch, noise
from torch import Tensor, nn

from van_dense.api import build_model
from van_dense.config import load_config
from van_dense.models.dense_model import DenseModel

# Standard deviations of what the last layers give, by the ends of their names.
SPREAD = {
    "class_logits": 2.0,
    "cls_logits": 2.0,
    "class_head": 2.0,
    "box_deltas": 0.5,
    "bbox_pred": 0.5,
    "box_values": 1.0,
    "centerness": 1.0,
    "mask_fcn_logits": 3.0,
    "conv_seg": 3.0,
    "final": 0.3,
}


def tiny_model(kind: str, *overrides: str, spread: float = 1.0) -> DenseModel:
    """A model of a kind of ``contracts/conftest.py``, in evaluation mode.

    ``spread`` is a factor on the deviations, for models that enlarge rounding errors more.
    """
    project, options = KINDS[kind]
    of_model = [option for option in options if option.startswith("model")]
    torch.manual_seed(0)
    config = load_config(PROJECTS / project, [*of_model, "model.backbone.weights=null", *overrides])
    model = build_model(config).eval()
    _standardise(model, spread)
    return model


def _standardise(model: DenseModel, factor: float) -> None:
    """Give what the last layers compute of an image its deviation over positions or regions."""
    handles = []
    for name, layer in model.named_modules():
        std = SPREAD.get(name.rpartition(".")[2])
        if std is not None and isinstance(layer, nn.Linear | nn.Conv2d):
            handles.append(layer.register_forward_hook(partial(_rescale, std=factor * std)))
    with torch.inference_mode():
        model.predict(make_batch(noise(96, 96)))
    for handle in handles:
        handle.remove()


def _rescale(layer: Any, args: tuple[Tensor, ...], output: Tensor, *, std: float) -> Tensor:
    """Standardise the channels of the output of a layer; its bias stays their mean.

    Of a convolution over several maps that is the first, of a layer after each of several decoder
    layers the last.
    """
    if isinstance(layer, nn.Conv2d) and hasattr(layer, "is_standard"):
        return output
    layer.is_standard = True
    rows = output.movedim(1, -1) if isinstance(layer, nn.Conv2d) else output
    rows = rows.flatten(0, -2)
    scale = std / rows.std(dim=0)
    mean = rows.mean(dim=0) - layer.bias
    layer.weight.mul_(scale.view(-1, *[1] * (layer.weight.ndim - 1)))
    layer.bias.sub_(mean * scale)
    return layer.forward(*args)  # without this hook
